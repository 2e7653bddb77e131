"""What stands open on a page of the book, by rule: no notebook has to say it cell by cell.

- The code of a cell is folded under "Show code (12 lines)" unless the cell is tagged
  ``parameters`` or ``show``. Solutions (``hide-cell``) are folded with all they show, as ever.
  ``details`` needs no JavaScript; with it, one switch in the header opens all.
- The block quote under the title that begins with "In short." is the page's answer and gets a
  class. In the notebook it stays plain Markdown.
- "3 of 3 runs loaded from runs/" is for who runs a page. In the book, where all runs are stored,
  such a line is left out; one that says otherwise stays.
"""

from __future__ import annotations

import re
from html import escape

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.writers.html5 import HTML5Translator

OPEN = {"parameters", "show"}
ANSWER = "In short."
LOADED = re.compile(r"(?P<stored>\d+) of (?P<all>\d+) runs loaded from \S+/")


def lines(source: str) -> int:
    """The number of lines of a cell that are not blank."""
    return sum(bool(line.strip()) for line in source.splitlines())


def is_loaded(line: str) -> bool:
    """Whether a line says that all runs were stored."""
    match = LOADED.fullmatch(line.strip())
    return match is not None and match["stored"] == match["all"]


class FoldCode(SphinxPostTransform):
    """Folds the code of cells, before MyST-NB makes the folds."""

    default_priority = 198
    formats = ("html",)

    def run(self, **_: object) -> None:
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") == "cell_code":
                drop_loaded(cell)
                fold(cell)


def fold(cell: nodes.container) -> None:
    """Fold a cell's code, unless it is to stand open or is folded already."""
    first = cell.children[0] if cell.children else None
    if cell.get("hide_mode") or first is None or first.get("nb_element") != "cell_code_source":
        return
    if OPEN & set(cell["cell_metadata"].get("tags", [])):
        return
    number = lines(first.astext())
    counted = f"({number} {'line' if number == 1 else 'lines'})"
    cell["hide_mode"] = "input"
    cell["prompt_show"], cell["prompt_hide"] = f"Show code {counted}", f"Hide code {counted}"
    cell["classes"].append("lintf-code")


def drop_loaded(cell: nodes.container) -> None:
    """Leave out the lines that say that all runs were stored, and an output that has no other."""
    for block in list(cell.findall(nodes.literal_block)):
        if "stream" not in block["classes"]:
            continue
        said = block.astext().splitlines()
        kept = [line for line in said if not is_loaded(line)]
        if kept == said:
            continue
        if any(kept):
            text = "\n".join(kept)
            block.rawsource = text
            block.children = [nodes.Text(text)]
        else:
            block.parent.remove(block)
    for output in list(cell.children):
        if output.get("nb_element") == "cell_code_output" and not output.children:
            cell.remove(output)


class MarkAnswer(SphinxPostTransform):
    """Gives the page's answer its class."""

    default_priority = 198

    def run(self, **_: object) -> None:
        quote = answer(self.document)
        if quote is not None:
            quote["classes"].append("lintf-answer")


def answer(document: nodes.document) -> nodes.block_quote | None:
    """The first block quote of a page, if it says in short what comes out."""
    quote = next(document.findall(nodes.block_quote), None)
    return quote if quote is not None and quote.astext().startswith(ANSWER) else None


def visit_fold(self: HTML5Translator, node: HideCodeCellNode) -> None:
    """The fold as MyST-NB writes it, but a screen reader hears what stands there."""
    shut, opened = node["prompt_show"], node["prompt_hide"]
    self.body.append(f'<details class="admonition hide {" ".join(node["classes"])}">\n<summary>')
    if shut == opened:
        self.body.append(f'<span class="admonition-title">{escape(shut)}</span>')
    else:
        self.body.append(f'<span class="collapsed admonition-title">{escape(shut)}</span>')
        self.body.append(f'<span class="expanded admonition-title">{escape(opened)}</span>')
    self.body.append("</summary>\n")


def depart_fold(self: HTML5Translator, node: HideCodeCellNode) -> None:
    """The end of a fold."""
    self.body.append("</details>\n")


def add_switch(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """The switch for all folds of code, on pages that have some."""
    context["lintf_folds"] = context.get("body", "").count("lintf-code")
    if context["lintf_folds"]:
        app.add_js_file("lintf_folds.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_node(HideCodeCellNode, override=True, html=(visit_fold, depart_fold))
    app.add_post_transform(FoldCode)
    app.add_post_transform(MarkAnswer)
    app.connect("html-page-context", add_switch)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
