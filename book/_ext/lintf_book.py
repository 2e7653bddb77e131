"""The book's own Sphinx extension: repository links and fresh outputs.

- The repository's address comes from one place: ``GITHUB_REPOSITORY`` ("owner/name"), else the git
  remote ``origin``. With it, every notebook has Colab and Binder buttons; without it, none.
- jupyter-cache looks only at a notebook's cells. Here the cache folder is named after everything
  else that a page's output depends on, so a change in ``lintf/`` or ``runs/`` executes the pages
  again.
- What earlier builds left of pages that are gone is removed, and the user's own settings reach no
  page.
- Which page used which stored run is noted as the pages run, and written to ``runs.txt`` beside
  the built book.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import nbformat
from docutils import nodes
from jupyter_cache import get_cache
from jupyter_cache.base import JupyterCacheAbstract, ProjectNb
from jupyter_cache.executors.basic import REPORT_LEVEL, ExecutionWorkerLocalMProc, ProcessData
from jupyter_cache.executors.utils import ExecutionResult
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.errors import ExtensionError
from sphinx.util import logging

from lintf.training import versions
from lintf.training.workers import cores

GITHUB = re.compile(
    r"(?:https://(?:[^@/]+@)?|git@|ssh://git@)github\.com[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?"
)
LOGGER = logging.getLogger(__name__)


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
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=True
        ).stdout
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


def digest(root: Path) -> str:
    """A hash over all that the pages' outputs depend on, beside their cells."""
    return versions.digest(root, versions.files(root, (*versions.PAGES_READ, "runs")))[:16]


def set_cache(app: Sphinx, config: Config) -> None:
    """Name the cache folder after the digest, and drop the folders of older digests.

    ``nb_execution_cache_path`` is part of Sphinx's environment, so with a new folder Sphinx also
    reads every page again.
    """
    caches = Path(app.outdir).parent / ".jupyter_cache"
    folder = caches / digest(Path(app.srcdir))
    for old in caches.glob("*"):
        if old != folder:
            shutil.rmtree(old)
    config.nb_execution_cache_path = str(folder)


def set_environment(app: Sphinx, config: Config) -> None:
    """Keep the user's own settings of IPython and matplotlib away from the pages: both get empty
    ones."""
    settings = Path(app.outdir).parent / ".settings"
    shutil.rmtree(settings, ignore_errors=True)
    settings.mkdir(parents=True)
    (settings / "matplotlibrc").touch()
    os.environ["MATPLOTLIBRC"] = str(settings / "matplotlibrc")  # goes before the one of the user
    os.environ["IPYTHONDIR"] = str(settings / "ipython")


def open_cache(folder: str) -> JupyterCacheAbstract:
    """The cache, with every page in it readable and no record of notebooks: those of an earlier
    build may have been renamed, moved or deleted. A damaged cache is begun anew."""
    cache = get_cache(folder)
    try:
        for record in cache.list_cache_records():
            cache.get_cache_bundle(record.pk)
        for record in cache.list_project_records():
            cache.remove_nb_from_project(record.pk)
    except Exception as error:  # of SQLite, SQLAlchemy, jupyter-cache, nbformat and the system
        LOGGER.info(
            f"The cache of executed pages is damaged and begun anew ({type(error).__name__}): "
            f"{folder}"
        )
        cache.clear_cache()
    return cache


