"""Every figure of a page twice: as the page drew it, and drawn for a dark page.

A figure is SVG with a white ground. Its partner for dark pages has no ground, ink and grid change
places with it, and the palette's colours become their partners (``lintf/pages/looks.py``); colours
that stand for values, and the numbers on them, stay (``plots.keep``, and all that is rasterised).
A figure with any other colour stops the build: that colour has no meaning.

Both stand on the page, one of them hidden by the theme, with the same alternative text and their
size, and are loaded when the reader comes near: what is hidden is never fetched.

A thumbnail is the first panel of a figure, without words and with thicker lines.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from lintf.pages.looks import on_dark

SVG = "{http://www.w3.org/2000/svg}"
ElementTree.register_namespace("", SVG[1:-1])
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
COLOUR = re.compile(r"(fill|stroke|stop-color): (#[0-9a-fA-F]{6})")
SCALE = 1.6  # pixels on the page for a point of the figure: letters of 10 points have 16 pixels
EDGE = 3  # points around the panel of a thumbnail
WIDTH = re.compile(r"stroke-width: ([\d.]+)")
IMAGE = re.compile(r'<img (?=[^>]*src="[^"]*?([\w.-]+\.svg)")(?![^>]*\b(?:width|loading)=)')


def dark(svg: str) -> str:
    """The same figure for a dark page."""
    root = ElementTree.fromstring(svg)
    recolour(root, kept=False)
    root.set("fill", on_dark("#000000"))  # letters in plain black have no style of their own
    for patch in root.iter(f"{SVG}g"):
        if patch.get("id") == "figure_1":
            ground = patch.find(f"{SVG}g[@id='patch_1']")
            patch.remove(ground)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def recolour(element: ElementTree.Element, kept: bool) -> None:
    """Give an element and all in it the colours of a dark page. Of what is kept, only the lines
    between cells change."""
    inside = kept or element.get("id", "").startswith("kept-")
    if inside and not kept:
        element.set("fill", "#000000")  # not the new colour of the ink

    def partner(match: re.Match) -> str:
        kind, colour = match.groups()
        if inside and not (kind == "stroke" and colour.lower() == "#ffffff"):
            return match.group(0)
        return f"{kind}: {on_dark(colour)}"

    if "style" in element.attrib:
        element.set("style", COLOUR.sub(partner, element.get("style")))
    for child in element:
        recolour(child, inside)


def first_panel(svg: str) -> str:
    """The first panel of a figure: what is drawn in it, without axes, title and legend."""
    root = ElementTree.fromstring(svg)
    (figure,) = (group for group in root if group.get("id") == "figure_1")
    for group in list(figure):
        if group.get("id") != "axes_1":
            figure.remove(group)
    (axes,) = figure
    for group in list(axes):
        if re.match(r"matplotlib\.axis|text|legend", group.get("id", "")):
            axes.remove(group)
    corners = re.findall(r"[-\d.]+", axes.find(f"{SVG}g[@id='patch_2']/{SVG}path").get("d"))
    xs, ys = [float(x) for x in corners[::2]], [float(y) for y in corners[1::2]]
    left, top = min(xs) - EDGE, min(ys) - EDGE
    width, height = max(xs) + EDGE - left, max(ys) + EDGE - top
    root.set("viewBox", f"{left:.1f} {top:.1f} {width:.1f} {height:.1f}")
    root.set("width", f"{width:.1f}pt")
    root.set("height", f"{height:.1f}pt")
    for element in axes.iter():
        if "stroke-width" in element.get("style", "") and width > 200:
            element.set("style", WIDTH.sub(thicker, element.get("style")))
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def thicker(match: re.Match) -> str:
    """A line that is still one at a third of its size."""
    return f"stroke-width: {2 * float(match.group(1)):g}"


def size(svg: str) -> tuple[int, int]:
    """Width and height of a figure on the page, in pixels."""
    found = re.search(r'<svg[^>]*? width="([\d.]+)(pt|)"[^>]*?>', svg)
    height = re.search(r'<svg[^>]*? height="([\d.]+)', svg)
    scale = SCALE if found.group(2) else 1
    return round(scale * float(found.group(1))), round(scale * float(height.group(1)))


def add_dark(app: Sphinx, doctree: nodes.document) -> None:
    """Put the dark partner behind each figure. That of what a page drew is written beside it; other
    drawings come in pairs, NAME-light.svg and NAME-dark.svg."""
    for image in list(doctree.findall(nodes.image)):
        uri = image["uri"]
        if not uri.endswith(".svg") or "only-" in " ".join(image["classes"]):
            continue
        other = image.deepcopy()
        if uri.endswith("-light.svg"):
            other["uri"] = uri.removesuffix("-light.svg") + "-dark.svg"
        else:
            other["uri"] = uri.removesuffix(".svg") + "-dark.svg"
            places = (app.env.relfn2path(name)[1] for name in (uri, other["uri"]))
            write_dark(*map(Path, places), app.env.docname)
        image["classes"] += ["only-light"]
        other["classes"] += ["only-dark"]
        image.parent.insert(image.parent.index(image) + 1, other)


def write_dark(source: Path, target: Path, page: str) -> None:
    """Draw a page's figure for dark pages."""
    try:
        target.write_text(dark(source.read_text(encoding="utf-8")), encoding="utf-8")
    except ValueError as error:
        raise ExtensionError(f"a figure of {page}: {error}") from error


def add_sizes(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Give the SVGs of a page their width and height, so that nothing moves while it loads, and
    load them late."""
    where = {name: source for source, name in app.builder.images.items()}

    def sized(match: re.Match) -> str:
        source = where.get(match.group(1))
        if source is None:
            return match.group(0)
        width, height = size(Path(app.srcdir, source).read_text(encoding="utf-8"))
        return f'<img width="{width}" height="{height}" loading="lazy" '

    if "body" in context:
        context["body"] = IMAGE.sub(sized, context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("doctree-read", add_dark, priority=400)  # before Sphinx collects the images
    app.connect("html-page-context", add_sizes)
    app.add_css_file("figures.css")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
