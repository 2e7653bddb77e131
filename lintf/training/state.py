"""All that a training step changes: parameters, optimisers, generators, and what was recorded of
them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lintf.models.base import Model, Params
from lintf.tasks.batches import Batch
from lintf.training.config import DTYPES, TrainConfig
from lintf.training.run import Run

LISTS = ("old_dirs", "old_stps", "ro")  # of tensors, in L-BFGS's state
FINAL = "final."  # before the names of the parameters after the last step
NUMBERS = {"n_iter": int, "func_evals": int, "prev_loss": float}


class TrainState:
    """The state of a training of members that differ in seed and task only. Parameters are stacked
    (E, ...). Adam and SGD work entry by entry, so one optimiser serves all members; L-BFGS has one
    for each, on its part of the stack."""

    def __init__(self, runs: list[Run], device: torch.device) -> None:
        self.model, self.training = runs[0].model, runs[0].training
        self.tasks = [m.task for m in runs]
        self.generators = [torch.Generator().manual_seed(m.seed) for m in runs]
        drawn = [self.model.init(g, DTYPES[self.training.dtype]) for g in self.generators]
        self.params = {
            n: torch.stack([p[n] for p in drawn]).to(device).requires_grad_() for n in drawn[0]
        }
        self.leaves = [self.params]
        if self.training.alg == "lbfgs":
            parts = range(len(runs))
            self.leaves = [
                {n: p.detach()[e].requires_grad_() for n, p in self.params.items()} for e in parts
            ]
        self.optimizers = [_optimizer(self.training, leaves) for leaves in self.leaves]
        self.places = len(self.training.recorded_steps())  # T
        self.filled = 0  # how many of them have been recorded
        self.kept: dict[str, Tensor] = {}  # losses, parameters and metrics, (E, T, ...) each

    def update(self, step: int, loss: Tensor, batch: Batch) -> None:
        """Does one optimiser step; loss (E,) is that of the present parameters on the batch."""
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = self.training.rate(step)
        if self.training.alg == "lbfgs":
            model = self.training.model_at(self.model, step)
            for e, (optimizer, leaves) in enumerate(zip(self.optimizers, self.leaves, strict=True)):
                optimizer.step(self._closure(model, leaves, batch.member(e)))
            return
        self.optimizers[0].zero_grad(set_to_none=True)
        loss.sum().backward()
        grads = [p.grad for p in self.params.values() if p.grad is not None]
        if self.training.clip is not None:
            clip_gradients(grads, self.training.clip, self.training.clip_by)
        if self.training.normalize:
            normalize_gradients(grads)
        self.optimizers[0].step()

    def _closure(self, model: Model, leaves: Params, batch: Batch) -> Callable[[], Tensor]:
        def loss() -> Tensor:
            for p in leaves.values():
                p.grad = None
            value = model.loss(leaves, batch)
            value.backward()
            return value

        return loss

    def record(self, loss: Tensor) -> None:
        """Notes the losses (E,), the metrics and, where the model wants it, the parameters."""
        shown = self.params if self.model.record_params else {}
        for name, p in ({"loss": loss} | shown | self._metrics()).items():
            if name not in self.kept:
                self.kept[name] = self._room(p)
            self.kept[name][:, self.filled] = p.detach()
        self.filled += 1

    def _room(self, p: Tensor) -> Tensor:
        """Returns memory for all that will be recorded of p (E, ...), taken at once: what is small
        and stays, between tensors that come and go, would keep theirs from being used again."""
        return torch.zeros(len(p), self.places, *p.shape[1:], dtype=p.dtype, device="cpu")

    def _metrics(self) -> Params:
        """Returns the model's metrics, (E, ...) each, of every member on its own task, where they
        differ."""
        if all(task == self.tasks[0] for task in self.tasks):
            return self.model.metrics(self.params, self.tasks[0])
        parts = []
        for e, task in enumerate(self.tasks):
            own = {name: p[e] for name, p in self.params.items()}
            parts.append(self.model.metrics(own, task))
        return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

    def recorded(self) -> dict[str, Tensor]:
        """Returns what was recorded so far, name -> (E, T, ...)."""
        return {name: t[:, : self.filled].clone() for name, t in self.kept.items()}

    def final_params(self) -> dict[str, Tensor]:
        """Returns the parameters as they are now, under names for a record, if the model wants them
        saved."""
        if not self.model.save_final_params:
            return {}
        return {f"{FINAL}{name}": p.detach().cpu().clone() for name, p in self.params.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Returns what a checkpoint holds: all but the generators, whose states of before the last
        draw are needed."""
        out = {f"params.{n}": p for n, p in self.params.items()}
        for k, optimizer in enumerate(self.optimizers):
            for i, slots in optimizer.state_dict()["state"].items():
                for name, value in slots.items():
                    if name in LISTS:
                        value = (
                            torch.stack(value)
                            if value
                            else torch.empty(0, dtype=torch.float32, device="cpu")
                        )
                    if name != "al" and value is not None:  # L-BFGS's scratch space
                        out[f"optimizer.{k}.{i}.{name}"] = _as_tensor(value)
        return out | {f"recorded.{n}": t for n, t in self.recorded().items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Takes the state from the tensors of a checkpoint. Each tensor gets memory of its own, as
        in an uninterrupted run: on some processors the last bit of a dot product depends on where
        its operands start."""
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        for name, t in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "params":
                self.params[rest].data.copy_(t)
            elif kind == "optimizer":
                k, i, slot = rest.split(".", 2)
                value = (
                    list(map(torch.clone, t.unbind()))
                    if slot in LISTS
                    else NUMBERS.get(slot, torch.clone)(t)
                )
                states[int(k)]["state"].setdefault(int(i), {})[slot] = value
            elif kind == "recorded":
                self.filled = t.shape[1]
                self.kept[rest] = self._room(t[:, 0])
                self.kept[rest][:, : self.filled] = t
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)
        for generator, s in zip(self.generators, tensors["generators"], strict=True):
            generator.set_state(s.clone())  # a view would be read from the start of its storage


def clip_gradients(grads: list[Tensor], limit: float, by: str) -> None:
    """Scales gradients (E, ...) down to norm <= limit: that of all parameters of a member together,
    or of each matrix (and vector) by itself."""
    if by == "matrix":
        norms = [
            torch.linalg.vector_norm(g, dim=tuple(range(1, g.dim()))[-2:], keepdim=True)
            for g in grads
        ]
    else:
        # Float32 would depend on who is beside.
        squares = sum(g.flatten(1).double().square().sum(1) for g in grads)
        norms = [squares.sqrt().to(g.dtype).view(-1, *[1] * (g.dim() - 1)) for g in grads]
    for g, norm in zip(grads, norms, strict=True):
        g.mul_((limit / norm).clamp(max=1))  # a zero norm gives min(inf, 1)


def normalize_gradients(grads: list[Tensor]) -> None:
    """Scales each gradient (E, ...) to Euclidean length 1 per member; 0 stays 0."""
    for g in grads:
        rows = g.flatten(1)
        # No square underflows.
        rows = rows / rows.abs().amax(1, keepdim=True).clamp_min(torch.finfo(g.dtype).tiny)
        norm = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        g.copy_((rows / norm.clamp_min(torch.finfo(g.dtype).tiny)).view_as(g))


def _optimizer(training: TrainConfig, params: Params) -> torch.optim.Optimizer:
    if training.alg == "adam":
        return torch.optim.Adam(params.values(), lr=training.lr, betas=training.betas)
    if training.alg == "sgd":
        return torch.optim.SGD(params.values(), lr=training.lr, momentum=training.momentum)
    sizes = {"max_iter": training.inner_steps, "history_size": training.history_size}
    return torch.optim.LBFGS(list(params.values()), lr=training.lr, **sizes)


def _as_tensor(value: Tensor | int | float) -> Tensor:
    """Returns the value as a tensor; Python's numbers keep all their digits."""
    if isinstance(value, Tensor):
        return value
    return torch.tensor(
        value, dtype=torch.float64 if isinstance(value, float) else torch.int64, device="cpu"
    )
