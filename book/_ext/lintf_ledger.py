"""The ledger: every claim of every notebook, from what the pages glued, as a page and as a file.

The ``ledger`` directive makes a section for each notebook when the page is read, so that they stand
in its contents; the claims come in once every page has been read. All of it is there without
JavaScript. With it a form above the claims filters them by verdict, page and paper. The same rows
are written to ``claims.csv`` beside the page.
"""

from __future__ import annotations

import ast
import csv
import json
import re
from collections import Counter
from html import escape
from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

from lintf.pages.claims import VERDICTS, verdict_of
from lintf.pages.sources import SOURCES, links

FILE = "claims.csv"
PUBLISHED = list(VERDICTS)[:-1]  # the verdicts of published results; the last one is "ours"
COLUMNS = (
    "page",
    "key",
    "verdict",
    "statement",
    "source",
    "address",
    "quantity",
    "published",
    "unit",
    "against",
    "measured",
    "rule",
    "scale",
    "why",
    "missing",
    "link",
)


class LedgerNode(nodes.General, nodes.Element):
    """Stands where a part of the ledger goes, until every page has been read. ``part`` says which:
    the totals, the form, or the name of a page."""


class LedgerDirective(SphinxDirective):
    """``{ledger}``: the totals, the directive's own text, and every claim of every notebook with
    its verdict. Of the text the first paragraph stands open, the rest is folded."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # it depends on every notebook
        text = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, text)
        first, *rest = text.children or [nodes.paragraph()]
        content = [LedgerNode(part="totals"), first]
        if rest:
            content += [
                html("<details class='lintf-rules'><summary>What the verdicts mean</summary>"),
                *rest,
                html("</details>"),
            ]
        content.append(LedgerNode(part="form"))
        for doc in notebooks(self.env):
            section = nodes.section("", ids=[section_id(doc)])
            section += nodes.title("", title_of(Path(self.env.doc2path(doc))))
            section += LedgerNode(part=doc)
            content.append(section)
        return content


def html(text: str) -> nodes.raw:
    """Raw HTML."""
    return nodes.raw("", text, format="html")


def notebooks(env: BuildEnvironment) -> list[str]:
    """The names of the notebooks, in order."""
    return sorted(doc for doc in env.found_docs if env.doc2path(doc).endswith(".ipynb"))


def section_id(doc: str) -> str:
    """The name of a page's section, such as "claims-01-simple-demo"."""
    return nodes.make_id(f"claims-{PurePosixPath(doc).name}")


def title_of(notebook: Path) -> str:
    """The title of a notebook, after the number that its file has."""
    first = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"])
    title = first.splitlines()[0].removeprefix("# ")
    number = re.match(r"\d+", notebook.name)
    return f"{int(number[0])}. {title}" if number else title


# --- what the pages claim ------------------------------------------------------------------------


