"""What (linear) transformers learn in context: prompts, models, training, and what pages share."""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

PUBLIC = {
    "Batch": "tasks.batches",
    "FittedModel": "models.base",
    "Gram": "tasks.batches",
    "LinearRegression": "tasks.linear",
    "LinearTransformer": "models.linear",
    "Model": "models.base",
    "Prompts": "tasks.batches",
    "Task": "tasks.base",
    "TrainConfig": "training.config",
    "claim": "pages.claims",
    "expect": "pages.claims",
    "fit": "training.fit",
    "fit_many": "training.several",
}
__all__ = sorted(PUBLIC)


def __getattr__(name: str) -> object:
    """Loads a public name when it is first asked for: the command line needs no torch to say what
    it can."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
