"""How tensors are packed: the order of the gates, the side on which they stand, the biases."""

from __future__ import annotations

from dataclasses import dataclass

from grus.dialects.dialect import Biases, Dialect, Side
from grus.equations import Cell
from grus.errors import InputError

SECOND = "second bias"
"""The key of the recurrent or inner bias among the tensors that `unpack` takes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How tensors are packed. None: not said; the shapes must tell."""

    order: tuple[str, ...] = ()
    """The gates as they stand in packed tensors; () where single gates are given."""
    gates_in: Side | None = None
    biases: Biases | None = None

    @classmethod
    def of(cls, dialect: Dialect) -> Layout:
        """The layout of a framework. Raises InputError where order, side and biases are not all."""
        if not dialect.plain:
            raise InputError(
                f"{dialect.title} keeps its weights in a way that a layout does not say; convert"
                " them first"
            )
        return cls(dialect.order, dialect.gates_in, dialect.biases)

    def check(self, cell: Cell) -> None:
        """Raise InputError when the order names a gate twice, or one that the cell has not."""
        gates = list(dict.fromkeys(w.gate for w in cell.weights))
        for gate in self.order:
            if gate not in gates:
                raise InputError(
                    f"order: cell {cell.name} has no gate {gate}; its gates are {', '.join(gates)}"
                )
            if self.order.count(gate) > 1:
                raise InputError(f"order: gate {gate} stands twice in {' '.join(self.order)}")


def in_order(cell: Cell, family: str, order: tuple[str, ...]) -> tuple[str, ...]:
    """The gates of a family in the order of the layout; one gate alone needs no order.

    Raises InputError when the order does not name each of them.
    """
    gates = cell.families[family]
    if len(gates) == 1:
        return gates
    missing = [g for g in gates if g not in order]
    if missing:
        raise InputError(
            f"{family} stacks the gates {', '.join(gates)} of cell {cell.name}, but the order"
            f" {' '.join(order) or '(none)'} has no {missing[0]}"
        )
    return tuple(g for g in order if g in gates)
