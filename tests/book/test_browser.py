"""The built book, as a reader meets it: in a headless browser, light and dark, on a screen and on a
phone."""

from __future__ import annotations

import csv
import functools
import http.server
import io
import threading
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup
from PIL import Image
from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
DOCS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
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
def parsed(site: str) -> dict[Path, BeautifulSoup]:
    """Every page of the book, parsed."""
    paths = [path for path in HTML.rglob("*.html") if "_static" not in path.parts]
    return {path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in paths}


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

    def failed(request):
        # So end what was still on its way when the test went to another page.
        if request.failure != "net::ERR_ABORTED":
            wrong.append(f"failed: {request.url}: {request.failure}")

    context.route("**/*", only_here)
    page.on(
        "console",
        lambda message: message.type == "error" and wrong.append(f"console: {message.text}"),
    )
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    page.on("requestfailed", failed)
    page.on(
        "response",
        lambda answer: answer.status >= 400 and wrong.append(f"{answer.status}: {answer.url}"),
    )
    yield page
    context.close()
    assert wrong == []


def visit(tab: Page, url: str, theme: str, width: int) -> None:
    """Open a page in a theme and a width, and wait until its maths is typeset."""
    tab.set_viewport_size({"width": width, "height": 900})
    tab.add_init_script(
        f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}')"
    )
    tab.goto(url)
    tab.evaluate("window.MathJax?.startup?.promise")
    assert tab.evaluate("document.documentElement.dataset.theme") == theme


def brightness(png: bytes) -> float:
    """The mean brightness of a picture, from 0 to 255."""
    grey = Image.open(io.BytesIO(png)).convert("L")
    return sum(grey.tobytes()) / (grey.width * grey.height)


