"""Draw the map of the repository, light and dark, from the imports as they are today:
python book/map.py

A room is a folder of the package, or a file beside them; its floor is one above the highest room
that it imports from. Of each room the map says what its docstring says first. Two lines go through
the house: what the rooms import from each other, and the way of a prompt.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
STATIC = Path(__file__).resolve().parent / "_static"
# A prompt is drawn, answered, trained on; what was trained is kept; it is measured, and shown.
WAY = ("tasks", "models", "training", "runs", "analysis", "pages")
RUNS = "Finished trainings and measurements, named by their configuration."
NOTEBOOKS = "The pages of the book."
PART_OF = {"__main__": "cli"}  # the file behind `python -m lintf`

# Pixels, of 600: a phone shows two thirds of that, so letters have 19.
WIDTH, LEFT, RIGHT, INDENT = 600, 5, 466, 56
LINE, SMALL, LARGE = 24, 19, 21
INSIDE, GAP, BETWEEN = 9, 8, 20  # in a room, between rooms of a floor, between floors
TRACK = 29  # where the way of a prompt goes
FIRST_WIRE, WIRES = 487, 15
LETTERS = 36  # in a line, of the widest of the usual letters

# As in lintf/pages/plots.py: told apart with any colour vision, here at 4.5 to 1 and more.
COLOURS = {
    "light": {
        "way": "#0072B2",
        "on way": "#ffffff",
        "store": "#B34700",
        "room": "#f4f6f8",
        "edge": "#7d8590",
        "floor": "#e6eaee",
        "wire": "#6a737d",
        "text": "#1f2328",
        "quiet": "#4d555e",
    },
    "dark": {
        "way": "#56B4E9",
        "on way": "#0d1117",
        "store": "#E69F00",
        "room": "#1c222a",
        "edge": "#7d8590",
        "floor": "#2b323b",
        "wire": "#9aa3ad",
        "text": "#eceff2",
        "quiet": "#b6bec7",
    },
}


# --- what is there ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Room:
    """A folder of the repository."""

    name: str
    text: str  # what it holds
    lines: int  # of code, 0 where they do not count
    floor: int
    imports: frozenset[str]


def room_of(module: str) -> str:
    """The room of a module of the package."""
    name = module.split(".")[1]
    return PART_OF.get(name, name)


def modules(root: Path) -> dict[str, Path]:
    """The files of the package by the names under which they are imported, without the front
    door."""
    found = {}
    for path in sorted((root / "lintf").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    del found["lintf"]
    return found


def imported(path: Path, known: Iterable[str], public: dict[str, str]) -> set[str]:
    """The rooms that a file imports from, wherever in it. `from lintf import name` counts for the
    room that the name lives in."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names |= {f"lintf.{place}" for name, place in public.items() if f"lintf.{name}" in names}
    return {room_of(name) for name in names & set(known)}


