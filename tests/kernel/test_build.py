"""The compiled code: built once, whatever happens to its cache; the same numbers for every width of
its vectors."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from lintf import kernel
from lintf.kernel import build
from lintf.models import gram
from lintf.tasks import randoms
from lintf.tasks.linear import LinearRegression

ROOT = Path(__file__).parents[2]
# Loss, gradients, prompts and second derivatives, as numbers of which every bit is seen.
RESULTS = """
import torch
from lintf import kernel
from lintf.analysis.landscape import hessian_diagonal
from lintf import LinearTransformer
from lintf import LinearRegression
why_not = kernel.unavailable(5, torch.float32)
why_not = why_not or kernel.unavailable(5, torch.float32, library="lines")
assert why_not is None, why_not
for dtype in (torch.float32, torch.float64):
    model = LinearTransformer(5, 3, n_head=2, init_std=0.2)
    task = LinearRegression(N=4, d=5, noise_std=0.1)
    generator = torch.Generator().manual_seed(0)
    params = {n: p.requires_grad_() for n, p in model.init(generator, dtype).items()}
    prompts = task.sample(67, generator, dtype=dtype)
    loss = model.loss(params, prompts, "kernel")
    loss.backward()
    diagonal = hessian_diagonal(model, params, prompts, "kernel")
    gradients = params["P"].grad, params["Q"].grad
    for t in (prompts.S, prompts.y, loss.detach().view(1), *gradients, diagonal):
        print(" ".join(map(repr, t.flatten().tolist()[:400])))
"""


def run(code: str, cache: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with a cache of its own for compiled code."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT), **more}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def numbers(done: subprocess.CompletedProcess[str]) -> list[torch.Tensor]:
    """Of each line, but for those of a compiler that takes long."""
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "once on this machine" not in line]
    return [
        torch.tensor([float(word) for word in line.split()], dtype=torch.float64) for line in lines
    ]


# ---- vectors of every width


def test_the_width_of_the_vectors_changes_rounding_only(tmp_path):
    """16, 32 and 64 bytes; where the processor has no such registers, the compiler splits the
    vectors. With d = 5 some widths have their loops unrolled, and others not."""
    found = {}
    for width in (16, 32, 64):
        found[width] = numbers(run(RESULTS, tmp_path, CXX=f"c++ -DVECTOR_BYTES={width} -O0"))
    assert len(list((tmp_path / "lintf").glob("*.so"))) == 6, "each width is a library of its own"
    for width in (16, 64):
        for i, (theirs, ours) in enumerate(zip(found[width], found[32], strict=True)):
            # Of the largest number; sums over the prompts in another order.
            digits = 2e-5 if i < 6 else 1e-12
            assert float((theirs - ours).abs().max()) <= digits * float(ours.abs().max())


def test_the_width_is_that_of_the_processors_registers():
    source = f'#include "{ROOT / "lintf" / "kernel" / "lanes.h"}"\nwidth: VECTOR_BYTES\n'
    for march, width in (("x86-64", 16), ("x86-64-v2", 16), ("x86-64-v3", 32), ("x86-64-v4", 64)):
        command = ["c++", f"-march={march}", "-E", "-P", "-x", "c++", "-"]
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
        if "bad value" in done.stderr or "unknown" in done.stderr:
            pytest.xfail("a compiler for another kind of processor")
        assert f"width: {width}" in done.stdout


# ---- every compiler, and threads

# What one thread, two threads, plain PyTorch and a forked process say of 1101 prompts, two chunks.
THREADS = """
import os, signal, torch
from lintf import kernel
from lintf.analysis.landscape import hessian_diagonal
from lintf import LinearTransformer
from lintf import LinearRegression
model = LinearTransformer(3, 3, n_head=2, init_std=0.2)
task = LinearRegression(N=4, d=3, noise_std=0.1)
def results(backend, threads):
    os.environ["LINTF_KERNEL"] = "off" if backend == "plain" else "on"
    torch.set_num_threads(threads)
    params = model.init(torch.Generator().manual_seed(0))
    params = {n: p.requires_grad_() for n, p in params.items()}
    prompts = task.sample(1101, torch.Generator().manual_seed(1))
    loss = model.loss(params, prompts, backend)
    loss.backward()
    diagonal = hessian_diagonal(model, params, prompts, backend)
    gradients = params["P"].grad, params["Q"].grad
    return [prompts.S, prompts.y, loss.detach().view(1), *gradients, diagonal]
