"""A training step of the encoders and loops of parts III and V, beside their floor; LSA also beside
the plain way.

    OMP_NUM_THREADS=1 python benchmarks/models.py          (or: make bench)

A step is loss and gradient at the pages' scale, d = 5, width 64, 4 heads: encoders of 4 layers with
256 prompts of 25 examples, loops with 64 prompts of 20 examples, 12 loops of which 6 are trained;
float32. Times are medians of what one thread computes, so that other work on the machine matters
little. The floor is what the step's matrix products would take at the speed of one product of the
encoder's shape. The plain way is LSA as its paper describes it, in torch.nn's modules: tokens of 2
d + 1 entries, d of them 0, all scores of all tokens, all states up to the last layer. At the end
the bars, and what falls short of them: then the exit code is 1.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lintf import kernel
from lintf.experiments.newton import VARIANTS
from lintf.models.base import Model
from lintf.models.encoder import Encoder
from lintf.models.looped import Looped
from lintf.tasks.batches import Batch
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression

D, WIDTH, HEADS, LAYERS = 5, 64, 4, 4
BARS = {"LSA": 4.0, "LSA, query masked": 3.5}  # times the plain way


class Attention(nn.Module):
    """One layer of linear attention with the residual, as described for LSA."""

    def __init__(self, masked: bool, clip: float | None) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.norm = nn.Identity() if clip else nn.LayerNorm(WIDTH)
        self.masked, self.clip = masked, clip

    def forward(self, h: Tensor) -> Tensor:
        B, n, _ = h.shape
        q, k, v = (
            t.view(B, n, HEADS, -1).transpose(1, 2) for t in self.qkv(self.norm(h)).chunk(3, -1)
        )
        scores = q @ k.mT / math.sqrt(WIDTH // HEADS)
        if self.masked:
            seen = torch.ones(n)
            seen[-1] = 0
            scores = scores * seen
        h = h + self.proj((scores @ v).transpose(1, 2).reshape(B, n, WIDTH))
        return h.clamp(-self.clip, self.clip) if self.clip else h


class Plain(nn.Module):
    """LSA, or LSA + LayerNorm without a clip, from the prompts' tokens to the last token's
    answer."""

    def __init__(self, masked: bool = False, clip: float | None = None) -> None:
        super().__init__()
        self.read_in = nn.Linear(2 * D + 1, WIDTH)
        self.layers = nn.Sequential(*(Attention(masked, clip) for _ in range(LAYERS)))
        self.norm = nn.Identity() if clip else nn.LayerNorm(WIDTH)
        self.read_out = nn.Linear(WIDTH, 1)

    def forward(self, Z: Tensor) -> Tensor:
        tokens = torch.cat((torch.zeros(*Z.shape[:-1], D), Z), -1)
        return self.read_out(self.norm(self.layers(self.read_in(tokens))))[:, -1, 0]


def median_ms(work: Callable[[], object], seconds: float = 2.0) -> float:
    """Median of this thread's time in one call, after a warm-up of three."""
    for _ in range(3):
        work()
    times = []
    while len(times) < 7 or sum(times) < seconds:
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return 1e3 * statistics.median(times)


def step(model: Model, batch: Batch) -> tuple[float, float]:
    """Milliseconds, and the GFLOP of its matrix products."""
    params = {
        name: p.requires_grad_() for name, p in model.init(torch.Generator().manual_seed(0)).items()
    }

    def work() -> None:
        torch.autograd.grad(model.loss(params, batch), list(params.values()), allow_unused=True)

    with FlopCounterMode(display=False) as counter:
        work()
    return median_ms(work), counter.get_total_flops() / 1e9


def plain_step(plain: Plain, Z: Tensor, y: Tensor) -> float:
    def work() -> None:
        torch.autograd.grad((plain(Z) - y).square().mean(), list(plain.parameters()))

    return median_ms(work)


def main() -> int:
    """Returns 1 where something falls short of its bar."""
    kernel.keep_freed_memory()  # as training does
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    prompts = ConditionedRegression(N=25, d=D).sample(256, g)
    encoder, loop = (
        {"d": D, "n_layer": LAYERS, "width": WIDTH},
        {"d": D, "width": WIDTH, "loops": 12, "supervised_loops": 6},
    )
    cases = {name: (Encoder(**encoder, **options), prompts) for name, options in VARIANTS.items()}
    full = Encoder(**encoder, attention="softmax", norm=True, mlp=True, readout="w", positions=26)
    cases["full transformer"] = full, LogisticRegression(N=25, d=D).sample(256, g)
    sequence = LinearRegression(N=20, d=D).sample(64, g, "tokens")
    cases["loop"] = Looped(**loop), sequence
    cases["loop, last 10 tokens"] = Looped(**loop, n_last_tokens=10), sequence
    plains = {
        "LSA": Plain(clip=10.0),
        "LSA, query masked": Plain(masked=True, clip=10.0),
        "LSA + LayerNorm": Plain(),
    }
    a, b = torch.randn(256 * 26, WIDTH), torch.randn(WIDTH, 3 * WIDTH)
    rate = 2 * a.numel() * b.shape[1] / 1e6 / median_ms(lambda: a @ b, 0.5)  # GFLOP/s
    print(
        f"torch {torch.__version__}, 1 thread; one product of {len(a)} x {WIDTH} x "
        f"{b.shape[1]}: {rate:.0f} GFLOP/s\n"
    )
    print(
        f"{'loss and gradient':24}{'ms':>8}{'floor, ms':>11}{'ratio':>7}"
        f"{'plain, ms':>11}{'times faster':>14}"
    )
    bars = []
    for name, (model, batch) in cases.items():
        ms, work = step(model, batch)
        floor = 1e3 * work / rate
        line = f"{name:24}{ms:8.1f}{floor:11.1f}{ms / floor:7.1f}"
        if name in plains:
            plain = plain_step(plains[name], prompts.Z, prompts.y)
            line += f"{plain:11.1f}{plain / ms:14.1f}"
            if name in BARS:
                bars.append((name, plain / ms, BARS[name]))
        print(line, flush=True)
    print(f"\n{'bars, times the plain way':50}{'measured':>10}{'at least':>10}")
    for name, measured, bar in bars:
        print(f"{name:50}{measured:10.1f}{bar:10g}{'  falls short' if measured < bar else ''}")
    return int(any(measured < bar for _, measured, bar in bars))


if __name__ == "__main__":
    sys.exit(main())