def run_pages(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Run the pages that Sphinx is about to read and the cache lacks, as many at once as there are
    cores, with one thread each. These are pages of the contents: other notebooks beside them are
    left alone.

    Sphinx would run them one after the other. It takes these results from the cache; a page that
    fails here is not in the cache, so Sphinx runs it again and reports what is wrong.
    """
    if app.config.nb_execution_mode != "cache":
        return
    cache = open_cache(app.config.nb_execution_cache_path)
    for page in sorted(Path(env.doc2path(name)) for name in docnames):
        if page.suffix == ".ipynb":
            cache.add_nb_to_project(str(page))
    timeout = app.config.nb_execution_timeout
    jobs = [
        ProcessData(record.pk, record.uri, cache, timeout, False)
        for record in cache.list_unexecuted()
    ]
    if jobs:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        multiprocessing.log_to_stderr(REPORT_LEVEL)  # names each page that begins
        # Jupyter-cache's own takes all of the machine.
        with multiprocessing.Pool(min(cores(), len(jobs))) as pool:
            pool.map(TracingWorker(), jobs, chunksize=1)


# --- which page uses which run -------------------------------------------------------------------


def trace_of(cache: JupyterCacheAbstract, notebook: nbformat.NotebookNode) -> Path:
    """Where it is noted which stored files a page found. As its outputs in the cache, the note
    belongs to the cells that ran, whatever the page becomes."""
    _, key = cache.create_hashed_notebook(notebook)
    return Path(cache.path) / "traces" / f"{key}.txt"


class TracingWorker(ExecutionWorkerLocalMProc):
    """Jupyter-cache's worker, which also has the page note what it finds in runs/."""

    @staticmethod
    def execute(project_nb: ProjectNb, data: ProcessData) -> ExecutionResult:
        trace = trace_of(data.cache, project_nb.nb)
        trace.parent.mkdir(exist_ok=True)
        trace.write_text("")  # anew, and also for a page that finds nothing
        os.environ["LINTF_TRACE"] = str(trace)  # of this process, and so of the page's kernel
        return ExecutionWorkerLocalMProc.execute(project_nb, data)


def used_runs(cache: JupyterCacheAbstract, pages: list[Path]) -> dict[str, list[str]]:
    """The stored files that these pages found, each with the names of its pages; under "?" the
    pages whose notes went with a damaged cache."""
    found: dict[str, list[str]] = defaultdict(list)
    for page in sorted(pages):
        trace = trace_of(cache, nbformat.read(page, as_version=4))
        noted = trace.read_text(encoding="utf-8").splitlines() if trace.exists() else ["?"]
        for file in set(noted):
            found[file].append(page.stem)
    return dict(sorted(found.items()))


def write_used_runs(app: Sphinx, exception: Exception | None) -> None:
    """Write beside the book: a line for each stored file that a page used, with its pages."""
    if exception is not None or app.config.nb_execution_mode != "cache":
        return
    pages = [Path(app.env.doc2path(doc)) for doc in app.env.found_docs]
    cache = get_cache(app.config.nb_execution_cache_path)
    used = used_runs(cache, [page for page in pages if page.suffix == ".ipynb"])
    lines = [f"{file} {' '.join(names)}\n" for file, names in used.items()]
    (Path(app.outdir).parent / "runs.txt").write_text("".join(lines), encoding="utf-8")


def forget_pages(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Remove what earlier builds made of pages that are gone."""
    doctrees, executed = Path(app.doctreedir), Path(env.mystnb_config.output_folder)
    for tree in doctrees.rglob("*.doctree"):
        name = tree.relative_to(doctrees).with_suffix("").as_posix()
        if name not in env.found_docs:
            made = [
                tree,
                Path(app.outdir, f"{name}.html"),
                *Path(app.outdir, "_sources").glob(f"{name}.*"),
            ]
            for path in (*made, *executed.glob(f"{name}.*")):
                path.unlink(missing_ok=True)


def note_contents(app: Sphinx, config: Config) -> None:
    """Write every page again when the contents change: they stand beside each of them."""
    file = Path(app.srcdir, getattr(config, "external_toc_path", ""))
    config.lintf_contents = file.read_text(encoding="utf-8") if file.is_file() else ""


def drop_widgets(app: Sphinx, doctree: nodes.document) -> None:
    """Leave the state of a page's widgets out: a page of the book shows their pictures, and nothing
    could move them."""
    app.env.nb_metadata.get(app.env.docname, {}).get("js_files", {}).pop("ipywidgets_state", None)


def forget_failed_build(app: Sphinx, exception: Exception | None) -> None:
    """After a build with warnings, read every page again next time: Sphinx warns only when it
    reads."""
    if exception is not None or app._warncount:
        (Path(app.doctreedir) / "environment.pickle").unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    os.environ["LINTF_STRICT"] = (
        "1"  # for the kernels of the pages: a claim that does not hold stops the build
    )
    app.connect("config-inited", set_repository)
    app.add_config_value("lintf_contents", "", "html")
    app.connect("config-inited", set_cache)
    app.connect("config-inited", set_environment)
    app.connect("config-inited", note_contents)
    app.connect("env-before-read-docs", forget_pages)
    app.connect("env-before-read-docs", run_pages)
    app.connect("doctree-read", drop_widgets)
    app.connect("build-finished", write_used_runs)
    app.connect("build-finished", forget_failed_build)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
