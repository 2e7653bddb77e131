"""The linearity score against least squares solved in other ways, its invariances and its chance
level, and hidden states against models run by hand.

Simulated scores may miss their law by 4 standard errors; seeds are fixed. Models of Hugging Face
are tiny random ones.
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lintf.analysis import linearity
from lintf.analysis.linearity import (
    MINILM,
    explained,
    held_out,
    hidden_states,
    linear_map,
    norms_and_cosines,
    null_score,
    prompt_states,
    sample_text,
    score,
    scores,
    scores_at_lag,
)
from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression

F64 = torch.float64
needs_models = pytest.mark.skipif(
    any(importlib.util.find_spec(p) is None for p in ("transformers", linearity.PACKAGE)),
    reason="lintf[models]",
)


def normal(*shape, seed=0, dtype=F64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def related(n=41, dim=5, width=3, seed=0):
    """Layers that are partly related, with means."""
    x = normal(n, dim, seed=seed) @ normal(dim, dim, seed=seed + 1) + 2
    return x, (x @ normal(dim, width, seed=seed + 2)).tanh() + 0.3 * normal(
        n, width, seed=seed + 3
    ) - 1


def refused(call, *said):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        call()
    assert "\n" not in str(error.value)
    for part in said:
        assert str(part) in str(error.value)


# ---- the score


def by_lstsq(x, y, centre=True):
    """The definition, step by step in NumPy: centre, divide by the Frobenius norm, solve."""
    X, Y = (t.numpy() - t.numpy().mean(0) * centre for t in (x, y))
    X, Y = X / np.linalg.norm(X), Y / np.linalg.norm(Y)
    return 1 - np.square(X @ np.linalg.lstsq(X, Y, rcond=None)[0] - Y).sum()


@pytest.mark.parametrize("centre", [True, False])
def test_the_score_is_that_of_least_squares(centre):
    x, y = related()
    assert score(x, y, centre) == pytest.approx(by_lstsq(x, y, centre), rel=1e-12)
    assert 0.1 < score(x, y) < 0.99
    assert score(x, y) != pytest.approx(score(x, y, False), abs=1e-3)


def test_one_column_each_is_the_squared_correlation():
    x, y = normal(30, 1), normal(30, 1, seed=1)
    y = y + x
    assert score(x, y) == pytest.approx(np.corrcoef(x[:, 0], y[:, 0])[0, 1] ** 2, rel=1e-12)


def test_a_score_by_hand():
    """x = (1, 0, -1, 0) explains the first of two equal columns."""
    x = torch.tensor([[1.0], [0.0], [-1.0], [0.0]])
    y = torch.tensor([[3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]]) + 7
    assert score(x, y) == pytest.approx(0.5, rel=1e-12)
    assert explained(x, y).tokens.tolist() == pytest.approx([1, 0, 1, 0], abs=1e-12)


def test_a_linear_map_has_score_one():
    x = normal(41, 5)
    assert score(x, x @ normal(5, 3, seed=1) + 4) == pytest.approx(1, abs=1e-14)
    assert score(x, x) == pytest.approx(1, abs=1e-14)


def test_what_is_orthogonal_has_score_zero():
    Q = torch.linalg.qr(torch.cat((torch.ones(20, 1, dtype=F64), normal(20, 7)), 1))[0]
    assert score(Q[:, 1:5], Q[:, 5:]) == pytest.approx(0, abs=1e-14)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 6),
    st.integers(1, 6),
    st.floats(-50, 50),
    st.floats(0.01, 100),
)
def test_invariances(seed, dim, width, shift, factor):
    """X -> X M + a, Y -> c Y R + b."""
    x, y = related(dim + 12, dim, width, seed)
    # Singular values >= 1/2.
    M = torch.eye(dim, dtype=F64) + 0.5 * torch.linalg.qr(normal(dim, dim, seed=seed + 4))[0]
    R = torch.linalg.qr(normal(width, width, seed=seed + 5))[0]
    expected = score(x, y)
    assert 0 <= expected <= 1 + 1e-12
    assert score(x @ M + shift, y) == pytest.approx(expected, abs=1e-10)
    assert score(x, -factor * y @ R + shift) == pytest.approx(expected, abs=1e-10)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    assert score(x[order], y[order]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_rank(dtype):
    """Columns that repeat others change nothing, though rounding makes them independent."""
    x, y = related(60, 4, 3)
    x = x.to(dtype)
    expected = score(x, y)
    more = torch.cat(
        (x, x[:, :1], 0 * x, 0 * x[:, :1] + 1e3, (x @ x.new_tensor(normal(4, 5).tolist())) / 3), 1
    )
    assert more.shape[1] == 15
    assert score(more, y) == pytest.approx(expected, abs=100 * torch.finfo(dtype).eps)
    counted = np.linalg.matrix_rank((more - more.mean(0)).double().numpy(), tol=1e-4)
    assert counted == linearity._svd(more, "x", True)[0].shape[1] == 4


def test_a_small_direction_counts():
    """An outlier of size 10^4 in another direction does not hide it, in single precision."""
    x = normal(200, 2, dtype=torch.float32)
    wide = torch.cat((x, 1e4 * normal(200, 1, seed=1, dtype=torch.float32)), 1)
    assert score(wide, x) == pytest.approx(1, abs=1e-6)


def test_single_precision_is_computed_in_double():
    x, y = (t.float() for t in related())
    assert score(x, y) == pytest.approx(score(x.double(), y.double()), abs=1e-14)
    assert explained(x, y).error.dtype == F64


def test_input_is_left_alone():
    x, y = related()
    copies = x.clone(), y.clone()
    score(x, y)
    held_out(x, y, torch.arange(41))
    assert all(torch.equal(a, b) for a, b in zip((x, y), copies, strict=True))


def test_tokens_average_to_the_score():
    x, y = related()
    e = explained(x, y)
    A = np.linalg.lstsq(*((t - t.mean(0)).numpy() for t in (x, y)), rcond=None)[0]
    rows = zip((x - x.mean(0)).numpy(), (y - y.mean(0)).numpy(), strict=True)
    by_loop = [1 - np.square(a @ A - b).sum() / np.square(b).sum() for a, b in rows]
    np.testing.assert_allclose(e.tokens, by_loop, rtol=1e-9)
    assert float((e.size * e.tokens).sum() / e.size.sum()) == pytest.approx(e.score, rel=1e-12)
    assert e.score == pytest.approx(score(x, y), rel=1e-12)


def test_without_the_residual_the_same_is_left_unexplained():
    """(1 - s') |Y - X|^2 = (1 - s) |Y|^2 with centred X and Y."""
    x, y = related(width=5)
    y = y + x
    X, Y = x - x.mean(0), y - y.mean(0)
    without = 1 - (1 - score(x, y)) * float(Y.square().sum() / (Y - X).square().sum())
    assert score(x, y - x) == pytest.approx(without, rel=1e-11)
    np.testing.assert_allclose(explained(x, y - x).error, explained(x, y).error, rtol=1e-9)


@pytest.mark.parametrize("centre", [True, False])
def test_all_pairs(centre):
    layers = torch.stack([related(width=5, seed=s)[1] + normal(41, 5) for s in range(4)])
    found = scores(layers, centre)
    expected = [[score(x, y, centre) for y in layers] for x in layers]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.dtype == F64
    for k in range(4):
        assert scores_at_lag(found, k).tolist() == [found[i, i + k] for i in range(4 - k)]
    assert scores(list(related())).shape == (2, 2)


# ---- chance, other tokens, intervals


def test_chance_is_the_law_of_scores_of_noise():
    n, dim, width, times = 30, 4, 3, 400
    drawn = [score(normal(n, dim, seed=s), normal(n, width, seed=10_000 + s)) for s in range(times)]
    law = null_score(n, dim, width)
    assert law.value == pytest.approx(dim / (n - 1))
    assert abs(np.mean(drawn) - law.value) <= 4 * np.std(drawn) / math.sqrt(times)
    a, b = dim * width / 2, (n - 1 - dim) * width / 2
    assert np.std(drawn) == pytest.approx(
        math.sqrt(a * b / (a + b) ** 2 / (a + b + 1)), rel=4 / math.sqrt(2 * times)
    )
    assert stats.kstest(drawn, stats.beta(a, b).cdf).pvalue > 0.001
    inside = np.mean([law.low <= s <= law.high for s in drawn])
    assert abs(inside - 0.95) <= 4 * math.sqrt(0.95 * 0.05 / times)


def test_the_published_score_of_random_pairs():
    """22,986 tokens of dimension 768 (arXiv 2405.12250's code, repeated by others): 0.03338."""
    law = null_score(22_986, 768, 768)
    assert law.low < 0.03338080644607544 < law.high
    assert law.high - law.low < 3e-4


def test_held_out_by_loop():
    x, y = related(n=60)
    groups = torch.arange(60) // 4 * 3 + 7  # fifteen of four tokens
    e, ours = held_out(x, y, groups, 3), np.full(60, math.nan)
    for k in range(3):
        test = np.isin(np.arange(60) // 4, np.arange(k, 15, 3))
        X, Y = x.numpy(), y.numpy()
        one = np.ones((60, 1))
        # With an intercept.
        A = np.linalg.lstsq(np.hstack((X, one))[~test], Y[~test], rcond=None)[0]
        ours[test] = np.square(np.hstack((X, one))[test] @ A - Y[test]).sum(1)
        np.testing.assert_allclose(
            e.size[test], np.square(Y[test] - Y[~test].mean(0)).sum(1), rtol=1e-12
        )
    np.testing.assert_allclose(e.error, ours, rtol=1e-9)
    assert e.score < score(x, y)


def test_held_out_noise_is_below_zero():
    """A map of noise adds |A|^2: -dim / (n - dim - 2) for n tokens behind it, less the error of the
    mean."""
    n, dim, width, folds = 400, 20, 30, 4
    found = [
        held_out(
            normal(n, dim, seed=s), normal(n, width, seed=100 + s), torch.arange(n), folds
        ).score
        for s in range(20)
    ]
    m = n * (folds - 1) / folds
    assert np.mean(found) == pytest.approx(
        -dim / (m - dim - 2), abs=4 * np.std(found) / math.sqrt(20) + 1e-3
    )


@pytest.mark.parametrize("n_twins", [0, 2])
def test_the_map_is_that_of_least_squares(n_twins):
    """Also the smallest of many."""
    x, y = related()
    x = torch.cat((x, x[:, :n_twins]), 1)
    X, Y = (t.numpy() - t.numpy().mean(0) for t in (x, y))
    np.testing.assert_allclose(
        linear_map(x, y), np.linalg.lstsq(X, Y, rcond=1e-10)[0], rtol=1e-8, atol=1e-12
    )
    assert linear_map(x, y).shape == (5 + n_twins, 3)


def test_held_out_of_a_linear_map():
    x = normal(50, 4)
    e = held_out(x, x @ normal(4, 3, seed=1) + 3, torch.arange(50) // 5)
    assert e.score == pytest.approx(1, abs=1e-13)


def test_interval():
    """Against a bootstrap in a loop, and against the standard error of a mean where all sizes are
    1."""
    x, y = related(n=200)
    e, groups = explained(x, y), torch.arange(200) // 10
    found = e.interval(groups)
    rng, drawn = np.random.default_rng(5), []
    for _ in range(2000):
        chosen = np.concatenate([np.flatnonzero(groups == g) for g in rng.integers(20, size=20)])
        drawn.append(1 - float(e.error[chosen].sum() / e.size[chosen].sum()))
    low, high = np.quantile(drawn, [0.025, 0.975])
    width = high - low
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * width)
    assert found.value == e.score
    plain = linearity.Explained(normal(4000).abs(), torch.ones(4000, dtype=F64)).interval(
        torch.arange(4000)
    )
    error = float(normal(4000).abs().std()) / math.sqrt(4000)
    assert plain.high - plain.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_profiles():
    layers = normal(3, 7, 5)
    norms, cosines = norms_and_cosines(layers)
    for layer in range(3):
        assert norms[layer] == pytest.approx(np.mean([np.linalg.norm(t) for t in layers[layer]]))
    for layer in range(2):
        pairs = zip(layers[layer].numpy(), layers[layer + 1].numpy(), strict=True)
        assert cosines[layer] == pytest.approx(
            np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs])
        )