for library in ("kernel", "lines"):
    why_not = kernel.unavailable(3, torch.float32, library=library)
    assert why_not is None, why_not
found = [results("kernel", 1), results("kernel", 2), results("plain", 1)]
for one, two, plain in zip(*found):
    assert torch.equal(one, two)
    print(float((one - plain).abs().max() / plain.abs().max()))
torch.set_num_threads(2)
params = {n: p.detach() for n, p in model.init(torch.Generator().manual_seed(0)).items()}
prompts = task.sample(1101, torch.Generator().manual_seed(1))
given = (params["P"], params["Q"], prompts.S, prompts.s, prompts.x, prompts.y, 4)
before = kernel.loss_and_grad(*given)[0]
child = os.fork()
if not child:
    signal.alarm(60)
    os._exit(0 if torch.equal(kernel.loss_and_grad(*given)[0], before) else 1)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.parametrize("name", ["g++", "clang++"])
def test_every_compiler_without_openmp(name, tmp_path):
    """The numbers of the plain path, the same bits with two threads, and a forked process that does
    not hang."""
    if not shutil.which(name):
        pytest.skip(f"no {name} on this machine")
    done = run(THREADS, tmp_path, CXX=name)
    *differences, child = map(float, numbers(done))
    assert child == 0
    assert max(differences) <= 2e-5  # float32, sums over 1101 prompts in another order
    libraries = [path.read_bytes() for path in (tmp_path / "lintf").glob("*.so")]
    assert len(libraries) == 2
    assert not any(word in data for data in libraries for word in (b"GOMP_", b"__kmpc_"))


@pytest.mark.parametrize(("threads", "answer"), [(1, "(__builtin_abort(), 0)"), (2, "11")])
def test_one_thread_starts_none_and_a_refused_one_is_not_missed(threads, answer, tmp_path):
    """The answer stands for that of pthread_create; 11 is EAGAIN."""
    header = tmp_path / "refused.h"
    header.write_text(
        f"#include <pthread.h>\n#define pthread_create(thread, ...) ((void)(thread), {answer})\n"
    )
    code = f"""
import torch
from lintf import LinearTransformer
from lintf import LinearRegression
torch.set_num_threads({threads})
model, task = LinearTransformer(2, 1), LinearRegression(N=4, d=2)
prompts = task.sample(3000, torch.Generator().manual_seed(0))
params = model.init(torch.Generator().manual_seed(1))
print(float(model.loss(params, prompts, "kernel") / model.loss(params, prompts, "plain") - 1))
"""
    done = run(code, tmp_path, CXX=f"c++ -O0 -include {header}")
    (difference,) = numbers(done)
    assert abs(float(difference)) < 1e-5


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 3", "exit code 3"),
        (
            '[ "$1" = --version ] && exit 0\necho "error: no such flag, $1" >&2\necho "a '
            'page" >&2\nexit 1',
            "flag, -O3",
        ),
        ("exit 0", "has written no library"),
        (
            'for last; do :; done\n[ "$last" = --version ] || echo garbage > "$last"',
            "too short|invalid",
        ),
    ],
)
def test_a_compiler_that_fails_costs_a_line(script, says, cache, monkeypatch):
    cache.parent.mkdir(exist_ok=True)
    monkeypatch.setenv("CXX", compiler(cache.parent, script))
    why_not = build.library.__wrapped__(2, "kernel")
    assert isinstance(why_not, str)
    assert re.search(says, why_not)
    assert "\n" not in why_not


def test_a_compiler_that_hangs_is_stopped(cache, monkeypatch):
    monkeypatch.setenv("CXX", compiler(cache.parent, "sleep 600"))
    monkeypatch.setattr(build, "ANSWER", 0.2)
    assert "took more than 0.2 s" in build.library.__wrapped__(2, "kernel")


def test_a_compiler_without_march_native(cache, monkeypatch):
    """Older ones of Apple refuse it on ARM."""
    refuse = 'case "$*" in *=native*) echo "error: native" >&2; exit 1;; esac\nexec c++ -O0 "$@"'
    monkeypatch.setenv("CXX", compiler(cache.parent, refuse))
    assert built().name.startswith("kernel-d2-")


# ---- the cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one, for a compiler that is quick."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "c++ -O0")
    return tmp_path / "lintf"


