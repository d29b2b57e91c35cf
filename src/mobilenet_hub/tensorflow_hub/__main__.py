"""`python -m mobilenet_hub.tensorflow_hub SCRIPT ...`: a program whose tensorflow_hub this is."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from mobilenet_hub import tensorflow_hub

if len(sys.argv) < 2:
    sys.exit("usage: python -m mobilenet_hub.tensorflow_hub SCRIPT [ARGUMENT ...]")
del sys.argv[0]
sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
tensorflow_hub.install()
runpy.run_path(sys.argv[0], run_name="__main__")
