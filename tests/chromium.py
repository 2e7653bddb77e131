"""Find a Chromium for the browser tests. As a program: install one where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "no browser for the tests of the built book: install chromium or google-chrome, "
    "or name one in the environment variable CHROMIUM"
)


def find() -> str | None:
    """The path of a Chromium: from CHROMIUM, from the PATH, or Playwright's own."""
    named = os.environ.get("CHROMIUM")
    if named:
        found = shutil.which(named)
        if found is None:
            raise SystemExit(f"error: CHROMIUM names {named!r}, which is not a program")
        return found
    for name in NAMES:
        if found := shutil.which(name):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def install() -> None:
    """Install Chromium, with apt-get as root on Debian, else Playwright's own."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        if subprocess.run(["apt-get", "update", "-qq"], env=quiet).returncode == 0:
            subprocess.run(["apt-get", "install", "-y", "-qq", "chromium"], env=quiet)
    if find() is None:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"])


if __name__ == "__main__":
    if find() is None:
        print("No browser found; installing one.")
        install()
    sys.exit(None if find() else f"error: {MISSING}")
