"""Where an interrupted training stood: one file in runs/.partial, replaced as a whole, gone when the run is stored."""

from __future__ import annotations

import warnings

from torch import Tensor

from lintf import store


class Checkpoint:
    """The checkpoint of one set of runs, given by their configurations.

    `load` raises StoreError for a damaged file. `save` warns once where the folder cannot be written, then keeps
    quiet: the training goes on.
    """

    def __init__(self, configs: list[dict]) -> None:
        self.config = {"members": configs}
        self.path = store.folder() / ".partial" / f"{store.key(self.config)}{store.SUFFIX}"
        self.writable = True

    def save(self, tensors: dict[str, Tensor], meta: dict) -> None:
        if not self.writable:
            return
        try:
            store.save(self.path, store.Record(self.config, tensors, meta))
        except OSError as error:
            self.writable = False
            warnings.warn(f"no checkpoints: {self.path.parent} is not writable ({error})", stacklevel=3)

    def load(self) -> store.Record | None:
        return store.load(self.path) if self.path.exists() else None

    def remove(self) -> None:
        try:
            self.path.unlink(missing_ok=True)
        except OSError:  # the folder never was writable, and save has said so
            pass
