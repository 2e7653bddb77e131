"""The rotated prompts: their covariances, and that in whitened coordinates they are isotropic."""

from __future__ import annotations

import math
import re

import pytest
import torch

from lintf.analysis.theory import isotropic_weights, mapped, one_layer_optimum
from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression
from lintf.tasks.rotated import SCALES, Rotated, rotated_task, rotation, whitened

F64 = torch.float64
OTHER = (2.0, 0.25, 1.5)


def generator(seed):
    return torch.Generator().manual_seed(seed)


def tensor(S):
    return torch.tensor(S, dtype=F64)


def close(a, b, atol=1e-12):
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize(("seed", "scales"), [(0, SCALES), (7, SCALES), (2, OTHER), (3, (0.5,))])
def test_rotation_is_orthogonal_times_the_scales(seed, scales):
    UD, D = rotation(seed, scales), torch.diag(tensor(scales))
    assert UD.dtype == F64
    close(UD.mT @ UD, D @ D)  # the columns are orthogonal, of these lengths and in this order
    U = UD @ torch.linalg.inv(D)
    close(U @ U.mT, torch.eye(len(scales), dtype=F64))
    assert (U.sum(0) > 0).all()


def test_the_paper_scales_are_the_default():
    assert SCALES == (1.0, 1.0, 0.5, 0.25, 1.0)
    assert torch.equal(rotation(4), rotation(4, [1, 1, 0.5, 0.25, 1]))


def test_a_seed_names_one_rotation():
    rotations = [rotation(seed) for seed in range(8)]
    for seed, UD in enumerate(rotations):
        assert torch.equal(UD, rotation(seed))
        for other in rotations[:seed]:
            assert (UD - other).norm() > 0.1
    assert (rotations[0] - torch.diag(tensor(SCALES))).norm() > 0.1


@pytest.mark.parametrize(("seed", "scales"), [(0, SCALES), (7, SCALES), (2, OTHER), (3, (0.5,))])
def test_the_covariances_are_inverse_to_each_other(seed, scales):
    task, UD = rotated_task(seed, N=11, scales=scales), rotation(seed, scales)
    assert (task.N, task.d, task.mode, task.noise_std) == (11, len(scales), "normal", 0.0)
    close(tensor(task.Sigma), UD @ UD.mT, 1e-10)  # ten digits
    UD_w = torch.linalg.inv(UD).mT  # U D^-1
    close(tensor(task.Sigma_w), UD_w @ UD_w.mT, 1e-9)
    close(tensor(task.Sigma) @ tensor(task.Sigma_w), torch.eye(task.d, dtype=F64), 1e-8)
    assert rotated_task(seed, N=11, scales=scales) == task
    assert rotated_task(seed + 1, N=11, scales=scales).Sigma != task.Sigma or task.d == 1


def test_the_covariances_have_ten_digits():
    """So that rounding in another library does not name another run."""
    task = rotated_task(0)
    assert task.N == 20
    for row in (*task.Sigma, *task.Sigma_w):
        assert all(float(f"{entry:.10f}") == entry for entry in row)


@pytest.mark.parametrize("representation", ["tokens", "gram"])
def test_drawn_prompts_have_these_covariances(representation):
    """Of the query, the examples and the weights; w comes from S w = s, there is no noise."""
    task, B = rotated_task(5, N=7, scales=OTHER), 20_000
    gram = task.sample(B, generator(0), representation, F64).gram()
    w = torch.linalg.solve(gram.S.movedim(-1, 0), gram.s.mT[..., None])[..., 0].mT
    for values, S in ((gram.x, task.Sigma), (w, task.Sigma_w)):
        products = values[:, None] * values[None]
        error = products.std(-1) / math.sqrt(B)
        assert ((products.mean(-1) - tensor(S)).abs() < 5.5 * error).all()
    products = gram.S / 7
    assert (
        (products.mean(-1) - tensor(task.Sigma)).abs() < 5.5 * products.std(-1) / math.sqrt(B)
    ).all()
    across = gram.x[:, None] * w[None]
    assert (across.mean(-1).abs() < 5.5 * across.std(-1) / math.sqrt(B)).all()


@pytest.mark.parametrize("representation", ["tokens", "gram"])
def test_in_whitened_coordinates_the_prompts_are_isotropic(representation):
    task, UD = rotated_task(5, N=7, scales=OTHER), rotation(5, OTHER)
    gram = mapped(
        task.sample(20_000, generator(1), representation, F64).gram(), torch.linalg.inv(UD)
    )
    w = torch.linalg.solve(gram.S.movedim(-1, 0), gram.s.mT[..., None])[..., 0].mT
    for values in (gram.x, w):
        products = values[:, None] * values[None]
        deviations = (products.mean(-1) - torch.eye(3, dtype=F64)) / (
            products.std(-1) / math.sqrt(20_000)
        )
        assert deviations.abs().max() < 5.5


