"""Two directives that choose from the claims of all pages, which are taken from the run pages, as
in the ledger.

- ``findings``: keys of claims, one a line, sorted by what became of them. Each becomes a line with
  the claim's statement, which leads to the cell that measured it, what was measured, and what it
  stands beside.
- ``coverage``: YAML, an entry for each experiment of a paper: ``what`` it is, and either the
  ``claims`` that answer it, with what is ``left`` out of it, or why it is ``not`` in the book. It
  becomes a table with the pages and their verdicts.
"""

from __future__ import annotations

import yaml
from docutils import nodes
from lintf_ledger import collect, css_class, table_row
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


class CoverageNode(nodes.General, nodes.Element):
    """Stands where a table of coverage goes, until every page has been read."""


class CoverageDirective(SphinxDirective):
    """``{coverage}``: what a paper has, and where the book has it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # it depends on the notebooks
        entries = yaml.safe_load("\n".join(self.content))
        for entry in entries:
            if "what" not in entry or ("claims" in entry) == ("not" in entry):
                raise self.error(f"coverage: an entry has what, and claims or not, got {entry}")
        return [CoverageNode("", entries=entries)]


def fill_coverage(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the tables where the directives stand. Raises ExtensionError for a key that no page
    has."""
    places = list(doctree.findall(CoverageNode))
    if not places:
        return
    rows = {row["key"]: (doc, row) for doc, page in collect(app.env).items() for row in page}
    for place in places:
        keys = [key for entry in place["entries"] for key in entry.get("claims", "").split()]
        unknown = [key for key in keys if key not in rows]
        if unknown:
            raise ExtensionError(f"{docname}: no page makes the claims {', '.join(unknown)}")
        group = nodes.tgroup("", *(nodes.colspec(colwidth=w) for w in (40, 15, 45)), cols=3)
        group += nodes.thead("", table_row("In the paper", "Page", "Verdicts, or why not"))
        body = [covered(app, docname, entry, rows) for entry in place["entries"]]
        group += nodes.tbody("", *body)
        place.replace_self(nodes.table("", group, classes=["lintf-coverage"]))


def covered(app: Sphinx, docname: str, entry: dict, rows: dict[str, tuple[str, dict]]) -> nodes.row:
    """One row of a table of coverage."""
    if "not" in entry:
        return table_row(entry["what"], "–", f"not in the book: {entry['not']}")
    pages, verdicts = nodes.inline(), nodes.inline()
    for key in entry["claims"].split():
        doc, row = rows[key]
        uri = app.builder.get_relative_uri(docname, doc)
        page = nodes.reference("", doc.rpartition("/")[2][:2], refuri=uri, internal=True)
        if page.astext() not in pages.astext():
            pages += [nodes.Text(", " if pages.children else ""), page]
        classes = [css_class(row["verdict"])]
        link = nodes.reference("", row["verdict"], refuri=f"{uri}#claim-{key}", internal=True)
        verdicts += [nodes.Text("; " if verdicts.children else ""), link]
        link["classes"] = classes
    if "left" in entry:
        verdicts += nodes.Text(f". Left out: {entry['left']}")
    return table_row(entry["what"], pages, verdicts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_node(FindingsNode)
    app.add_node(CoverageNode)
    app.add_directive("findings", FindingsDirective)
    app.add_directive("coverage", CoverageDirective)
    app.connect("doctree-resolved", fill_findings)
    app.connect("doctree-resolved", fill_coverage)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