# ---- what is refused


@pytest.mark.parametrize(
    "call", [score, explained, linear_map, lambda x, y: held_out(x, y, torch.arange(len(x)), 2)]
)
def test_bad_activations(call):
    x, y = related()
    for wrong, said in (
        (x[0], "(5,)"),
        (x.half(), "float16"),
        (x.long(), "int64"),
        (x[:, :0], "(41, 0)"),
    ):
        refused(lambda wrong=wrong: call(wrong, y), "x must be a float32 or float64 tensor", said)
        if wrong.dim() == 2:
            refused(
                lambda wrong=wrong: call(x, wrong), "y must be a float32 or float64 tensor", said
            )
    refused(lambda: call(x, y[:-1]), "same tokens", "(41, 5)", "(40, 3)")
    for value in (math.nan, math.inf):
        bad = x.clone()
        bad[3, 2] = value
        refused(lambda bad=bad: call(bad, y), "x must have finite activations, got 1 that are not")
        refused(lambda bad=bad: call(y, bad), "y must have finite activations, got 1 that are not")
    for dtype in (torch.float32, F64):
        flat = torch.full((41, 4), 0.1, dtype=dtype)
        refused(lambda flat=flat: call(x, flat), "y must vary", "constant")
        refused(lambda flat=flat: call(flat, y), "x must vary", "constant")


