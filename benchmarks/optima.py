"""The best transformers of pages 06, 23 and 25, whose search takes a minute or two: writes
lintf/data/optima.json.

    python benchmarks/optima.py

The pages go downhill from what is found here, and compute the losses themselves.
"""

from __future__ import annotations

import json
from itertools import product

from tqdm import tqdm

from lintf.analysis import isotropic
from lintf.experiments.phase import OPTIMA

LAYERS, NS, DS = (1, 2, 3, 4), (5, 10, 20, 40, 80, 160), (2, 5, 10)
# Eigenvalues met less often than once in the test prompts of page 25 are left out.
RARE = 1 / 20_000
# Of page 23: once in all prompts of training.
LOOP = list(product((2, 3, 4), (20,), (5,), (100 / (20_000 * 20_000),)))


# Of page 06, likewise.
EXAMPLES = list(product((3,), range(2, 21, 2), (5,), (1 / (40_000 * 8000),)))


def main() -> None:
    found = []
    for L, N, d, rare in tqdm([*product(LAYERS, NS, DS, (RARE,)), *LOOP, *EXAMPLES]):
        best = isotropic.optimum(L, N, d, rare)
        a, b = ([float(f"{v:.12g}") for v in values] for values in (best.a, best.b))
        found.append({"n_layer": L, "N": N, "d": d, "rare": rare, "a": a, "b": b})
    OPTIMA.write_text(
        "[\n" + ",\n".join(json.dumps(row) for row in found) + "\n]\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
