"""Hidden states against loops, and against models run by hand. Models of Hugging Face are tiny
random ones."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from refusals import refused

from lintf.analysis import states as states_module
from lintf.analysis.linearity import score
from lintf.analysis.states import MINILM, hidden_states, prompt_states, sample_text
from lintf.models.linear import LinearTransformer
from lintf.tasks.linear import LinearRegression

F64 = torch.float64
needs_models = pytest.mark.skipif(
    any(importlib.util.find_spec(p) is None for p in ("transformers", states_module.PACKAGE)),
    reason="lintf[models]",
)


def normal(*shape, seed=0, dtype=F64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


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
    with states_module._quiet():
        model.save_pretrained(folder)
        fast.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "opt"])
def test_hidden_states_one_text_at_a_time(kind, tmp_path, monkeypatch, capfd):
    """Padding and batches change nothing; what the tokenizer adds is read, and left out."""
    folder = tiny(tmp_path, kind)
    monkeypatch.setattr(states_module, "BATCH", 2)
    states = hidden_states(folder, TEXTS)
    assert capfd.readouterr() == ("", "")
    assert states.words == tuple(" ".join(TEXTS).split())
    assert states.layers.shape == (4, len(states.words), 8)
    assert states.layers.dtype == torch.float32
    assert states.paragraph.tolist() == [i for i, text in enumerate(TEXTS) for _ in text.split()]
    with states_module._quiet():
        tokenizer, model = states_module._load(folder, None)
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
    assert asked == [(name, states_module.TIMEOUT)]


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
    monkeypatch.setattr(states_module, "_load", lambda name, seed: (None, model))
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
