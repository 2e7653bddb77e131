"""The built book, as a reader meets it: in a headless browser, light and dark, on a screen and on a phone."""

from __future__ import annotations

import functools
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import tools
import yaml
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
DOCS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.browser
each_doc = pytest.mark.parametrize("doc", DOCS)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves the book, quietly."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of the built book, served on this machine."""
    assert (HTML / "index.html").exists(), "the book is not built: run `make book`"
    handler = functools.partial(Handler, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    path = tools.browser()
    assert path is not None, tools.NO_BROWSER
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def tab(browser: Browser, site: str) -> Iterator[Page]:
    """A tab that reaches this machine only, and fails the test for what went wrong in it."""
    context = browser.new_context()
    page = context.new_page()
    wrong: list[str] = []

    def only_here(route):
        if urlsplit(route.request.url).hostname == "127.0.0.1":
            route.continue_()
        else:
            wrong.append(f"asks another host: {route.request.url}")
            route.abort()

    context.route("**/*", only_here)
    page.on("console", lambda message: message.type == "error" and wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on("response", lambda answer: answer.status >= 400 and wrong.append(f"{answer.status}: {answer.url}"))
    yield page
    context.close()
    assert wrong == []


def visit(tab: Page, url: str, theme: str, width: int) -> None:
    """Open a page in a theme and a width, and wait until its maths is typeset."""
    tab.set_viewport_size({"width": width, "height": 900})
    tab.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')")
    tab.goto(url)
    tab.evaluate("window.MathJax?.startup?.promise")
    assert tab.evaluate("document.documentElement.dataset.theme") == theme


def brightness(png: bytes) -> float:
    """The mean brightness of a picture, from 0 to 255."""
    grey = Image.open(io.BytesIO(png)).convert("L")
    return sum(grey.tobytes()) / (grey.width * grey.height)


@each_doc
def test_maths_is_typeset_and_images_are_there(tab, site, doc):
    visit(tab, f"{site}/{doc}.html", "light", 1280)
    tab.wait_for_load_state("networkidle")  # nothing is asked for late, either
    written = tab.locator("article .math").count()
    assert tab.locator("article .math mjx-container").count() >= written
    assert tab.locator("mjx-merror").count() == 0
    text = tab.locator("article").evaluate(
        "a => { const c = a.cloneNode(true); c.querySelectorAll('pre, code, mjx-container').forEach(e => e.remove());"
        " return c.textContent }"
    )
    for raw in ("$", r"\(", r"\[", r"\begin", "{cite", "{numref", "{ref"):
        assert raw not in text
    for image in tab.locator("article img").all():
        assert (image.get_attribute("alt") or "").strip(), f"no alt text: {image.get_attribute('src')}"
        assert image.evaluate("i => i.naturalWidth * i.naturalHeight") > 0
        assert "_images/" not in image.get_attribute("alt"), "a file name says nothing"


@each_doc
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways(tab, site, doc, theme):
    visit(tab, f"{site}/{doc}.html", theme, 390)
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390
    cut = tab.evaluate(
        "[...document.querySelectorAll('article p, article pre, article table, article img, article mjx-container')]"
        ".filter(e => e.getBoundingClientRect().left < 0).map(e => e.outerHTML.slice(0, 200))"
    )
    assert cut == [], "cut off on the left, where no scrolling reaches"


@each_doc
def test_everything_is_readable_in_the_dark(tab, site, doc):
    visit(tab, f"{site}/{doc}.html", "dark", 1280)
    for image in tab.locator("article .cell_output img").all():
        assert brightness(image.screenshot()) < 100, "a figure on a white ground on a dark page"
    for row in tab.locator(".lintf-claim").all():
        assert brightness(row.screenshot()) < 100
        shade = row.evaluate("e => getComputedStyle(e).color.match(/\\d+/g).slice(0, 3).map(Number)")
        assert min(shade) > 150, "dark text on a dark page"


def test_every_notebook_shows_figures_and_claims(tab, site):
    for doc in DOCS:
        if doc.startswith("notebooks/"):
            visit(tab, f"{site}/{doc}.html", "light", 1280)
            assert tab.locator("article figure img").count() >= 1
            assert tab.locator("article figure figcaption").count() == tab.locator("article .cell_output img").count()
            assert tab.locator(".lintf-claim").count() >= 1


def test_solutions_are_folded_and_open(tab, site):
    visit(tab, f"{site}/{next(doc for doc in DOCS if doc.startswith('notebooks/'))}.html", "light", 1280)
    solution = tab.locator(".tag_hide-cell").first
    assert not solution.locator(".cell_input").is_visible()
    solution.locator("summary").click()
    assert solution.locator(".cell_input").is_visible()


def test_search_finds_a_word(tab, site):
    visit(tab, f"{site}/search.html?q=preconditioner", "light", 1280)
    tab.wait_for_selector("#search-results li a")
    assert tab.locator("#search-results li a").first.get_attribute("href").split("?")[0].endswith(".html")


def test_the_front_door_leads_to_the_welcome_page(tab, site):
    tab.goto(f"{site}/index.html")
    tab.wait_for_url(f"**/{TOC['root']}.html")
    assert tab.locator("article .sd-card").count() >= 2


def test_links_inside_the_book_lead_somewhere(site):
    pages = {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in HTML.rglob("*.html")}
    pages = {path: soup for path, soup in pages.items() if "_static" not in path.parts}
    broken = []
    for path, soup in pages.items():
        for tag, name in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
            for element in soup.find_all(tag, **{name: True}):
                address, anchor = urldefrag(element[name])
                parts = urlsplit(address)
                if parts.scheme or parts.netloc:
                    if tag != "a":
                        broken.append(f"{path.relative_to(HTML)} loads {element[name]}")
                    continue
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                inside = target in pages and anchor
                if not target.exists() or (inside and pages[target].find(id=anchor) is None):
                    broken.append(f"{path.relative_to(HTML)} -> {element[name]}")
    assert broken == []
