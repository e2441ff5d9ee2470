"""What is compared: grus' GRU and torch's, with the same weights, on the same input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grus.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

LARGEST = 2**33  # of T B I, T B H or H (I + H): beyond it a machine's memory ends first
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Shape:
    """Time steps, rows of the batch, inputs, hidden units."""

    steps: int
    batch: int
    inputs: int
    hidden: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read "T,B,I,H". Raises InputError for anything else, and for sizes that cannot be."""
        try:
            sizes = tuple(map(int, text.split(",")))
        except ValueError:
            sizes = ()
        if len(sizes) != 4 or min(sizes) < 1:
            raise InputError(f"a shape is T,B,I,H, four whole numbers from 1 up, got {text!r}")
        steps, batch, inputs, hidden = sizes
        widest = max(inputs, hidden)
        if max(steps * batch * widest, hidden * (inputs + hidden)) > LARGEST:
            raise InputError(f"the shape {text} is too large to be measured")
        return cls(steps, batch, inputs, hidden)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """T, B, I, H."""
        return self.steps, self.batch, self.inputs, self.hidden

    def __str__(self) -> str:
        return f"T{self.steps} B{self.batch} I{self.inputs} H{self.hidden}"


SHAPES = tuple(
    Shape(*sizes)
    for sizes in (
        (100, 1, 32, 32),
        (100, 1, 128, 128),
        (100, 1, 256, 256),
        (100, 32, 32, 32),
        (100, 32, 128, 128),
        (100, 32, 256, 256),
        (100, 32, 512, 512),
        (35, 32, 64, 256),
        (17, 3, 5, 7),
    )
)


@dataclass(frozen=True)
class Pair:
    """The two layers of one shape, and what both are given."""

    shape: Shape
    layers: dict[str, nn.Module]
    """By name, "grus" first; the second has the first one's weights, bit for bit."""
    x: Tensor
    dy: Tensor
    """The gradient of the loss with respect to the output: random, so that nothing cancels."""

    @classmethod
    def draw(cls, shape: Shape, dtype: str, seed: int = 0) -> Pair:
        """Layers with torch's default initialisation, and normal numbers for x and dy."""
        import torch

        from grus.layers import GRU

        torch.manual_seed(seed)
        kind = getattr(torch, dtype)
        peer = torch.nn.GRU(shape.inputs, shape.hidden, dtype=kind)
        ours = GRU(shape.inputs, shape.hidden, dtype=kind)
        ours.load_state_dict(peer.state_dict())
        x = torch.randn(shape.steps, shape.batch, shape.inputs, dtype=kind)
        dy = torch.randn(shape.steps, shape.batch, shape.hidden, dtype=kind)
        return cls(shape, {"grus": ours, "torch.nn.GRU": peer}, x, dy)


def gradients(
    layer: nn.Module, x: Tensor, dy: Tensor, *, with_x: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Forward and backward: the output, and the gradients by parameter name (and "x")."""
    import torch

    wanted = dict(layer.named_parameters())
    if with_x:
        x = x.detach().requires_grad_()
        wanted["x"] = x  # type: ignore[assignment]
    output = layer(x)[0]
    found = torch.autograd.grad(output, list(wanted.values()), dy)
    return output.detach(), dict(zip(wanted, found, strict=True))
