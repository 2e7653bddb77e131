"""Looped: a small decoder applied again and again to its own output (Yang et al., arXiv
2311.12424)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lintf.checks import check_int, flag, one_of, whole
from lintf.models.base import Model, Params
from lintf.models.layers import Pair, affine, each_member, normal
from lintf.models.looped_cells import Cache, Layer, blocks, lstm
from lintf.tasks.base import Task, fixed_prompts
from lintf.tasks.batches import Prompts

CELLS = ("block", "lstm")
INJECT = ("add", "multiply")
TESTS = 256  # prompts on which `metrics` measures
INIT_STD = 0.02  # GPT-2's
OUTER = ("in", "positions", "last_norm", "out")  # parameters outside of the blocks
Known = list[Cache | None] | None  # of each loop


@dataclass(frozen=True)
class Looped(Model):
    """Reads a prompt as 2 N + 1 tokens of dimension d, x_1, (y_1, 0..0), x_2, (y_2, 0..0), ...,
    x_{N+1}, and loops

        e = W_in token + b_in,   z_0 = 0,   z_t = f(m z_{t-1} + e)    for t = 1..loops
        yhat_i after t loops = W_out z_t + b_out, at the token of x_i       for i = 1..N+1 ,

    so one prompt gives predictions from 0, 1, ..., N examples. The mask m is 1 at the last
    n_last_tokens tokens and 0 before them; -1 passes all of z on, 0 nothing. f adds the learned
    positions, goes through n_layer GPT-2 blocks,

        h <- h + proj(attention(norm(h)))            causal softmax attention with n_head heads
        h <- h + down(gelu(up(norm(h))))             4 * width units

    and ends in a LayerNorm. The loss is the mean squared error over prompts, over all N + 1
    predictions and over the last supervised_loops (the paper's T); no gradient goes through the
    loops before these. One loop is an ordinary decoder.

    inject: "multiply" takes f(z e) and z_0 = 1 instead, because from 0 the prompt would never come
    in. The first loop is f(e) in both cases, and where the mask is 0, z is replaced by z_0. cell:
    "lstm" has n_layer layers of an LSTM over the tokens in place of the blocks, within the same f.
    untied: every loop has blocks of its own. Only the supervised loops would learn them, so all
    must be, and such a model cannot loop on beyond. positions: for how many tokens there are
    learned ones. bare: f has neither positions nor the last LayerNorm, as the report's LSTM.

    Parameters start as in GPT-2: weights and positions from N(0, 0.02^2), those of proj and down
    divided by sqrt(2 n_layer), biases 0; W_in, W_out, the LSTM and their biases as in torch. Biases
    are the last columns. Leading axes of all parameters are ensemble members. gelu is the exact
    one, for which the paper's code has the tanh formula. That code also reads y_{N+1}, which no
    prediction can see. The mask and the LSTM come from a report that builds on that code; there the
    n last tokens are our n - 1. Raises ValueError for a field out of its range.
    """

    d: int = whole(5)
    n_layer: int = whole(1)
    width: int = whole(64)
    n_head: int = whole(4)
    loops: int = whole(20)
    supervised_loops: int = whole(10)
    n_last_tokens: int = whole(-1, low=-1)
    positions: int = whole(101)
    inject: str = one_of("add", INJECT)
    cell: str = one_of("block", CELLS)
    untied: bool = flag(False)
    bare: bool = flag(False, later=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("supervised_loops", self.supervised_loops, 1, self.loops)
        if self.untied and self.loops > self.supervised_loops:
            raise ValueError(
                f"supervised_loops must be loops = {self.loops} for an untied model, got "
                f"{self.supervised_loops}"
            )
        if self.cell == "block" and self.width % self.n_head:
            raise ValueError(
                f"width must be a multiple of n_head = {self.n_head}, got {self.width}"
            )

    @property
    def label(self) -> str:
        """Stands in the names of files; what it leaves out is in the configuration's hash."""
        parts = "-bare" * self.bare + "-untied" * self.untied
        parts += f"-n{self.n_last_tokens}" * (self.n_last_tokens >= 0)
        return f"looped-{self.cell}-w{self.width}-L{self.n_layer}-b{self.loops}{parts}"

    def idle(self) -> set[str]:
        """Names n_head where there is no attention, and positions where there are none."""
        unused = {"n_head": self.cell == "lstm", "positions": self.bare}
        return {name for name, idle in unused.items() if idle}

    @property
    def curriculum_fields(self) -> tuple[str, ...]:
        """The fields that a curriculum may change: those that leave the parameters as they are."""
        return () if self.untied else ("loops",)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the parameters of one member, by name. norms, last_norm: scales and shifts.
        input, state: for an LSTM's four gates, in torch's order."""
        L, D = self.n_layer * (self.loops if self.untied else 1), self.width
        outer = {
            "in": (D, self.d + 1),
            "positions": (self.positions, D),
            "last_norm": (2, D),
            "out": (1, D + 1),
        }
        if self.bare:
            del outer["positions"], outer["last_norm"]
        if self.cell == "lstm":
            return outer | {"input": (L, 4 * D, D + 1), "state": (L, 4 * D, D + 1)}
        attention = {"qkv": (L, 3 * D, D + 1), "proj": (L, D, D + 1)}
        return (
            outer
            | attention
            | {"up": (L, 4 * D, D + 1), "down": (L, D, 4 * D + 1), "norms": (L, 2, 2, D)}
        )

    def check_fit(self, task: Task) -> None:
        """Raises ValueError for a task with more tokens than positions, or fewer than
        n_last_tokens."""
        super().check_fit(task)
        self._check_positions(2 * task.N + 1)
        self._check_mask(2 * task.N + 1)

    def check_differentiable(self) -> None:
        """Raises ValueError for loops that no gradient goes through."""
        if self.loops > self.supervised_loops:
            said = f"supervised_loops must be loops = {self.loops} for second derivatives"
            raise ValueError(f"{said}, got {self.supervised_loops}: the gradient stops there")

    def init(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Params:
        """Draws the parameters of one member as the class says, on the CPU."""
        params = {}
        for name, shape in self.shapes.items():
            if name.endswith(("norm", "norms")):
                params[name] = (
                    torch.tensor([[1.0], [0.0]], dtype=dtype, device="cpu").expand(shape).clone()
                )
            elif name in ("in", "out", "input", "state"):
                reach = 1 / math.sqrt(self.d if name == "in" else self.width)
                params[name] = reach * (
                    2 * torch.rand(shape, generator=generator, dtype=dtype, device="cpu") - 1
                )
            else:
                std = (
                    INIT_STD / math.sqrt(2 * self.n_layer) if name in ("proj", "down") else INIT_STD
                )
                params[name] = std * torch.randn(
                    shape, generator=generator, dtype=dtype, device="cpu"
                )
                if name != "positions":
                    params[name][..., -1] = 0
        return params

    def predict(self, params: Params, prompts: Prompts, loops: int | None = None) -> Tensor:
        """Returns the predictions after so many loops, the model's own number for None: (..., B,
        N+1), the last is the query's. Prompts have the leading axes of the parameters, or none."""
        return self.trajectory(params, prompts, loops)[..., -1, :, :]

    def trajectory(self, params: Params, prompts: Prompts, loops: int | None = None) -> Tensor:
        """Returns the predictions after 1, 2, ..., loops loops: (..., loops, B, N+1), also more of
        them than in training. None is the model's own number."""
        loops = self._check_loops(params, prompts, loops)
        return self._outputs(params, prompts, loops, loops)

    def changed(self, params: Params, prompts: Prompts, labels: Tensor) -> Tensor:
        """Returns the query's prediction with labels[:, i] in place of the label of example i
        alone, for labels (B, N): (B, N+1), last with none replaced. Parameters and prompts have no
        leading axes. What comes before a label does not see it, and goes through the loops only
        once."""
        self._check_loops(params, prompts, None)
        Z, known, found = prompts.Z, [None] * self.loops, []
        given = self._loop(params, Z, self.loops, 1, 0, 1, known)
        for i in range(prompts.N):
            other = Z.clone()
            other[:, i, -1] = labels[:, i]
            found.append(self._loop(params, other, self.loops, 1, 2 * i + 1, None, [*known]))
            given = self._loop(params, Z, self.loops, 1, 2 * i + 1, 2 * i + 3, known)
        return torch.stack([answers[0, :, -1] for answers in (*found, given)], 1)

    def states(self, params: Params, prompts: Prompts, loops: int | None = None) -> Tensor:
        """Returns z_1, z_2, ... of all tokens, (loops, B, 2 N + 1, width), for parameters and
        prompts without leading axes."""
        loops = self._check_loops(params, prompts, loops)
        if params["in"].dim() > 2 or prompts.Z.dim() > 3:
            raise ValueError("params and prompts must have no leading axes for the states")
        e, positions = self._embed(params, prompts.Z)
        n = e.shape[1]
        passed = (torch.arange(n, device=e.device) >= n - self.n_last_tokens).unsqueeze(1) | (
            self.n_last_tokens == -1
        )
        stages, found = self._stages(params), []
        for t in range(loops):
            h = e + positions
            if t > 0:
                fed = e + found[-1] if self.inject == "add" else e * found[-1]
                h = torch.where(passed, fed + positions, h)
            found.append(self._f(h, stages[t % len(stages)], params.get("last_norm"))[0])
        return torch.stack(found)

    def loss(self, params: Params, prompts: Prompts) -> Tensor:
        """Returns the mean squared error over prompts, positions and the supervised loops, one
        number per ensemble member. Where prompts have fewer than n_last_tokens tokens, with which a
        curriculum may begin, all of z is passed on."""
        self.check(params, prompts)
        out = self._outputs(params, prompts, self.loops, self.supervised_loops)
        return (out - prompts.labels.unsqueeze(-3)).square().mean((-3, -2, -1))

    def metrics(self, params: Params, task: Task) -> Params:
        """Returns what a run records of the last loop, on 256 prompts of the task: the mean squared
        error over all positions (test_loss), and of the query's prediction from all N examples
        (test_query)."""
        with torch.no_grad():
            tests = fixed_prompts(task, 8, TESTS // 8, self.representation, params["in"].dtype).to(
                params["in"].device
            )
            errors = (self.predict(params, tests) - tests.labels).square()
            return {"test_loss": errors.mean((-2, -1)), "test_query": errors[..., -1].mean(-1)}

    def _outputs(self, params: Params, prompts: Prompts, loops: int, scored: int) -> Tensor:
        """Returns the predictions after each of the last loops, (..., scored, B, N+1), without
        gradient through the others."""
        return each_member(
            lambda p, Z: self._loop(p, Z, loops, scored), params, self.shapes, prompts.Z
        )

    def _loop(
        self,
        p: Params,
        Z: Tensor,
        loops: int,
        scored: int,
        first: int = 0,
        last: int | None = None,
        known: Known = None,
    ) -> Tensor:
        """Returns the answers at the x among the tokens, (scored, B, x), for one member, its Z (B,
        N+1, d+1), and all tokens or those from the first to before the last. known: for each loop
        the state after the tokens before these, replaced by that after them. The tokens before the
        mask have the same input in every loop and see only each other, so they go through the same
        blocks only once."""
        (e, positions), n = self._embed(p, Z), 2 * Z.shape[1] - 1
        e, positions = e[:, first:last], positions[first:last]
        masked = 0 if self.n_last_tokens == -1 else n - self.n_last_tokens
        before = min(max(0, masked - first), e.shape[1])  # so many of these tokens, before the mask
        # Inputs of f in the first loop.
        same, fresh = (e + positions).split((before, e.shape[1] - before), 1)
        e, positions = e[:, before:], positions[before:]
        # The x among the tokens.
        same_reads, reads = (slice(first % 2, None, 2), slice((first + before) % 2, None, 2))
        stages, with_grad = self._stages(p), torch.is_grad_enabled()
        same_z, z, same_state, read = same[:, :0], fresh, None, []
        for t in range(loops):
            past = known[t] if known else None
            if before and t < len(stages):
                same_z, same_state = self._f(same, stages[t], p.get("last_norm"), past, same_reads)
            past = same_state if before else past
            if fresh.shape[1]:
                h = fresh
                with torch.set_grad_enabled(with_grad and t >= loops - scored):
                    if t > 0:
                        h = fresh + z if self.inject == "add" else torch.addcmul(positions, e, z)
                    # After the last loop nothing but these is needed.
                    rows = reads if t == loops - 1 else slice(None)
                    z, past = self._f(h, stages[t % len(stages)], p.get("last_norm"), past, rows)
            if known:
                known[t] = past
            if t >= loops - scored:
                read.append(torch.cat((same_z, z if t == loops - 1 else z[:, reads]), 1))
        return functional.linear(torch.stack(read), *affine(p["out"]))[..., 0]

    def _embed(self, p: Params, Z: Tensor) -> Pair:
        """Returns e (B, 2 N + 1, D) and the learned positions of its tokens."""
        n = 2 * Z.shape[1] - 1
        tokens = Z.new_zeros(len(Z), n, self.d)
        tokens[:, ::2], tokens[:, 1::2, 0] = Z[..., :-1], Z[:, :-1, -1]
        positions = Z.new_zeros(n, self.width) if self.bare else p["positions"][:n]
        return functional.linear(tokens, *affine(p["in"])), positions

    def _stages(self, p: Params) -> list[list[Layer]]:
        """Returns the layers of each loop, of one only where all have the same."""
        split = {name: [affine(W) for W in p[name]] for name in p if name not in (*OUTER, "norms")}
        if "norms" in p:
            split["norms"] = [[pair.unbind() for pair in norms] for norms in p["norms"]]
        layers = [
            dict(zip(split, parts, strict=True)) for parts in zip(*split.values(), strict=True)
        ]
        return [layers[i : i + self.n_layer] for i in range(0, len(layers), self.n_layer)]

    def _f(
        self,
        h: Tensor,
        layers: list[Layer],
        norm: Tensor | None,
        past: Cache | None = None,
        rows: slice = slice(None),
    ) -> tuple[Tensor, Cache]:
        """Returns z at some rows of the tokens h (B, m, D), and the state after them. norm: scale
        and shift of the last LayerNorm; None for no norm. past: the state after the tokens before
        these."""
        if self.cell == "block":
            z, state = blocks(h, layers, self.n_head, past, rows)
        else:
            z, state = lstm(h, layers, past, rows)
        return z if norm is None else normal(z, norm.unbind()), state

    def check(self, params: Params, prompts: Prompts) -> torch.Size:
        """Checks the number of tokens, too."""
        lead = super().check(params, prompts)
        self._check_positions(2 * prompts.N + 1)
        return lead

    def _check_loops(self, params: Params, prompts: Prompts, loops: int | None) -> int:
        """Returns how many loops there are, once all fits together."""
        self.check(params, prompts)
        self._check_mask(2 * prompts.N + 1)
        return check_int(
            "loops", self.loops if loops is None else loops, 1, self.loops if self.untied else None
        )

    def _check_positions(self, tokens: int) -> None:
        if tokens > self.positions and not self.bare:
            raise ValueError(
                f"positions must be at least the number of tokens, 2 N + 1 = {tokens}, got "
                f"{self.positions}"
            )

    def _check_mask(self, tokens: int) -> None:
        if self.n_last_tokens > tokens:
            allowed = f"from 0 to the number of tokens, 2 N + 1 = {tokens}, or -1 for all"
            raise ValueError(f"n_last_tokens must be {allowed}, got {self.n_last_tokens}")
