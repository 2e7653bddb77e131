"""The book's styles and scripts, without what no page uses.

- All style sheets become one, ``_static/styles/book.css``, less the rules for classes and names
  that stand in no page and in no script. The theme brings 550 kB, of which a fifth is used.
- Font Awesome is left out, script and fonts: the icons of the theme are drawn by
  ``lintf_icons.css``.
- Scripts wait until a page is there, and are left out where a page has nothing for them.

The sheets of this project (``lintf*.css``) are kept as they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from sphinx.application import Sphinx

THEME = ["basic.css", "styles/pydata-sphinx-theme.css"]  # the theme's templates name them
BUNDLE = "styles/book.css"
ICONS = re.compile(r"(fa|fas|fab|far|fa-.*|svg-inline--fa)")
NAMES = re.compile(r"[.#](-?[_a-zA-Z](?:[\w-]|\\.)*)")
WITHOUT = re.compile(r":(?:not|is|where|has)\((?:[^()]|\([^()]*\))*\)")
# Scripts and what a page must have for them.
NEEDS = {
    "clipboard.min.js": "highlight",
    "copybutton.js": "highlight",
    "design-tabs.js": "sd-tab",
    "lintf_play.js": "lintf-play-data",
}


# --- style sheets --------------------------------------------------------------------------------


def statements(text: str) -> Iterator[tuple[str, str | None]]:
    """The statements of a style sheet without comments: what stands before the braces, and what
    stands in them; None for a statement without."""
    position = 0
    while position < len(text):
        match = re.compile(r"""[^{};"']*(?:(?:"[^"]*"|'[^']*')[^{};"']*)*""").match(text, position)
        head, position = match[0].strip(), match.end()
        if position >= len(text):
            break
        sign, position = text[position], position + 1
        if sign == "{":
            start, position = position, closing(text, position)
            yield head, text[start : position - 1]
        elif head:
            yield head, None


def closing(text: str, position: int) -> int:
    """Where the block ends that begins here: after its brace."""
    depth = 1
    for match in re.compile(r"""[{}]|"[^"]*"|'[^']*'""").finditer(text, position):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return len(text)


def used(selector: str, words: set[str]) -> bool:
    """Whether every class and name of a selector occurs somewhere."""
    names = [name.replace("\\", "") for name in NAMES.findall(WITHOUT.sub("", selector))]
    return all(name in words and not ICONS.fullmatch(name) for name in names)


def slim(text: str, words: set[str]) -> str:
    """A style sheet without the rules that apply to nothing."""
    out = []
    for head, block in statements(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)):
        if block is None:
            out.append(f"{head};")
        elif head.startswith(("@media", "@supports", "@layer", "@container")):
            inner = slim(block, words)
            if inner:
                out.append(f"{head}{{{inner}}}")
        elif head.startswith("@"):
            if not (head.startswith("@font-face") and "Font Awesome" in block):
                out.append(f"{head}{{{block.strip()}}}")
        else:
            kept = [one for one in split(head) if used(one, words)]
            if kept:
                out.append(f"{','.join(kept)}{{{block.strip()}}}")
    return "\n".join(out)


def split(selectors: str) -> list[str]:
    """The selectors of a list; commas in brackets do not part them."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"[(),\[\]]", selectors):
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(match[0], 0)
        if match[0] == "," and depth == 0:
            parts.append(selectors[start : match.start()])
            start = match.end()
    return [part.strip() for part in (*parts, selectors[start:])]


class Words(HTMLParser):
    """The classes and names of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note those of a tag."""
        for name, value in attributes:
            if name in ("class", "id"):
                self.found.update((value or "").split())


def words(out: Path) -> set[str]:
    """The classes and names of all pages, and all words of the scripts."""
    parser = Words()
    for page in out.rglob("*.html"):
        if "_static" not in page.parts:
            parser.feed(page.read_text(encoding="utf-8"))
    scripts = [*(out / "_static").glob("*.js"), *(out / "_static" / "scripts").glob("*.js")]
    for script in scripts:
        if script.name != "fontawesome.js":
            parser.found.update(re.findall(r"[\w-]+", script.read_text(encoding="utf-8")))
    return parser.found


def write_bundle(app: Sphinx, exception: Exception | None) -> None:
    """Write the one style sheet, and its digest into all pages."""
    if exception is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    known, parts = words(out), []
    for name in [*THEME, *getattr(app, "lintf_styles", {})]:
        text = (out / "_static" / name).read_text(encoding="utf-8")
        if "/" not in name:  # the sheet moves one folder down
            text = re.sub(r"url\((['\"]?)(?!data:|['\"])", r"url(\1../", text)
        parts.append(text if name.startswith("lintf") else slim(text, known))
    bundle = '@charset "utf-8";\n' + "\n".join(parts)
    (out / "_static" / BUNDLE).write_text(bundle, encoding="utf-8")
    digest = hashlib.sha256(bundle.encode()).hexdigest()[:8]
    for page in out.rglob("*.html"):
        if "_static" not in page.parts:
            text = page.read_text(encoding="utf-8")
            new = re.sub(rf"{BUNDLE}\?v=\w+", f"{BUNDLE}?v={digest}", text)
            if new != text:
                page.write_text(new, encoding="utf-8")
    (out / "_static" / "scripts" / "fontawesome.js").unlink(missing_ok=True)
    (out / "_static" / "scripts" / "fontawesome.js.map").unlink(missing_ok=True)


def note_styles(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """Keep the names of the style sheets, in order; and of the scripts those that a page uses."""
    styles = [str(file.filename).removeprefix("_static/") for file in context["css_files"]]
    app.lintf_styles = dict.fromkeys(name for name in styles if name not in THEME)
    if pagename != "search":
        scripts = (script for script in context["script_files"] if needed(script, context))
        context["script_files"] = [deferred(script) for script in scripts]


def needed(script: object, context: dict) -> bool:
    """Whether a page has something for a script. What the theme sets by lines of its own has no
    meaning here: there is one version, and nothing is searched as one types."""
    if not script.filename:
        return not (script.attributes.get("body") or "").startswith("DOCUMENTATION_OPTIONS.")
    mark = NEEDS.get(Path(str(script.filename)).name)
    return mark is None or mark in context.get("body", "")


def deferred(script: object) -> object:
    """The script, to be run when the page is there; what is written in the page runs at once."""
    if not script.filename or "async" in script.attributes:
        return script
    attributes = {"defer": "defer", **script.attributes}
    return type(script)(script.filename, priority=script.priority, **attributes)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("html-page-context", note_styles, priority=950)
    app.connect("build-finished", write_bundle, priority=950)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