def edge(png: bytes) -> float:
    """The brightness of a picture at its left edge, where nothing is drawn, from 0 to 255."""
    grey = Image.open(io.BytesIO(png)).convert("L")
    column = sorted(grey.crop((0, 0, 1, grey.height)).tobytes())
    return column[len(column) // 2]


@each_doc
def test_maths_is_typeset_and_images_are_there(tab, site, doc):
    visit(tab, f"{site}/{doc}.html", "light", 1280)
    tab.wait_for_load_state("networkidle")  # nothing is asked for late, either
    written = tab.locator("article .math").count()
    assert tab.locator("article .math mjx-container").count() >= written
    assert tab.locator("mjx-merror").count() == 0
    text = tab.locator("article").evaluate(
        "a => "
        "{ const c = a.cloneNode(true); "
        "c.querySelectorAll('pre, code, mjx-container').forEach(e => e.remove());"
        " return c.textContent }"
    )
    for raw in ("$", r"\(", r"\[", r"\begin", "{cite", "{numref", "{ref"):
        assert raw not in text
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    for image in tab.locator("article img").all():
        assert (image.get_attribute("alt") or "").strip(), (
            f"no alt text: {image.get_attribute('src')}"
        )
        if not image.is_visible():
            continue  # what is drawn for the other theme is not even fetched
        image.scroll_into_view_if_needed()  # images are loaded when they are near
        image.evaluate("i => i.decode()")
        assert image.evaluate("i => i.naturalWidth * i.naturalHeight") > 0
        assert "_images/" not in image.get_attribute("alt"), "a file name says nothing"


@each_doc
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_never_scrolls_sideways(tab, site, doc, theme):
    visit(tab, f"{site}/{doc}.html", theme, 390)
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390
    cut = tab.evaluate(
        "[...document.querySelectorAll('article p, article pre, article table, article img, "
        "article mjx-container')]"
        ".filter(e => e.getBoundingClientRect().left < 0).map(e => e.outerHTML.slice(0, 200))"
    )
    assert cut == [], "cut off on the left, where no scrolling reaches"


@each_doc
def test_everything_is_readable_in_the_dark(tab, site, doc):
    visit(tab, f"{site}/{doc}.html", "dark", 1280)
    for image in tab.locator("article .cell_output img, article img.lintf-thumbnail").all():
        if image.is_visible():
            assert edge(image.screenshot()) < 100, "a figure on a white ground on a dark page"
    for row in tab.locator(".lintf-claim").all():
        assert brightness(row.screenshot()) < 100
        shade = row.evaluate(
            "e => getComputedStyle(e).color.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        assert min(shade) > 150, "dark text on a dark page"


def test_every_notebook_shows_figures_and_claims(tab, site):
    for doc in DOCS:
        if doc.startswith("notebooks/"):
            visit(tab, f"{site}/{doc}.html", "light", 1280)
            assert tab.locator("article figure img").count() >= 1
            sized = "i => i.hasAttribute('width') && i.hasAttribute('height')"
            assert all(image.evaluate(sized) for image in tab.locator("article img").all())
            assert (
                tab.locator("article figure figcaption").count()
                == tab.locator("article figure :is(img:visible, .lintf-play)").count()
            )
            assert tab.locator(".lintf-claim").count() >= 1


def test_controls_have_a_still_picture_in_their_place(tab, site):
    """Where no kernel runs there is the figure of the first setting, as large as any other, and
    nothing of a widget."""
    played = [doc for doc in DOCS if (HTML / "_sources" / f"{doc}.ipynb").exists()]
    played = [
        doc
        for doc in played
        if "widgets.Controls(" in (HTML / "_sources" / f"{doc}.ipynb").read_text()
    ]
    assert played
    for doc in played:
        visit(tab, f"{site}/{doc}.html", "light", 1280)
        picture = tab.locator("article figure[id$='-play'] img:visible")
        assert picture.count() == 1
        assert picture.evaluate("i => i.getBoundingClientRect().width") >= 500
        assert tab.locator("script[type*='jupyter.widget']").count() == 0


def played(tab: Page, site: str, page: str) -> Locator:
    """The first figure of a page that can be played with."""
    visit(tab, f"{site}/notebooks/{page}.html", "light", 1000)
    return tab.locator(".lintf-play").first


def test_a_figure_answers_its_controls_without_a_kernel(tab, site):
    """With the mouse and the keyboard alike; the numbers are read out."""
    figure = played(tab, site, "03_rotation_p0")
    assert not tab.locator("figure:has(.lintf-play) img").first.is_visible()
    title, curve = figure.locator(".lintf-play-title"), figure.locator(".lintf-curve").first
    assert title.inner_text() == "loss 0.270, best 0.134"
    before = curve.get_attribute("d")
    figure.locator("input").first.press("ArrowRight")
    assert title.inner_text() != "loss 0.270, best 0.134"
    assert curve.get_attribute("d") != before
    assert title.inner_text() in figure.locator("[role=img]").get_attribute("aria-label")
    figure.get_by_role("button", name="Best steps", exact=True).click()
    assert title.inner_text() == "loss 0.137, best 0.134"  # its sliders have steps of 0.05


def test_curves_of_a_figure_are_hidden_and_shown(tab, site):
    figure = played(tab, site, "05_variable_L")
    curves = figure.locator(".lintf-play-drawing .lintf-curve")
    entry = figure.get_by_role("button", name="equal steps")
    assert curves.count() == 3
    entry.click()
    assert curves.count() == 2
    assert entry.get_attribute("aria-pressed") == "false"
    entry.click()
    assert curves.count() == 3


def test_a_training_runs_and_its_squares_are_read_out(tab, site):
    figure = played(tab, site, "01_simple_demo")
    tip, step = figure.locator(".lintf-play-tip"), figure.locator("output").first
    assert tip.inner_text().startswith("row 1, column 1:")
    figure.locator(".lintf-play-drawing").focus()
    tab.keyboard.press("ArrowDown")
    assert tip.inner_text().startswith("row 2, column 1:")
    last = step.inner_text()
    figure.get_by_role("button", name="Run").click()
    figure.get_by_role("button", name="Pause").click()
    assert step.inner_text() != last
    figure.get_by_text("SGD").first.click()
    assert "loss" in figure.locator(".lintf-play-title").inner_text()


def test_without_scripts_the_picture_stays(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/notebooks/03_rotation_p0.html")
    assert page.locator("#fig-rotation-p0-play img").first.is_visible()
    assert page.locator(".lintf-play").count() == 0
    context.close()


def test_solutions_are_folded_and_open(tab, site):
    visit(
        tab,
        f"{site}/{next(doc for doc in DOCS if doc.startswith('notebooks/'))}.html",
        "light",
        1280,
    )
    solution = tab.locator(".tag_hide-cell").first
    assert not solution.locator(".cell_input").is_visible()
    solution.locator("summary").click()
    assert solution.locator(".cell_input").is_visible()


def first_page() -> str:
    """The first notebook."""
    return next(doc for doc in DOCS if doc.startswith("notebooks/"))


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 390)])
@pytest.mark.parametrize("doc", [*DOCS, "search", "genindex", "404"])
def test_axe_finds_nothing(tab, site, doc, theme, width):
    axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
    visit(tab, f"{site}/{doc}.html", theme, width)
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    tab.wait_for_timeout(400)  # what scrolls is made reachable by the keyboard
    tab.evaluate(axe)
    rules = "{'label-content-name-mismatch': {enabled: true}}"
    found = tab.evaluate(f"axe.run(document, {{resultTypes: ['violations'], rules: {rules}}})")
    seen = [(rule["id"], rule["nodes"][0]["html"]) for rule in found["violations"]]
    assert seen == []


