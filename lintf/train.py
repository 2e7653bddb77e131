"""fit(): the one training loop of the project. All seeds are trained at once, along a leading ensemble axis."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

import lintf
from lintf import kernel, store
from lintf.checkpoint import Checkpoint
from lintf.checks import check_int, settle
from lintf.model import LinearTransformer, Params
from lintf.prompts import LinearRegression, check_ensemble, sample_ensemble
from lintf.settings import DTYPES, Training

CHECKPOINT_SECONDS = 20.0


@dataclass(frozen=True, eq=False)
class History:
    """What a fit leaves behind, for E seeds and T recorded steps. At step t the parameters are those before update
    t + 1, and the loss is theirs on the batch of that step."""

    seeds: tuple[int, ...]
    steps: Tensor  # (T,)
    loss: Tensor  # (E, T) mean squared error on the training batch
    params: Params  # name -> (E, T, ...)
    meta: tuple[dict, ...]  # per seed: device, versions, wall time

    @property
    def final(self) -> Params:
        """name -> (E, ...): the parameters after the last recorded step."""
        return {name: p[:, -1] for name, p in self.params.items()}


class Diverged(RuntimeError):
    """The loss was no longer finite. `history` is what had been recorded."""

    def __init__(self, step: int, seed: int, lr: float, history: History) -> None:
        super().__init__(f"training diverged: non-finite loss at step {step}, seed {seed}, learning rate {lr:g}")
        self.step, self.seed, self.lr, self.history = step, seed, lr, history


def fit(
    model: LinearTransformer,
    task: LinearRegression | Callable[[int], LinearRegression],
    training: Training,
    seeds: Sequence[int] = (0,),
    *,
    device: str = "auto",
    stored: bool = True,
    progress: bool = True,
) -> History:
    """Train one model per seed, or load it from runs/ where that very configuration is stored.

    task: the law of the prompts, or a function from the seed to it. Seed s draws its parameters and then its prompts
    from its own generator, so it gives the same trajectory alone and among others. device: "auto" is the GPU if there
    is one. With `stored=False` nothing is looked up or saved. Interrupted runs resume from their last checkpoint.
    Raises ValueError for wrong input, Diverged for a non-finite loss, StoreError for a damaged file in runs/.
    """
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise ValueError(f"seeds must be a list of integers, got {seeds!r}")
    seeds, where, members = tuple(seeds), _device(device), {}
    for s in seeds:
        member = Member(model, task if isinstance(task, LinearRegression) else task(s), training, s)
        members[member.seed] = member
    if not members or len(members) < len(seeds):
        raise ValueError(f"seeds must be distinct and at least one, got {list(seeds)}")
    seeds = tuple(members)
    check_ensemble([m.task for m in members.values()])
    start, found = time.perf_counter(), {}
    if stored:
        found = {s: store.load(m.path) for s, m in members.items() if m.path.exists()}
    if found and progress:
        took = time.perf_counter() - start
        print(f"{len(found)} of {len(seeds)} runs loaded from {store.folder().name}/ in {took:.2f} s")
    missing = [m for s, m in members.items() if s not in found]
    if missing:
        checkpoint = Checkpoint([m.config for m in missing]) if stored else None
        trained = _train(missing, where, checkpoint, progress)
        found |= {m.seed: record for m, record in zip(missing, trained, strict=True)}
        if checkpoint:
            try:
                for member, record in zip(missing, trained, strict=True):
                    store.save(member.path, record)
            except OSError as error:
                checkpoint.warn(error)
            checkpoint.remove()
    return _history([found[s] for s in seeds], seeds)


@dataclass(frozen=True)
class Member:
    """One run: a model, a task, a training and a seed."""

    model: LinearTransformer
    task: LinearRegression
    training: Training
    seed: int

    def __post_init__(self) -> None:
        settle(self, seed=check_int("each of seeds", self.seed, 0, 2**32 - 1))  # torch uses 32 bits of a seed
        if self.model.d != self.task.d:
            raise ValueError(f"model with d = {self.model.d} and task with d = {self.task.d} do not fit")

    @property
    def config(self) -> dict:
        return {
            "model": {"kind": type(self.model).__name__, **asdict(self.model)},
            "task": {"kind": type(self.task).__name__, **asdict(self.task)},
            "training": self.training.config(),
            "seed": self.seed,
        }

    @property
    def path(self) -> Path:
        t = self.training
        label = f"{self.model.label}-{self.task.label}-{t.alg}-lr{t.lr:g}-B{t.B}-T{t.max_iters}-seed{self.seed}"
        return store.path_of(label, self.config)

    @staticmethod
    def of(config: dict) -> Member:
        """The inverse of `config`."""
        kinds = {kind.__name__: kind for kind in (LinearTransformer, LinearRegression)}

        def build(fields: dict) -> LinearTransformer | LinearRegression:
            fields = dict(fields)
            return kinds[fields.pop("kind")](**fields)

        return Member(build(config["model"]), build(config["task"]), Training(**config["training"]), config["seed"])


class _State:
    """All that a training step changes."""

    def __init__(self, members: list[Member], device: torch.device) -> None:
        model, training = members[0].model, members[0].training
        self.generators = [torch.Generator().manual_seed(m.seed) for m in members]
        drawn = [model.init(g, DTYPES[training.dtype]) for g in self.generators]
        self.params = {n: torch.stack([p[n] for p in drawn]).to(device).requires_grad_() for n in drawn[0]}
        if training.alg == "adam":
            self.optimizer = torch.optim.Adam(self.params.values(), lr=training.lr, betas=training.betas)
        else:
            self.optimizer = torch.optim.SGD(self.params.values(), lr=training.lr, momentum=training.momentum)
        self.losses: list[Tensor] = []  # (E,) each
        self.snapshots: dict[str, list[Tensor]] = {n: [] for n in self.params}

    def record(self, loss: Tensor) -> None:
        self.losses.append(loss.detach().cpu())
        for name, p in self.params.items():
            self.snapshots[name].append(p.detach().cpu().clone())

    def recorded(self) -> dict[str, Tensor]:
        return {"loss": torch.stack(self.losses, 1)} | {n: torch.stack(v, 1) for n, v in self.snapshots.items()}

    def tensors(self) -> dict[str, Tensor]:
        """For a checkpoint; all but the generators, whose states of before the last draw are needed."""
        state = self.optimizer.state_dict()["state"]
        slots = {f"optimizer.{i}.{name}": t for i, slot in state.items() for name, t in slot.items()}
        params = {f"params.{n}": p for n, p in self.params.items()}
        return params | slots | {f"recorded.{n}": t for n, t in self.recorded().items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        state = self.optimizer.state_dict()
        for name, t in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "params":
                self.params[rest].data.copy_(t)
            elif kind == "optimizer":
                i, _, slot = rest.partition(".")
                state["state"].setdefault(int(i), {})[slot] = t
            elif rest == "loss":
                self.losses = list(t.unbind(1))
            elif kind == "recorded":
                self.snapshots[rest] = list(t.unbind(1))
        self.optimizer.load_state_dict(state)
        for generator, s in zip(self.generators, tensors["generators"], strict=True):
            generator.set_state(s.clone())  # a view would be read from the start of its storage


def _train(
    members: list[Member], device: torch.device, checkpoint: Checkpoint | None, progress: bool
) -> list[store.Record]:
    """Train members that differ in seed and task only, side by side."""
    kernel.keep_freed_memory()
    model, training = members[0].model, members[0].training
    tasks, seeds = [m.task for m in members], [m.seed for m in members]
    state, recorded = _State(members, device), training.recorded_steps()
    first, spent = 0, 0.0
    if checkpoint and (saved := checkpoint.load()):
        state.restore(saved.tensors)
        first, spent = saved.meta["step"], saved.meta["seconds"]
        if progress:
            print(f"an interrupted training goes on at step {first} of {training.max_iters}")
    start = last_save = last_shown = time.perf_counter()

    def records() -> list[store.Record]:
        steps, stacked = torch.tensor(recorded[: len(state.losses)]), state.recorded()
        meta = _meta(state.params["P"], model, len(members), spent + time.perf_counter() - start)
        return [
            store.Record(m.config, {"steps": steps} | {n: t[e] for n, t in stacked.items()}, meta)
            for e, m in enumerate(members)
        ]

    batch = None
    title = f"{model.label}, {training.alg} ({_path(model, state.params['P'])})"
    with tqdm(total=training.max_iters, initial=first, desc=title, disable=not progress) as bar:
        for step in range(first, training.max_iters + 1):
            if batch is None or step % training.redraw_every == 0:
                before_draw = [g.get_state() for g in state.generators]
                batch = sample_ensemble(tasks, training.B, state.generators, model.form, DTYPES[training.dtype])
                batch = batch.to(device)
            now = time.perf_counter()
            if checkpoint and step > first and now - last_save > CHECKPOINT_SECONDS:
                tensors = state.tensors() | {"generators": torch.stack(before_draw)}
                checkpoint.save(tensors, {"step": step, "seconds": spent + now - start})
                last_save = now
            loss = model.loss(state.params, batch)  # (E,)
            values = loss.tolist()
            if step == recorded[len(state.losses)]:
                state.record(loss)
            if not all(map(math.isfinite, values)):
                if checkpoint:
                    checkpoint.remove()
                seed = next(s for s, value in zip(seeds, values, strict=True) if not math.isfinite(value))
                raise Diverged(step, seed, training.rate(step), _history(records(), tuple(seeds)))
            if step == training.max_iters:
                break
            state.optimizer.param_groups[0]["lr"] = training.rate(step)
            state.optimizer.zero_grad(set_to_none=True)
            loss.sum().backward()
            if training.clip is not None:
                _clip([p.grad for p in state.params.values() if p.grad is not None], training.clip, training.clip_per)
            state.optimizer.step()
            if now - last_shown > 0.2:
                bar.set_postfix(loss=f"{sum(values) / len(values):.3g}", refresh=False)
                bar.update(step + 1 - bar.n)
                last_shown = now
        bar.update(training.max_iters - bar.n)
    return records()


def _clip(grads: list[Tensor], limit: float, per: str) -> None:
    """Scale gradients (E, ...) down to norm <= limit: of all parameters of a member together, or of each matrix."""
    if per == "matrix":
        norms = [torch.linalg.matrix_norm(g, keepdim=True) for g in grads]
    else:
        squares = sum(g.flatten(1).square().sum(1) for g in grads)
        norms = [squares.sqrt().view(-1, *[1] * (g.dim() - 1)) for g in grads]
    for g, norm in zip(grads, norms, strict=True):
        g.mul_((limit / norm).clamp(max=1))  # a zero norm gives min(inf, 1)


def _path(model: LinearTransformer, P: Tensor) -> str:
    """Which code the training goes through."""
    if model.form == "tokens":
        return "token space"
    return "plain PyTorch" if kernel.unavailable(P.shape[-1], P.dtype, P.device.type) else "compiled kernel"


def _meta(P: Tensor, model: LinearTransformer, members: int, seconds: float) -> dict:
    return {
        "device": str(P.device) if P.device.type == "cpu" else torch.cuda.get_device_name(P.device),
        "path": _path(model, P),
        "seconds": round(seconds, 3),  # wall time of all members trained together
        "members": members,
        "threads": torch.get_num_threads(),
        "versions": {"lintf": lintf.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def _history(records: list[store.Record], seeds: tuple[int, ...]) -> History:
    stacked = {name: torch.stack([r.tensors[name] for r in records]) for name in records[0].tensors}
    steps, loss = stacked.pop("steps")[0], stacked.pop("loss")
    return History(seeds, steps, loss, stacked, tuple(r.meta for r in records))


def _device(name: str) -> torch.device:
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if name == "auto":
        return torch.device("cuda" if len(here) > 1 else "cpu")
    if name not in here and not (name == "cuda" and len(here) > 1):
        raise ValueError(f"device must be 'auto' or one that is here ({', '.join(here)}), got {name!r}")
    return torch.device(name)
