"""What the first cell of a page runs in Colab, once the project lies there: it installs lintf and
goes to the pages.

After "Restart session" lintf is installed, but the current folder is Colab's own again, so going
there is done each time. Torch and NumPy stay as they are, since what Colab has of them is within
the ranges of pyproject.toml.
"""

import importlib.util
import os
import subprocess
import sys

folder = os.path.dirname(os.path.dirname(__file__))
if importlib.util.find_spec("lintf") is None:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--editable", folder], check=True
    )
    sys.path.insert(0, folder)  # a running Python does not see what was installed in place
os.chdir(f"{folder}/notebooks")
