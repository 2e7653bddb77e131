"""What a page of the book says about itself, and the files that a site has beside its pages.

- A description, from the page's answer, the gallery's line or its first paragraph, and a picture:
  for search engines and for who shares a link.
- Version and commit in the footer, and how to cite the page.
- Images with width and height, so that nothing jumps; all but the first are loaded when they are
  near.
- ``sitemap.xml``, ``robots.txt``, ``404.html`` and an ``index.html`` that is a page.

Full addresses are there where the book's own is known: that of its repository on GitHub Pages.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin, urlsplit

from docutils import nodes
from lintf_folds import ANSWER, answer
from lintf_gallery import GalleryNode
from PIL import Image
from sphinx.application import Sphinx
from sphinx.config import Config

LENGTH = 200  # characters of a description
IMAGE = re.compile(r"<img\b[^>]*>")
SVG_SIZE = re.compile(
    r'<svg\b[^>]*?\bviewBox="[-\d.]+[ ,]+[-\d.]+[ ,]+([\d.]+)[ ,]+([\d.]+)"', re.S
)
LOST = """<h1>Page not found</h1>
<p>There is no page at this address. Pages may have been renamed; the search finds them by their
words.</p>
<ul>
<li><a href="{root}">The first page</a>, with all pages in a gallery</li>
<li><a href="search.html">Search</a></li>
</ul>"""
FRONT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
{tags}
<meta http-equiv="Refresh" content="0; url={root}">
<link rel="icon" href="_static/favicon.svg">
</head>
<body><main><h1>{title}</h1><p><a href="{root}">Read the book</a></p></main></body>
</html>
"""


# --- where, which and when -----------------------------------------------------------------------


def pages_address(repository: str | None) -> str:
    """Where GitHub Pages shows the book of a repository; empty without one."""
    if not repository:
        return ""
    owner, name = urlsplit(repository).path.strip("/").split("/")
    site = f"https://{owner.lower()}.github.io/"
    return site if name.lower() == urlsplit(site).hostname else f"{site}{name}/"


def git(folder: Path, *command: str) -> str:
    """What git says; empty without git or outside a checkout."""
    try:
        done = subprocess.run(
            ["git", *command], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def version(folder: Path) -> str:
    """Version and commit, such as "version 0.1.0, commit f19246a of 2026-11-29"; of each what is
    known."""
    file = folder / "pyproject.toml"
    parts = []
    if file.is_file():
        parts.append(f"version {tomllib.loads(file.read_text())['project']['version']}")
    if commit := git(folder, "log", "-1", "--format=commit %h of %cs"):
        changed = git(folder, "status", "--porcelain", "--untracked-files=no")
        parts.append(commit + (" with changes" if changed else ""))
    return ", ".join(parts)


def set_address(app: Sphinx, config: Config) -> None:
    """The book's address and version. A new one writes every page again."""
    if not config.html_baseurl:
        config.html_baseurl = pages_address(config.html_theme_options.get("repository_url"))
    config.lintf_version = version(Path(app.srcdir))
    if config.mathjax_path.startswith("mathjax/"):
        config.mathjax_path = "mathjax/startup.js"  # it loads what mathjax3_config names
    config.templates_path.append(str(Path(__file__).parents[1] / "_templates"))


# --- descriptions --------------------------------------------------------------------------------


def plain(node: nodes.Node) -> str:
    """The text of a node in one line, with maths as one would type it."""
    parts = []
    for part in node.findall(nodes.Text):
        maths = isinstance(part.parent, nodes.math)
        parts.append(re.sub(r"\\[,;! ]|[\\{}$]", "", part) if maths else str(part))
    return " ".join("".join(parts).split())


def shortened(text: str, length: int = LENGTH) -> str:
    """As many words as fit, with an ellipsis where some are left out."""
    if len(text) <= length:
        return text
    return text[:length].rsplit(" ", 1)[0].rstrip(",;:") + "…"


def description(app: Sphinx, docname: str, doctree: nodes.document) -> str:
    """A page in a sentence or two."""
    quote = answer(doctree)
    if quote is not None:
        return shortened(plain(quote).removeprefix(ANSWER).strip())
    lines = gallery(app)
    name = PurePosixPath(docname).name
    if name in lines:
        return shortened(lines[name])
    for paragraph in doctree.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            return shortened(plain(paragraph))
    return app.config.html_title


def gallery(app: Sphinx) -> dict[str, str]:
    """The gallery's line for each notebook."""
    root = app.env.get_doctree(app.config.root_doc)
    texts = (text for place in root.findall(GalleryNode) for text in place.children)
    return {text["page"]: plain(text) for text in texts}


def picture(app: Sphinx, docname: str) -> str:
    """The address of a page's picture, a thumbnail of the gallery; of pages that have none, that of
    the first which has."""
    names = list(gallery(app))
    name = PurePosixPath(docname).name
    if not names or not app.config.html_baseurl:
        return ""
    chosen = name if name in names else names[0]
    return urljoin(app.config.html_baseurl, f"_images/thumbnail-{chosen}-light.svg")


def tags(app: Sphinx, docname: str, title: str, text: str) -> str:
    """The page's description for search engines, and for who shares a link (OpenGraph)."""
    shared = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": title,
        "og:description": text,
        "og:image": picture(app, docname),
    }
    if app.config.html_baseurl:
        shared["og:url"] = urljoin(app.config.html_baseurl, f"{docname}.html")
    lines = [f'<meta name="description" content="{escape(text)}" />']
    lines += [
        f'<meta property="{name}" content="{escape(value)}" />'
        for name, value in shared.items()
        if value
    ]
    return "\n".join(lines)


