"""What `fit` takes: every model and task, all three algorithms, each option, and fields that change
nothing."""

from __future__ import annotations

import functools
from dataclasses import replace

from lintf.models.encoder import Encoder
from lintf.models.linear import LinearTransformer
from lintf.models.looped import Looped
from lintf.models.mlp import MLPTransformer
from lintf.models.recall import RecallTransformer
from lintf.tasks.conditioned import ConditionedRegression
from lintf.tasks.linear import LinearRegression
from lintf.tasks.logistic import LogisticRegression
from lintf.tasks.mlp import NonlinearRegression
from lintf.tasks.recall import Recall
from lintf.training.fit import TrainConfig

linear, task, short = (
    LinearTransformer(d=3, n_layer=2, init_std=0.1),
    LinearRegression(N=4, d=3),
    {"max_iters": 3, "B": 6},
)
loop = {"d": 3, "width": 8, "loops": 3, "supervised_loops": 2, "positions": 20}
adam = TrainConfig(lr=0.01, **short)
EXPERIMENTS = {
    "adam": (linear, task, adam),
    "momentum of adam": (linear, task, replace(adam, momentum=0.5)),
    "history_size of adam": (linear, task, replace(adam, history_size=7, inner_steps=2)),
    "betas of sgd": (linear, task, replace(adam, alg="sgd", betas=(0.5, 0.6))),
    "betas of lbfgs": (linear, task, replace(adam, alg="lbfgs", betas=[0.5, 0.6], momentum=0.1)),
    "clip_by without clip": (linear, task, replace(adam, clip_by="matrix")),
    "clip_by": (linear, task, replace(adam, clip=0.5, clip_by="matrix")),
    "normalize": (linear, task, replace(adam, alg="sgd", normalize=True)),
    "one batch": (linear, task, replace(adam, redraw_every=None)),
    "halved": (linear, task, replace(adam, halve_every=2)),
    "cosine": (linear, task, replace(adam, warmup=1, lr_end=0.001, decay_steps=3)),
    "curriculum": (linear, task, replace(adam, curriculum=[["N", 2, 1, 1]])),
    "first steps": (linear, task, replace(adam, first_steps=1, record_every=2)),
    "float64, integrated": (linear, task, replace(adam, integrate=True, dtype="float64")),
    "no P, tied": (replace(linear, free_P=False, tied=True), task, adam),
    "softmax, two heads": (replace(linear, attention="softmax", n_head=2), task, adam),
    "covariances": (
        linear,
        replace(task, Sigma=[[2.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], noise_std=0.1),
        adam,
    ),
    "task of the seed": (linear, lambda seed: replace(task, N=4 + seed), adam),
    "task of the seed, partial": (
        linear,
        functools.partial(lambda d, seed: LinearRegression(N=5 + seed, d=d), 3),
        adam,
    ),
    "mlp": (
        MLPTransformer(d=3, n_layer=1, hidden=4),
        NonlinearRegression(N=4, d=3, hidden=2),
        adam,
    ),
    "encoder": (Encoder(d=3, width=8, n_head=2, n_layer=1), ConditionedRegression(N=4, d=3), adam),
    "recall, idle alpha": (
        RecallTransformer(variant="origin", alpha=0.3, vocab=12, n_trigger=2),
        Recall(H=16, vocab=12, n_trigger=2),
        adam,
    ),
    "logistic": (
        Encoder(d=3, width=8, n_head=2, n_layer=1, readout="w"),
        LogisticRegression(N=4, d=3),
        adam,
    ),
    "looped": (Looped(n_head=2, **loop), task, adam),
    "heads of an LSTM": (Looped(cell="lstm", n_head=2, **loop), task, adam),
    "heads of an LSTM that do not divide": (Looped(cell="lstm", n_head=3, **loop), task, adam),
    "curriculum of loops": (
        Looped(n_head=2, **loop),
        task,
        replace(adam, curriculum=(("loops", 2, 1, 1),)),
    ),
    "recall": (RecallTransformer(vocab=12, n_trigger=2), Recall(H=16, vocab=12, n_trigger=2), adam),
    "recall, a training set": (
        RecallTransformer(vocab=12, n_trigger=2, save_final_params=True),
        Recall(H=16, vocab=12, n_trigger=2, n_output=2),
        replace(adam, train_set_size=12),
    ),
}


def experiment(case):
    return EXPERIMENTS[case]
