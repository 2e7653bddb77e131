"""What a page does with its parameters: refuse what cannot be, before anything is trained.

The cell after a page's ``parameters`` cell calls :func:`check_parameters`. What a parameter may be
follows from its name: ``N`` is a whole number on every page (:data:`RULES`), and ``T`` at most
``loops`` wherever there are both (:data:`RELATIONS`). A page adds the relations that it alone
needs.

Papermill writes the parameters it is given into a cell of its own, right after the ``parameters``
cell, and only warns about a name that the page does not have. The page would then run for its full
time on its defaults.
"""

from __future__ import annotations

import ast
import builtins
import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from IPython import get_ipython

from lintf.checks import check_choice, check_int, check_real
from lintf.experiments.adam_sgd import SETTINGS
from lintf.experiments.recall import NAMES
from lintf.models.recall import ATTENTION
from lintf.tasks.linear import MODES
from lintf.training.fit import check_device

INJECTED = "# Parameters\n"  # the first line of the cell that papermill writes
# (name, value): raises ValueError for a value that cannot be.
Rule = Callable[[str, object], object]


def whole(low: int, high: int) -> Rule:
    """Returns the rule for a whole number from low to high."""
    return partial(check_int, low=low, high=high)


def number(low: float, high: float, above: bool = False) -> Rule:
    """Returns the rule for a number from low (more than that with `above`) to high."""
    return partial(check_real, low=low, high=high, above=above)


def one_of(names: Iterable[str]) -> Rule:
    """Returns the rule for one of these names."""
    return partial(check_choice, allowed=tuple(names))


def several(rule: Rule, fewest: int = 1, most: int = 1000, repeats: bool = False) -> Rule:
    """Returns the rule for a list of values.

    rule: what each of them must obey.
    fewest, most: how many there may be.
    repeats: whether two may be the same.
    """

    def check(name: str, values: object) -> None:
        listed = isinstance(values, Sequence) and not isinstance(values, str | bytes)
        if not listed or not fewest <= len(values) <= most:
            raise ValueError(
                f"{name} must be a list of {fewest} to {most} values, got {values!r:.200}"
            )
        for i, value in enumerate(values):
            rule(f"{name}[{i}]", value)
        if not repeats and any(value in values[:i] for i, value in enumerate(values)):
            raise ValueError(f"{name} must be different values, got {values!r:.200}")

    return check


def or_none(rule: Rule) -> Rule:
    """Returns the rule for None, or what another rule allows."""
    return lambda name, value: None if value is None else rule(name, value)


def flag(name: str, value: object) -> None:
    """Raises ValueError for what is neither True nor False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def word(name: str, value: object) -> None:
    """Raises ValueError for what is no text, or an empty one."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} must be a word, got {value!r}")


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


SEED, RATE = whole(0, 2**32 - 1), number(0, 1000, above=True)
RULES: dict[str, Rule] = {  # the upper bounds keep a page from asking for more memory than there is
    **_each("d n_layer n_expert hidden hidden_target loops T", whole(1, 500)),
    **_each("n_rates test_sets test_groups trainings", whole(1, 1000)),
    **_each("width n_head inner_steps history last folds paragraphs most", whole(1, 10**4)),
    **_each("N points epochs steps slow_steps sweeps walk", whole(1, 10**5)),
    **_each("B n batches other_batches reference tune_prompts", whole(1, 10**6)),
    **_each("test_prompts", whole(2, 10**6)),
    **_each("H", whole(6, 10**5)),  # room for a sentence with noise
    **_each("max_iters demo_steps rotated_steps loop_steps live_steps", whole(1, 10**8)),
    **_each("adam_steps clean_steps", whole(1, 10**8)),
    **_each("halve_every redraw_every stride", whole(1, 10**8)),
    "warmup": whole(0, 10**8),
    **_each("seed random_seed target_seed", SEED),
    **_each("lr lr_adam lr_sgd lr_few lowest_rate", RATE),
    "clip": or_none(RATE),
    **_each("lr_end", number(0, 1000)),
    **_each("damping", number(0, 1, above=True)),
    **_each("mu reach", number(0, 10**6, above=True)),
    **_each("center", number(0, 10**3)),
    **_each("spread noise", number(0, 10**3, above=True)),
    **_each("n_layers layers bare", several(whole(1, 500))),
    **_each("depths", several(whole(0, 500))),
    **_each("Ns", several(whole(1, 10**5))),
    **_each("shared", several(whole(1, 10**4))),
    **_each("instants", several(whole(0, 10**8))),
    **_each("seeds rate_seeds deep_seeds", several(SEED)),
    **_each("more_seeds", several(SEED, fewest=0)),
    # More are lost to rounding in isotropic.py.
    **_each("scales", several(number(0.01, 100), 2, 12, repeats=True)),
    **_each("noise_stds", several(number(0, 1000), fewest=2)),
    **_each("kappas", several(number(1, 10**6))),
    **_each("ds", several(whole(2, 12))),  # more are lost to rounding in isotropic.py
    **_each("lrs", several(RATE)),
    **_each("alphas", several(number(0, 0.99))),
    **_each("shares few", several(number(0, 1))),
    **_each("n_merged d_wide n_wide", whole(1, 100)),
    **_each("init_std init_merged init_wide", number(0, 1, above=True)),
    **_each("stop stop_merged stop_wide", number(10, 10**7)),
    **_each("d_tasks plenty", whole(1, 500)),
    **_each("ridge_constant kappa noise_tasks", number(0, 1000, above=True)),
    **_each("contexts taus", several(number(0.001, 1000))),
    "task_ratios": several(number(0.01, 1000)),
    "noise_maxs": several(number(0, 1000)),
    "mixes": several(several(number(0, 1000))),
    "noise_deep": number(0, 1000, above=True),
    "stretches": several(number(0.01, 100)),
    "lengths": several(whole(1, 10**5)),
    "eigenvalues": several(number(0.001, 100), 2, 12),
    "ranks": several(whole(1, 100)),
    "mode": one_of(MODES),
    "settings": several(one_of(SETTINGS)),
    "rates_in": one_of(SETTINGS),
    "shown": several(one_of(NAMES)),
    "attentions": several(one_of(ATTENTION)),
    "model_name": word,
    "toclip": flag,
    "device": lambda _, value: check_device(value),
}
RELATIONS = (  # on the pages that have all of these parameters
    "n % B == 0",
    "T <= loops",
    "width % n_head == 0",
    "last <= min(20, max_iters)",  # so many snapshots there always are
    "set(seeds).isdisjoint(more_seeds)",
)


