"""Where published results stand: each source with its address, and the place in it as a link.

A claim names its source as ``"2306.00297, Fig. 4"``: a name from :data:`SOURCES`, a comma, and the
place, which is a figure, a table, a section, a theorem, or a file with what it saved. Several are
separated by ``"; "``. In the ledger the row is found by "Fig. 4 of 2306.00297".
"""

from __future__ import annotations

import re
from urllib.parse import quote

GITHUB = "https://github.com/"
CODE = [
    "chengxiang/LinearTransformer",  # of 2306.00297 and 2310.01082
    "Leiay/icl_newton",  # of 2403.03183
    "ngmq/onelayer-transformer-ICR-DA-NTP",  # of 2505.15009
    "Leiay/looped_transformer",  # of 2311.12424
    "Pehlevan-Group/icl-asymptotic",  # of 2405.11751
    "yedizhang/linattn-icl",  # of 2501.16265
    "ALeksandr13254/looped-transformer",  # the report on 2311.12424
    "google-research/self-organising-systems",  # of 2212.07677, in transformers_learn_icl_by_gd/
    "chengxiang/transformer-functional-gradient",  # of 2312.06528
]
ARXIV = [
    "2306.00297",  # Ahn, Cheng, Daneshmand, Sra: preconditioned gradient descent
    "2310.01082",  # Ahn, Cheng, Song, Yun, Jadbabaie, Sra: linear attention is (maybe) all you need
    "2403.03183",  # Giannou, Yang, Wang, Papailiopoulos, Lee: Newton's method
    "2310.17086",  # Fu, Chen, Jia, Sharan: second-order convergence rates
    "2505.15009",  # Nguyen, Nguyen-Tang: recall
    "2311.12424",  # Yang, Lee, Nowak, Papailiopoulos: looped transformers
    "2410.08292",  # Gatmiry, Saunshi, Reddi, Jegelka, Kumar: looped linear transformers
    "2405.12250",  # Razzhigaev and others: secretly linear
    "2208.01066",  # Garg, Tsipras, Liang, Valiant: simple function classes
    "2501.16265",  # Zhang, Singh, Latham, Saxe: training dynamics
    "2306.09927",  # Zhang, Frei, Bartlett: trained transformers, and shifts
    "2405.11751",  # Lu, Letey, Zavatone-Veth, Maiti, Pehlevan: asymptotics of pre-training
    "2306.15063",  # Raventós, Paul, Chen, Ganguli: task diversity
    "2402.14180",  # Vladymyrov, von Oswald, Sandler, Ge: noise levels
    "2212.07677",  # von Oswald and others: gradient descent
    "2312.06528",  # Cheng, Chen, Sra: functional gradient descent
    "2211.15661",  # Akyürek, Schuurmans, Andreas, Ma, Zhou: which learning algorithm
]
SOURCES = {
    **{name: f"https://arxiv.org/abs/{name}" for name in ARXIV},
    **{name: GITHUB + name for name in CODE},
    "Schulz 1933": "https://doi.org/10.1002/zamm.19330130111",
    "Pan and Schreiber 1991": "https://doi.org/10.1137/0912058",
}
PLACE = re.compile(
    r"Figs?\. \d|Table|Sec\. \d|section|Theorem|Lemma|abstract|README|\.(ipynb|py|json|yaml|out)\b"
)


def links(source: str) -> list[tuple[str, str]]:
    """(text, address) of each part of a source, such as ("Fig. 4 of 2306.00297", its address). The
    address of a notebook, which stands at the top of its repository, is its own.

    Raises ValueError where a name is not in the table or a place is missing.
    """
    found = []
    for part in source.split("; "):
        name, _, place = part.partition(", ")
        if name not in SOURCES:
            raise ValueError(
                f"unknown source {name!r}; those of lintf/pages/sources.py are: "
                + ", ".join(SOURCES)
            )
        if not PLACE.search(place):
            raise ValueError(
                f"source {part!r} must name a figure, table, section, theorem or file after "
                "a comma, as in '2306.00297, Fig. 4'"
            )
        file = f"/blob/HEAD/{quote(place)}" if place.endswith(".ipynb") else ""
        found.append((f"{place} of {name}", SOURCES[name] + file))
    return found
