"""Where an interrupted training stood: one file in runs/.partial, replaced as a whole, gone when the run is stored."""

from __future__ import annotations

import warnings

from torch import Tensor

from lintf import store


class Checkpoint:
    """The checkpoint of one set of runs, given by their configurations.

    `load` raises StoreError for a damaged file. Where the folder cannot be written, `save` says so once, and the
    training goes on.
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
            self.warn(error, stacklevel=5)

    def warn(self, error: OSError, stacklevel: int = 3) -> None:
        """Say once, where `fit` was called, that nothing is kept."""
        if self.writable:
            said = f"{store.folder()} is not writable ({error}): the runs stay in memory, without checkpoints"
            warnings.warn(said, stacklevel=stacklevel)
        self.writable = False

    def load(self) -> store.Record | None:
        return store.load(self.path) if self.path.exists() else None

    def remove(self) -> None:
        """Also what a killed process left of it."""
        try:
            for path in (self.path, *self.path.parent.glob(f".{self.path.name}.*")):
                path.unlink(missing_ok=True)
        except OSError as error:
            self.warn(error, stacklevel=4)