@pytest.mark.parametrize("lead", [(), (4,), (4, 2), (4, 2, 1)])
def test_whitened_acts_on_members_with_their_own_rotation(lead):
    UD = torch.stack([rotation(seed, OTHER) for seed in range(2)])
    Q = torch.randn(2, *lead, 3, 3, generator=generator(0), dtype=F64)
    ours = whitened(Q, UD)
    assert ours.shape == Q.shape
    for e in range(2):
        for q, o in zip(Q[e].view(-1, 3, 3), ours[e].view(-1, 3, 3), strict=True):
            close(o, UD[e].mT @ q @ UD[e])


def test_whitened_keeps_the_precision_of_the_parameters():
    Q = torch.randn(2, 3, 1, 5, 5, generator=generator(0))
    UD = torch.stack([rotation(seed) for seed in range(2)])
    ours = whitened(Q, UD)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, whitened(Q.double(), UD).float(), rtol=1e-5, atol=1e-5)


def test_the_inverse_covariance_whitens_to_the_identity():
    """What Q_l = -a_l Sigma^-1 looks like in the figures; the closed form for one layer is such a
    multiple."""
    task, UD = rotated_task(1, N=20), rotation(1)
    Q = isotropic_weights([1.0, 2.0], [0.5], torch.linalg.inv(UD @ UD.mT))["Q"]
    close(
        whitened(Q[None], UD[None])[0, :, 0],
        torch.stack([-v * torch.eye(5, dtype=F64) for v in (1, 2)]),
        1e-11,
    )
    ours = whitened(one_layer_optimum(task)[None], UD[None])[0]
    close(ours, -20 / 26 * torch.eye(5, dtype=F64), 1e-8)


def test_the_loss_is_that_of_whitened_parameters_on_whitened_prompts():
    """((UD)^-1 P UD, (UD)^T Q UD) on the prompts in coordinates g with x = UD g."""
    UD = rotation(3, OTHER)
    prompts, model = (
        rotated_task(3, 8, OTHER).sample(30, generator(0), dtype=F64),
        LinearTransformer(3, 4, 2),
    )
    P, Q = 0.2 * torch.randn(2, 4, 2, 3, 3, generator=generator(1), dtype=F64)
    plain = model.loss({"P": P, "Q": Q}, prompts)
    white = {"P": torch.linalg.inv(UD) @ P @ UD, "Q": whitened(Q[None], UD[None])[0]}
    ours = model.loss(white, mapped(prompts, torch.linalg.inv(UD)))
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=0)
    assert abs(model.loss(white, prompts) - plain) > 1e-3 * plain


@pytest.mark.parametrize(
    "scales", [(1.0, 0.0), (1.0, -1.0), (1.0, math.nan), (1.0, math.inf), (1.0, "1"), (1.0, None)]
)
@pytest.mark.parametrize("make", [rotation, lambda seed, scales: rotated_task(seed, 20, scales)])
def test_scales_are_positive_numbers(make, scales):
    with pytest.raises(ValueError, match=r"scales\[1\] must be a finite number > 0, got "):
        make(0, scales)


@pytest.mark.parametrize("seed", [-1, 0.5, "0", None, True])
@pytest.mark.parametrize("make", [rotation, rotated_task])
def test_seeds_are_whole_numbers(make, seed):
    with pytest.raises(ValueError, match=f"seed must be an integer >= 0, got {seed!r}"):
        make(seed)


def test_the_number_of_examples_is_checked():
    with pytest.raises(ValueError, match="N must be an integer >= 1, got 0"):
        rotated_task(0, 0)
    assert isinstance(rotated_task(0, 3), LinearRegression)


def test_laws_side_by_side():
    """Each member has its own law, and the prompts it would have alone."""
    laws = Rotated([4, 7], N=6, scales=[1.0, 0.5, 2.0])
    batch = laws.sample(11, 99, dtype=torch.float64)
    for e, seed in enumerate(laws.seeds):
        UD = rotation(seed, laws.scales)
        torch.testing.assert_close(laws.UD[e], UD, rtol=0, atol=0)
        torch.testing.assert_close(
            laws.precision[e] @ UD @ UD.mT, torch.eye(3, dtype=torch.float64)
        )
        assert laws.task(seed) == rotated_task(seed, 6, laws.scales)
        alone = laws.task(seed).sample(11, torch.Generator().manual_seed(99), dtype=torch.float64)
        torch.testing.assert_close(batch.S[e], alone.S, rtol=0, atol=0)
        torch.testing.assert_close(batch.y[e], alone.y, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seeds": []}, "seeds must be a list of at least one integer, got []"),
        ({"seeds": "01"}, "seeds must be a list of at least one integer, got '01'"),
        ({"seeds": 3}, "seeds must be a list of at least one integer, got 3"),
        ({"seeds": [0, -1]}, "seed must be an integer >= 0, got -1"),
        ({"N": 0}, "N must be an integer >= 1, got 0"),
        ({"scales": [1.0, 0.0]}, "scales[1] must be a finite number > 0, got 0.0"),
    ],
    ids=str,
)
def test_wrong_laws_are_refused_before_anything_is_drawn(wrong, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        Rotated(**{"seeds": [0]} | wrong)
