"""One run: a model, a task, a training and a seed, and the configuration that names it in runs/."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
import textwrap
from dataclasses import dataclass, fields
from pathlib import Path
from types import FunctionType

from lintf.checks import Checked, check_choice, check_int, set_fields
from lintf.models.base import Model
from lintf.models.encoder import Encoder
from lintf.models.heads import Heads
from lintf.models.labels import LabelTransformer
from lintf.models.linear import LinearTransformer
from lintf.models.looped import Looped
from lintf.models.mlp import MLPTransformer
from lintf.models.recall import RecallTransformer
from lintf.tasks.base import Task
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.kernels import KernelRegression
from lintf.tasks.levels import NoiseLevels
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.tasks.mlp import NonlinearRegression
from lintf.tasks.recall import Recall
from lintf.tasks.uniform import UniformRegression
from lintf.training import store
from lintf.training.config import TrainConfig

MODELS = (
    LinearTransformer,
    MLPTransformer,
    RecallTransformer,
    Encoder,
    Looped,
    Heads,
    LabelTransformer,
)
TASKS = (
    LinearRegression,
    NonlinearRegression,
    Recall,
    ConditionedRegression,
    LogisticRegression,
    NoiseLevels,
    UniformRegression,
    KernelRegression,
)
# By their names in stored configurations.
KINDS = {kind.__name__: kind for kind in (*MODELS, *TASKS)}
NAMED = KINDS | {"Training": TrainConfig}

# Fields that stored configurations know by another name, kind by kind: the keys of stored runs
# depend on these.
STORED_FIELDS = {
    "Training": {"clip_by": "clip_per", "history_size": "history", "train_set_size": "pool"},
    "Looped": {"supervised_loops": "T"},
    "RecallTransformer": {"save_final_params": "keep_weights"},
}
STORED_VALUES = {"Training": {"clip_by": {"global": "member", "matrix": "matrix"}}}


class OfANotebook(ValueError):
    """A class of `__main__`, which is another program each time."""


@dataclass(frozen=True)
class Run:
    """One run: what is trained on what, how, and with which seed. Raises ValueError where the four
    do not fit together."""

    model: Model
    task: Task
    training: TrainConfig
    seed: int

    def __post_init__(self) -> None:
        # Torch uses 32 bits of a seed.
        set_fields(self, seed=check_int("each of seeds", self.seed, 0, 2**32 - 1))
        for name, kind in (("model", Model), ("task", Task)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}")
        for name, *_ in self.training.curriculum:
            numbers = [
                field.name
                for field in fields(self.task)
                if type(getattr(self.task, field.name)) is int
            ]
            check_choice("curriculum", name, (*numbers, *self.model.curriculum_fields))
        self.training.model_at(self.model, 0)  # raises where the model cannot start so small
        self.model.check_fit(self.task)
        if self.training.integrate:
            self.task.check_integrate(self.model.representation)

    @property
    def config(self) -> dict:
        """The configuration that names it: what `described` says of its parts, and the seed."""
        training = described(self.training)
        del training["kind"]
        return {
            "model": described(self.model),
            "task": described(self.task),
            "training": training,
            "seed": self.seed,
        }

    @property
    def path(self) -> Path:
        """The file in runs/ where it is stored, or would be."""
        t = self.training
        how = f"{t.alg}-lr{t.lr:g}-B{t.B}-T{t.max_iters}"
        label = f"{self.model.label}-{self.task.label}-{how}-seed{self.seed}"
        return store.path_of(label, self.config)

    @staticmethod
    def of(config: dict) -> Run:
        """Inverts `config`. Raises ValueError for a class that cannot be had here."""

        training = built({"kind": "Training", **config["training"]})
        return Run(built(config["model"]), built(config["task"]), training, config["seed"])


def described(part: Checked) -> dict:
    """Returns a model, a task or a training as it stands in a configuration: its kind, and its
    fields by their stored names."""
    kind, found = kind_of(type(part)), {}
    for name, value in part.config.items():
        values = STORED_VALUES.get(kind, {}).get(name)
        found[STORED_FIELDS.get(kind, {}).get(name, name)] = values[value] if values else value
    return {"kind": kind, **found}


def built(given: dict) -> Checked:
    """Inverts `described`. Raises ValueError for a class that cannot be had here."""
    kind, found = given["kind"], {}
    names = {stored: name for name, stored in STORED_FIELDS.get(kind, {}).items()}
    for stored, value in given.items():
        name = names.get(stored, stored)
        values = STORED_VALUES.get(kind, {}).get(name, {})
        found[name] = next((own for own, other in values.items() if other == value), value)
    del found["kind"]
    return class_of(kind)(**found)


def kind_of(cls: type) -> str:
    """Returns the name of a model's or task's class in a configuration. One from outside of this
    package is named with its module, and with a digest of its code: another definition is another
    kind."""
    for name, own in NAMED.items():
        if own is cls:
            return name
    return f"{cls.__module__}:{cls.__qualname__}:{_code(cls)}"


def class_of(kind: str) -> type:
    """Inverts `kind_of`. Raises ValueError, naming the class, where it is not here or has
    another definition: `OfANotebook` for one that no other program can have."""
    if kind in NAMED:
        return NAMED[kind]
    module, _, rest = kind.partition(":")
    name = rest.partition(":")[0]
    if module == "__main__" and not _is_here(name, kind):
        raise OfANotebook(
            f"{name} was defined in a notebook or a script: only there can this be done again"
        )
    try:
        found = sys.modules.get(module) or importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{name or kind} of {module} cannot be imported here ({error})") from error
    if kind_of(found) != kind:
        raise ValueError(f"{name} of {module} has another definition here")
    return found


def _is_here(name: str, kind: str) -> bool:
    """Whether the program that runs has itself defined this class."""
    own = getattr(sys.modules["__main__"], name, None)
    return isinstance(own, type) and kind_of(own) == kind


def _code(cls: type) -> str:
    """Returns eight hex digits that change with the methods of a class, and of those that it
    inherits from outside of lintf."""
    sources = []
    for owner in cls.__mro__:
        if owner is object or owner.__module__.partition(".")[0] == "lintf":
            continue
        for attribute in vars(owner).values():
            method = (
                attribute.fget
                if isinstance(attribute, property)
                else getattr(attribute, "__func__", attribute)
            )
            method = inspect.unwrap(method) if callable(method) else method
            # As dataclasses write.
            if isinstance(method, FunctionType) and method.__code__.co_filename != "<string>":
                sources.append(textwrap.dedent(inspect.getsource(method)))
    return hashlib.sha256("".join(sources).encode()).hexdigest()[:8]
