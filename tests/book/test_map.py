"""The map of the repository is that of today's imports, and can be read."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
import test_rooms
from matplotlib.font_manager import findfont
from PIL import ImageFont

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
GROUND = {"light": "#ffffff", "dark": "#121212"}  # of the book

pytestmark = pytest.mark.book


def loaded() -> ModuleType:
    """book/map.py, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("book_map", ROOT / "book" / "map.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


MAP = loaded()
each_theme = pytest.mark.parametrize("theme", MAP.COLOURS)


def svg(theme: str) -> ElementTree.Element:
    """The map as it is kept."""
    return ElementTree.parse(MAP.STATIC / f"map-{theme}.svg").getroot()


@each_theme
def test_the_map_is_of_today(theme):
    kept = (MAP.STATIC / f"map-{theme}.svg").read_text(encoding="utf-8")
    assert kept == MAP.drawn(ROOT, theme), "the house has changed; run: python book/map.py"


def test_the_map_has_every_import_between_rooms():
    """As the test of the rooms' one direction finds them."""
    expected: dict[str, set[str]] = defaultdict(set)
    for module, path in test_rooms.FILES.items():
        if module != "lintf":
            here = MAP.room_of(module)
            others = {MAP.room_of(m) for m in test_rooms.imported(path) - {"lintf"}}
            expected[here] |= others - {here}
    found = {room.name: set(room.imports) for room in MAP.rooms(ROOT)}
    pages = found.pop("notebooks")
    assert found == expected
    assert {"tasks", "models", "training", "analysis", "experiments", "pages"} <= pages
    dots = [c for c in svg("light").iter(f"{SVG}circle") if c.get("r") == "4"]
    assert len(dots) == sum(map(len, found.values())) + len(pages)


def test_every_room_stands_above_what_it_imports_from_and_a_prompt_goes_up():
    found = MAP.rooms(ROOT)
    top = {box.room.name: box.top for box in MAP.placed(found)}
    for room in found:
        assert all(top[room.name] < top[other] for other in room.imports), room.name
    heights = [top[name] for name in MAP.WAY]
    assert heights == sorted(heights, reverse=True)


def test_a_new_import_changes_the_map(tmp_path):
    """In a house of three rooms."""
    doors = {
        "tasks": "What is drawn. At length.",
        "training": "Training.",
        "kernel": "Fast.",
    }
    for name, text in doors.items():
        (tmp_path / "lintf" / name).mkdir(parents=True)
        (tmp_path / "lintf" / name / "__init__.py").write_text(f'"""{text}\n\nMore."""\n')
    (tmp_path / "lintf" / "__init__.py").write_text("PUBLIC = {'fit': 'training.fit'}\n")
    (tmp_path / "lintf" / "training" / "fit.py").write_text("from lintf.tasks import law\n")
    (tmp_path / "lintf" / "tasks" / "law.py").write_text("")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_one.py").write_text("from lintf import fit\n")

    def floors() -> dict[str, tuple[int, set[str]]]:
        return {room.name: (room.floor, set(room.imports)) for room in MAP.rooms(tmp_path)}

    first = {
        "kernel": (0, set()),
        "tasks": (0, set()),
        "training": (1, {"tasks"}),
        "notebooks": (2, {"training"}),
    }
    assert floors() == first
    assert MAP.rooms(tmp_path)[1].text == "What is drawn."
    (tmp_path / "lintf" / "tasks" / "law.py").write_text("def f():\n    import lintf.kernel\n")
    assert floors()["tasks"] == (1, {"kernel"})
    assert floors()["notebooks"] == (3, {"training"})


def luminance(colour: str) -> float:
    """As WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@each_theme
def test_the_map_can_be_seen(theme):
    colours = MAP.COLOURS[theme]
    for name in ("text", "quiet", "store"):
        assert contrast(colours[name], colours["room"]) >= 4.5, name
    assert contrast(colours["on way"], colours["way"]) >= 4.5
    for name in ("way", "wire", "edge", "store"):
        assert contrast(colours[name], GROUND[theme]) >= 3, name
        assert contrast(colours[name], colours["room"]) >= 3, name


@each_theme
def test_the_map_can_be_read(theme):
    """On a phone 390 pixels wide, which leaves 350 for the map; and by who cannot see it."""
    root = svg(theme)
    assert MAP.SMALL * 350 / MAP.WIDTH >= 11
    font = ImageFont.truetype(findfont("DejaVu Sans"), MAP.SMALL)  # the widest of the usual ones
    right = MAP.RIGHT - 5
    for text in root.iter(f"{SVG}text"):
        if text.get("text-anchor") is None:
            assert int(text.get("x")) + font.getlength(text.text) <= right, text.text
    assert root.find(f"{SVG}title").text
    assert "models imports from" in root.find(f"{SVG}desc").text


def test_the_readme_has_a_line_for_every_folder():
    tracked = subprocess.run(
        ["git", "ls-files", "*/*"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    paths = [line.split("/") for line in tracked.splitlines() if not line.startswith(".")]
    folders = {f"{path[0]}/" for path in paths} - {"lintf/"}
    folders |= {f"lintf/{path[1]}/" for path in paths if path[0] == "lintf" and len(path) > 2}
    rows = re.findall(r"^\| `([\w/]+/)` \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert sorted(rows) == sorted(folders)
