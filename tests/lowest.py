"""Four pages, with tiny parameters, with the lowest versions that pyproject.toml allows: `make
lowest`.

Torch alone is that of requirements.txt, because its older releases are gigabytes.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("01_simple_demo", "16_newton_construction", "25_phase_diagram", "26_label_noise")
# Of the extras: what runs a page, and what page 25 imports.
ALSO = ("ipykernel", "pandas", "papermill")


def lowest() -> list[str]:
    """The requirements of the package, each with its lowest version."""
    pinned = dict(
        re.findall(
            r"^([\w-]+)==(\S+)",
            (ROOT / "requirements.txt").read_text(encoding="utf-8"),
            re.MULTILINE,
        )
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = dict(requirement.split(">=") for requirement in project["dependencies"])
    bounds["torch"] = pinned["torch"]
    return [
        f"{name}=={version}"
        for name, version in (bounds | {name: pinned[name] for name in ALSO}).items()
    ]


def main() -> None:
    """Raises CalledProcessError where something does not install or run."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(Path(folder, "venv"), with_pip=True)
        python = str(Path(folder, "venv", "bin", "python"))
        subprocess.run([python, "-m", "pip", "install", "--quiet", *lowest()], check=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--no-deps", "--editable", str(ROOT)],
            check=True,
        )
        own = {**os.environ, "LINTF_RUNS": str(Path(folder, "runs"))}
        for page in PAGES:
            preset = ROOT / "presets" / "smoke" / f"{page}.yaml"
            command = [
                python,
                "-m",
                "lintf",
                "run",
                page,
                "-f",
                str(preset),
                "-o",
                str(Path(folder, "out.ipynb")),
            ]
            subprocess.run(command, env=own, check=True)
    print(f"pages {', '.join(PAGES)} run with {', '.join(lowest())}")


if __name__ == "__main__":
    main()
