"""Figures to play with in the built book: what ``lintf.pages.play`` adds to a cell's output becomes
a script beside the still picture, and ``lintf_play.js`` draws from it.

Where no script runs, and in print, the picture stays.
"""

from __future__ import annotations

import json
from pathlib import Path

from docutils import nodes
from myst_nb.core.render import MimeData, NbElementRenderer, load_mime_renders
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform

from lintf.pages.play import MIME

SCRIPT = '<script type="application/json" class="lintf-play-data">{}</script>'
STATIC = Path(__file__).parents[1] / "_static"


class PlayRenderer:
    """MyST-NB's plugin for the MIME type of the figures."""

    mime_priority_overrides = ()

    @staticmethod
    def handle_mime(
        renderer: NbElementRenderer, data: MimeData, inline: bool
    ) -> list[nodes.Element] | None:
        """The data of one figure; None for other types, which others render."""
        return [script_of(data.content)] if data.mime_type == MIME and not inline else None


def script_of(figure: dict) -> nodes.raw:
    """The script with a figure's data."""
    if f"    {figure['formula']}(" not in (STATIC / "lintf_play.js").read_text(encoding="utf-8"):
        raise ExtensionError(f"lintf_play.js has no formula {figure['formula']!r}")
    text = json.dumps(figure, separators=(",", ":"), ensure_ascii=False)
    # Neither the end of the script nor what MathJax looks for may stand in it.
    for letter in "<>$&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return nodes.raw("", SCRIPT.format(text), format="html", classes=["lintf-play-data"])


class BesideThePicture(SphinxPostTransform):
    """Takes the script out of the bundle of which MyST-NB keeps one output, and puts it before the
    picture."""

    default_priority = 3  # MyST-NB chooses at 4

    def run(self, **_: object) -> None:
        """Move the scripts; other builders than that of HTML get none."""
        for node in list(self.document.findall(nodes.container)):
            if node.get("mime_type") != MIME:
                continue
            bundle = node.parent
            bundle.remove(node)
            if self.app.builder.format == "html":
                place = bundle.parent.index(bundle)
                bundle.parent.insert(place, node.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    if PlayRenderer not in load_mime_renders():  # a cached list; entry points need an installation
        load_mime_renders().append(PlayRenderer)
    app.add_post_transform(BesideThePicture)
    app.add_css_file("lintf_play.css")
    app.add_js_file("lintf_play.js")  # where a page needs it: lintf_slim.py
    return {"parallel_read_safe": True, "parallel_write_safe": True}