def test_too_few_tokens():
    x, y = related(n=6)
    refused(
        lambda: score(x, y),
        "x must have more than dim + 1 tokens",
        "1 by construction",
        "n = 6",
        "dim = 5",
    )
    refused(
        lambda: score(x[:5], y[:5], False), "x must have more than dim tokens", "n = 5", "dim = 5"
    )
    assert 1 - score(x, y, False) > 1e-6
    assert 1 - score(*related(n=7)) > 1e-6
    refused(lambda: scores([related(n=50)[0], torch.ones(50, 3)]), "layers[1] must vary")
    refused(lambda: scores([x, y]), "layers[0]", "n = 6")
    refused(lambda: scores([related(n=9)[0], related(n=8)[0]]), "same tokens")
    big, other = related(n=8)
    refused(lambda: held_out(big, other, torch.arange(8), 4), "n = 6")  # of the other folds


def test_bad_numbers():
    x, y = related()
    table = scores([x, y])
    for k in (-1, 2, 1.0, None, True):
        refused(lambda k=k: scores_at_lag(table, k), f"k must be an integer from 0 to 1, got {k!r}")
    for folds in (1, 0, 2.0, None):
        refused(
            lambda f=folds: held_out(x, y, torch.arange(41), f),
            f"folds must be an integer >= 2, got {folds!r}",
        )
    refused(lambda: held_out(x, y, torch.arange(41) % 3, 4), "groups", "at least 4 values", "3")
    refused(lambda: held_out(x, y, torch.arange(40), 4), "groups", "(41,)", "(40,)")
    refused(lambda: explained(x, y).interval(torch.zeros(41)), "groups", "at least 2 values")
    refused(
        lambda: explained(x, y).interval(torch.arange(41), 0),
        "resamples must be an integer >= 1, got 0",
    )
    for n, dim, width, name in (
        (5, 4, 1, "n"),
        (9, 0, 1, "dim"),
        (9, 2, 0, "width"),
        (9.0, 2, 1, "n"),
    ):
        refused(lambda n=n, d=dim, w=width: null_score(n, d, w), f"{name} must be an integer")


