"""How others spell and store a recurrent network: one record per framework.

In: a cell and a framework's tensors. Out: weights by family. Imports equations, reference and
kernels; a framework only inside its own file, late.
"""

from grus.dialects.torch_record import TorchRecord

__all__ = ["TorchRecord"]
