"""The gallery on the welcome page: a thumbnail of every page, from the figures that the page itself
drew.

The ``gallery`` directive holds one line of text for each notebook, as YAML:

    01_simple_demo: {figure: fig-simple-demo-adam, text: Three layers ...}

``figure`` is the name of one of the page's figures. Titles come from the pages, parts and their
order from the table of contents, and pictures from the executed pages: nothing is drawn again, and
no picture is kept in the repository.
"""

from __future__ import annotations

from html import escape
from pathlib import Path, PurePosixPath

import yaml
from docutils import nodes
from lintf_figures import dark, first_panel, size
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.util.osutil import relative_uri


class GalleryNode(nodes.General, nodes.Element):
    """Stands where the gallery goes, until every page has been read."""


class GalleryDirective(SphinxDirective):
    """``{gallery}``: for each notebook the name of a figure and a line of text, as YAML."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # it depends on every notebook
        lines = yaml.safe_load("\n".join(self.content))
        place = GalleryNode(figures={page: entry["figure"] for page, entry in lines.items()})
        for page, entry in lines.items():
            text, messages = self.state.inline_text(entry["text"], self.lineno)
            place += nodes.paragraph("", "", *text, *messages, page=page)
        return [place]


def parts(env: BuildEnvironment) -> dict[str, list[str]]:
    """The notebooks of each part of the table of contents, in its order."""
    found: dict[str, list[str]] = {}
    for tree in env.get_doctree(env.config.root_doc).findall(addnodes.toctree):
        pages = [
            doc
            for _, doc in tree["entries"]
            if doc in env.found_docs and env.doc2path(doc).endswith(".ipynb")
        ]
        if pages:
            found[tree["caption"] or ""] = pages
    return found


def picture(env: BuildEnvironment, doc: str, name: str) -> tuple[Path, str]:
    """The file and the alternative text of a page's figure; raises where the page has no such
    figure."""
    names = []
    for figure in env.get_doctree(doc).findall(nodes.figure):
        names += figure["names"]
        for image in figure.findall(nodes.image):
            # Sphinx keeps names in small letters.
            if nodes.fully_normalize_name(name) in figure["names"]:
                return Path(env.srcdir) / image["uri"], image["alt"]
    raise ExtensionError(
        f"gallery: {doc} has no figure {name!r}; it has {', '.join(names) or 'none'}"
    )


def thumbnail(app: Sphinx, docname: str, doc: str, name: str) -> nodes.raw:
    """The first panel of a page's figure, among the images of the built book, for light pages and
    for dark ones."""
    source, alt = picture(app.env, doc, name)
    drawn = source.read_text(encoding="utf-8")
    images = []
    for theme, svg in (("light", drawn), ("dark", dark(drawn))):
        small = first_panel(svg)
        target = PurePosixPath("_images") / f"thumbnail-{PurePosixPath(doc).name}-{theme}.svg"
        file = Path(app.outdir) / target
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(small, encoding="utf-8")
        uri = relative_uri(app.builder.get_target_uri(docname), str(target))
        width, height = size(small)
        images.append(
            f'<img class="lintf-thumbnail only-{theme}" src="{escape(uri)}" alt="{escape(alt)}"'
            f' width="{width}" height="{height}" loading="lazy">'
        )
    return nodes.raw("", "".join(images), format="html")


def fill_gallery(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the cards where the directive stands."""
    for place in list(doctree.findall(GalleryNode)):
        texts = {text["page"]: text for text in place.children}
        content: list[nodes.Node] = []
        listed = parts(app.env)
        pages = {PurePosixPath(doc).name for docs in listed.values() for doc in docs}
        if set(texts) != pages:
            raise ExtensionError(
                f"gallery: these have a line or a page, but not both: {sorted(set(texts) ^ pages)}"
            )
        for part, docs in listed.items():
            cards = nodes.bullet_list(classes=["lintf-gallery"])
            for doc in docs:
                page = PurePosixPath(doc).name
                uri = app.builder.get_relative_uri(docname, doc)
                link = nodes.reference("", app.env.titles[doc].astext(), refuri=uri, internal=True)
                title = nodes.paragraph("", "", link, classes=["lintf-title"])
                image = thumbnail(app, docname, doc, place["figures"][page])
                cards += nodes.list_item("", image, title, texts[page])
            content += [nodes.rubric("", part, **{"heading-level": 2}), cards]
        place.replace_self(content)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_node(GalleryNode)
    app.add_directive("gallery", GalleryDirective)
    app.connect("doctree-resolved", fill_gallery)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
