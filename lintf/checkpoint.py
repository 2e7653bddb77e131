"""Where an interrupted training stood: one file in runs/.partial, replaced as a whole, gone when the run is stored."""

from __future__ import annotations

import warnings

from torch import Tensor

from lintf import store


class Checkpoint:
    """The checkpoint of one set of runs, given by their configurations. Other processes may train the same runs: they
    share it, and whoever is first takes it away.

    `load` raises StoreError for a damaged file. Where it cannot be written, `save` says so once, and tries again the
    next time.
    """

    def __init__(self, configs: list[dict]) -> None:
        self.config = {"members": configs}
        self.path = store.folder() / ".partial" / f"{store.key(self.config)}{store.SUFFIX}"
        self.warned = False

    def save(self, tensors: dict[str, Tensor], meta: dict) -> None:
        try:
            store.save(self.path, store.Record(self.config, tensors, meta))
        except OSError as error:
            self.warn(error, stacklevel=5)

    def warn(self, error: OSError, stacklevel: int = 3) -> None:
        """Say once, where `fit` was called, that a file is not kept."""
        if not self.warned:
            warnings.warn(f"{error}; fit goes on without this file, and returns its result", stacklevel=stacklevel)
        self.warned = True

    def load(self) -> store.Record | None:
        return store.find(self.path)

    def exists(self) -> bool:
        return self.path.exists()

    def remove(self) -> None:
        try:
            if self.exists():
                self.path.unlink(missing_ok=True)
        except OSError as error:
            self.warn(error, stacklevel=5)
        store.sweep(self.path.parent)
