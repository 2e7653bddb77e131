"""The progress bar of a training: tqdm's, as a widget in a notebook and as text elsewhere.

`python -m lintf run` sets LINTF_PROGRESS=text for the notebook that it runs, so that its trainings can be followed in
the terminal.
"""

from __future__ import annotations

import os

if os.environ.get("LINTF_PROGRESS") == "text":
    from tqdm import tqdm
else:
    from tqdm.auto import tqdm

__all__ = ["tqdm"]