def bibtex(app: Sphinx, docname: str, title: str) -> str:
    """The entry of a page for a bibliography."""
    said = app.config.lintf_version
    fields = {
        "title": f"{{{title}}}",
        "author": f"{{{app.config.author}}}",
        "year": app.config.copyright,
        "note": f"In: {app.config.html_title}" + (f"; {said}" if said else ""),
    }
    if app.config.html_baseurl:
        fields["url"] = urljoin(app.config.html_baseurl, f"{docname}.html")
    body = "".join(f",\n  {name} = {{{value}}}" for name, value in fields.items())
    return f"@misc{{lintf_{PurePosixPath(docname).name}{body}\n}}"


# --- the finished page ---------------------------------------------------------------------------


def size(file: Path) -> tuple[int, int] | None:
    """Width and height of a picture in pixels; None where it does not say."""
    if file.suffix == ".svg":
        match = SVG_SIZE.search(file.read_text(encoding="utf-8")[:3000])
        return (round(float(match[1])), round(float(match[2]))) if match else None
    with Image.open(file) as image:
        return image.size


def with_sizes(app: Sphinx, body: str) -> str:
    """The body of a page with the width and height of its images; all but the first are lazy."""
    sources = {name: Path(app.srcdir, source) for source, name in app.builder.images.items()}
    seen = 0

    def better(match: re.Match[str]) -> str:
        nonlocal seen
        tag = match[0]
        name = PurePosixPath(re.search(r'src="([^"]*)"', tag)[1]).name
        candidates = [sources.get(name), Path(app.outdir, "_images", name)]
        file = next((path for path in candidates if path and path.is_file()), None)
        more = ""
        if file and "width=" not in tag and (found := size(file)):
            more += f' width="{found[0]}" height="{found[1]}"'
        if seen and "loading=" not in tag:
            more += ' loading="lazy"'
        seen += 1
        return f"<img{more}{tag[4:]}"

    return IMAGE.sub(better, body)


def finish(app: Sphinx, pagename: str, template: str, context: dict, doctree: object) -> None:
    """Complete the page: description, citation, images, and no more scripts than it uses."""
    body = context.get("body", "")
    title = re.sub(r"<[^>]*>", "", context.get("title") or app.config.html_title)
    text = app.config.html_title
    if isinstance(doctree, nodes.document):
        text = description(app, pagename, doctree)
        context["lintf_bibtex"] = bibtex(app, pagename, title)
    old = re.sub(r'\s*<meta name="viewport"[^>]*>', "", context.get("metatags") or "")
    context["metatags"] = f"{old}\n{tags(app, pagename, title, text)}\n"
    context["lintf_version"] = app.config.lintf_version
    context["lintf_base"] = urlsplit(app.config.html_baseurl or "").path
    context["body"] = with_sizes(app, body)
    if body and pagename != "search":
        app.add_js_file("lintf_page.js", loading_method="defer")


# --- the files beside the pages ------------------------------------------------------------------


def lost_page(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    """What is shown where there is no page."""
    root = app.builder.get_target_uri(app.config.root_doc)
    yield "404", {"title": "Page not found", "body": LOST.format(root=root)}, "page.html"


def write_files(app: Sphinx, exception: Exception | None) -> None:
    """Write what is not a page of the contents."""
    if exception is not None or app.builder.format != "html":
        return
    out, base = Path(app.outdir), app.config.html_baseurl
    robots = "User-agent: *\nAllow: /\n"
    if base:
        robots += f"Sitemap: {urljoin(base, 'sitemap.xml')}\n"
        (out / "sitemap.xml").write_text(sitemap(base, sorted(app.env.found_docs)), "utf-8")
    (out / "robots.txt").write_text(robots, "utf-8")
    if app.config.root_doc != "index":
        doc, title = app.config.root_doc, app.config.html_title
        text = description(app, doc, app.env.get_doctree(doc))
        root = app.builder.get_target_uri(doc)
        front = FRONT.format(title=escape(title), tags=tags(app, doc, title, text), root=root)
        (out / "index.html").write_text(front, "utf-8")


def sitemap(base: str, docs: list[str]) -> str:
    """The addresses of all pages."""
    lines = [f"<url><loc>{escape(urljoin(base, f'{doc}.html'))}</loc></url>\n" for doc in docs]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        f"{''.join(lines)}</urlset>\n"
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_config_value("lintf_version", "", "html")
    app.connect("config-inited", set_address, priority=600)  # after the repository is known
    app.connect("html-collect-pages", lost_page)
    app.connect("html-page-context", finish, priority=600)
    app.connect("build-finished", write_files, priority=900)  # after the contents' own index.html
    return {"parallel_read_safe": True, "parallel_write_safe": False}
