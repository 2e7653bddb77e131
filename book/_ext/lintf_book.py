"""The book's own Sphinx extension: repository links, fresh outputs, and the ledger.

- The repository's address comes from one place: ``GITHUB_REPOSITORY`` ("owner/name"), else the git
  remote ``origin``. With it, every notebook has Colab and Binder buttons; without it, none.
- jupyter-cache looks only at a notebook's cells. Here the cache folder is named after everything else
  that a page's output depends on, so a change in ``lintf/`` or ``runs/`` executes the pages again.
- The ``ledger`` directive lists the claims that the notebooks made, from what they glued.
"""

from __future__ import annotations

import ast
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from docutils import nodes
from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

GITHUB = re.compile(r"(?:https://(?:[^@/]+@)?|git@|ssh://git@)github\.com[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?")
# What a page's output depends on, beside its cells.
FRESH = ("lintf", "runs", "requirements.txt", "book/sample_text.txt")
DERIVED = {"__pycache__", ".so", ".o", ".pyc"}  # made from the above


# --- where the repository is ---------------------------------------------------------------------


def repository(name: str | None, remote: str | None) -> str | None:
    """The repository's address from ``GITHUB_REPOSITORY`` or a git remote; None without either."""
    if name:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise ExtensionError(f"GITHUB_REPOSITORY is {name!r}; it has the form owner/name")
        return f"https://github.com/{name}"
    match = GITHUB.fullmatch(remote.strip()) if remote else None
    return f"https://github.com/{match.group(1)}" if match else None


