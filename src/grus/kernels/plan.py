"""A cell as stages: what each step computes, in which order, from which buffers.

A stage ends where a whole row is needed: the operand of a product must be complete before any
element of the product can be. Inside a stage everything is elementwise, so it happens in
registers, one tile of rows x units at a time. Sums of products and biases become *chains*: one
accumulator per output element, biases first, then the input's products, then the others, each
along ascending k. That order never changes, so neither do the bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from grus.equations import Apply, Cell, Expr, Input, Name, State, Weight, without_blocks
from grus.equations.expr import walk
from grus.equations.flat import flatten
from grus.equations.operators import OPERATORS, linear
from grus.equations.text import show as text
from grus.errors import InputError

CHAIN = "#"
ONE = "one"
"""The axis of a value that is one number for each row."""


class UnsupportedCellError(InputError):
    """The reference can run this cell, the kernels cannot; the message names what is missing."""


@dataclass(frozen=True, slots=True)
class Product:
    """``weight @ operand`` (``weight.T`` when transposed), operand being an input, a state or a
    value."""

    weight: Weight
    operand: Expr
    transposed: bool = False
    blocks: int = 1
    """How many blocks the weight has; the k-th of the operand meets the k-th of the result."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One accumulator: biases + hoisted products with inputs + products inside the time loop."""

    name: str
    biases: tuple[Weight, ...]
    hoisted: tuple[Product, ...]
    products: tuple[Product, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """All products of a stage that share an operand and its blocks: one loop over k reads it
    once."""

    operand: Expr
    members: tuple[tuple[int, Product], ...]
    """(index of the chain in its stage, product)."""
    blocks: int = 1


@dataclass(frozen=True)
class Stage:
    """Products first, then equations; every name is a vector over the stage's axis, or one number
    for each row where the axis is `ONE`."""

    chains: tuple[Chain, ...]
    equations: tuple[tuple[str, Expr], ...]
    axis: str = "hidden"

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The k-loops of this stage."""
        by_operand: dict[tuple[Expr, int], list[tuple[int, Product]]] = {}
        for k, chain in enumerate(self.chains):
            for product in chain.products:
                by_operand.setdefault((product.operand, product.blocks), []).append((k, product))
        return tuple(
            Group(operand, tuple(members), blocks)
            for (operand, blocks), members in by_operand.items()
        )


@dataclass(frozen=True, slots=True)
class KLoop:
    """A loop over k, and the panels of weights that it reads."""

    operand: Expr
    members: tuple[tuple[int, Weight, bool], ...]
    """(index of the chain that it adds to, weight, transposed)."""
    axis: str
    """The axis along which the accumulators lie."""
    depth: str
    """The axis that is summed over."""
    blocks: int = 1
    """Both axes are in so many parts: accumulators sum over their own part of the depth."""


@dataclass(frozen=True)
class Plan:
    """The stages of one step of a flat cell, and what passes between them."""

    cell: Cell
    hoisted: tuple[Chain, ...]
    """Chains with products of inputs: computed ahead of the time loop, in chunks of steps."""
    stages: tuple[Stage, ...]
    rows: tuple[str, ...]
    """Values that a later stage reads; they live in row buffers."""

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """Inputs read element by element."""
        read = [n for stage in self.stages for _, e in stage.equations for n in walk(e)]
        return tuple(dict.fromkeys(n for n in read if isinstance(n, Input)))

    @cached_property
    def step_inputs(self) -> tuple[str, ...]:
        """Those that arrive at each step, by name; x only if it is read so."""
        return tuple(n.name for n in self.inputs if n.keep is None)

    @cached_property
    def masks(self) -> tuple[Input, ...]:
        """Those that are drawn."""
        return tuple(n for n in self.inputs if n.keep is not None)

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """The axes of the stages: hidden, and others where there are some."""
        return tuple(sorted({"hidden", *(stage.axis for stage in self.stages)} - {ONE}))

    @cached_property
    def sized(self) -> tuple[str, ...]:
        """The axes beside hidden and input whose sizes the program asks for."""
        depths = {loop.depth for loop in self.k_loops}
        return tuple(sorted({*self.axes, *depths} - {"hidden", "input"}))

    @cached_property
    def hoisted_axes(self) -> tuple[str, ...]:
        """The axes of the products with inputs."""
        return tuple(dict.fromkeys(chain_axis(self.cell, chain) for chain in self.hoisted))

    def axis_of(self, node: Expr) -> str:
        """The axis of a leaf; `ONE` of a number."""
        shapes = self.cell.shapes
        if isinstance(node, State):
            return shapes.states[node.name]
        if isinstance(node, Weight):
            return shapes.weights[node][0]
        if isinstance(node, Input):
            return shapes.inputs.get(node, ONE)
        if isinstance(node, Name) and node.name.startswith(CHAIN):
            chain = next(chain for chain in self.hoisted if chain.name == node.name)
            return chain_axis(self.cell, chain)
        return shapes.values[node.name] or ONE if isinstance(node, Name) else ONE

    @cached_property
    def hoisted_loops(self) -> tuple[KLoop, ...]:
        """Those of the products with inputs, of each axis: x first."""
        members: dict[tuple[str, Expr, int], list[tuple[int, Weight, bool]]] = {}
        for k, chain in enumerate(self.hoisted):
            for product in chain.hoisted:
                key = chain_axis(self.cell, chain), product.operand, product.blocks
                members.setdefault(key, []).append((k, product.weight, False))
        order = sorted(members, key=lambda key: (key[1] != Input("x"), str(key[1])))
        return tuple(
            KLoop(operand, tuple(members[key]), axis, self.depth_of(operand), blocks)
            for key in order
            for axis, operand, blocks in [key]
        )

    def depth_of(self, operand: Expr) -> str:
        """The axis of an operand; that of x is its own even where it is as long as the states."""
        return "input" if operand == Input("x") else self.axis_of(operand)

    @cached_property
    def k_loops(self) -> tuple[KLoop, ...]:
        """Those of the products with inputs, then stage by stage."""
        loops = [*self.hoisted_loops]
        for stage in self.stages:
            for group in stage.groups:
                entries = tuple((k, p.weight, p.transposed) for k, p in group.members)
                depth = self.axis_of(group.operand)
                loops.append(KLoop(group.operand, entries, stage.axis, depth, group.blocks))
        return tuple(loops)

    @cached_property
    def vectors(self) -> tuple[Weight, ...]:
        """Learned vectors; each may come in two parts."""
        axes = self.cell.shapes.weights
        return tuple(weight for weight in self.cell.weights if len(axes[weight]) == 1)

    def first_stage(self, axis: str) -> int:
        """The first stage over an axis."""
        return next(k for k, stage in enumerate(self.stages) if stage.axis == axis)

    @cached_property
    def operands(self) -> tuple[Expr, ...]:
        """What products and means inside the loop read as whole rows: a barrier guards these."""
        read = [g.operand for s in self.stages for g in s.groups]
        return tuple(dict.fromkeys([*read, *self.averaged]))

    @cached_property
    def averaged(self) -> tuple[Expr, ...]:
        """Values, chains, states and drawn masks that means read; not numbers, which each thread
        works out for itself."""
        numbers = [e for s in self.stages if s.axis == ONE for _, e in s.equations]
        leaves = [n for e in numbers if is_mean(e) for n in walk(e)]
        rows = [n for n in leaves if isinstance(n, (Name, State)) and self.axis_of(n) != ONE]
        return tuple(dict.fromkeys(n for n in leaves if n in rows or n in self.masks))


@lru_cache(maxsize=256)
def make_plan(cell: Cell) -> Plan:
    """Cut a cell into stages. Raises UnsupportedCellError naming what the kernels cannot do."""
    _refuse(cell)
    flat = flatten(cell)
    run = _Scheduling(flat)
    stages = run.stages()
    return Plan(flat, tuple(run.hoisted), stages, _rows(flat, stages))


def _refuse(cell: Cell) -> None:
    masks = [node.name for node in cell.inputs if node.per == "sequence" and node.keep is None]
    reasons = [f"take no mask per sequence yet ({name})" for name in masks]
    for gather in cell.gathers:
        reasons.append(f"read no other positions ({gather}); a layer runs on torch's operations")
    if reasons:
        raise UnsupportedCellError(f"cell {cell.name}: the kernels {reasons[0]}")


class _Scheduling:
    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.count = 0
        self.level: dict[str, int] = {}
        self.chains: list[tuple[int, Chain]] = []
        self.hoisted: list[Chain] = []
        self.equations: list[tuple[int, str, Expr]] = []
        self.lowered: dict[str, Expr] = {}

    def stages(self) -> tuple[Stage, ...]:
        for name, expr in self.cell.equations:
            first = len(self.chains)
            lowered = self.lowered[name] = self.lower(expr)
            if is_mean(lowered):
                lowered = Apply("mean", (self.early(lowered.args[0]),))  # type: ignore[attr-defined]
            self.level[name] = at = self.stage_of(lowered)
            # An accumulator is a register: it belongs to the stage of the equation that reads it.
            self.chains[first:] = [(at, chain) for _, chain in self.chains[first:]]
            self.equations.append((self.level[name], name, lowered))
        self.delay_copies()
        # Values of two axes are never read together, so one level of both is two stages; what is
        # one number for each row comes first and may be read by both.
        parts: dict[tuple[int, bool, str], tuple[list[Chain], list[tuple[str, Expr]]]] = {}
        for at, chain in self.chains:
            parts.setdefault((at, True, chain_axis(self.cell, chain)), ([], []))[0].append(chain)
        for at, name, expr in self.equations:
            axis = self.axis(name)
            parts.setdefault((at, axis != ONE, axis), ([], []))[1].append((name, expr))
        return tuple(
            Stage(tuple(parts[key][0]), tuple(parts[key][1]), key[2]) for key in sorted(parts)
        )

    def delay_copies(self) -> None:
        """What only copies a product with x is read where that stands; the copy, which somebody
        may want kept, needs no stage of its own."""
        last: dict[str, int] = {}
        for at, name, _ in self.equations:
            last[self.axis(name)] = max(at, last.get(self.axis(name), 0))
        self.equations = [
            (last[self.axis(name)] if self.is_hoisted(expr) else at, name, expr)
            for at, name, expr in self.equations
        ]

    def is_hoisted(self, expr: Expr) -> bool:
        """True for a product with x and nothing else."""
        return isinstance(expr, Name) and expr.name in {chain.name for chain in self.hoisted} - {
            chain.name for _, chain in self.chains
        }

    def axis(self, name: str) -> str:
        """The axis of a value or of a chain."""
        if name.startswith(CHAIN):
            return "hidden"
        return self.cell.shapes.values[name] or ONE

    def stage_of(self, expr: Expr) -> int:
        """The first level at which all is there that an equation reads. A mean reads whole rows,
        which a level has only when it is over; products with x are there from the beginning."""
        read = [n.name for n in walk(expr) if isinstance(n, Name)]
        over = {name for name in read if is_mean(expr) and self.axis(name) != ONE}
        over -= {chain.name for chain in self.hoisted}
        return max((self.level[name] + (name in over) for name in read), default=0)

    def early(self, expr: Expr) -> Expr:
        """What a mean is of, with values spelled out that are cheap and would be there too late:
        computed again for the mean they save a stage."""
        if isinstance(expr, Name) and expr.name in self.lowered and self.axis(expr.name) != ONE:
            spelled = self.early(self.lowered[expr.name])
            cheap = all(OPERATORS[n.op].symbol for n in walk(spelled) if isinstance(n, Apply))
            inside = {chain.name for _, chain in self.chains}
            fixed = not any(isinstance(n, Name) and n.name in inside for n in walk(spelled))
            mean = Apply("mean", (spelled,))
            if cheap and fixed and self.stage_of(mean) <= self.level[expr.name]:
                return spelled
        elif isinstance(expr, Apply):
            return Apply(expr.op, tuple(map(self.early, expr.args)))
        return expr

    def lower(self, expr: Expr) -> Expr:
        """The expression with each sum of products replaced by the name of its chain."""
        terms = _terms(expr)
        if any(map(_is_product, terms)):
            summed = [t for t in terms if _is_product(t) or isinstance(t, Weight)]
            total: Expr = self.chain(summed)
            for term in terms:
                if term not in summed:
                    total = total + self.lower(term)
            return total
        if isinstance(expr, Apply):
            return Apply(expr.op, tuple(map(self.lower, expr.args)))
        if isinstance(expr, Name) and self.is_hoisted(self.lowered[expr.name]):
            return self.lowered[expr.name]
        return expr

    def chain(self, terms: list[Expr]) -> Name:
        biases, hoisted, products = [], [], []
        for term in terms:
            if isinstance(term, Weight):
                biases.append(term)
                continue
            assert isinstance(term, Apply)
            weight, (operand, blocks) = term.args[0], without_blocks(term.args[1])
            how = linear(term)
            assert isinstance(weight, Weight)
            assert how is not None
            if isinstance(operand, Input) and operand.keep is None and not how.turned:
                hoisted.append(Product(weight, operand, blocks=blocks))
            elif isinstance(operand, Input):
                raise UnsupportedCellError(
                    f"cell {self.cell.name}: the kernels have no product {text(term)} yet"
                )
            else:
                products.append(Product(weight, operand, how.turned, blocks))
        self.count += 1
        name = f"{CHAIN}{self.count}"
        chain = Chain(name, tuple(biases), tuple(hoisted), tuple(products))
        if hoisted:
            self.hoisted.append(chain)
        self.level[name] = 0
        if products:
            self.level[name] = 1 + max(self.operand_level(p.operand) for p in products)
            self.chains.append((self.level[name], chain))
        return Name(name)

    def operand_level(self, operand: Expr) -> int:
        # A state is complete before the step begins; level 0 has no products of its own.
        return self.level[operand.name] if isinstance(operand, Name) else 0


def is_mean(expr: Expr) -> bool:
    """True for a mean: after `flatten` it stands at the root of an equation."""
    return isinstance(expr, Apply) and OPERATORS[expr.op].kind == "reduction"


def chain_axis(cell: Cell, chain: Chain) -> str:
    """The axis of a chain's accumulator."""
    if chain.hoisted:
        return cell.shapes.weights[chain.hoisted[0].weight][0]
    product = chain.products[0]
    return cell.shapes.weights[product.weight][1 if product.transposed else 0]


def _terms(expr: Expr) -> list[Expr]:
    """The positive terms of a sum, left to right."""
    if isinstance(expr, Apply) and expr.op == "add":
        return [*_terms(expr.args[0]), *_terms(expr.args[1])]
    return [expr]


def _is_product(expr: Expr) -> bool:
    return linear(expr) is not None


def _rows(cell: Cell, stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Values computed in one stage and read in a later one, or read whole by a product."""
    stage_of = {name: k for k, stage in enumerate(stages) for name, _ in stage.equations}
    later: dict[str, None] = {}
    for k, stage in enumerate(stages):
        reads = [n for _, e in stage.equations for n in walk(e) if isinstance(n, Name)]
        reads += [g.operand for g in stage.groups if isinstance(g.operand, Name)]
        later |= dict.fromkeys(n.name for n in reads if stage_of.get(n.name, k) < k)
    return tuple(later)
