"""Four pages with the lowest versions that pyproject.toml allows: `make lowest`.

Torch alone is that of requirements.txt, because its older releases are gigabytes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("01", "16", "25", "26")
ALSO = ("ipykernel", "pandas", "papermill")  # of the extras: what runs a page, and what page 25 imports


def lowest() -> list[str]:
    """The requirements of the package, each with its lowest version."""
    pinned = dict(
        re.findall(r"^([\w-]+)==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(requirement.split(">=") for requirement in project["dependencies"])
    bounds["torch"] = pinned["torch"]
    return [f"{name}=={version}" for name, version in (bounds | {name: pinned[name] for name in ALSO}).items()]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(Path(folder, "venv"), with_pip=True)
        python = str(Path(folder, "venv", "bin", "python"))
        subprocess.run([python, "-m", "pip", "install", "--quiet", *lowest()], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", str(ROOT)], check=True)
        for page in PAGES:
            subprocess.run([python, "-m", "lintf", "run", page, "-o", str(Path(folder, "out.ipynb"))], check=True)
    print(f"pages {', '.join(PAGES)} run with {', '.join(lowest())}")


if __name__ == "__main__":
    sys.exit(main())