# ---- the book's own models


@pytest.mark.parametrize(("H", "lead"), [(1, ()), (2, (3,))])
def test_prompt_states_by_loop(H, lead):
    model, N, d, L, B = LinearTransformer(d=3, n_layer=2, n_head=H), 5, 3, 2, 4
    prompts = LinearRegression(N=N, d=d).sample(B, torch.Generator().manual_seed(0), "tokens", F64)
    params = {n: normal(*lead, L, H, d, d, seed=i) for i, n in enumerate("PQ")}
    Z = prompt_states(model, params, prompts)
    assert Z.shape == (L + 1, *lead, B, N + 1, d + 1)
    torch.testing.assert_close(-Z[-1][..., N, d], model.predict(params, prompts))
    member = {n: p[-1] if lead else p for n, p in params.items()}
    for b in range(B):
        z = prompts.Z[b].numpy().copy()
        for layer in range(L):
            np.testing.assert_allclose((Z[layer, -1] if lead else Z[layer])[b], z, rtol=1e-9)
            new = z.copy()
            for h in range(H):
                P, Q = (np.zeros((d + 1, d + 1)) for _ in range(2))
                P[:d, :d], P[d, d], Q[:d, :d] = member["P"][layer, h], 1, member["Q"][layer, h]
                new += z @ Q @ z[:N].T @ z[:N] @ P.T / N
            z = new