@each_doc
def test_no_equation_is_cut_without_a_sign_on_a_phone(tab, site, doc):
    visit(tab, f"{site}/{doc}.html", "light", 390)
    for box in tab.locator("article div.math > mjx-container[display]").all():
        right, scrolls, shaded = box.evaluate(
            "e => { const s = getComputedStyle(e); return [e.getBoundingClientRect().right,"
            " s.overflowX === 'auto', s.backgroundImage.includes('gradient')] }"
        )
        assert right <= 390
        assert scrolls
        assert shaded
    below = tab.evaluate(
        "[...document.querySelectorAll('article div.math > .eqno')].every(e => "
        "e.getBoundingClientRect().top >= "
        "e.parentElement.querySelector('mjx-container').getBoundingClientRect().bottom - 1)"
    )
    assert below, "the number of an equation stands below it"
    for link in tab.locator(".prev-next-area a").all():
        box = link.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_code_is_folded_and_one_switch_opens_all(tab, site):
    visit(tab, f"{site}/{first_page()}.html", "light", 1280)
    assert tab.locator(".tag_parameters .cell_input").is_visible()
    folds, switch = tab.locator(".lintf-code > details"), tab.locator("button.lintf-codes")
    assert folds.count() > 5
    assert folds.first.locator("summary").inner_text().strip().startswith("Show code (")
    assert tab.locator(".lintf-code > details[open]").count() == 0
    switch.focus()
    tab.keyboard.press("Enter")
    assert switch.get_attribute("aria-pressed") == "true"
    assert tab.locator(".lintf-code > details[open]").count() == folds.count()
    assert (
        tab.locator(".lintf-codes-said").inner_text() == f"{folds.count()} pieces of code are shown"
    )
    tab.keyboard.press("Enter")
    assert tab.locator(".lintf-code > details[open]").count() == 0
    assert "runs loaded from" not in tab.locator("article").inner_text()


