"""`kinema papers` and `kinema doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import time
from importlib import metadata

import torch

from .. import __version__
from ..errors import UserError
from ..text import say
from .common import say_table

PAPERS = (
    ("MAMP", "recognition", "pre-training, protocols, import of the authors' weights", "kinema train mamp"),
    ("CMD", "recognition", "pre-training, protocols, retrieval", "kinema train cmd"),
    ("I²MD", "recognition", "pre-training, reconstructed from the abstract", "kinema train i2md"),
    ("MASA", "recognition", "pre-training, fine-tuning (reconstructed), signs recognised in a video", "kinema train masa"),
    ("InstructMotion", "generation", "not yet", ""),
    ("MotionRL", "generation", "not yet", ""),
    ("JOINT", "segmentation", "not yet", ""),
    ("ShadowSAM (Detect Any Shadow)", "segmentation", "not yet", ""),
    (
        "Hyper-Connections",
        "building block",
        "in every transformer, in your own network",
        "kinema train mamp --set model.encoder.residual=dynamic-4",
    ),
)
"""Paper, room, what works today, command."""

NEEDED = (
    "torch",
    "lightning-fabric",
    "numpy",
    "scipy",
    "scikit-learn",
    "safetensors",
    "tyro",
    "rich",
    "matplotlib",
    "pillow",
    "av",
    "cattrs",
)


def papers() -> None:
    """Prints the table."""
    say_table(("paper", "room", "today", "command"), PAPERS)
    say("No trained weights are shipped yet.")


def doctor() -> None:
    """Prints what is installed and how fast this machine multiplies.

    Raises:
        UserError: a package that Kinema needs is missing.
    """
    rows: list[tuple[str, str]] = []

    def row(what: str, here: str) -> None:
        rows.append((what, here))

    row("kinema", __version__)
    row("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    missing = []
    for name in NEEDED:
        try:
            row(name, metadata.version(name))
        except metadata.PackageNotFoundError:
            missing.append(name)
    row("mediapipe", _mediapipe())
    row("cores", f"{os.cpu_count()}, torch uses {torch.get_num_threads()}")
    row("free disk here", f"{shutil.disk_usage('.').free / 2**30:.0f} GiB")
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        row(f"GPU {i}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.device_count():
        row("GPU", "none that torch can use")
    for dtype in (torch.float32, torch.bfloat16):
        row(f"matrix products, {str(dtype).removeprefix('torch.')}, CPU", f"{matrix_rate(dtype):.0f} GFLOP/s")
    say_table(("what", "here"), rows)
    if missing:
        raise UserError(f"missing: {', '.join(missing)}; run `pip install kinema` again in this environment")


def _mediapipe() -> str:
    """Its version, or what is not possible without it. It is not imported: that takes seconds, and may fail for reasons of its own."""
    try:
        return metadata.version("mediapipe")
    except metadata.PackageNotFoundError:
        return "not installed; to find poses in videos (kinema pose, kinema recognize): docs/pose.md"


def matrix_rate(dtype: torch.dtype, size: int = 1024, seconds: float = 0.3) -> float:
    """GFLOP/s of square matrix products on the CPU, the best of those that fit in `seconds`."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    torch.matmul(a, b)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.matmul(a, b)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9
