"""What `make test` needs beside Python: a browser for the built book, a compiler for the compiled
kernel.

As a program: install what is missing, with apt-get as root on Debian, a browser also through
Playwright.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
COMPILERS = ("c++", "g++", "clang++")
NO_BROWSER = (
    "no browser for the tests of the built book: install chromium or google-chrome, "
    "or name one in the environment variable CHROMIUM"
)
NO_DRIVER = "Playwright does not start: run `python -m playwright --version` to see why"
NO_COMPILER = "no C++ compiler for the tests of the compiled kernel: install g++ or clang++"


def browser() -> str | None:
    """The path of a Chromium: from CHROMIUM, from the PATH, or Playwright's own."""
    named = os.environ.get("CHROMIUM")
    if named:
        found = shutil.which(named)
        if found is None:
            raise SystemExit(f"error: CHROMIUM names {named!r}, which is not a program")
        return found
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    if not driver():
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def driver() -> bool:
    """Does Playwright's own program run? It needs a library that a bare Debian lacks."""
    return (
        subprocess.run(
            [sys.executable, "-m", "playwright", "--version"], capture_output=True
        ).returncode
        == 0
    )


def compiler() -> str | None:
    """The path of a C++ compiler."""
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def install(*packages: str) -> None:
    """Install Debian packages, where that can be done."""
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        if subprocess.run(["apt-get", "update", "-qq"], env=quiet).returncode == 0:
            subprocess.run(
                ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], env=quiet
            )


def main() -> int:
    missing = [
        *([] if driver() else ["libatomic1"]),
        *([] if browser() else ["chromium", "fonts-dejavu-core"]),  # chromium only recommends fonts
        *([] if compiler() else ["g++"]),
    ]
    if missing:
        print(f"Not found, to be installed: {', '.join(missing)}", flush=True)
        install(*missing)
    if browser() is None:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"])
    checks = ((NO_DRIVER, driver()), (NO_BROWSER, browser()), (NO_COMPILER, compiler()))
    problems = [text for text, found in checks if not found]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