def test_the_ledger_is_filtered_and_the_filter_is_in_the_address(tab, site):
    visit(tab, f"{site}/book/ledger.html", "light", 1280)
    rows = tab.locator("table.lintf-ledger tbody tr")
    all_rows = rows.count()
    tab.select_option("select[name=verdict]", "lintf-verdict-not-reproduced")
    left = tab.locator("table.lintf-ledger tbody tr:visible")
    assert 0 < left.count() < all_rows
    assert (
        tab.locator("form.lintf-filter output").inner_text()
        == f"{left.count()} of {all_rows} claims"
    )
    number = left.count()
    tab.goto(tab.url)
    assert "verdict=" in tab.url
    assert left.count() == number
    tab.locator("form.lintf-filter button[type=reset]").click()
    tab.wait_for_function(f"document.querySelector('output').textContent === '{all_rows} claims'")
    with (HTML / "book" / "claims.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == all_rows


def test_a_reference_shows_what_it_leads_to(tab, site):
    visit(tab, f"{site}/{first_page()}.html", "light", 1280)
    link = tab.locator("article a[href^='#equation-']:not(.headerlink)").first
    link.hover()
    card = tab.locator(".lintf-preview")
    card.wait_for(state="visible")
    assert card.locator("mjx-container").count() == 1
    tab.keyboard.press("Escape")
    card.wait_for(state="hidden")


def test_search_finds_a_paper_by_its_number(tab, site):
    visit(tab, f"{site}/search.html?q=2306.00297", "light", 1280)
    tab.wait_for_selector("#search-results li a")
    assert tab.locator("#search-results li").count() >= 3


def test_pages_describe_themselves_and_load_no_more_than_they_use(parsed):
    for doc in DOCS:
        soup = parsed[HTML / f"{doc}.html"]
        assert 20 <= len(soup.select_one("meta[name=description]")["content"]) <= 201
        assert soup.select_one("meta[property='og:title']")["content"]
        assert len(soup.select("link[rel=stylesheet]")) == 1
        loaded = " ".join(script["src"] for script in soup.select("script[src]"))
        assert "fontawesome" not in loaded
        assert "searchindex" not in loaded
        assert soup.select_one(".lintf-cite pre").get_text().startswith("@misc{lintf_")
    for name in ("404.html", "robots.txt", "index.html"):
        assert (HTML / name).is_file()


def test_search_finds_a_word(tab, site):
    visit(tab, f"{site}/search.html?q=preconditioner", "light", 1280)
    tab.wait_for_selector("#search-results li a")
    first = tab.locator("#search-results li a").first.get_attribute("href")
    assert first == "book/notation.html#term-preconditioner", "the glossary says what it is"


def test_the_front_door_leads_to_the_welcome_page(tab, site):
    tab.goto(f"{site}/index.html")
    tab.wait_for_url(f"**/{TOC['root']}.html")
    assert tab.locator("article .lintf-gallery li").count() == sum(
        doc.startswith("notebooks/") for doc in DOCS
    )


def test_the_welcome_page_tells_the_story_and_has_three_doors_in_one_screen(tab, site):
    visit(tab, f"{site}/{TOC['root']}.html", "light", 1280)  # 900 pixels high
    assert len(tab.locator("article h1 ~ p").all()) >= 2
    doors = tab.locator("article .sd-card").all()
    assert [door.locator(".sd-card-title").inner_text() for door in doors] == [
        "Understand",
        "Check",
        "Run",
    ]
    for door in doors:
        box = door.bounding_box()
        assert box["y"] + box["height"] <= 900
        assert door.locator("a").count() >= 1


@pytest.mark.parametrize("width", [1280, 390])
def test_every_card_of_the_gallery_leads_to_its_page(tab, site, width):
    visit(tab, f"{site}/{TOC['root']}.html", "light", width)
    cards = tab.locator(".lintf-gallery li")
    leads = [card.locator("a").get_attribute("href") for card in cards.all()]
    assert leads == [f"../{doc}.html" for doc in DOCS if doc.startswith("notebooks/")]
    for card in cards.all():
        image = card.locator("img:visible")
        assert image.bounding_box()["width"] >= 100
        top = image.evaluate(
            "i => { i.scrollIntoView({block: 'center'}); const b = i.getBoundingClientRect();"
            " return document.elementFromPoint(b.x + b.width / 2, b.y + b.height / 2).href }"
        )
        assert top == f"{site}/{card.locator('a').get_attribute('href').removeprefix('../')}"


def test_next_and_previous_walk_the_whole_book(tab, site):
    tab.set_viewport_size({"width": 1280, "height": 900})
    for step, order in (("right-next", DOCS), ("left-prev", DOCS[::-1])):
        tab.goto(f"{site}/{order[0]}.html")
        walked = [order[0]]
        while tab.locator(f".prev-next-footer a.{step}, .prev-next-area a.{step}").count():
            tab.goto(tab.locator(f".prev-next-area a.{step}").first.evaluate("a => a.href"))
            walked.append(urlsplit(tab.url).path.removeprefix("/").removesuffix(".html"))
            assert len(walked) <= len(order)
        assert walked == order


def test_equations_have_numbers_of_their_own_and_references_say_them(parsed):
    pages = {doc: parsed[HTML / f"{doc}.html"] for doc in DOCS}
    numbers: dict[tuple[str, str], str] = {}  # page and anchor -> number
    for doc, soup in pages.items():
        for equation in soup.select("article div.math[id^=equation-]"):
            numbers[doc, equation["id"]] = equation.select_one(".eqno").contents[0].get_text()
    assert len(numbers) > 40
    assert len(set(numbers.values())) == len(numbers), "a number is used twice"
    seen = 0
    for doc, soup in pages.items():
        for link in soup.select('article a[href*="#equation-"]:not(.headerlink)'):
            address, anchor = urldefrag(link["href"])
            here = (HTML / f"{doc}.html").resolve()
            target = (here.parent / address).resolve() if address else here
            name = target.relative_to(HTML.resolve()).as_posix().removesuffix(".html")
            assert link.get_text() == numbers[name, anchor]
            seen += 1
    assert seen > 30


def test_links_inside_the_book_lead_somewhere(parsed):
    broken = []
    for path, soup in parsed.items():
        for tag, name in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
            for element in soup.find_all(tag, **{name: True}):
                address, anchor = urldefrag(element[name])
                parts = urlsplit(address)
                if parts.scheme or parts.netloc:
                    if tag != "a":
                        broken.append(f"{path.relative_to(HTML)} loads {element[name]}")
                    continue
                target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
                inside = target in parsed and anchor
                if not target.exists() or (inside and parsed[target].find(id=anchor) is None):
                    broken.append(f"{path.relative_to(HTML)} -> {element[name]}")
    assert broken == []
