"""benchmarks/gpu.py, all of it on the CPU: what it checks and measures, trains, leaves in time and
takes up again."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from lintf.training import fit as loop
from lintf.training import store
from lintf.training.checkpoint import Checkpoint
from lintf.training.fit import fit
from lintf.training.graphed import Graphed

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch, runs):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    return gpu


@pytest.fixture
def few(gpu, monkeypatch):
    """Of the trainings of the tiny pages the first three."""
    jobs = gpu.jobs
    monkeypatch.setattr(gpu, "jobs", lambda presets: jobs(presets)[:3])
    return gpu.jobs("smoke")


def call(gpu, runs, *arguments):
    return gpu.main(
        [*arguments, "--device", "cpu", "--minutes", "60", "--out", str(runs), "--presets", "smoke"]
    )


def test_it_trains_what_the_pages_train(gpu):
    """With the pages' own parameters: these are the stored runs, all of them and no others, but for
    the single ones that show what a training without a bound on the gradient comes to."""
    found = {job.run.path.name for job in gpu.jobs("none")}
    stored = {
        path.name
        for kind in ("looped", "encoder")
        for path in (ROOT / "runs").rglob(f"{kind}-*.safetensors")
        if store.load(path).config["training"].get("clip") is not None
    }
    assert found == stored


def test_the_published_scale_begins_with_what_all_pages_of_part_five_share(gpu):
    first, *others = gpu.jobs("paper")
    model, task, training = first.experiment
    assert (
        task.N,
        task.d,
        model.width,
        model.loops,
        model.supervised_loops,
        model.n_last_tokens,
    ) == (
        40,
        10,
        256,
        30,
        15,
        -1,
    )
    assert (training.max_iters, training.B, first.seed) == (20_001, 64, 0)
    assert len({job.run.path for job in (first, *others)}) == 1 + len(others)
    seeds = [job.seed for job in others]
    assert seeds == sorted(seeds)


def test_from_beginning_to_end_with_an_interruption(gpu, few, runs, monkeypatch, capsys):
    """The alarm comes while the second training runs, and the next call goes on there."""
    save, until, saved = Checkpoint.save, few[1].run.config, []

    def alarmed(self, tensors, meta):
        save(self, tensors, meta)
        if self.config["members"] == [until]:
            saved.append(meta["step"])
            if len(saved) == 3:
                signal.raise_signal(signal.SIGALRM)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(Checkpoint, "save", alarmed)
    assert call(gpu, runs, "--seconds", "0") == 0
    said = capsys.readouterr().out
    for name in gpu.parts("smoke"):
        assert said.count(f"\n{name:24}") == 2  # checked and measured
    assert f"{few[0].name}: done" in said
    assert "the time is up" in said
    assert "wrong" not in said
    assert "finished: 1 of 3" in said
    assert (
        f"resumes: {few[1].name}, at step {saved[2]} of {few[1].experiment.training.max_iters}"
        in said
    )
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)

    assert call(gpu, runs, "train") == 0
    said = capsys.readouterr().out
    assert "check" not in said
    assert "measure" not in said
    assert few[0].name not in said
    assert f"{few[1].name}: done" in said
    assert "finished: 3 of 3" in said
    assert "resumes" not in said
    assert saved[3] == saved[2] + 1
    for job in few:
        options = {"device": "cpu", "progress": False}
        found, expected = (
            fit(*job.experiment, [job.seed], stored=stored, **options) for stored in (True, False)
        )
        assert torch.equal(found.loss, expected.loss)
        assert all(
            torch.equal(found.final_params[name], p) for name, p in expected.final_params.items()
        )
    assert sorted(path.name for path in runs.rglob("*.safetensors")) == sorted(
        job.run.path.name for job in few
    )


def test_a_device_that_is_wrong_is_not_trained_on(gpu, few, runs, monkeypatch, capsys):
    """One entry of a gradient, by a thousandth of its length."""
    right = gpu.loss_and_gradient

    def wrong(experiment, given, device, dtype, *loss_of):
        loss, gradient = right(experiment, given, device, dtype, *loss_of)
        if loss_of and dtype == torch.float32 and experiment == gpu.parts("smoke")["V, block"]:
            gradient[3] += 1e-3 * gradient.norm()
        return loss, gradient

    monkeypatch.setattr(gpu, "loss_and_gradient", wrong)
    assert call(gpu, runs) == 1
    said = capsys.readouterr().out
    assert said.count("wrong: ") == 1
    assert "wrong: V, block, float32: off by 1.0e-03, more than" in said
    assert "finished: 0 of 3" in said
    assert not runs.exists()


def test_a_device_that_cannot_is_named(gpu, monkeypatch, capsys):
    def cannot(*arguments):
        raise RuntimeError("no such operation")

    monkeypatch.setitem(gpu.WAYS, "float64", (torch.float64, lambda: cannot))
    experiments = gpu.parts("smoke")
    assert gpu.check(experiments, CPU) == [
        f"{name}, float64: no such operation" for name in experiments
    ]
    assert capsys.readouterr().out.count("nan") == len(experiments)


def test_a_graph_is_checked_on_its_replays(gpu):
    """With a capture that spoils all but its first replay."""
    experiment = gpu.parts("smoke")["I, linear"]

    def late(loss, samples):
        calls = []

        def spoilt(*given):
            calls.append(0)
            return loss(*given) * (1 + 0.01 * (len(calls) > 1))

        return spoilt

    given = gpu.drawn(experiment)
    exact, graph = (
        gpu.loss_and_gradient(experiment, given, CPU, torch.float64, f)
        for f in (gpu.eager, Graphed(late))
    )
    assert gpu.error(graph, exact) == pytest.approx(0.01)


def test_every_gradient_is_checked(gpu):
    for experiment in gpu.parts("smoke").values():
        params, _ = given = gpu.drawn(experiment)
        _, gradient = gpu.loss_and_gradient(experiment, given, CPU, torch.float64)
        assert gradient.shape == (sum(p.numel() for p in params.values()),)
        assert gradient.norm() > 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--device", "cuda"], "device must be 'auto' or one that is here (cpu), got 'cuda'"),
        (["--minutes", "0.2"], "--minutes must be more than 0.25, got 0.2"),
        (["--minutes", "nan"], "--minutes must be more than 0.25, got nan"),
        (["chek"], "phase must be one of"),
        (["--presets", "large"], "'large'"),
    ],
)
def test_wrong_arguments_are_one_line(gpu, runs, monkeypatch, capsys, wrong, said):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SystemExit) as stopped:
        gpu.main(["--device", "cpu", "--minutes", "1", "--out", str(runs), *wrong])
    assert stopped.value.code == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error


def test_the_device_is_a_gpu_unless_another_is_named(gpu, runs, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(SystemExit):
        gpu.main(["--minutes", "1", "--out", str(runs)])
    assert "got 'cuda'" in capsys.readouterr().err
