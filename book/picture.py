"""Draw the README's picture from the stored runs of the first page: python book/picture.py"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch

from lintf.analysis.solvers import best_gradient_descent, squared_error
from lintf.models.linear import LinearTransformer
from lintf.pages import plots
from lintf.tasks.linear import LinearRegression
from lintf.training.config import TrainConfig
from lintf.training.fit import fit

plots.style()
model, task, seeds = LinearTransformer(), LinearRegression(), (0, 1, 2)
training = {
    "Adam": TrainConfig(
        alg="adam", lr=1e-3, clip=1000.0, max_iters=10_000, B=4000, record_every=250
    ),
    "SGD": TrainConfig(alg="sgd", lr=0.02, clip=1.0, max_iters=10_000, B=4000, record_every=250),
}
runs = {name: fit(model, task, t, seeds) for name, t in training.items()}
test = task.sample(20_000, torch.Generator().manual_seed(99))
descent = best_gradient_descent(3, task.sample(20_000, torch.Generator().manual_seed(98)))

fig, (loss, *heat) = plt.subplots(1, 4, figsize=(11, 2.9), width_ratios=[1.6, 1, 1, 1])
for name, run in runs.items():
    plots.band(loss, run.steps, model.loss(run.params, test), name)
loss.axhline(
    float(squared_error(descent, test).mean()),
    color="0.4",
    linestyle="--",
    label="gradient descent",
)
loss.set(xlabel="training step", ylabel="test loss", yscale="log")
plots.legend(loss, len(seeds), fontsize=8)
for layer, ax in enumerate(heat):
    plots.heatmap(ax, runs["Adam"].final_params["Q"][0, layer, 0], f"$Q_{layer}$, Adam")
fig.savefig(Path(__file__).parent / "_static" / "simple_demo.png", metadata={"Software": None})
