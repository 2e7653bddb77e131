"""runs/: finished training runs as safetensors files, one per configuration and seed. Nothing is ever unpickled.

A file is named after its configuration: a readable part and the first 12 hex digits of the configuration's SHA-256. Its
header holds, as JSON, the configuration, what is worth knowing about how the run was made, and a digest of everything
in the file; a file whose digest does not fit is refused by name.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

SUFFIX = ".safetensors"


class StoreError(RuntimeError):
    """A file in runs/ that cannot be used: the message names it and says why."""


@dataclass(frozen=True)
class Record:
    config: dict  # everything that can change the result
    tensors: dict[str, Tensor]
    meta: dict  # what cannot: versions, device, wall time in seconds


def folder() -> Path:
    """$LINTF_RUNS if set, else runs/ of the checkout that the package stands in, else runs/ of the current folder."""
    checkout = Path(__file__).resolve().parent.parent
    here = checkout if (checkout / "pyproject.toml").exists() else Path.cwd()
    return Path(os.environ.get("LINTF_RUNS") or here / "runs")


def canonical(config: dict) -> str:
    return json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key(config: dict) -> str:
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:12]


def path_of(label: str, config: dict) -> Path:
    return folder() / f"{label}-{key(config)}{SUFFIX}"


def save(path: Path, record: Record) -> None:
    """Write aside, then move: a reader sees the old file, or the new one, never a part. Raises OSError."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in record.tensors.items()}
    record = Record(json.loads(canonical(record.config)), tensors, record.meta)
    header = {"config": record.config, "meta": record.meta, "digest": _digest(record)}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        try:
            save_file(tensors, temporary, {"lintf": json.dumps(header)})
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(str(error)) from error
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def load(path: Path) -> Record:
    """Raises StoreError for a file that is damaged, edited or not ours, FileNotFoundError if there is none."""
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["lintf"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        record = Record(header["config"], tensors, header["meta"])
        intact = header["digest"] == _digest(record)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StoreError(f"{path}: not a readable lintf run ({error}). Delete the file or restore it.") from error
    if not intact:
        raise StoreError(f"{path}: its contents do not fit its digest. Delete the file or restore it.")
    if path.name.removesuffix(SUFFIX)[-12:] != key(record.config):
        raise StoreError(f"{path}: its name does not fit the configuration inside. Delete the file or restore it.")
    return record


def runs() -> Iterator[Path]:
    """All stored runs by name."""
    return iter(sorted(folder().glob(f"*{SUFFIX}")))


def _digest(record: Record) -> str:
    h = hashlib.sha256(canonical({"config": record.config, "meta": record.meta}).encode())
    for name, t in sorted(record.tensors.items()):
        h.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        h.update(t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return h.hexdigest()