def built() -> Path:
    """The file of the library for d = 2, as a new process would find or build it."""
    library = build.library.__wrapped__(2, "kernel")
    assert not isinstance(library, str), library
    assert library.chunk_size() == 1024
    return Path(library._name)


DAMAGE = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "another file": lambda data: b"not a library",
    "a bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
}


def test_a_damaged_library_is_built_anew_and_that_is_said(cache):
    path = built()
    whole = path.read_bytes()
    for damage in DAMAGE.values():
        path.unlink()  # not written over: this process has the old one in use
        path.write_bytes(damage(whole))
        with pytest.warns(UserWarning, match=r"kernel-d2-.*\.so is damaged, and is built anew"):
            assert built() == path
        assert path.read_bytes() == whole
    before = path.stat().st_mtime_ns
    assert built() == path
    assert path.stat().st_mtime_ns == before


def test_half_a_library_does_not_end_the_process(tmp_path):
    """Loading it would: SIGBUS."""
    code = "import torch\nfrom lintf import kernel\nprint(kernel.unavailable(2, torch.float32))"
    assert run(code, tmp_path, CXX="c++ -O0").stdout == "None\n"
    (path,) = (tmp_path / "lintf").glob("*.so")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again = run(code, tmp_path, CXX="c++ -O0")
    assert (again.returncode, again.stdout) == (0, "None\n")
    assert f"{path} is damaged, and is built anew" in again.stderr


def test_other_flags_are_another_library(cache, monkeypatch):
    """What CXX says counts, in the name of what is built, too."""
    path = built()
    monkeypatch.setenv("CXX", "c++ -O0 -g")
    assert built() != path
    assert len(list(cache.glob("*.so"))) == 2


def compiler(folder: Path, text: str) -> str:
    path = folder / "slow-c++"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


PROBE = (
    "import torch\nfrom lintf import kernel\nbuild = "
    "kernel.build\n{}\nprint(kernel.unavailable(2, torch.float32))"
)
SLOW = '[ "$1" = --version ] && exit 0\necho $$ > pid\nsleep 600 & wait'


def alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int) -> bool:
    """Whether the process group of this number ends soon: its members are reaped by init."""
    for _ in range(1000):
        if not alive(pid):
            return True
        time.sleep(0.01)
    return False


