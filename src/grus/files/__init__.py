"""Weight files of other frameworks, read and written without those frameworks.

In: a path. Out: `Contents`, tensors by name. A file is a stranger's: sizes are checked before
anything is allocated, nothing in it is executed, no path in it is followed out of its folder.
h5py and onnx are imported when a file of theirs is met.
"""
