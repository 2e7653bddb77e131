"""Draw the schematics of the book, light and dark: python book/schematics.py

A prompt as tokens and as statistics; attention without and with softmax; layers as steps that
shrink their inputs; a loop; what reads what in recall. Bars and ellipses are not sketched: their
sizes follow from the numbers and formulas given here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, sqrt
from pathlib import Path
from xml.sax.saxutils import escape

from lintf.pages.looks import PALETTE, on_dark

STATIC = Path(__file__).resolve().parent / "_static"
WIDTH = 600  # pixels; a phone shows little more than half of that, so letters have 19
SMALL = 19
BLUE, VERMILION, GREEN = PALETTE[:3]
INK, LINE, PALE = "#222222", "#808080", "#E6E6E6"
# Shades of cells, between 0 and 1: a prompt of three dimensions.
SHADES = ((0.8, 0.25, 0.5, 0.7), (0.3, 0.6, 0.9, 0.35), (0.5, 0.9, 0.2, 0.9), (0.95, 0.4, 0.7, 0.5))
SCORES = (0.9, -0.6, 0.4, -0.3, 0.7)  # of five tokens
# Two eigenvalues of S / N, and what the three layers of the first page do: Q = -a I and P = b I.
EIGENVALUES, LAYERS = (1.8, 0.5), ((0.71, 0.35), (2.63, 0.35), (7.1, 0.0))


# --- marks --------------------------------------------------------------------------------------


def words(x: float, y: float, text: str, anchor: str = "middle", **look: str) -> str:
    """Text with letters of mathematics: *x* is slanted, _i_ stands low."""
    out, slanted, low = [], False, False
    for part in text.replace("*", "\0*\0").replace("_", "\0_\0").split("\0"):
        if part == "*":
            slanted = not slanted
        elif part == "_":
            low = not low
        elif part:
            style = ' font-style="italic"' if slanted else ""
            if low:
                style += ' font-size="14" dy="5"'
            out.append(f"<tspan{style}>{escape(part)}</tspan>")
            if low:
                out.append('<tspan dy="-5">\u200b</tspan>')
    marks = {"fill": INK} | look
    given = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in marks.items())
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{given}>{"".join(out)}</text>'


def box(x: float, y: float, width: float, height: float, **look: object) -> str:
    """A rectangle."""
    marks = {"fill": "none", "stroke": LINE, "stroke_width": 1.5} | look
    given = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in marks.items())
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{given}/>'


def arrow(path: str, colour: str = LINE, dashes: str = "") -> str:
    """A line along a path, with a head at its end."""
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    head = {LINE: "line", BLUE: "blue", VERMILION: "vermilion"}[colour]
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2.5"{dash}'
        f' marker-end="url(#{head})"/>'
    )


def heads() -> str:
    """The heads of arrows."""
    found = []
    for name, colour in (("line", LINE), ("blue", BLUE), ("vermilion", VERMILION)):
        found.append(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="5"'
            f' markerHeight="5" orient="auto"><path d="M0 0L10 5L0 10z" fill="{colour}"/></marker>'
        )
    return f"<defs>{''.join(found)}</defs>"


def cells(x: float, y: float, rows: Sequence[Sequence[float]], colour: str, side: int = 26) -> str:
    """A small matrix, a cell as strong as its number."""
    marks = [box(x, y, side * len(rows[0]), side * len(rows), fill=PALE, stroke_width=0)]
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            place = (x + side * j + 1, y + side * i + 1, side - 2, side - 2)
            marks.append(box(*place, fill=colour, fill_opacity=f"{value:.2f}", stroke_width=0))
    return "".join(marks)


# --- the drawings -------------------------------------------------------------------------------


def prompt() -> tuple[list[str], int]:
    """A prompt as tokens, and as the statistics that linear attention sees."""
    marks = [words(130, 26, "as tokens", style="font-weight: 600")]
    marks.append(words(455, 26, "as statistics", style="font-weight: 600"))
    marks += [words(121, 60, "*x*"), words(179, 60, "*y*")]
    names = ("1", "2", "3", "*N*")
    for i, (row, name) in enumerate(zip(SHADES, names, strict=True)):
        y = 72 + 34 * i + 18 * (i == 3)
        marks.append(words(64, y + 19, name, "end"))
        marks += [cells(82, y, [row[:3]], BLUE), cells(166, y, [row[3:]], VERMILION)]
    marks += [words(121, 186, "⋮"), words(179, 186, "⋮")]
    marks += [words(64, 259, "query", "end"), cells(82, 240, [(0.6, 0.3, 0.8)], GREEN)]
    marks.append(box(167, 241, 24, 24, stroke=VERMILION, stroke_dasharray="4 3"))
    marks.append(words(179, 260, "0"))
    marks += [arrow("M212 160H300"), words(256, 148, "sums")]
    square = [[0.95, 0.45, 0.6], [0.45, 0.7, 0.35], [0.6, 0.35, 0.85]]
    marks += [cells(322, 84, square, BLUE), cells(442, 84, [[0.8], [0.5], [0.65]], VERMILION)]
    marks.append(cells(516, 84, [[0.6], [0.3], [0.8]], GREEN))
    marks += [words(361, 72, "*S*"), words(455, 72, "*s*"), words(529, 72, "*x*_q_")]
    marks += [words(361, 190, "∑ *x*_i_ *x*_i_ᵀ"), words(455, 190, "∑ *y*_i_ *x*_i_")]
    marks += [words(455, 236, "the same, however many"), words(455, 260, "examples there are")]
    return marks, 284


def bars(x: float, y: float, heights: Sequence[float], colour: str, scale: float = 55) -> str:
    """Bars on a line, those below 0 hollow."""
    marks = [f'<path d="M{x:g} {y:g}H{x + 190:g}" stroke="{LINE}" stroke-width="1.5"/>']
    for i, height in enumerate(heights):
        size = abs(height) * scale
        look = {"fill": colour, "stroke": colour, "stroke_width": 2}
        if height < 0:
            look["fill"] = "none"
        marks.append(box(x + 10 + 38 * i, y - size if height > 0 else y, 22, size, **look))
    return "".join(marks)


def attention() -> tuple[list[str], int]:
    """The same scores without softmax and with it."""
    powers = [exp(score) for score in SCORES]
    weights = [power / sum(powers) for power in powers]
    marks = []
    for x, name, how, used, sums, note in (
        (20, "linear", "as they are", SCORES, "∑ score · value", "any sign, any sum"),
        (320, "softmax", "normalised", weights, "∑ weight · value", "positive, sum 1"),
    ):
        middle = x + 125
        marks.append(words(middle, 26, f"{name} attention", style="font-weight: 600"))
        marks.append(words(middle, 62, "scores *x*ᵀ*Q x*_i_ of five tokens"))
        marks += [bars(x + 30, 135, SCORES, BLUE), arrow(f"M{middle} 182V232")]
        marks.append(words(middle + 12, 212, how, "start"))
        marks += [bars(x + 30, 305, used, VERMILION), words(middle, 368, note)]
        marks += [arrow(f"M{middle} 382V420"), words(middle, 446, sums)]
    return marks, 462


def stages() -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """At the start and after each layer: the two eigenvalues, and what is left of the error in
    their directions."""
    ts, rs = EIGENVALUES, (1.0, 1.0)
    found = [(ts, rs)]
    for a, b in LAYERS:
        rs = tuple(r * (1 - a * t) for r, t in zip(rs, ts, strict=True))
        ts = tuple(t * (1 - a * b * t) ** 2 for t in ts)
        found.append((ts, rs))
    return found


def layer() -> tuple[list[str], int]:
    """Layers as steps: the error shrinks, and so do the inputs, where they are large."""
    marks = [words(8, 24, "inputs", "start", style="font-weight: 600")]
    marks.append(words(8, 212, "size of the error left", "start", style="font-weight: 600"))
    for i, (ts, rs) in enumerate(stages()):
        x = 82 + 145 * i
        wide, high = (46 * sqrt(t) for t in ts)
        marks.append(
            f'<ellipse cx="{x}" cy="105" rx="{wide:.1f}" ry="{high:.1f}" fill="{BLUE}"'
            f' fill-opacity="0.18" stroke="{LINE}" stroke-width="1.5"/>'
        )
        marks.append(
            f'<path d="M{x} 105H{x + wide:.1f}" stroke="{BLUE}" stroke-width="4"/>'
            f'<path d="M{x} 105V{105 - high:.1f}" stroke="{VERMILION}" stroke-width="4"/>'
        )
        for j, (r, colour) in enumerate(zip(rs, (BLUE, VERMILION), strict=True)):
            size = 80 * abs(r)
            place = (x - 34 + 38 * j, 315 - size, 30, size)
            marks.append(box(*place, fill=colour, stroke_width=0))
        marks.append(f'<path d="M{x - 46} 315H{x + 46}" stroke="{LINE}" stroke-width="1.5"/>')
        marks.append(words(x, 343, "start" if i == 0 else f"layer {i}"))
    for i in range(len(LAYERS)):
        marks.append(arrow(f"M{82 + 145 * i + 52} 255H{82 + 145 * i + 92}"))
    return marks, 358


def loop() -> tuple[list[str], int]:
    """A looped model, into which the prompt comes in every loop."""
    marks = [box(20, 120, 120, 64, rx=8, fill=PALE), words(80, 148, "prompt")]
    marks.append(words(80, 172, "*e*"))
    marks.append(arrow("M140 152H206"))
    marks.append(f'<circle cx="226" cy="152" r="17" fill="none" stroke="{LINE}" stroke-width="2"/>')
    marks += [words(226, 159, "+"), arrow("M243 152H288")]
    marks.append(box(292, 112, 110, 80, rx=8, fill=BLUE, fill_opacity="0.18", stroke=BLUE))
    marks += [words(347, 148, "block"), words(347, 174, "*f*"), arrow("M402 152H488")]
    marks += [words(424, 140, "*z*_t_"), words(540, 148, "answer"), words(540, 172, "*ŷ*")]
    marks.append(arrow("M445 152V60Q445 44 429 44H242Q226 44 226 60V131", BLUE))
    marks.append(words(336, 32, "*b* times"))
    marks.append(words(183, 212, "in every loop"))
    marks.append(words(500, 212, "after the last"))
    return marks, 230


def recall() -> tuple[list[str], int]:
    """What the last token of a sentence reads, and where the next one comes from."""
    sentence, marks = ("a", "q", "y", "c", "q", "τ", "f", "q"), []
    for i, token in enumerate(sentence):
        x = 12 + 62 * i
        strong = {"y": BLUE, "τ": VERMILION}.get(token, LINE)
        marks.append(box(x, 150, 52, 48, rx=6, fill=PALE, stroke=strong, stroke_width=2.5))
        marks.append(words(x + 26, 181, f"*{token}*"))
        if i and sentence[i - 1] == "q":
            marks.append(words(x + 26, 222, "after *q*"))
    marks.append(words(548, 181, "?"))
    marks.append(box(522, 150, 52, 48, rx=6, stroke=LINE, stroke_dasharray="5 4"))
    marks.append(arrow("M472 148C440 40 200 40 164 143", BLUE))
    marks.append(words(310, 40, "attention: what came after *q*?"))
    marks.append(arrow("M468 148C450 95 370 95 350 143", LINE, "3 5"))
    marks.append(words(300, 124, "avoided"))
    marks += [arrow("M472 200V262H548V204", VERMILION)]
    marks.append(words(588, 290, "feed-forward: after *q*, perhaps *τ*", "end"))
    return marks, 306


DRAWINGS: dict[str, tuple[Callable[[], tuple[list[str], int]], str]] = {
    "prompt": (prompt, "A prompt as tokens, and as the sums that linear attention sees"),
    "attention": (attention, "Attention without softmax, and with it"),
    "layer": (layer, "Layers as steps that shrink their inputs"),
    "loop": (loop, "A loop, into which the prompt comes again and again"),
    "recall": (recall, "What reads what in a sentence"),
}


def drawn(name: str, theme: str) -> str:
    """A drawing as SVG, for a light or a dark ground."""
    draw, title = DRAWINGS[name]
    marks, height = draw()
    svg = "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}" role="img" aria-labelledby="title">',
            f'<title id="title">{title}</title>',
            f"<style>text {{ font: {SMALL}px system-ui, sans-serif }}</style>",
            heads(),
            *marks,
            "</svg>",
            "",
        ]
    )
    if theme == "dark":
        for colour in (*PALETTE, INK, LINE, PALE):
            svg = svg.replace(f'"{colour}"', f'"{on_dark(colour)}"')
    return svg


def main() -> None:
    for name in DRAWINGS:
        for theme in ("light", "dark"):
            file = STATIC / f"{name}-{theme}.svg"
            file.write_text(drawn(name, theme), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
