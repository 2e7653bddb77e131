"""Building the compiled code: a library for each d, once on each machine, kept in the user's cache.

A file in the cache is named after all that it is built from, and after its own contents: what a full disk or a power
cut has left of it is noticed, and built anew.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = {"kernel": ("kernel.cpp", "draw.cpp"), "lines": ("lines.cpp",)}  # of each library
HEADERS = ("lanes.h", "recursion.h")
FLAGS = ["-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-ffp-contract=fast", "-fno-math-errno"]
ASIDE = "building-"  # begins the name of the folder in which a library is built
PATIENCE = 10.0  # seconds of silence; a library takes 1 to 10 on an idle machine
MOST = 180.0  # seconds after which the compiler is stopped


@cache
def library(d: int, name: str) -> ctypes.CDLL | str:
    """The library of this name for this d, built if need be; a string says why it cannot be had."""
    named = shlex.split(os.environ.get("CXX", ""))
    compiler = named or [name for name in ("c++", "g++", "clang++") if shutil.which(name)][:1]
    if not compiler or not shutil.which(compiler[0]):
        return f"no C++ compiler found{f' under CXX={named[0]}' if named else ''}"
    try:
        done = subprocess.run([*compiler, "--version"], capture_output=True, text=True, errors="replace")
        texts = [(HERE / source).read_text(encoding="utf-8") for source in (*SOURCES[name], *HEADERS)]
        ingredients = (texts, FLAGS, d, _processor(), compiler, done.stdout)
        stem = f"{name}-d{d}-{hashlib.sha256(repr(ingredients).encode()).hexdigest()[:16]}"
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lintf"
        command = [compiler[0], *FLAGS, *compiler[1:], f"-DDIM={d}", *(str(HERE / file) for file in SOURCES[name])]
        return ctypes.CDLL(str(_kept(folder, stem) or _built(folder, stem, command)))
    except (OSError, RuntimeError) as error:  # not runnable, does not compile, cache not writable, no home
        return str(error)


def _kept(folder: Path, stem: str) -> Path | None:
    """The library that an earlier process has built, if it is what was built. Removes what is not."""
    for path in sorted(folder.glob(f"{stem}-*.so")):
        if path.name == f"{stem}-{_digest(path)}.so":
            return path
        warnings.warn(f"{path} is damaged, and is built anew", stacklevel=2)
        path.unlink(missing_ok=True)
    return None


def _built(folder: Path, stem: str, command: list[str]) -> Path:
    """Build aside, then move: there is never half a library. Raises RuntimeError where it does not compile."""
    folder.mkdir(parents=True, exist_ok=True)
    _tidy(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=ASIDE) as aside:
        made = Path(aside) / "built.so"
        _compile([*command, "-o", str(made)], stem)
        target = folder / f"{stem}-{_digest(made)}.so"
        os.replace(made, target)
    return target


def _compile(command: list[str], what: str) -> None:
    """Run the compiler, in a process group of its own, so that its children end with it."""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    ) as process:
        try:
            try:
                _, said = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                print(f"{command[0]} builds the fast code ({what}), once on this machine ...", flush=True)
                _, said = process.communicate(timeout=MOST)
        except BaseException as error:
            _end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise RuntimeError(f"{command[0]} took more than {MOST:g} s for the kernel") from None
            raise
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed on the kernel: {said.strip()[-500:]}")


def _end(process: subprocess.Popen) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _tidy(folder: Path) -> None:
    """Remove what killed processes left behind. A younger folder may be one in which another process builds."""
    for path in folder.glob(f"{ASIDE}*"):
        if time.time() - path.stat().st_mtime > 3600:
            shutil.rmtree(path, ignore_errors=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _processor() -> str:
    """What -march=native may depend on: a cache shared between machines must not mix them up."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.machine() + platform.processor() + features
