"""What a command waits for before it does anything."""

import subprocess
import sys
from pathlib import Path

import kinema

VERBS = sorted(path.stem for path in (Path(kinema.__file__).parent / "verbs").glob("*.py") if path.stem != "__init__")

LATER = (
    "lightning_fabric",  # only when a training begins
    "torchmetrics",
    "torch._dynamo",  # only when something is compiled
    "transformers",
    "matplotlib.pyplot",
    "sklearn",
    "scipy.signal",
)
"""Slow to import, and needed by few commands or late."""


def test_no_verb_imports_what_only_training_or_compiling_needs():
    assert "recognize" in VERBS
    script = f"import sys, {', '.join(f'kinema.verbs.{verb}' for verb in VERBS)}; print(*(set({LATER!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
