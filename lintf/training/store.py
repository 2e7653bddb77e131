"""runs/: finished training runs as safetensors files, one per configuration and seed, in a folder
for each family. Nothing is ever unpickled.

A family is a model and a task. A file is named after its configuration: a readable part and the
first 12 hex digits of the configuration's SHA-256. Its header holds, as JSON, the configuration,
what is worth knowing about how the run was made, and a digest of everything in the file; a file
whose digest does not fit is refused by name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize
from torch import Tensor

T = TypeVar("T")
SUFFIX = ".safetensors"
NO_RUNS = (".partial", "measured")  # folders of something else: checkpoints, and results
# With which fsync says that the bytes are not on the disk.
LOST = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
PATIENCE = (0.01, 0.03, 0.1, 0.3)  # seconds
# seconds: no save takes so long, so a temporary file as old as this is a killed process's
ABANDONED = 3600.0


class StoreError(RuntimeError):
    """A file in runs/ that cannot be used: the message names it and says why."""


@dataclass(frozen=True)
class Record:
    """What a file in runs/ holds."""

    config: dict  # everything that can change the result
    tensors: dict[str, Tensor]
    meta: dict  # what cannot: versions, device, wall time in seconds


def folder() -> Path:
    """Returns $LINTF_RUNS if set, else runs/ of the checkout that the package stands in, else runs/
    of the current folder."""
    checkout = Path(__file__).resolve().parents[2]
    here = checkout if (checkout / "pyproject.toml").exists() else Path.cwd()
    return Path(os.environ.get("LINTF_RUNS") or here / "runs")


def canonical(config: dict) -> str:
    """Returns the one text of a configuration, JSON with sorted keys."""
    return json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key(config: dict) -> str:
    """Returns the first twelve hex digits of a configuration's SHA-256."""
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:12]


def family(config: dict) -> str:
    """Returns the folder of a run, named after the classes of its model and of its task; "" for
    what is none."""
    names = []
    for part in ("model", "task"):
        kind = str(config.get(part, {}).get("kind", ""))
        module, _, own = kind.partition(":")  # a class from elsewhere is module:name:digest
        names += re.findall(r"\w+", own.partition(":")[0] or module)[-1:]
    return "-".join(names)


def path_of(label: str, config: dict) -> Path:
    """Returns the file in which a configuration is stored, or would be."""
    return folder() / family(config) / f"{label}-{key(config)}{SUFFIX}"


def save(path: Path, record: Record) -> None:
    """Writes aside, then moves: a reader sees the old file, or the new one, never a part. Raises
    OSError, naming the file."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in record.tensors.items()}
    record = Record(json.loads(canonical(record.config)), tensors, record.meta)
    header = {"config": record.config, "meta": record.meta, "digest": _digest(record)}
    data = serialize(tensors, {"lintf": json.dumps(header)})
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        os.makedirs(path.parent, exist_ok=True)
        try:
            write(temporary, data)
            patiently(lambda: os.replace(temporary, path))
        finally:
            with suppress(OSError):  # moved already; else it is swept away when it is old
                temporary.unlink()
    except OSError as error:
        raise OSError(f"{path} could not be saved ({error})") from error
    sweep(path.parent)


def write(path: Path, data: bytes) -> None:
    """Makes a new file with these bytes, on the disk. Where the disk does not confirm that, as
    network and cloud drives may not, they are read back. Raises OSError where they are not
    there."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        try:
            os.fsync(file.fileno())
            return
        except OSError as error:
            if error.errno in LOST:
                raise
    if path.read_bytes() != data:
        raise OSError(f"{path.name} does not hold what was written")


def patiently(step: Callable[[], T]) -> T:
    """Returns what the step returns. Windows, and network drives, refuse to open, to replace or to
    remove a file that somebody else has open, which is over in a moment: the step is tried again a
    few times."""
    for seconds in PATIENCE:
        try:
            return step()
        except PermissionError:
            time.sleep(seconds)
    return step()


def load(path: Path) -> Record:
    """Returns what a file holds. Raises StoreError for a file that is damaged, edited or not ours,
    FileNotFoundError if there is none."""
    try:
        # Once: what is checked is what is used, whatever happens to the file.
        data = patiently(path.read_bytes)
        # By name: safetensors has them in another order each time.
        tensors = dict(sorted(parse(data).items()))
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["lintf"])
        record = Record(header["config"], tensors, header["meta"])
        intact = header["digest"] == _digest(record)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StoreError(
            f"{path}: not a readable lintf run ({error}). Delete the file or restore it."
        ) from error
    if not intact:
        raise StoreError(
            f"{path}: its contents do not fit its digest. Delete the file or restore it."
        )
    if path.name.removesuffix(SUFFIX)[-12:] != key(record.config):
        raise StoreError(
            f"{path}: its name does not fit the configuration inside. Delete the file or "
            "restore it."
        )
    return record


def find(path: Path) -> Record | None:
    """Returns what `load` does, or None if there is no such file: another process may store it or
    take it away at any time. What is found is noted where LINTF_TRACE says."""
    try:
        record = load(path)
    except FileNotFoundError:
        return None
    note(path)
    return record


def note(path: Path) -> None:
    """Adds a line with the file's name, as seen from the folder, to the file that $LINTF_TRACE
    names, if it names one. Raises OSError where that cannot be written."""
    if trace := os.environ.get("LINTF_TRACE"):
        line = os.path.relpath(path, folder()).replace(os.sep, "/") + "\n"
        # Whole lines, whichever processes of a page write at once.
        handle = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)


def runs() -> Iterator[Path]:
    """Returns all stored runs by family and name."""
    top = folder()
    paths = sorted(top.rglob(f"*{SUFFIX}"))
    return (path for path in paths if path.relative_to(top).parts[0] not in NO_RUNS)


def sweep(place: Path) -> None:
    """Removes what killed processes left half-written. A younger file may be one that another
    process is writing."""
    with suppress(OSError):  # a folder that cannot be listed
        for path in place.glob(f".*{SUFFIX}.*"):
            with suppress(OSError):  # gone already, or another user's: it does no harm
                if time.time() - path.stat().st_mtime > ABANDONED:
                    path.unlink()


def _digest(record: Record) -> str:
    h = hashlib.sha256(canonical({"config": record.config, "meta": record.meta}).encode())
    for name, t in sorted(record.tensors.items()):
        h.update(f"{name} {t.dtype} {tuple(t.shape)}".encode())
        h.update(t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return h.hexdigest()
