"""Speed and memory of a training step, beside a plain token-space implementation, all in one run.

    python benchmarks/speed.py          (or: make bench)

A step is loss and gradient (forward + backward) of L = 3 layers, one head, d = 5, N = 20 examples,
B = 20 000 prompts, float32, on all cores. Times are medians. Then the same with the kernel compiled
for processors with narrower vectors, each beside token space in its own run; second derivatives;
and in-context recall, look-ups beside one-hot tokens, 512 sentences of 256 tokens. At the end the
bars, and what falls short of them: then the exit code is 1.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from lintf import kernel
from lintf.analysis.landscape import hessian_diagonal
from lintf.models import gram
from lintf.models.base import Params
from lintf.models.linear import LinearTransformer
from lintf.models.recall import RecallTransformer
from lintf.tasks.batches import Gram, Prompts, Sentences
from lintf.tasks.linear import LinearRegression
from lintf.tasks.recall import Recall

L, N, D, B = 3, 20, 5, 20_000
BARS = {64: 150, 32: 120, 16: 40}  # times token space, by the bytes of a vector


def median_ms(work: Callable[[], object], seconds: float = 2.0) -> float:
    """Median time of one call, after a warm-up of three."""
    for _ in range(3):
        work()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 7 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def step(
    model: LinearTransformer, params: Params, prompts: Prompts | Gram, backend: str = "auto"
) -> None:
    for p in params.values():
        p.grad = None
    if isinstance(prompts, Prompts):
        model.loss(params, prompts).backward()
    else:
        gram.mse(params["P"], params["Q"], prompts, backend).backward()


def multiply_adds(n_layer: int, heads: int, d: int) -> int:
    """Multiply-adds of kernel.cpp per prompt, counted line by line."""
    count = 0
    for layer in range(n_layer):
        first, last, last_but_one = layer == 0, layer == n_layer - 1, layer == n_layer - 2
        # C and out, and their adjoints.
        count += heads * d**2 + d + 2 * d + heads * d**2 * (1 if first else 2)
        if not last:
            count += d**2 + d**2 + (0 if first else d**2)  # u and its adjoint
        if last_but_one:
            count += heads * (6 + 12) * d**2
        elif not last:
            count += heads * 2 * d**3 + 2 * d**3 + 2 * d**2  # W, A, A S, S', s', x'
            count += d**3 + 4 * d**2 + heads * 3 * d**3 + (0 if first else 2 * d**3 + heads * d**3)
    return count


def draw_and_step(n: int) -> dict[str, float]:
    """Time and peak memory of fresh prompts and a step on them, with n examples a prompt."""
    model, task = LinearTransformer(d=D, n_layer=L, init_std=0.1), LinearRegression(N=n, d=D)
    generator = torch.Generator().manual_seed(0)
    params = {name: p.requires_grad_() for name, p in model.init(generator).items()}
    ms = median_ms(lambda: step(model, params, task.sample(B, generator)))
    return {"ms": ms, "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def one_hot(
    weights: Sequence[torch.Tensor], sentences: Sentences, width: int = 128
) -> torch.Tensor:
    """The loss of in-context recall with linear attention as the paper defines it: W, V, F are
    width x width."""
    W, V, F = weights
    n, z = Recall().vocab, sentences.z
    x = functional.one_hot(z, width).to(W)
    x[:, 1:] += functional.one_hot(z[:, :-1] + n, width).to(W)
    end = x[:, -1]
    m = ((end @ W).unsqueeze(1) @ x.mT @ x).squeeze(1)
    return functional.cross_entropy((m @ V.T + (end + m) @ F.T)[:, :n], sentences.next)


def recall() -> float:
    """Loss and gradient by look-ups and by one-hot tokens, and the floor of the look-ups: two
    gathers and two scatters in each direction, and the products with V + F. Returns how many times
    faster the look-ups are."""
    model, sentences = (
        RecallTransformer("origin"),
        Recall().sample(512, torch.Generator().manual_seed(0)),
    )
    params = {name: torch.randn(shape).requires_grad_() for name, shape in model.shapes.items()}
    square = [torch.randn(128, 128).requires_grad_() for _ in range(3)]
    dense = median_ms(lambda: torch.autograd.grad(one_hot(square, sentences), square), 4)
    fast = median_ms(
        lambda: torch.autograd.grad(model.loss(params, sentences), list(params.values()))
    )
    u, a = torch.randn(512, model.d), torch.randn(512, 256)
    gather = median_ms(lambda: u.gather(1, sentences.z))
    scatter = median_ms(lambda: torch.zeros_like(u).scatter_add_(1, sentences.z, a))
    product = median_ms(lambda: u @ params["V"].detach().T)
    floor = 4 * gather + 4 * scatter + 3 * product
    print(f"\n{'in-context recall, one step':34}{'ms':>8}{'times faster':>14}")
    print(f"{'one-hot tokens':34}{dense:8.2f}{1:14.1f}")
    print(f"{'look-ups':34}{fast:8.2f}{dense / fast:14.1f}")
    print(
        f"floor (4 gathers, 4 scatters, 3 products): {floor:.2f} ms; ratio to the floor: "
        f"{fast / floor:.1f}"
    )
    return dense / fast


def narrower(d: int) -> dict[str, str]:
    """The processors for which the kernel is compiled, too: name -> compiler flag."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return {}
    width = kernel.vector_bytes(d)
    levels = {"AVX2": (32, "-march=x86-64-v3"), "SSE2": (16, "-march=x86-64-v2")}
    return {name: flag for name, (bytes_, flag) in levels.items() if bytes_ < width}