def test_a_compiler_that_takes_too_long_is_said_and_stopped_with_its_children(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code = PROBE.format("build.PATIENCE, build.MOST = 0.1, 0.2")
    done = run(code, tmp_path / "cache", CXX=compiler(tmp_path, SLOW))
    said, answer = done.stdout.splitlines()
    assert said.endswith("builds the fast code (" + said.partition("(")[2])
    assert "once on this machine" in said
    assert "took more than 0.2 s for the kernel" in answer
    assert gone(int((tmp_path / "pid").read_text()))
    assert not list((tmp_path / "cache" / "lintf").iterdir())


def test_ctrl_c_stops_the_compiler(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    environment["CXX"] = compiler(tmp_path, SLOW)
    with subprocess.Popen(
        [sys.executable, "-c", PROBE.format("")], env=environment, stderr=subprocess.PIPE
    ) as process:
        while not ((tmp_path / "pid").is_file() and (tmp_path / "pid").read_text()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate()[1]
    assert gone(int((tmp_path / "pid").read_text()))
    assert not list((tmp_path / "cache" / "lintf").iterdir())


def test_what_a_killed_process_left_goes_after_an_hour(cache):
    old, young = cache / f"{build.ASIDE}old", cache / f"{build.ASIDE}young"
    for place in (old, young):
        place.mkdir(parents=True)
        (place / "built.so").write_bytes(b"half")
    os.utime(old, (0, 0))
    built()
    assert (old.exists(), young.exists()) == (False, True)


# ---- what compiled code is given


@pytest.mark.parametrize(
    "words", [np.zeros((2, 3, 5), np.uint32), np.zeros((2, 4, 5), np.int64), np.zeros(4, np.uint32)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_words_that_are_none_are_refused(words, dtype):
    with pytest.raises(
        ValueError, match=r"words must be uint32 \(\.\.\., an even number of rows, B\), got"
    ):
        randoms.normals(words, dtype, 3)


def test_words_may_lie_anywhere_in_memory(monkeypatch):
    bits = randoms.words([np.random.SFC64(0)], 6, 40)
    for view in (bits[..., ::2], bits[:, ::-1], bits.swapaxes(1, 2)[:, :, :5]):
        assert not view.flags.c_contiguous
        compiled = randoms.normals(view, torch.float32, 3)
        assert torch.equal(compiled, randoms.normals(view.copy(), torch.float32, 3))
        plain = randoms.normals(view, torch.float64, 3)
        torch.testing.assert_close(compiled.double(), plain, rtol=2e-5, atol=2e-6)


def gram_arguments(
    d: int = 3, N: int = 20, E: int = 2, noise_std: float = 0.0
) -> dict[str, object]:
    few, chi = [0] * d, np.stack([randoms.chi_coefficients(N - i) for i in range(d)])
    rows = d * (d - 1) // 2 + d + 2 * d + (d if noise_std else 0)
    words = randoms.words([np.random.SFC64(e) for e in range(E)], rows, 7)
    root = torch.eye(d, dtype=torch.float32).repeat(E, 1, 1)
    given = {
        "words": words,
        "d": d,
        "few": few,
        "chi": chi,
        "reach": randoms.REACH,
        "root": root,
        "root_w": root,
    }
    return given | {"noise_std": noise_std}


def test_the_statistics_are_refused_what_does_not_fit():
    """Each of these would read or write beyond its memory."""
    good = gram_arguments()
    assert [t.dtype for t in kernel.draw_gram(**good)] == [torch.float32] * 4
    few_rows = np.ascontiguousarray(good["words"][:, :-2])
    bad = [
        {"words": few_rows},
        {"noise_std": 0.5},
        {"few": [0, 0]},
        {"few": [0, 0, -1]},
        {"few": [0, 0, 40]},
    ]
    bad += [
        {"root": good["root"][:1]},
        {"root_w": torch.eye(4).repeat(2, 1, 1)},
        {"root": good["root"].to("meta")},
    ]
    bad += [{"chi": np.zeros((4, 17)), "few": [0] * 4}]
    for change in bad:
        with pytest.raises(ValueError, match="do not fit together"):
            kernel.draw_gram(**(good | change))


# ---- gradients with respect to the prompts


def test_gradients_with_respect_to_the_prompts():
    """The kernel has none: then the plain path, or a refusal, never silence."""
    generator = torch.Generator().manual_seed(0)
    prompts = LinearRegression(N=6, d=3).sample(9, generator, "tokens", torch.float64)
    P, Q = 0.3 * torch.randn(2, 3, 2, 3, 3, generator=generator, dtype=torch.float64)
    free = prompts.Z.clone().requires_grad_()
    statistics = type(prompts)(free, prompts.y).gram()
    (ours,) = torch.autograd.grad(gram.mse(P, Q, statistics), free, retain_graph=True)
    (theirs,) = torch.autograd.grad(gram.mse(P, Q, statistics, "plain"), free, retain_graph=True)
    assert torch.equal(ours, theirs)
    assert float(ours.abs().max()) > 0
    with pytest.raises(RuntimeError, match="it gives no gradient with respect to the prompts"):
        gram.mse(P, Q, statistics, "kernel")
    with torch.no_grad():
        assert torch.equal(gram.mse(P, Q, statistics), gram.mse(P, Q, statistics, "kernel"))


# Torch's own forward mode calls it.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("transform", ["grad", "vmap", "jvp", "dual"])
def test_the_kernel_refuses_what_is_inside_a_transform(transform):
    generator = torch.Generator().manual_seed(0)
    statistics = LinearRegression(N=6, d=3).sample(9, generator, dtype=torch.float64)
    P, Q = 0.3 * torch.randn(2, 3, 2, 3, 3, generator=generator, dtype=torch.float64)

    def call(backend: str) -> torch.Tensor:
        def loss(P: torch.Tensor) -> torch.Tensor:
            return gram.mse(P, Q, statistics, backend)

        if transform == "grad":
            return torch.func.grad(loss)(P)
        if transform == "vmap":
            return torch.func.vmap(loss)(torch.stack([P, -P]))
        if transform == "jvp":
            return torch.func.jvp(loss, (P,), (Q,))[1]
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(P, Q)
            return torch.autograd.forward_ad.unpack_dual(loss(dual)).tangent

    assert torch.equal(call("auto"), call("plain"))
    with pytest.raises(RuntimeError, match="a tensor is inside a transform"):
        call("kernel")