def written_claims(notebook: Path) -> dict[str, str]:
    """The keys of the ``claim(...)`` calls in a notebook's code cells, in order, and the verdict
    that each has if it comes out as it is written."""
    found: dict[str, str] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        for node in ast.walk(ast.parse("".join(cell["source"]))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "claim":
                key = node.args[0] if node.args else None
                if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
                    raise ExtensionError(
                        f"{notebook.name}: the first argument of claim() must be a literal key, "
                        f"not {ast.unparse(node)!r}"
                    )
                found[key.value] = verdict_of({word.arg for word in node.keywords})
    return found


def collect(env: BuildEnvironment) -> dict[str, list[dict]]:
    """The claims of every notebook, from the glued values; raises where one is missing."""
    found: dict[str, list[dict]] = {}
    problems: list[str] = []
    owner: dict[str, str] = {}
    for doc in notebooks(env):
        written = written_claims(Path(env.doc2path(doc)))
        names = env.nb_metadata.get(doc, {}).get("glue", [])
        file = Path(env.mystnb_config.output_folder) / f"{doc}.glue.json"
        values = json.loads(file.read_text(encoding="utf-8")) if names else {}
        glued = {
            k: v["metadata"]["lintf_claim"]
            for k, v in values.items()
            if "lintf_claim" in v["metadata"]
        }
        if not written:
            problems.append(f"{doc} makes no claim")
        for key in written:
            if key not in glued:
                problems.append(f"{doc} has claim {key!r}, but running it did not glue it")
            if owner.setdefault(key, doc) != doc:
                problems.append(f"claim {key!r} is made by {owner[key]} and by {doc}")
        problems += [
            f"{doc} glued {key!r} without a claim() call" for key in glued if key not in written
        ]
        found[doc] = [glued[key] for key in written if key in glued]
    if problems:
        raise ExtensionError("The ledger is not complete:\n- " + "\n- ".join(problems))
    return found


# --- the page ------------------------------------------------------------------------------------


def fill_ledger(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put totals, form and tables where the directive left their places, and write the file."""
    places = list(doctree.findall(LedgerNode))
    if not places:
        return
    pages = collect(app.env)
    rows = [row for page in pages.values() for row in page]
    for place in places:
        if place["part"] == "totals":
            place.replace_self(totals(rows))
        elif place["part"] == "form":
            place.replace_self([form(app.env, pages), download(len(rows))])
        else:
            uri = app.builder.get_relative_uri(docname, place["part"])
            place.replace_self(claim_table(pages[place["part"]], uri))
    write_file(app, docname, pages)


def totals(rows: list[dict]) -> nodes.table:
    """How many published results have each of the verdicts, and how many there are; and apart from
    them those of the book."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=16) for _ in range(7)), cols=7)
    names = [verdict.capitalize() for verdict in PUBLISHED]
    group += nodes.thead("", table_row(*names, "All published", "Ours", "All"))
    numbers = Counter(row["verdict"] for row in rows)
    cells = [nodes.inline("", str(numbers[v]), classes=[css_class(v)]) for v in VERDICTS]
    published = str(sum(numbers[verdict] for verdict in PUBLISHED))
    group += nodes.tbody("", table_row(*cells[:-1], published, cells[-1], str(len(rows))))
    return nodes.table("", group, classes=["lintf-totals"])


def form(env: BuildEnvironment, pages: dict[str, list[dict]]) -> nodes.raw:
    """The form that filters; where nothing runs it is not shown."""
    rows = [row for page in pages.values() for row in page]
    verdicts = Counter(row["verdict"] for row in rows)
    cited = Counter(name for row in rows for name in papers(row))
    choices = {
        "verdict": [(css_class(v), f"{v} ({verdicts[v]})") for v in VERDICTS],
        "page": [
            (section_id(doc), f"{title_of(Path(env.doc2path(doc)))} ({len(page)})")
            for doc, page in pages.items()
        ],
        "paper": [
            (paper_class(name), f"{name} ({cited[name]})") for name in SOURCES if cited[name]
        ],
    }
    fields = [
        f'<label>{name.capitalize()} <select name="{name}"><option value="">all</option>'
        + "".join(f'<option value="{value}">{escape(text)}</option>' for value, text in options)
        + "</select></label>"
        for name, options in choices.items()
    ]
    return html(
        '<form class="lintf-filter pst-js-only" aria-label="Filter the claims">'
        f'{"".join(fields)}<button type="reset">Show all</button>'
        f'<output role="status">{len(rows)} claims</output></form>'
    )


def download(number: int) -> nodes.paragraph:
    """The link to the file."""
    link = nodes.reference("", f"All {number} claims as a table ({FILE})", refuri=FILE)
    link["internal"] = True
    return nodes.paragraph("", "", link, classes=["lintf-download"])


def papers(row: dict) -> list[str]:
    """The names of a claim's sources, as in ``sources.SOURCES``."""
    parts = (row["source"] or "").split("; ")
    return list(dict.fromkeys(part.partition(", ")[0] for part in parts if part))


def css_class(verdict: str) -> str:
    """The class of a verdict in the style sheet, such as "lintf-verdict-not-reproduced"."""
    return "lintf-verdict-" + verdict.replace(" ", "-")


def paper_class(name: str) -> str:
    """The class of the rows with this source, such as "lintf-paper-2306-00297"."""
    return "lintf-paper-" + re.sub(r"\W+", "-", name.lower())


def claim_table(rows: list[dict], uri: str) -> nodes.table:
    """One page's claims: statement, what was published or what ours is held against, measured,
    verdict. Each row has a name of its own and a link to itself."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=w) for w in (35, 25, 18, 22)), cols=4)
    group += nodes.thead(
        "", table_row("Claim", "Published, or held against", "Measured", "Verdict")
    )
    body = nodes.tbody()
    for row in rows:
        name = f"row-{row['key']}"
        link = nodes.reference(
            "", row["statement"], refuri=f"{uri}#claim-{row['key']}", internal=True
        )
        sign = nodes.reference("", "#", refuri=f"#{name}", internal=True)
        sign["classes"] = ["lintf-permalink"]
        sign["reftitle"] = "Link to this row"
        first = nodes.inline("", "", link, nodes.Text(" "), sign)
        line = table_row(first, beside(row), row["measured"], verdict(row))
        line["ids"] = [name]
        line["classes"] = [css_class(row["verdict"]), *map(paper_class, papers(row))]
        body += line
    group += body
    return nodes.table("", group, classes=["lintf-ledger"])


def beside(row: dict) -> nodes.inline:
    """What a claim is compared with, and links to where it stands."""
    found = nodes.inline("", "", nodes.Text(row["beside"]))
    for text, address in links(row["source"]) if row["source"] else []:
        found += [nodes.Text("; "), nodes.reference("", text, refuri=address, internal=False)]
    return found


def verdict(row: dict) -> nodes.inline:
    """A claim's verdict; what was smaller, why it failed or what is missing; and the rule."""
    words = nodes.inline("", row["verdict"], classes=[css_class(row["verdict"])])
    reason = row["scale"] or row["why"] or row["missing"]
    rule = f" ({row['rule']})" if row["rule"] else ""
    return nodes.inline("", "", words, nodes.Text((f": {reason}" if reason else "") + rule))


def table_row(*cells: str | nodes.Node) -> nodes.row:
    """A table row from strings and inline nodes."""
    inline = [nodes.Text(cell) if isinstance(cell, str) else cell for cell in cells]
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in inline))


# --- the file ------------------------------------------------------------------------------------


def write_file(app: Sphinx, docname: str, pages: dict[str, list[dict]]) -> None:
    """Write the rows beside the page, one claim a line."""
    path = Path(app.outdir, docname).with_name(FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for doc, rows in pages.items():
            uri = app.builder.get_relative_uri(docname, doc)
            for row in rows:
                addresses = (
                    [address for _, address in links(row["source"])] if row["source"] else []
                )
                more = {"page": PurePosixPath(doc).name, "link": f"{uri}#claim-{row['key']}"}
                writer.writerow(row | more | {"address": "; ".join(addresses)})


def add_script(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """The filter's script, on the page that has the form."""
    if 'class="lintf-filter' in context.get("body", ""):
        app.add_js_file("lintf_ledger.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool | int]:
    """Register the extension."""
    app.add_node(LedgerNode)
    app.add_directive("ledger", LedgerDirective)
    app.connect("doctree-resolved", fill_ledger)
    app.connect("html-page-context", add_script)
    return {"parallel_read_safe": True, "parallel_write_safe": False, "env_version": 1}
