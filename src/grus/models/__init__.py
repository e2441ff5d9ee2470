"""Small finished models built on the layers. In: text. Out: trained models. Imports torch.

`architecture`, `settings` and `text` say what a model is, how it is trained and on what, and need
no torch; `language` is the model, `train` the loop, `run` what the loop changes, `checkpoint` its
file, `sample` what comes out.
"""
