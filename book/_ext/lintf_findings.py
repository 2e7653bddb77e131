"""The directive ``findings``: chosen claims of a part, sorted by what became of them.

Its content is a list of keys, one a line. Each becomes a line with the claim's statement, which
leads to the cell that measured it, what was measured, and what it stands beside, all from the run
pages, as in the ledger.
"""

from __future__ import annotations

from docutils import nodes
from lintf_book import collect, css_class
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from lintf.pages.claims import VERDICTS

GROUPS = {  # what stands over the claims with these verdicts
    "Came back": ("reproduced", "reproduced at a smaller scale"),
    "Did not come back": ("not reproduced", "not comparable"),
    "New here": ("ours",),
}


class FindingsNode(nodes.General, nodes.Element):
    """Stands where the findings go, until every page has been read."""


class FindingsDirective(SphinxDirective):
    """``{findings}``: keys of claims, one a line."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # it depends on the notebooks
        return [FindingsNode("", keys=[line.strip() for line in self.content if line.strip()])]


def fill_findings(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the chosen claims where the directive stands. Raises ExtensionError for a key that no
    page has."""
    places = list(doctree.findall(FindingsNode))
    if not places:
        return
    rows = {row["key"]: (doc, row) for doc, page in collect(app.env).items() for row in page}
    for place in places:
        unknown = [key for key in place["keys"] if key not in rows]
        if unknown:
            raise ExtensionError(f"{docname}: no page makes the claims {', '.join(unknown)}")
        place.replace_self(grouped(app, docname, [rows[key] for key in place["keys"]]))


def grouped(app: Sphinx, docname: str, chosen: list[tuple[str, dict]]) -> list[nodes.Node]:
    """A list for each group that has claims, under its name."""
    assert set(VERDICTS) == {verdict for verdicts in GROUPS.values() for verdict in verdicts}
    content: list[nodes.Node] = []
    for name, verdicts in GROUPS.items():
        found = [(doc, row) for doc, row in chosen if row["verdict"] in verdicts]
        if found:
            items = [finding(app.builder.get_relative_uri(docname, doc), row) for doc, row in found]
            content += [
                nodes.paragraph("", "", nodes.strong("", name)),
                nodes.bullet_list("", *items, classes=["lintf-findings"]),
            ]
    return content


def finding(uri: str, row: dict) -> nodes.list_item:
    """One line: the statement, what was measured, what it stands beside, and the verdict."""
    link = nodes.reference("", row["statement"], refuri=f"{uri}#claim-{row['key']}", internal=True)
    beside = "held against" if row["against"] is not None else "published"
    facts = f": measured {row['measured']}; {beside} {row['beside']} "
    verdict = nodes.inline("", row["verdict"], classes=[css_class(row["verdict"])])
    return nodes.list_item("", nodes.paragraph("", "", link, nodes.Text(facts), verdict))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_node(FindingsNode)
    app.add_directive("findings", FindingsDirective)
    app.connect("doctree-resolved", fill_findings)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
