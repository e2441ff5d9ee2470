"""Regularised and normalised cells, made from a cell's equations: what each option adds to them.

| option | what it does | as in |
| --- | --- | --- |
| `zoneout` | each unit keeps its old value with a probability, at each step | Krueger et al. 2017 |
| `recurrent_dropout` | products read the state with units dropped, the same all along | Gal, Ghahramani 2016 |
| `candidate_dropout` | the candidate is dropped where it enters the state, at each step | Semeniuta et al. 2016 |
| `split_norm` | products with x and with the state are normalised by themselves | Ba et al. 2016 |
| `joint_norm` | the whole argument of each gate is normalised | TensorFlow 1's LayerNormBasicLSTMCell |
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable, Mapping

from grus.equations.blocks import without_blocks
from grus.equations.cell import Cell
from grus.equations.expr import Apply, CellError, Expr, Input, Name, State, Weight, parts, walk
from grus.equations.operators import linear, mean, sqrt

EPS = 1e-5
"""Added to the variance, as torch.nn.LayerNorm does."""
CANDIDATES = ("n", "g")
Equations = list[tuple[str, Expr]]


def zoneout(cell: Cell, rates: Mapping[str, float]) -> Cell:
    """Each unit of state s keeps its old value with probability ``rates[s]``:
    s_next = k s + (1 - k) s', k = 1 with that probability, drawn anew at each step.

    What else reads the next value reads s', before zoneout: in the LSTM h' = o tanh(c'), as Krueger
    et al. (2017, arXiv 1606.01305) have it. Raises CellError for a state that the cell has not.
    """
    _known(cell, rates, cell.states, "state")
    equations: Equations = []
    new = {Name(f"{s}_next"): Name(_fresh(cell, f"{s}_new")) for s, rate in rates.items() if rate}
    for name, expr in cell.equations:
        inner = rewritten(expr, lambda node: new.get(node) if isinstance(node, Name) else None)
        if Name(name) not in new:
            equations.append((name, inner))
            continue
        made, state = new[Name(name)], name.removesuffix("_next")
        kept = Input(f"zone_{state}")(rates[state])
        equations.append((made.name, inner))
        equations.append((name, kept * State(state) + (1 - kept) * made))
    return _made(cell, equations)


def recurrent_dropout(cell: Cell, rate: float) -> Cell:
    """Products read each state with its units dropped with probability ``rate``, the others
    multiplied by 1 / (1 - rate); one mask for the whole sequence and for all gates (Gal and
    Ghahramani 2016, arXiv 1512.05287, tied; Keras' recurrent_dropout). The state itself goes on
    undropped."""
    equations: Equations = []
    masked: dict[Expr, Name] = {}

    def drop(node: Expr) -> Expr | None:
        if not isinstance(node, State):
            return None
        if node not in masked:
            name = _fresh(cell, f"{node.name}_kept")
            equations.append((name, Input(f"drop_{node.name}", "sequence")(*_kept(rate)) * node))
            masked[node] = Name(name)
        return masked[node]

    def operand(node: Expr) -> Expr | None:
        if not isinstance(node, Apply) or not linear(node):
            return None
        weight, inner = node.args
        return Apply(node.op, (weight, rewritten(inner, drop)))

    for name, expr in cell.equations:
        equations.append((name, rewritten(expr, operand)))
    return _made(cell, equations)


def candidate_dropout(cell: Cell, rate: float) -> Cell:
    """The candidate (n, in the LSTM g) is dropped with probability ``rate`` where the next state
    takes it in, the rest multiplied by 1 / (1 - rate); a mask for each step (Semeniuta et al. 2016,
    arXiv 1603.05118). Raises CellError for a cell without a candidate."""
    names = [name for name, _ in cell.equations if name in CANDIDATES]
    if not names:
        raise CellError(f"cell {cell.name} has no candidate (an equation n or g) to drop")
    dropped = {Name(n): Input(f"drop_{n}")(*_kept(rate)) * Name(n) for n in names}
    return _made(
        cell,
        [
            (
                name,
                rewritten(expr, lambda node: dropped.get(node) if isinstance(node, Name) else None)
                if name.endswith("_next")
                else expr,
            )
            for name, expr in cell.equations
        ],
    )


def split_norm(cell: Cell) -> Cell:
    """The products with x, and those with each other operand, are normalised by themselves, over
    all gates at once: gx.k LN(W x)_k and gh.k LN(U h)_k in place of W.k @ x and U.k @ h. The biases
    are the shifts. A cell state is normalised on its way out: tanh(gc.c LN(c_next) + sc.c).

    Ba, Kiros, Hinton 2016 (arXiv 1607.06450, supplement), as in haste's LayerNormGRU and
    LayerNormLSTM, TensorFlow Addons' LayerNormLSTMCell and PyTorch's fastrnns benchmark.
    """
    groups: dict[Expr, list[Expr]] = {}
    for node in dict.fromkeys(filter(_is_normal, cell.nodes)):
        groups.setdefault(parts(node)[1], []).append(node)
    equations: Equations = []
    done: dict[Expr, Expr] = {}

    def normal(node: Expr) -> Expr | None:
        if not _is_normal(node):
            return None
        if node not in done:
            at = list(groups).index(parts(node)[1])
            _normalise_group(cell, equations, parts(node)[1], list(groups.values())[at], at, done)
        return done[node]

    for name, expr in cell.equations:
        equations.append((name, _cell_state(cell, rewritten(expr, normal), equations)))
    return _made(cell, equations)


def joint_norm(cell: Cell) -> Cell:
    """The argument of each gate is normalised as a whole, gate by gate: ga.k LN(argument) + b.k,
    the argument being what stands beside the bias. A cell state is normalised on its way out:
    tanh(gc.c LN(c_next) + sc.c).

    TensorFlow 1.x contrib.rnn.LayerNormBasicLSTMCell; for other cells the same, gate by gate.
    """
    equations: Equations = []
    for name, expr in cell.equations:
        products = any(map(linear, walk(expr)))
        if isinstance(expr, Apply) and expr.op in ("sigmoid", "tanh", "relu") and products:
            terms = _terms(parts(expr)[0])
            biases = [t for t in terms if isinstance(t, Weight)]
            rest = _sum([t for t in terms if t not in biases])
            argument = _fresh(cell, f"a_{name}")
            equations.append((argument, rest))
            normal = _normalise(cell, equations, [Name(argument)], name)[0]
            scaled = Weight("ga", name.removesuffix("_next")) * normal
            equations.append((name, Apply(expr.op, (_sum([scaled, *biases]),))))
        else:
            equations.append((name, _cell_state(cell, expr, equations)))
    return _made(cell, equations)


def _cell_state(cell: Cell, expr: Expr, equations: Equations) -> Expr:
    """tanh(c_next) with c_next normalised."""

    def normal(node: Expr) -> Expr | None:
        if node != Apply("tanh", (Name("c_next"),)):
            return None
        scaled = Weight("gc", "c") * _normalise(cell, equations, [Name("c_next")], "c")[0]
        return Apply("tanh", (scaled + Weight("sc", "c"),))

    return rewritten(expr, normal)


def _normalise_group(
    cell: Cell,
    equations: Equations,
    operand: Expr,
    products: list[Expr],
    at: int,
    done: dict[Expr, Expr],
) -> None:
    """Name the products with an operand and normalise them together."""
    short = {Input("x"): "x", State("h"): "h"}.get(operand, f"o{at}")
    weights = [weight for product in products for weight in parts(product)[:1]]
    spelled = [str(weight).replace(".", "") for weight in weights]
    names = [Name(_fresh(cell, f"{word}_{short}")) for word in spelled]
    equations += [(name.name, product) for name, product in zip(names, products, strict=True)]
    family = "gx" if without_blocks(operand)[0] == Input("x") else "gh"
    normals = _normalise(cell, equations, names, short)
    for weight, product, normal in zip(weights, products, normals, strict=True):
        assert isinstance(weight, Weight)
        done[product] = Weight(family, weight.gate) * normal


def _normalise(cell: Cell, equations: Equations, values: list[Name], short: str) -> list[Expr]:
    """(v - mean) / sqrt(variance + eps) of each value, over all units of all of them."""
    names = (_fresh(cell, f"{word}_{short}") for word in ("mean", "variance", "spread", "scale"))
    centre, variance, spread, scale = map(Name, names)
    centred = [value - centre for value in values]
    total, squares = mean(_sum([*values])), mean(_sum([value * value for value in centred]))
    count = len(values)
    equations += [
        (centre.name, total if count == 1 else total / count),
        (variance.name, squares if count == 1 else squares / count),
        (spread.name, sqrt(variance + EPS)),
        (scale.name, 1 / spread),
    ]
    return [value * scale for value in centred]


def _kept(rate: float) -> tuple[float, float]:
    return 1 - rate, 1 / (1 - rate)


def _known(cell: Cell, given: Mapping[str, float], known: tuple[str, ...], what: str) -> None:
    for name in given:
        if name not in known:
            raise CellError(f"cell {cell.name} has no {what} {name}, it has {', '.join(known)}")


def _fresh(cell: Cell, name: str) -> str:
    taken = {given for given, _ in cell.equations} | set(cell.states)
    while name in taken:
        name += "_"
    return name


def _is_normal(node: Expr) -> bool:
    """True for a product of the families W and U; a projection is not normalised."""
    return linear(node) is not None and any(
        isinstance(part, Weight) and part.family in ("W", "U") for part in parts(node)
    )


def _terms(expr: Expr) -> list[Expr]:
    if isinstance(expr, Apply) and expr.op == "add":
        return [*_terms(expr.args[0]), *_terms(expr.args[1])]
    return [expr]


def _sum(terms: list[Expr]) -> Expr:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def rewritten(expr: Expr, change: Callable[[Expr], Expr | None]) -> Expr:
    """The expression with nodes changed from the root down; what is changed is not entered."""
    changed = change(expr)
    if changed is not None:
        return changed
    if isinstance(expr, Apply):
        return Apply(expr.op, tuple(rewritten(part, change) for part in expr.args))
    return expr


def _made(cell: Cell, equations: Equations) -> Cell:
    return Cell(cell.name, tuple(equations), cell.doc)