def test_a_layer_is_linear_within_a_prompt_only():
    model = LinearTransformer(d=3, n_layer=2)
    prompts = LinearRegression(N=12, d=3).sample(
        50, torch.Generator().manual_seed(0), "tokens", F64
    )
    Z = prompt_states(model, {n: normal(2, 1, 3, 3, seed=i) for i, n in enumerate("PQ")}, prompts)
    for b in range(50):
        assert score(Z[0, b], Z[2, b]) == pytest.approx(1, abs=1e-12)
    assert score(Z[0].flatten(0, 1), Z[2].flatten(0, 1)) < 0.9


def test_without_P_covariates_stay():
    model = LinearTransformer(d=3, n_layer=2, free_P=False)
    prompts = LinearRegression(N=4, d=3).sample(2, torch.Generator().manual_seed(0), "tokens", F64)
    Z = prompt_states(model, {"Q": normal(2, 1, 3, 3)}, prompts)
    assert torch.equal(Z[-1][..., :3], prompts.Z[..., :3])
    tied = replace(model, tied=True)
    Q = normal(1, 1, 3, 3)
    assert torch.equal(
        prompt_states(tied, {"Q": Q}, prompts),
        prompt_states(model, {"Q": Q.repeat(2, 1, 1, 1)}, prompts),
    )
    refused(
        lambda: prompt_states(LinearTransformer(attention="relu"), {}, prompts),
        "attention",
        "'relu'",
    )


# ---- models of Hugging Face

TEXTS = [
    "the old monk saw a star",
    "a small planet",
    "errors fight each other and the mean is best",
]