def kernel_and_tokens() -> dict[str, float]:
    """Milliseconds of a step in token space and with the compiled kernel, and the width of its
    vectors."""
    model, task = LinearTransformer(d=D, n_layer=L, init_std=0.1), LinearRegression(N=N, d=D)
    generator = torch.Generator().manual_seed(0)
    params = {name: p.requires_grad_() for name, p in model.init(generator).items()}
    tokens = task.sample(B, generator, representation="tokens")
    gram = tokens.gram()
    token = median_ms(lambda: step(model, params, tokens), 4)
    return {
        "bytes": kernel.vector_bytes(D),
        "tokens": token,
        "kernel": median_ms(lambda: step(model, params, gram, "kernel")),
    }


def child(*arguments: str, **environment: str) -> dict[str, float]:
    """What this file prints in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def second_derivatives() -> float:
    """Seconds for the Hessian diagonals of 480 models of 150 parameters on 1000 prompts, from some
    of them."""
    model, task, some = (
        LinearTransformer(d=D, n_layer=L, init_std=0.1),
        LinearRegression(N=N, d=D),
        24,
    )
    generator = torch.Generator().manual_seed(0)
    drawn = [model.init(generator) for _ in range(some)]
    params = {name: torch.stack([p[name] for p in drawn]) for name in drawn[0]}
    prompts = task.sample(1000, generator)
    return (
        480 / some * median_ms(lambda: hessian_diagonal(model, params, prompts, "kernel"), 1) / 1e3
    )


def main() -> int:
    """Returns 1 where something falls short of its bar."""
    kernel.keep_freed_memory()  # as training does; token space gains most
    if sys.argv[1:] == ["kernel"]:
        print(json.dumps(kernel_and_tokens()))
        return 0
    if len(sys.argv) > 1:  # in a process of its own, for its peak memory
        print(json.dumps(draw_and_step(int(sys.argv[1]))))
        return 0
    model, task = LinearTransformer(d=D, n_layer=L, init_std=0.1), LinearRegression(N=N, d=D)
    generator = torch.Generator().manual_seed(0)
    params = {name: p.requires_grad_() for name, p in model.init(generator).items()}
    tokens = task.sample(B, generator, representation="tokens")
    gram_ = tokens.gram()
    why_not = kernel.unavailable(D, torch.float32)
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; compiled kernel: "
        f"{why_not or 'in use'}"
    )
    print(f"L = {L}, N = {N}, d = {D}, B = {B}, float32; medians\n")
    bars: list[tuple[str, float, float]] = []  # what, measured, at least

    a = torch.randn(3000, 3000)
    peak = 2 * 3000**3 / median_ms(lambda: a @ a) / 1e6  # GFLOP/s
    times = {"token space": median_ms(lambda: step(model, params, tokens), 4)}
    times["statistics, plain PyTorch"] = median_ms(lambda: step(model, params, gram_, "plain"))
    bars.append(
        (
            "plain PyTorch, times token space",
            times["token space"] / times["statistics, plain PyTorch"],
            10,
        )
    )
    if not why_not:
        times["statistics, compiled kernel"] = median_ms(
            lambda: step(model, params, gram_, "kernel")
        )
    print(f"{'loss and gradient':34}{'ms':>8}{'times faster':>14}")
    for name, ms in times.items():
        print(f"{name:34}{ms:8.2f}{times['token space'] / ms:14.1f}")
    if not why_not:
        given = (params["P"], params["Q"], gram_.S, gram_.s, gram_.x, gram_.y, N)
        bare = median_ms(lambda: kernel.loss_and_grad(*given))
        flop, megabytes = 2 * multiply_adds(L, 1, D) * B, 4 * B * (D * D + 2 * D + 1) / 1e6
        print(
            f"\nthe kernel without autograd: {bare:.2f} ms, {flop / 1e6:.1f} MFLOP, "
            f"{flop / bare / 1e6:.0f} GFLOP/s"
        )
        floor = flop / peak / 1e6
        print(
            f"measured peak (3000 x 3000 matrix product): {peak:.0f} GFLOP/s; floor {floor:.2f} ms"
        )
        print(
            f"ratio to the floor: {bare / floor:.1f}; it reads {megabytes:.1f} MB, "
            f"{megabytes / bare:.0f} GB/s"
        )

        print(f"\n{'vectors':34}{'ms':>8}{'times token space':>20}")
        own = {"bytes": kernel.vector_bytes(D), "tokens": times["token space"]}
        rows = {"this processor's": own | {"kernel": times["statistics, compiled kernel"]}}
        compiler = os.environ.get("CXX", "c++")
        rows |= {
            name: child("kernel", CXX=f"{compiler} {flag}") for name, flag in narrower(D).items()
        }
        for name, row in rows.items():
            faster = row["tokens"] / row["kernel"]
            width = int(row["bytes"])
            print(f"{f'{name}, {width} bytes':34}{row['kernel']:8.2f}{faster:20.1f}")
            bars.append(
                (f"kernel with vectors of {width} bytes, times token space", faster, BARS[width])
            )
        seconds = second_derivatives()
        print(f"\nHessian diagonals of 480 models (150 parameters, 1000 prompts): {seconds:.1f} s")
        bars.append(("Hessian diagonals of 480 models, a second", 480 / seconds, 48))
    print(f"\n{'drawing the prompts':34}{'ms':>8}")
    print(
        f"{'tokens':34}{median_ms(lambda: task.sample(B, generator, representation='tokens')):8.2f}"
    )
    print(f"{'statistics':34}{median_ms(lambda: task.sample(B, generator)):8.2f}")

    print(f"\n{'drawing and a step':34}{'ms':>8}{'peak memory, MB':>18}")
    rows = {}
    for n in (20, 20_000):
        rows[n] = child(str(n))
        print(f"{f'N = {n}':34}{rows[n]['ms']:8.2f}{rows[n]['MB']:18.0f}")
    ratio = {key: rows[20_000][key] / rows[20][key] for key in ("ms", "MB")}
    print(f"N = 20000 over N = 20: time {ratio['ms']:.2f}, memory {ratio['MB']:.2f}")
    bars.append(("look-ups, times one-hot tokens", recall(), 20))

    print(f"\n{'bars':50}{'measured':>10}{'at least':>10}")
    for name, measured, bar in bars:
        print(f"{name:50}{measured:10.1f}{bar:10g}{'  falls short' if measured < bar else ''}")
    return int(any(measured < bar for _, measured, bar in bars))


if __name__ == "__main__":
    sys.exit(main())
