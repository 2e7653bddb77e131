"""Small repairs of what the pages say, which no page has to know of.

- Inline maths and the punctuation after it stay on one line.
- Every card of a claim has a sign that links to it.
- The bibliography is a list of which a screen reader can make sense.
- The book's search finds papers by their numbers on arXiv: "2306.00297" is one word, also where it
  stands in an address alone.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.search import languages
from sphinx.search.en import SearchEnglish
from sphinx.transforms.post_transforms import SphinxPostTransform

PUNCTUATION = re.compile(r"[.,;:!?)\]’”…]+")
ARXIV = re.compile(r"\b\d{4}\.\d{5}\b")
CARD = re.compile(r'(<div class="lintf-claim" id="(?P<id>claim-[\w-]+)"[^>]*>\s*<div>)')
SIGN = '<a class="lintf-permalink" href="#{}" title="Link to this claim">#</a> '


class KeepPunctuation(SphinxPostTransform):
    """Wraps inline maths and the punctuation that follows it in a span that does not break."""

    default_priority = 210
    formats = ("html",)

    def run(self, **_: object) -> None:
        for math in list(self.document.findall(nodes.math)):
            after = math.next_node(descend=False, siblings=True)
            if not isinstance(after, nodes.Text) or after.parent is not math.parent:
                continue
            match = PUNCTUATION.match(after.astext())
            if match is not None:
                rest = nodes.Text(after.astext()[match.end() :])
                after.parent.replace(after, rest)
                together = nodes.inline("", "", classes=["lintf-nowrap"])
                math.replace_self(together)
                together += [math, nodes.Text(match[0])]


# --- the search ----------------------------------------------------------------------------------


class Search(SearchEnglish):
    """English, in which a number on arXiv is one word."""

    _word_re = re.compile(r"\d{4}\.\d{5}(?!\w)|\w+")
    js_splitter_code = r"""
var splitQuery = (query) =>
  query.match(/\d{4}\.\d{5}(?![\p{Letter}\p{Number}_])|[\p{Letter}\p{Number}_]+/gu) || [];
"""


def note_papers(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Add the numbers of the papers that a page links to as keywords, which the search reads."""
    links = (link.get("refuri", "") for link in doctree.findall(nodes.reference))
    found = {number for link in links for number in ARXIV.findall(link)}
    if found:
        doctree.append(nodes.meta("", name="keywords", content=", ".join(sorted(found))))


# --- the finished page ---------------------------------------------------------------------------


def repair(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """Permalinks of cards, and a bibliography without roles that its entries do not have."""
    body = context.get("body", "")
    body = CARD.sub(lambda match: match[1] + SIGN.format(match["id"]), body)
    if 'class="citation-list"' in body or "doc-biblioentry" in body:
        body = re.sub(r' role="(list|doc-biblioentry|doc-backlink)"', "", body)
    context["body"] = body


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    languages["en"] = Search
    app.add_post_transform(KeepPunctuation)
    app.connect("doctree-resolved", note_papers, priority=900)  # the ledger is full by then
    app.connect("html-page-context", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