def git_remote(folder: Path) -> str | None:
    """The address of the git remote ``origin``, or None."""
    try:
        command = ["git", "remote", "get-url", "origin"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def set_repository(app: Sphinx, config: Config) -> None:
    """Switch on launch buttons and the repository link, if there is a repository."""
    url = repository(os.environ.get("GITHUB_REPOSITORY"), git_remote(Path(app.srcdir)))
    if url is not None:
        config.html_theme_options.update(
            repository_url=url,
            repository_branch="main",
            use_repository_button=True,
            launch_buttons={
                "notebook_interface": "jupyterlab",
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
            },
        )


# --- fresh outputs -------------------------------------------------------------------------------


def digest(root: Path, names: Iterable[str] = FRESH) -> str:
    """A hash over names and contents of the files that the pages' outputs depend on."""
    total = hashlib.sha256()
    for name in names:
        top = root / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            inside = path.relative_to(root)
            hidden = any(part.startswith(".") for part in inside.parts)
            if path.is_file() and not hidden and not DERIVED & {path.suffix, *inside.parts}:
                total.update(f"{inside.as_posix()}\0{path.stat().st_size}\0".encode())
                total.update(path.read_bytes())
    return total.hexdigest()[:16]


def set_cache(app: Sphinx, config: Config) -> None:
    """Name the cache folder after the digest, and drop the folders of older digests.

    ``nb_execution_cache_path`` is part of Sphinx's environment, so with a new folder Sphinx also reads
    every page again.
    """
    caches = Path(app.outdir).parent / ".jupyter_cache"
    folder = caches / digest(Path(app.srcdir))
    for old in caches.glob("*"):
        if old != folder:
            shutil.rmtree(old)
    config.nb_execution_cache_path = str(folder)


def run_pages(app: Sphinx) -> None:
    """Run the pages that the cache lacks, as many at once as there are cores, with one thread each.

    Sphinx would run them one after the other. It takes these results from the cache; a page that fails here is not in
    the cache, so Sphinx runs it again and reports what is wrong.
    """
    pages = sorted(Path(app.srcdir, "notebooks").glob("*.ipynb"))
    if app.config.nb_execution_mode != "cache" or not pages:
        return
    cache = get_cache(app.config.nb_execution_cache_path)
    for page in pages:
        cache.add_nb_to_project(str(page))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logger = logging.getLogger("lintf_book")
    logger.setLevel(logging.INFO)  # names each page that begins
    load_executor("local-parallel", cache, logger).run_and_cache(timeout=app.config.nb_execution_timeout)


def drop_widgets(app: Sphinx, doctree: nodes.document) -> None:
    """Leave the state of a page's widgets out: a page of the book shows their pictures, and nothing could move them."""
    app.env.nb_metadata.get(app.env.docname, {}).get("js_files", {}).pop("ipywidgets_state", None)


def forget_failed_build(app: Sphinx, exception: Exception | None) -> None:
    """After a build with warnings, read every page again next time: Sphinx warns only when it reads."""
    if exception is not None or app._warncount:
        (Path(app.doctreedir) / "environment.pickle").unlink(missing_ok=True)


# --- the ledger ----------------------------------------------------------------------------------


class LedgerNode(nodes.General, nodes.Element):
    """Stands where the ledger goes, until every page has been read."""


class LedgerDirective(SphinxDirective):
    """``{ledger}``: the totals, the directive's own text, and every claim of every notebook with its verdict."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()  # it depends on every notebook
        place = LedgerNode()
        self.state.nested_parse(self.content, self.content_offset, place)
        return [place]


def claim_keys(notebook: Path) -> list[str]:
    """The keys of the ``claim(...)`` calls in a notebook's code cells, in order."""
    keys = []
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
                keys.append(key.value)
    return keys


def collect(env: BuildEnvironment) -> dict[str, list[dict]]:
    """The claims of every notebook, from the glued values; raises where one is missing."""
    found: dict[str, list[dict]] = {}
    problems: list[str] = []
    owner: dict[str, str] = {}
    for doc in sorted(d for d in env.found_docs if env.doc2path(d).endswith(".ipynb")):
        written = claim_keys(Path(env.doc2path(doc)))
        names = env.nb_metadata.get(doc, {}).get("glue", [])
        file = Path(env.mystnb_config.output_folder) / f"{doc}.glue.json"
        values = json.loads(file.read_text(encoding="utf-8")) if names else {}
        glued = {k: v["metadata"]["lintf_claim"] for k, v in values.items() if "lintf_claim" in v["metadata"]}
        if not written:
            problems.append(f"{doc} makes no claim")
        for key in written:
            if key not in glued:
                problems.append(f"{doc} has claim {key!r}, but running it did not glue it")
            if owner.setdefault(key, doc) != doc:
                problems.append(f"claim {key!r} is made by {owner[key]} and by {doc}")
        problems += [f"{doc} glued {key!r} without a claim() call" for key in glued if key not in written]
        found[doc] = [glued[key] for key in written if key in glued]
    if problems:
        raise ExtensionError("The ledger is not complete:\n- " + "\n- ".join(problems))
    return found


def fill_ledger(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the tables where the directive stands."""
    for place in list(doctree.findall(LedgerNode)):
        pages = collect(app.env)
        rows = [row for page in pages.values() for row in page]
        content: list[nodes.Node] = [totals(rows), *place.children]
        for doc, page in pages.items():
            uri = app.builder.get_relative_uri(docname, doc)
            title = nodes.reference("", app.env.titles[doc].astext(), refuri=uri, internal=True)
            content += [nodes.rubric("", "", title), claim_table(page, uri)]
        place.replace_self(content)


def totals(rows: list[dict]) -> nodes.table:
    """How many claims are reproduced, reproduced at a reduced scale, and not reproduced."""
    failed = sum(not row["holds"] for row in rows)
    reduced = sum(row["holds"] and row["scale"] is not None for row in rows)
    group = nodes.tgroup("", *(nodes.colspec(colwidth=25) for _ in range(4)), cols=4)
    group += nodes.thead("", table_row("Reproduced", "Reduced scale", "Not reproduced", "All"))
    numbers = {"reproduced": len(rows) - reduced - failed, "reduced": reduced, "failed": failed}
    cells = [nodes.inline("", str(n), classes=[f"lintf-verdict-{name}"]) for name, n in numbers.items()]
    group += nodes.tbody("", table_row(*cells, str(len(rows))))
    return nodes.table("", group, classes=["lintf-totals"])


def claim_table(rows: list[dict], uri: str) -> nodes.table:
    """One page's claims: statement, published, measured, verdict."""
    group = nodes.tgroup("", *(nodes.colspec(colwidth=w) for w in (40, 22, 18, 20)), cols=4)
    group += nodes.thead("", table_row("Claim", "Published", "Measured", "Verdict"))
    body = nodes.tbody()
    for row in rows:
        link = nodes.reference("", row["statement"], refuri=f"{uri}#claim-{row['key']}", internal=True)
        verdict = nodes.inline("", "reproduced", classes=["lintf-verdict-reproduced"])
        if not row["holds"]:
            words = nodes.inline("", "not reproduced", classes=["lintf-verdict-failed"])
            verdict = nodes.inline("", "", words, nodes.Text(f": {row['why']}"))
        elif row["scale"] is not None:
            verdict = nodes.inline("", f"reduced scale: {row['scale']}", classes=["lintf-verdict-reduced"])
        published = f"{row['published']} ({row['source']})"
        body += table_row(link, published, row["measured"], verdict)
    group += body
    return nodes.table("", group, classes=["lintf-ledger"])


def table_row(*cells: str | nodes.Node) -> nodes.row:
    """A table row from strings and inline nodes."""
    inline = [nodes.Text(cell) if isinstance(cell, str) else cell for cell in cells]
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in inline))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    os.environ["LINTF_STRICT"] = "1"  # for the kernels of the pages: a claim that does not hold stops the build
    app.add_node(LedgerNode)
    app.add_directive("ledger", LedgerDirective)
    app.connect("config-inited", set_repository)
    app.connect("config-inited", set_cache)
    app.connect("builder-inited", run_pages)
    app.connect("doctree-read", drop_widgets)
    app.connect("doctree-resolved", fill_ledger)
    app.connect("build-finished", forget_failed_build)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