def tiny(folder, kind):
    """A random model of a few numbers, with a tokenizer for TEXTS, saved as the hub would have
    it."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    names = {"bert": ("[CLS]", "[SEP]"), "gpt2": (), "opt": ("</s>",)}[kind]
    words = dict.fromkeys([*names, "<unk>", "<end>", *" ".join(TEXTS).split()])
    vocabulary = {word: i for i, word in enumerate(words)}
    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    single = {"bert": "[CLS] $A [SEP]", "gpt2": "$A", "opt": "</s> $A"}[kind]
    raw.post_processor = tokenizers.processors.TemplateProcessing(
        single=single, special_tokens=[(name, vocabulary[name]) for name in names]
    )
    pad = {"pad_token": "<end>"} if kind == "bert" else {}
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, unk_token="<unk>", eos_token="<end>", **pad
    )
    n, common = (
        len(vocabulary),
        {"vocab_size": len(vocabulary), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1},
    )
    config = {
        "bert": lambda: transformers.BertConfig(
            hidden_size=8,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=20,
            **common,
        ),
        "gpt2": lambda: transformers.GPT2Config(
            n_embd=8, n_layer=3, n_head=2, n_positions=20, **common
        ),
        "opt": lambda: transformers.OPTConfig(
            hidden_size=8,
            word_embed_proj_dim=8,
            num_hidden_layers=3,
            num_attention_heads=2,
            ffn_dim=16,
            max_position_embeddings=20,
            **common,
        ),
    }[kind]()
    assert n == config.vocab_size
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = transformers.AutoModel.from_config(
            config, dtype=torch.float16 if kind == "opt" else torch.float32
        )
    with linearity._quiet():
        model.save_pretrained(folder)
        fast.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "opt"])
def test_hidden_states_one_text_at_a_time(kind, tmp_path, monkeypatch, capfd):
    """Padding and batches change nothing; what the tokenizer adds is read, and left out."""
    folder = tiny(tmp_path, kind)
    monkeypatch.setattr(linearity, "BATCH", 2)
    states = hidden_states(folder, TEXTS)
    assert capfd.readouterr() == ("", "")
    assert states.words == tuple(" ".join(TEXTS).split())
    assert states.layers.shape == (4, len(states.words), 8)
    assert states.layers.dtype == torch.float32
    assert states.paragraph.tolist() == [i for i, text in enumerate(TEXTS) for _ in text.split()]
    with linearity._quiet():
        tokenizer, model = linearity._load(folder, None)
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            alone = model(ids, output_hidden_states=True).hidden_states
        front = {"bert": 1, "gpt2": 0, "opt": 1}[kind]
        for layer, z in enumerate(alone):
            expected = z[0, front : front + len(text.split())]
            torch.testing.assert_close(
                states.layers[layer][states.paragraph == i], expected, rtol=1e-4, atol=1e-5
            )


def test_unknown_words_count(tmp_path):
    states = hidden_states(tiny(tmp_path, "bert"), ["the zebra saw"])
    assert states.words == ("the", "<unk>", "saw")


def test_random_weights_come_from_their_seed(tmp_path):
    folder = tiny(tmp_path, "bert")
    before = torch.random.get_rng_state()
    trained, a, again, b = (hidden_states(folder, TEXTS, s).layers for s in (None, 0, 0, 1))
    assert torch.equal(a, again)
    assert not torch.allclose(a, b)
    assert not torch.allclose(a, trained)
    assert torch.equal(before, torch.random.get_rng_state())


def test_transformers_is_left_as_it_was(tmp_path):
    logging = pytest.importorskip("transformers").utils.logging
    folder, level, bars = (
        tiny(tmp_path, "gpt2"),
        logging.get_verbosity(),
        logging.is_progress_bar_enabled(),
    )
    hidden_states(folder, TEXTS)
    refused(lambda: hidden_states(folder, ["the " * 21]), "at most 20 tokens", "21")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)


def test_texts_that_are_none():
    for wrong in ([], "one text", ["a", ""], ["a", " \n"], [None], None):
        refused(
            lambda wrong=wrong: hidden_states(MINILM, wrong),
            "paragraphs must be a list of texts",
            repr(wrong),
        )
    for seed in (-1, 0.5, True):
        refused(
            lambda seed=seed: hidden_states(MINILM, ["a"], seed),
            f"random_seed must be an integer >= 0, got {seed!r}",
        )


@pytest.mark.parametrize("name", ["gpt2x", "some one/else's", 3, None, ".", ""])
def test_a_model_that_is_not_there(name, monkeypatch):
    """One line, at once: the hub is asked once, and transformers' own many tries are not begun."""
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def no_network(self, name, timeout):
        asked.append((name, timeout))
        raise ConnectionError

    monkeypatch.setattr(hub.HfApi, "model_info", no_network)
    refused(
        lambda: hidden_states(name, TEXTS),
        "model_name must be",
        MINILM,
        f"got {name!r} (ConnectionError)",
    )
    assert asked == [(name, linearity.TIMEOUT)]


def test_without_transformers(monkeypatch):
    for module in ("transformers", "transformers.utils"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(
        ImportError, match=r"need the package transformers: pip install 'lintf\[models\]'"
    ):
        hidden_states(MINILM, TEXTS)


def test_an_encoder_with_a_decoder(monkeypatch):
    pytest.importorskip("transformers")
    model = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=True))
    monkeypatch.setattr(linearity, "_load", lambda name, seed: (None, model))
    refused(
        lambda: hidden_states("t5-small", TEXTS),
        "model_name",
        "encoder with a decoder",
        "'t5-small'",
    )


@needs_models
def test_minilm_from_its_package():
    """Its width and depth; a word means something else in another sentence, and first in the
    embedding does not."""
    states = hidden_states(
        MINILM, ["he sat on the bank of the river", "the bank lent money to him"]
    )
    assert states.layers.shape == (7, 14, 384)
    a, b = states.words.index("bank"), 9
    assert states.words[b] == "bank"
    cosine = torch.cosine_similarity(states.layers[:, a], states.layers[:, b], dim=-1)
    assert cosine[0] > 0.8
    assert cosine[-1] < cosine[0] - 0.1


def test_the_sample_text():
    paragraphs = sample_text()
    assert sum(len(p.split()) for p in paragraphs) > 4000
    assert len(set(paragraphs)) == len(paragraphs) >= 40
    assert all("\n" not in p and p == p.strip() and 30 < len(p.split()) < 200 for p in paragraphs)
