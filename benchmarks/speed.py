"""Speed and memory of a training step, beside a plain token-space implementation, all in one run.

    python benchmarks/speed.py          (or: make bench)

A step is loss and gradient (forward + backward) of L = 3 layers, one head, d = 5, N = 20 examples, B = 20 000 prompts,
float32, on all cores. Times are medians. The last line is `speedup: X`, token space over the fast path. In between
the same for in-context recall: look-ups beside one-hot tokens, 512 sentences of 256 tokens.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from lintf import gram, kernel
from lintf.model import LinearTransformer, Params
from lintf.prompts import Gram, LinearRegression, Prompts
from lintf.recall import RecallTransformer
from lintf.sentences import Recall, Sentences

L, N, D, B = 3, 20, 5, 20_000


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


def step(model: LinearTransformer, params: Params, prompts: Prompts | Gram, backend: str = "auto") -> None:
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
        count += heads * d**2 + d + 2 * d + heads * d**2 * (1 if first else 2)  # c and out, and their adjoints
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


def one_hot(weights: Sequence[torch.Tensor], sentences: Sentences, width: int = 128) -> torch.Tensor:
    """The loss of in-context recall with linear attention as the paper defines it: W, V, F are width x width."""
    W, V, F = weights
    n, z = Recall().vocab, sentences.z
    x = functional.one_hot(z, width).to(W)
    x[:, 1:] += functional.one_hot(z[:, :-1] + n, width).to(W)
    end = x[:, -1]
    m = ((end @ W).unsqueeze(1) @ x.mT @ x).squeeze(1)
    return functional.cross_entropy((m @ V.T + (end + m) @ F.T)[:, :n], sentences.next)


def recall() -> None:
    """Loss and gradient by look-ups and by one-hot tokens, and the floor of the look-ups: two gathers and two scatters
    in each direction, and the products with V + F."""
    model, sentences = RecallTransformer("origin"), Recall().sample(512, torch.Generator().manual_seed(0))
    params = {name: torch.randn(shape).requires_grad_() for name, shape in model.shapes.items()}
    square = [torch.randn(128, 128).requires_grad_() for _ in range(3)]
    dense = median_ms(lambda: torch.autograd.grad(one_hot(square, sentences), square), 4)
    fast = median_ms(lambda: torch.autograd.grad(model.loss(params, sentences), list(params.values())))
    u, a = torch.randn(512, model.d), torch.randn(512, 256)
    gather = median_ms(lambda: u.gather(1, sentences.z))
    scatter = median_ms(lambda: torch.zeros_like(u).scatter_add_(1, sentences.z, a))
    product = median_ms(lambda: u @ params["V"].detach().T)
    floor = 4 * gather + 4 * scatter + 3 * product
    print(f"\n{'in-context recall, one step':34}{'ms':>8}{'times faster':>14}")
    print(f"{'one-hot tokens':34}{dense:8.2f}{1:14.1f}")
    print(f"{'look-ups':34}{fast:8.2f}{dense / fast:14.1f}")
    print(f"floor (4 gathers, 4 scatters, 3 products): {floor:.2f} ms; ratio to the floor: {fast / floor:.1f}")


def main() -> None:
    kernel.keep_freed_memory()  # as training does; token space gains most
    if len(sys.argv) > 1:  # in a process of its own, for its peak memory
        print(json.dumps(draw_and_step(int(sys.argv[1]))))
        return
    model, task = LinearTransformer(d=D, n_layer=L, init_std=0.1), LinearRegression(N=N, d=D)
    generator = torch.Generator().manual_seed(0)
    params = {name: p.requires_grad_() for name, p in model.init(generator).items()}
    tokens = task.sample(B, generator, form="tokens")
    statistics_ = tokens.gram()
    why_not = kernel.unavailable(D, torch.float32)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; compiled kernel: {why_not or 'in use'}")
    print(f"L = {L}, N = {N}, d = {D}, B = {B}, float32; medians\n")

    a = torch.randn(3000, 3000)
    peak = 2 * 3000**3 / median_ms(lambda: a @ a) / 1e6  # GFLOP/s
    times = {"token space": median_ms(lambda: step(model, params, tokens), 4)}
    times["statistics, plain PyTorch"] = median_ms(lambda: step(model, params, statistics_, "plain"))
    if not why_not:
        times["statistics, compiled kernel"] = median_ms(lambda: step(model, params, statistics_, "kernel"))
    print(f"{'loss and gradient':34}{'ms':>8}{'times faster':>14}")
    for name, ms in times.items():
        print(f"{name:34}{ms:8.2f}{times['token space'] / ms:14.1f}")
    if not why_not:
        bare = median_ms(
            lambda: kernel.loss_and_grad(
                params["P"], params["Q"], statistics_.S, statistics_.s, statistics_.x, statistics_.y, N
            )
        )
        flop, megabytes = 2 * multiply_adds(L, 1, D) * B, 4 * B * (D * D + 2 * D + 1) / 1e6
        print(f"\nthe kernel without autograd: {bare:.2f} ms, {flop / 1e6:.1f} MFLOP, {flop / bare / 1e6:.0f} GFLOP/s")
        floor = flop / peak / 1e6
        print(f"measured peak (3000 x 3000 matrix product): {peak:.0f} GFLOP/s; floor {floor:.2f} ms")
        print(f"ratio to the floor: {bare / floor:.1f}; it reads {megabytes:.1f} MB, {megabytes / bare:.0f} GB/s")

    print(f"\n{'drawing the prompts':34}{'ms':>8}")
    print(f"{'tokens':34}{median_ms(lambda: task.sample(B, generator, form='tokens')):8.2f}")
    print(f"{'statistics':34}{median_ms(lambda: task.sample(B, generator)):8.2f}")

    print(f"\n{'drawing and a step':34}{'ms':>8}{'peak memory, MB':>18}")
    rows = {}
    for n in (20, 20_000):
        done = subprocess.run([sys.executable, __file__, str(n)], capture_output=True, text=True, check=True)
        rows[n] = json.loads(done.stdout)
        print(f"{f'N = {n}':34}{rows[n]['ms']:8.2f}{rows[n]['MB']:18.0f}")
    ratio = {key: rows[20_000][key] / rows[20][key] for key in ("ms", "MB")}
    print(f"N = 20000 over N = 20: time {ratio['ms']:.2f}, memory {ratio['MB']:.2f}")
    recall()
    print(f"\nspeedup: {times['token space'] / min(times.values()):.1f}")


if __name__ == "__main__":
    main()
