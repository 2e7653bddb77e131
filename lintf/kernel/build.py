"""Building the compiled code: a library for each d, once on each machine, kept in the user's cache.

A file in the cache is named after all that it is built from, and after its own contents: what a
full disk or a power cut has left of it is noticed, and built anew.
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
HEADERS = ("lanes.h", "recursion.h", "threads.h")
FLAGS = [
    "-O3",
    "-std=c++17",
    "-pthread",
    "-shared",
    "-fPIC",
    "-ffp-contract=fast",
    "-fno-math-errno",
]
# The first that a compiler takes; older ones of Apple refuse some.
NATIVE = (["-march=native"], ["-mcpu=native"], [])
ASIDE = "building-"  # begins the name of the folder in which a library is built
ANSWER = 10.0  # seconds in which a compiler has to tell its version
PATIENCE = 10.0  # seconds of silence; a library takes 1 to 10 on an idle machine
MOST = 180.0  # seconds after which the compiler is stopped


@cache
def library(d: int, name: str) -> ctypes.CDLL | str:
    """Returns the library of this name for this d, built if need be, or a text that says why it
    cannot be had."""
    named = shlex.split(os.environ.get("CXX", ""))
    compiler = named or [name for name in ("c++", "g++", "clang++") if shutil.which(name)][:1]
    if not compiler or not shutil.which(compiler[0]):
        return f"no C++ compiler found{f' under CXX={named[0]}' if named else ''}"
    try:
        version = _run([*compiler, "--version"], ANSWER)
        texts = [
            (HERE / source).read_text(encoding="utf-8") for source in (*SOURCES[name], *HEADERS)
        ]
        ingredients = (texts, FLAGS, NATIVE, d, _processor(), compiler, version)
        stem = f"{name}-d{d}-{hashlib.sha256(repr(ingredients).encode()).hexdigest()[:16]}"
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lintf"
        own = [*FLAGS, *compiler[1:], f"-DDIM={d}", *(str(HERE / file) for file in SOURCES[name])]
        commands = [[compiler[0], *native, *own] for native in NATIVE]
        return ctypes.CDLL(str(_kept(folder, stem) or _built(folder, stem, commands)))
    # Not runnable, does not compile, cache not writable, no home.
    except (OSError, RuntimeError) as error:
        return str(error)


def _kept(folder: Path, stem: str) -> Path | None:
    """Returns the library that an earlier process has built, if it is what was built, and removes
    what is not."""
    for path in sorted(folder.glob(f"{stem}-*.so")):
        if path.name == f"{stem}-{_digest(path)}.so":
            return path
        warnings.warn(f"{path} is damaged, and is built anew", stacklevel=2)
        path.unlink(missing_ok=True)
    return None


def _built(folder: Path, stem: str, commands: list[list[str]]) -> Path:
    """Builds aside with the first command that the compiler takes, then moves the result: there is
    never half a library."""
    folder.mkdir(parents=True, exist_ok=True)
    _tidy(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=ASIDE) as aside:
        made = Path(aside) / "built.so"
        for command in commands:
            try:
                _run([*command, "-o", str(made)], PATIENCE, MOST, f"builds the fast code ({stem})")
                break
            except RefusedError as error:
                refused = error
        else:
            raise refused
        if not made.exists():
            raise RuntimeError(f"{commands[0][0]} has written no library")
        target = folder / f"{stem}-{_digest(made)}.so"
        os.replace(made, target)
    return target


class RefusedError(RuntimeError):
    """What a compiler that failed has said."""


def _run(command: list[str], quiet: float, most: float = 0.0, doing: str = "") -> str:
    """Returns what the compiler prints. After `quiet` seconds it is stopped, or what it does is
    said and it has `most` more. It runs in a process group of its own, so that its children end
    with it.

    Raises RefusedError where it fails, RuntimeError where it takes too long.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            try:
                printed, said = process.communicate(timeout=quiet)
            except subprocess.TimeoutExpired:
                if not most:
                    raise
                print(f"{command[0]} {doing}, once on this machine ...", flush=True)
                printed, said = process.communicate(timeout=most)
        except BaseException as error:
            _end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise RuntimeError(
                    f"{command[0]} took more than {most or quiet:g} s for the kernel"
                ) from None
            raise
    if process.returncode:
        lines = said.strip().splitlines() or [f"exit code {process.returncode}"]
        line = next((line for line in lines if "error" in line), lines[-1])
        raise RefusedError(f"{command[0]} failed on the kernel: {line[:300]}")
    return printed


def _end(process: subprocess.Popen) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _tidy(folder: Path) -> None:
    """Removes what killed processes left behind. A younger folder may be one in which another
    process builds."""
    for path in folder.glob(f"{ASIDE}*"):
        if time.time() - path.stat().st_mtime > 3600:
            shutil.rmtree(path, ignore_errors=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _processor() -> str:
    """Returns what -march=native may depend on: a cache shared between machines must not mix them
    up."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return platform.machine() + platform.processor() + features