def assigned(source: str) -> dict[str, ast.expr]:
    """Returns the names that a cell assigns at top level, with their value expressions; none for
    what is not Python."""
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # a cell with %magic or !commands, or one that failed
        return {}
    found: dict[str, ast.expr] = {}
    for node in statements:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                names = [part for part in ast.walk(target) if isinstance(part, ast.Name)]
                found |= {name.id: node.value for name in names if isinstance(name.ctx, ast.Store)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found


def check_parameters(*relations: str) -> None:
    """Raises ValueError, in one line with name, value and what is allowed, for a parameter that
    cannot be.

    Call it in the cell after the ``parameters`` cell. relations: Python expressions in the
    parameters, all of which must be true.
    """
    shell = get_ipython()
    if shell is None:
        return
    space, run = shell.user_ns, shell.user_ns["In"]
    cells = _parameter_cells(run)
    known = {name: None for cell in cells for name in cell}
    for place in [i for i, source in enumerate(run) if source.startswith(INJECTED)][-1:]:
        _check_names(assigned(run[place]), known | assigned(run[place - 1]))
    # Another name is the reader's own, if it looks like none.
    for name, value in (cells[-1] if cells else {}).items():
        if name not in RULES and (near := difflib.get_close_matches(name, RULES, 1, cutoff=0.85)):
            _check_names({name: value}, dict.fromkeys(n for n in (*known, *near) if n in RULES))
    check_values(space, [name for name in known if name in RULES and name in space], relations)


def _parameter_cells(cells: Iterable[str]) -> list[dict[str, ast.expr]]:
    """Returns what each run of the page's ``parameters`` cell assigned, oldest first. A reader may
    have edited it, and run it again after any others: it is what assigns the most names that have
    rules, or at least half as many."""
    found = [assigned(source) for source in cells if not source.startswith(INJECTED)]
    counts = [len(cell.keys() & RULES.keys()) for cell in found]
    return [cell for cell, count in zip(found, counts, strict=True) if 2 * count >= max(1, *counts)]


def check_values(
    space: Mapping[str, object], names: Iterable[str], more: Iterable[str] = ()
) -> None:
    """Raises ValueError for a name whose value in the space breaks its rule, and for a relation
    that does not hold: those that pages share, as far as they are about the names, and `more`."""
    names = list(names)
    for name in names:
        RULES[name](name, space[name])
    shared = (relation for relation in RELATIONS if _names(relation) <= set(names))
    for relation in (*shared, *more):
        if not eval(relation, dict(space)):
            got = ", ".join(
                f"{name} = {space[name]!r}" for name in sorted(_names(relation) & space.keys())
            )
            raise ValueError(f"{relation} must hold, got {got}")


def relations(source: str, names: Iterable[str]) -> list[str]:
    """Returns what a cell asks of its page's parameters: the relations in its call of
    `check_parameters`, if it has one, that are about these names and nothing else."""
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    except SyntaxError:  # as in `assigned`
        return []
    asked = [call.args for call in calls if ast.unparse(call.func) == "parameters.check_parameters"]
    found = [ast.literal_eval(argument) for arguments in asked for argument in arguments]
    return [relation for relation in found if _names(relation) <= set(names)]


def _check_names(given: dict[str, ast.expr], defaults: Iterable[str]) -> None:
    for name, value in given.items():
        if name not in defaults:
            close = difflib.get_close_matches(name, defaults, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            known = ", ".join(defaults)
            raise ValueError(
                f"unknown parameter {name!r} = {ast.unparse(value)}.{hint} This page has: {known}."
            )


def _names(relation: str) -> set[str]:
    """Returns the parameters in a relation."""
    names = {node.id for node in ast.walk(ast.parse(relation)) if isinstance(node, ast.Name)}
    return names - vars(builtins).keys()