def public_names(root: Path) -> dict[str, str]:
    """The names that the package gives at its top, and the module of each."""
    tree = ast.parse((root / "lintf" / "__init__.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PUBLIC"
    )
    return ast.literal_eval(value)


def first_sentence(path: Path) -> str:
    """The first sentence of a file's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".") + "."


def lines_of(paths: Iterable[Path]) -> int:
    """The lines of these files, to the next fifty: a map need not be drawn anew for each."""
    return 50 * round(sum(len(p.read_text("utf-8").splitlines()) for p in paths) / 50)


def rooms(root: Path) -> list[Room]:
    """All rooms, the lowest first, and those of a floor in the order of their names."""
    files, public = modules(root), public_names(root)
    uses: dict[str, set[str]] = {"notebooks": set()}
    code: dict[str, list[Path]] = {}
    for module, path in files.items():
        uses.setdefault(room_of(module), set()).update(imported(path, files, {}))
        code.setdefault(room_of(module), []).append(path)
    for page in (root / "notebooks").glob("[0-9]*.py"):
        uses["notebooks"] |= imported(page, files, public)
    code["kernel"] += [
        p for p in (root / "lintf" / "kernel").iterdir() if p.suffix in {".cpp", ".h"}
    ]
    uses = {name: others - {name} for name, others in uses.items()}

    @cache
    def floor(name: str) -> int:
        return max((floor(other) + 1 for other in uses[name]), default=0)

    found = []
    for name in sorted(uses, key=lambda name: (floor(name), name)):
        door = files.get(f"lintf.{name}")
        text = first_sentence(door) if door else NOTEBOOKS
        lines = lines_of(code.get(name, []))
        found.append(Room(name, text, lines, floor(name), frozenset(uses[name])))
    return found


# --- where it stands ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Box:
    """A room on the map: its left edge, its upper and lower one, and its words in lines."""

    room: Room
    left: int
    top: int
    bottom: int
    words: tuple[str, ...]

    @property
    def middle(self) -> int:
        return (self.top + self.bottom) // 2


def standing(found: list[Room]) -> list[Room]:
    """The rooms from the roof down. On a floor, what a prompt comes to later stands higher, and the
    store of runs stands before the room that comes after it."""
    stations = {name: i for i, name in enumerate(WAY)}
    training = next(room for room in found if room.name == "training")
    runs = Room("runs", RUNS, 0, training.floor, frozenset())
    return sorted(
        [*found, runs], key=lambda room: (room.floor, stations.get(room.name, -1)), reverse=True
    )


def in_lines(text: str) -> tuple[str, ...]:
    """A text in one line, or in two of about the same length."""
    lines = textwrap.wrap(text, LETTERS)
    if len(lines) > 2:
        raise ValueError(f"longer than two lines of {LETTERS} letters: {text}")
    shorter = (textwrap.wrap(text, width) for width in range(len(text) // 2, LETTERS))
    return tuple(next((found for found in shorter if len(found) == len(lines)), lines))


def placed(found: list[Room]) -> list[Box]:
    """The boxes of the rooms, from the roof down."""
    boxes: list[Box] = []
    y = 10
    for room in standing(found):
        if boxes:
            y += GAP if boxes[-1].room.floor == room.floor else BETWEEN
        words = in_lines(room.text)
        bottom = y + 2 * INSIDE + LINE * (1 + len(words))
        left = LEFT if room.name in (*WAY, "notebooks") else INDENT
        boxes.append(Box(room, left, y, bottom, words))
        y = bottom
    return boxes


# --- how it looks -------------------------------------------------------------------------------


def floors(boxes: list[Box], colours: dict[str, str]) -> list[str]:
    """A ground under the rooms that share a floor."""
    marks = []
    for floor in sorted({box.room.floor for box in boxes}):
        here = [box for box in boxes if box.room.floor == floor]
        if len(here) > 1:
            top, bottom = here[0].top - 6, here[-1].bottom + 6
            left = min(box.left for box in here) - 4
            marks.append(
                f'<rect x="{left}" y="{top}" width="{RIGHT + 6 - left}" height="{bottom - top}"'
                f' rx="10" fill="{colours["floor"]}"/>'
            )
    return marks


def wires(boxes: list[Box], colours: dict[str, str]) -> list[str]:
    """The imports. A line goes down from each room; where it meets the line into a room from which
    that room imports, there is a dot."""
    importing = [box for box in reversed(boxes) if box.room.imports]
    column = {box.room.name: FIRST_WIRE + WIRES * i for i, box in enumerate(importing)}
    into = {box.room.name: box.top + 2 * INSIDE + LINE for box in boxes}
    out = {box.room.name: box.top + INSIDE + LINE // 2 for box in boxes}
    paths, dots = [], []
    for box in importing:
        name, x = box.room.name, column[box.room.name]
        end = max(into[other] for other in box.room.imports)
        paths.append(f"M{RIGHT} {out[name]}H{x - 8}q8 0 8 8V{end}")
        dots += [
            f'<circle cx="{x}" cy="{into[other]}" r="4"/>' for other in sorted(box.room.imports)
        ]
    for box in boxes:
        used = [
            column[other.room.name] for other in importing if box.room.name in other.room.imports
        ]
        if used:
            y = into[box.room.name]
            paths.append(f"M{max(used)} {y}H{RIGHT + 8}")
            dots.append(f'<path d="M{RIGHT + 1} {y}l11 -5.5v11z"/>')
    return [
        f'<path d="{"".join(paths)}" fill="none" stroke="{colours["wire"]}" stroke-width="1.5"/>',
        f'<g fill="{colours["wire"]}">{"".join(dots)}</g>',
    ]


def frame(box: Box, colours: dict[str, str]) -> str:
    """The walls of a room. The store of runs is no room of the package: its walls are dashed."""
    store = box.room.name == "runs"
    walls = f'stroke="{colours["store"]}" stroke-dasharray="7 5"' if store else ""
    walls = walls or f'stroke="{colours["edge"]}"'
    return (
        f'<rect x="{box.left}" y="{box.top}" width="{RIGHT - box.left}"'
        f' height="{box.bottom - box.top}" rx="7" fill="{colours["room"]}" {walls}'
        ' stroke-width="1.5"/>'
    )


def words(box: Box, colours: dict[str, str]) -> list[str]:
    """A room's name, how many lines it has, and what it holds."""
    x, y = INDENT + 12, box.top + INSIDE + 18
    name = "checks.py" if box.room.name == "checks" else f"{box.room.name}/"
    colour = colours["store" if box.room.name == "runs" else "text"]
    found = [f'<text x="{x}" y="{y}" class="name" fill="{colour}">{name}</text>']
    if box.room.lines:
        found.append(
            f'<text x="{RIGHT - 12}" y="{y}" text-anchor="end" fill="{colours["quiet"]}">'
            f"{box.room.lines:,} lines</text>"
        )
    for i, line in enumerate(box.words, start=1):
        place = f'x="{x}" y="{y + LINE * i}"'
        found.append(f'<text {place} fill="{colours["quiet"]}">{escape(line)}</text>')
    return found


def way(boxes: list[Box], colours: dict[str, str]) -> list[str]:
    """The way of a prompt, from the room where it is drawn up to the pages, with its stations."""
    at = {box.room.name: box for box in boxes}
    start, end = at[WAY[0]].middle, at["notebooks"].bottom + 3
    found = [
        f'<path d="M{TRACK} {start}V{end + 14}" fill="none" stroke="{colours["way"]}"'
        ' stroke-width="7"/>',
        f'<path d="M{TRACK} {end}l12 18h-24z" fill="{colours["way"]}"/>',
    ]
    for number, name in enumerate(WAY, start=1):
        y = at[name].middle
        found.append(f'<circle cx="{TRACK}" cy="{y}" r="15" fill="{colours["way"]}"/>')
        found.append(
            f'<text x="{TRACK}" y="{y + 7}" text-anchor="middle" class="name"'
            f' fill="{colours["on way"]}">{number}</text>'
        )
    return found


def described(found: list[Room]) -> str:
    """The map in words."""
    parts = [
        f"{room.name} imports from {', '.join(sorted(room.imports))}"
        for room in reversed(found)
        if room.imports
    ]
    return f"The way of a prompt: {', '.join(WAY)}. Imports: {'; '.join(parts)}."


def drawn(root: Path, theme: str) -> str:
    """The map of a checkout as SVG, for a light or a dark ground."""
    found, colours = rooms(root), COLOURS[theme]
    boxes = placed(found)
    height = boxes[-1].bottom + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" aria-labelledby="title desc">',
        '<title id="title">The rooms of lintf and the way of a prompt through them</title>',
        f'<desc id="desc">{escape(described(found))}</desc>',
        f"<style>text {{ font: {SMALL}px system-ui, sans-serif }}",
        f".name {{ font-size: {LARGE}px; font-weight: 600 }}</style>",
        *floors(boxes, colours),
        *wires(boxes, colours),
        *(frame(box, colours) for box in boxes),
        *way(boxes, colours),
    ]
    for box in boxes:
        parts += words(box, colours)
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    for theme in COLOURS:
        (STATIC / f"map-{theme}.svg").write_text(drawn(ROOT, theme), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
