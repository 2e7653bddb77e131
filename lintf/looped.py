"""Looped: a small decoder applied again and again to its own output (Yang et al., arXiv 2311.12424)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lintf.base import Model, Params
from lintf.batch import Prompts
from lintf.checks import check_int, flag, one_of, whole
from lintf.task import Task, fixed_prompts

CELLS = ("block", "lstm")
INJECT = ("add", "multiply")
TESTS = 256  # prompts on which `observe` measures
EPS = 1e-5  # LayerNorm's
INIT_STD = 0.02  # GPT-2's
OUTER = ("in", "positions", "last_norm", "out")  # parameters outside of the blocks
Pair = tuple[Tensor, Tensor]
Layer = dict[str, Pair | list[Pair]]  # weight and bias, and scale and shift of two norms
State = list[Pair]  # what later tokens need of earlier ones


@dataclass(frozen=True)
class Looped(Model):
    """Reads a prompt as 2 N + 1 tokens of dimension d, x_1, (y_1, 0..0), x_2, (y_2, 0..0), ..., x_{N+1}, and loops

        e = W_in token + b_in,   z_0 = 0,   z_t = f(m z_{t-1} + e)          for t = 1..loops (the paper's b)
        yhat_i after t loops = W_out z_t + b_out, at the token of x_i       for i = 1..N+1 ,

    so one prompt gives predictions from 0, 1, ..., N examples. The mask m is 1 at the last n_last_tokens tokens and 0
    before them; -1 passes all of z on, 0 nothing. f adds the learned positions, goes through n_layer GPT-2 blocks,

        h <- h + proj(attention(norm(h)))            causal softmax attention with n_head heads
        h <- h + down(gelu(up(norm(h))))             4 * width units

    and ends in a LayerNorm. The loss is the mean squared error over prompts, over all N + 1 predictions and over the
    last T loops; no gradient goes through the loops before these. loops = T = 1 is an ordinary decoder.

    inject: "multiply" takes f(z e) and z_0 = 1 instead, because from 0 the prompt would never come in. The first loop
    is f(e) in both cases, and where the mask is 0, z is replaced by z_0. cell: "lstm" has n_layer layers of an LSTM
    over the tokens in place of the blocks, within the same f. untied: every loop has blocks of its own. Only the last T
    loops would learn them, so T must be loops, and such a model cannot loop on beyond. positions: for how many tokens
    there are learned ones.

    Parameters start as in GPT-2: weights and positions from N(0, 0.02^2), those of proj and down divided by
    sqrt(2 n_layer), biases 0; W_in, W_out, the LSTM and their biases as in torch. Biases are the last columns. Leading
    axes of all parameters are ensemble members. gelu is the exact one, for which the paper's code has the tanh formula.
    That code also reads y_{N+1}, which no prediction can see. The mask and the LSTM come from a report that builds on
    that code; there the n last tokens are our n - 1. Raises ValueError for a field out of its range.
    """

    d: int = whole(5)
    n_layer: int = whole(1)
    width: int = whole(64)
    n_head: int = whole(4)
    loops: int = whole(20)
    T: int = whole(10)
    n_last_tokens: int = whole(-1, low=-1)
    positions: int = whole(101)
    inject: str = one_of("add", INJECT)
    cell: str = one_of("block", CELLS)
    untied: bool = flag(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("T", self.T, 1, self.loops)
        if self.untied and self.loops > self.T:
            raise ValueError(f"T must be loops = {self.loops} for an untied model, got {self.T}")
        if self.cell == "block" and self.width % self.n_head:
            raise ValueError(f"width must be a multiple of n_head = {self.n_head}, got {self.width}")

    @property
    def label(self) -> str:
        parts = "-untied" * self.untied + f"-n{self.n_last_tokens}" * (self.n_last_tokens >= 0)
        return f"looped-{self.cell}-w{self.width}-L{self.n_layer}-b{self.loops}{parts}"

    def idle(self) -> set[str]:
        return {"n_head"} if self.cell == "lstm" else set()

    @property
    def grows(self) -> tuple[str, ...]:
        """The fields that a curriculum may change: those that leave the parameters as they are."""
        return () if self.untied else ("loops",)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the parameters of one member. norms, last_norm: scales and shifts. input, state: for an LSTM's four gates,
        in torch's order."""
        L, D = self.n_layer * (self.loops if self.untied else 1), self.width
        outer = {"in": (D, self.d + 1), "positions": (self.positions, D), "last_norm": (2, D), "out": (1, D + 1)}
        if self.cell == "lstm":
            return outer | {"input": (L, 4 * D, D + 1), "state": (L, 4 * D, D + 1)}
        attention = {"qkv": (L, 3 * D, D + 1), "proj": (L, D, D + 1)}
        return outer | attention | {"up": (L, 4 * D, D + 1), "down": (L, D, 4 * D + 1), "norms": (L, 2, 2, D)}

    def check_fit(self, task: Task) -> None:
        """Raises ValueError for a task with more tokens than positions, or fewer than n_last_tokens."""
        super().check_fit(task)
        self._check_positions(2 * task.N + 1)
        self._check_mask(2 * task.N + 1)

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        params = {}
        for name, shape in self.shapes.items():
            if name.endswith(("norm", "norms")):
                params[name] = torch.tensor([[1.0], [0.0]], dtype=dtype, device="cpu").expand(shape).clone()
            elif name in ("in", "out", "input", "state"):
                reach = 1 / math.sqrt(self.d if name == "in" else self.width)
                params[name] = reach * (2 * torch.rand(shape, generator=generator, dtype=dtype, device="cpu") - 1)
            else:
                std = INIT_STD / math.sqrt(2 * self.n_layer) if name in ("proj", "down") else INIT_STD
                params[name] = std * torch.randn(shape, generator=generator, dtype=dtype, device="cpu")
                if name != "positions":
                    params[name][..., -1] = 0
        return params

    def predict(self, params: Params, prompts: Prompts, loops: int | None = None) -> Tensor:
        """(..., B, N+1): the predictions after so many loops, the model's own number for None; the last is the query's.
        Prompts have the leading axes of the parameters, or none."""
        return self.path(params, prompts, loops)[..., -1, :, :]

    def path(self, params: Params, prompts: Prompts, loops: int | None = None) -> Tensor:
        """(..., loops, B, N+1): the predictions after 1, 2, ..., loops loops, also more of them than in training."""
        loops = self._check_path(params, prompts, loops)
        return self._outputs(params, prompts, loops, loops)

    def states(self, params: Params, prompts: Prompts, loops: int | None = None) -> Tensor:
        """(loops, B, 2 N + 1, width): z_1, z_2, ... of all tokens, for parameters and prompts without leading axes."""
        loops = self._check_path(params, prompts, loops)
        if params["in"].dim() > 2 or prompts.Z.dim() > 3:
            raise ValueError("params and prompts must have no leading axes for the states")
        e, positions = self._embed(params, prompts.Z)
        n = e.shape[1]
        passed = (torch.arange(n, device=e.device) >= n - self.n_last_tokens).unsqueeze(1) | (self.n_last_tokens == -1)
        stages, found = self._stages(params), []
        for t in range(loops):
            h = e + positions
            if t > 0:
                fed = e + found[-1] if self.inject == "add" else e * found[-1]
                h = torch.where(passed, fed + positions, h)
            found.append(self._f(h, stages[t % len(stages)], params["last_norm"])[0])
        return torch.stack(found)

    def loss(self, params: Params, prompts: Prompts) -> Tensor:
        """Mean squared error over prompts, positions and the last T loops, one number per ensemble member. Of prompts
        with fewer than n_last_tokens tokens, with which a curriculum may begin, all of z is passed on."""
        self.check(params, prompts)
        out = self._outputs(params, prompts, self.loops, self.T)
        return (out - prompts.labels.unsqueeze(-3)).square().mean((-3, -2, -1))

    def observe(self, params: Params, task: Task) -> Params:
        """What a run records of the last loop, on 256 prompts of the task: the mean squared error over all positions
        (test_loss), and of the query's prediction from all N examples (test_query)."""
        with torch.no_grad():
            tests = fixed_prompts(task, 8, TESTS // 8, self.form, params["in"].dtype).to(params["in"].device)
            errors = (self.predict(params, tests) - tests.labels).square()
            return {"test_loss": errors.mean((-2, -1)), "test_query": errors[..., -1].mean(-1)}

    def _outputs(self, params: Params, prompts: Prompts, loops: int, scored: int) -> Tensor:
        """(..., scored, B, N+1): the predictions after each of the last loops, without gradient through the others."""
        lead, of_one = params["in"].shape[:-2], prompts.Z.shape[-3:]
        members = [p.reshape(-1, *self.shapes[name]).unbind() for name, p in params.items()]
        Z = prompts.Z.expand(*lead, *of_one).reshape(-1, *of_one)
        pairs = zip(zip(*members, strict=True), Z, strict=True)
        out = torch.stack([self._loop(dict(zip(params, member, strict=True)), z, loops, scored) for member, z in pairs])
        return out.view(*lead, *out.shape[1:])

    def _loop(self, p: Params, Z: Tensor, loops: int, scored: int) -> Tensor:
        """(scored, B, N+1), for one member and its Z (B, N+1, d+1). The tokens before the mask have the same input in
        every loop and see only each other, so they go through the same blocks only once."""
        (e, positions), n = self._embed(p, Z), 2 * Z.shape[1] - 1
        before = 0 if self.n_last_tokens == -1 else max(0, n - self.n_last_tokens)  # so many tokens, before the mask
        same, first = (e + positions).split((before, n - before), 1)  # inputs of f in the first loop
        e, positions = e[:, before:], positions[before:]
        reads = slice(before % 2, None, 2)  # the x among the tokens that the mask passes on
        stages, with_grad = self._stages(p), torch.is_grad_enabled()
        same_z, z, past, read = same[:, :0], first, None, []
        for t in range(loops):
            if before and t < len(stages):
                same_z, past = self._f(same, stages[t], p["last_norm"], rows=slice(0, None, 2))
            if before < n:
                h = first
                with torch.set_grad_enabled(with_grad and t >= loops - scored):
                    if t > 0:
                        h = first + z if self.inject == "add" else torch.addcmul(positions, e, z)
                    rows = reads if t == loops - 1 else slice(None)  # after the last loop nothing but these is needed
                    z, _ = self._f(h, stages[t % len(stages)], p["last_norm"], past, rows)
            if t >= loops - scored:
                read.append(torch.cat((same_z, z if t == loops - 1 else z[:, reads]), 1))
        return functional.linear(torch.stack(read), *_affine(p["out"]))[..., 0]

    def _embed(self, p: Params, Z: Tensor) -> Pair:
        """e (B, 2 N + 1, D) and the learned positions of its tokens."""
        n = 2 * Z.shape[1] - 1
        tokens = Z.new_zeros(len(Z), n, self.d)
        tokens[:, ::2], tokens[:, 1::2, 0] = Z[..., :-1], Z[:, :-1, -1]
        return functional.linear(tokens, *_affine(p["in"])), p["positions"][:n]

    def _stages(self, p: Params) -> list[list[Layer]]:
        """The layers of each loop, of one only where all have the same."""
        split = {name: [_affine(W) for W in p[name]] for name in p if name not in (*OUTER, "norms")}
        if "norms" in p:
            split["norms"] = [[pair.unbind() for pair in norms] for norms in p["norms"]]
        layers = [dict(zip(split, parts, strict=True)) for parts in zip(*split.values(), strict=True)]
        return [layers[i : i + self.n_layer] for i in range(0, len(layers), self.n_layer)]

    def _f(
        self, h: Tensor, layers: list[Layer], norm: Tensor, past: State | None = None, rows: slice = slice(None)
    ) -> tuple[Tensor, State]:
        """z at some rows of the tokens h (B, m, D), and the state after them. past: the state after the tokens before
        these."""
        z, state = (self._blocks if self.cell == "block" else self._lstm)(h, layers, past, rows)
        return _normal(z, norm.unbind()), state

    def _blocks(self, h: Tensor, layers: list[Layer], past: State | None, rows: slice) -> tuple[Tensor, State]:
        """The state is the keys and values of each layer, (B, n_head, tokens, D / n_head) each."""
        mask, state, m = None, [], h.shape[1]
        if past is not None:
            old = past[0][0].shape[-2]
            mask = torch.ones(m, old + m, dtype=torch.bool, device=h.device).tril(old)
        for i, layer in enumerate(layers):
            qkv = functional.linear(_normal(h, layer["norms"][0]), *layer["qkv"])
            q, k, v = qkv.unflatten(-1, (3, self.n_head, -1)).permute(2, 0, 3, 1, 4)
            if past is not None:
                k, v = (torch.cat(pair, -2) for pair in zip(past[i], (k, v), strict=True))
            state.append((k, v))
            a = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            a = a.transpose(1, 2).flatten(-2)  # (B, m, D)
            if i == len(layers) - 1:
                h, a = h[:, rows], a[:, rows]
            h = h + functional.linear(a, *layer["proj"])
            up = functional.gelu(functional.linear(_normal(h, layer["norms"][1]), *layer["up"]))
            h = h + functional.linear(up, *layer["down"])
        return h, state

    def _lstm(self, h: Tensor, layers: list[Layer], past: State | None, rows: slice) -> tuple[Tensor, State]:
        """The state is one pair: the hidden and the cell state of all layers, (n_layer, B, D) each."""
        weights = [t for layer in layers for pair in zip(layer["input"], layer["state"], strict=True) for t in pair]
        start = past[0] if past else (h.new_zeros(len(layers), len(h), self.width),) * 2
        z, *end = torch.lstm(h, start, weights, True, len(layers), 0.0, False, False, True)  # as nn.LSTM calls it
        return z[:, rows], [tuple(end)]

    def check(self, params: Params, prompts: Prompts) -> torch.Size:
        """Also the number of tokens."""
        lead = super().check(params, prompts)
        self._check_positions(2 * prompts.N + 1)
        return lead

    def _check_path(self, params: Params, prompts: Prompts, loops: int | None) -> int:
        """How many loops, once all fits together."""
        self.check(params, prompts)
        self._check_mask(2 * prompts.N + 1)
        return check_int("loops", self.loops if loops is None else loops, 1, self.loops if self.untied else None)

    def _check_positions(self, tokens: int) -> None:
        if tokens > self.positions:
            raise ValueError(
                f"positions must be at least the number of tokens, 2 N + 1 = {tokens}, got {self.positions}"
            )

    def _check_mask(self, tokens: int) -> None:
        if self.n_last_tokens > tokens:
            allowed = f"from 0 to the number of tokens, 2 N + 1 = {tokens}, or -1 for all"
            raise ValueError(f"n_last_tokens must be {allowed}, got {self.n_last_tokens}")


def _affine(W: Tensor) -> Pair:
    """Weight and bias, for `linear`, which adds a bias that is not contiguous in a pass of its own."""
    return W[..., :-1], W[..., -1].contiguous()


def _normal(h: Tensor, scale_shift: Pair) -> Tensor:
    """LayerNorm over the last axis of h (..., D), with scale and shift (D,)."""
    return functional.layer_norm(h, h.shape[-1:], *scale_shift, EPS)
