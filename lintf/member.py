"""One run: a model, a task, a training and a seed, and the configuration that names it in runs/."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from lintf import store
from lintf.checks import check_int, settle
from lintf.model import LinearTransformer
from lintf.prompts import LinearRegression
from lintf.settings import Training


@dataclass(frozen=True)
class Member:
    """Raises ValueError where the four do not fit together."""

    model: LinearTransformer
    task: LinearRegression
    training: Training
    seed: int

    def __post_init__(self) -> None:
        settle(self, seed=check_int("each of seeds", self.seed, 0, 2**32 - 1))  # torch uses 32 bits of a seed
        if self.model.d != self.task.d:
            raise ValueError(f"model with d = {self.model.d} and task with d = {self.task.d} do not fit")
        if self.training.integrate and (self.model.form != "gram" or self.task.noise_std):
            raise ValueError("integrate needs linear attention and noise_std = 0")

    @property
    def config(self) -> dict:
        return {
            "model": {"kind": type(self.model).__name__, **self.model.config},
            "task": {"kind": type(self.task).__name__, **asdict(self.task)},
            "training": self.training.config(),
            "seed": self.seed,
        }

    @property
    def path(self) -> Path:
        t = self.training
        label = f"{self.model.label}-{self.task.label}-{t.alg}-lr{t.lr:g}-B{t.B}-T{t.max_iters}-seed{self.seed}"
        return store.path_of(label, self.config)

    @staticmethod
    def of(config: dict) -> Member:
        """The inverse of `config`."""
        kinds = {kind.__name__: kind for kind in (LinearTransformer, LinearRegression)}

        def build(fields: dict) -> LinearTransformer | LinearRegression:
            fields = dict(fields)
            return kinds[fields.pop("kind")](**fields)

        return Member(build(config["model"]), build(config["task"]), Training(**config["training"]), config["seed"])
