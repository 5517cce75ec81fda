"""`kinema papers` and `kinema doctor`."""

from __future__ import annotations

import math
import os
import platform
import shutil
import time
from importlib import metadata

import torch

from .. import __version__
from ..errors import UserError
from ..text import say
from ..training.precision import verdict
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

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


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
    for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        where = {"cpu": "CPU", "cuda": "GPU"}[kind]
        speeds = [f"{name} {_readable(matrix_rate(dtype, kind))}" for name, dtype in TYPES.items()]
        row(f"matrix products, {where}", ", ".join(speeds))
        found = verdict(kind)
        row(f"precision by default, {where}", f"{'bf16' if found.pays else 'fp32'}: {found.why}")
    say_table(("what", "here"), rows)
    if missing:
        raise UserError(f"missing: {', '.join(missing)}; run `pip install kinema` again in this environment")


def _mediapipe() -> str:
    """Its version, or what is not possible without it. It is not imported: that takes seconds, and may fail for reasons of its own."""
    try:
        return metadata.version("mediapipe")
    except metadata.PackageNotFoundError:
        return "not installed; to find poses in videos (kinema pose, kinema recognize): docs/pose.md"


def _readable(rate: float) -> str:
    """GFLOP/s to three digits, in a unit that suits."""
    for unit in ("GFLOP/s", "TFLOP/s"):
        if rate < 1000 or unit == "TFLOP/s":
            break
        rate /= 1000
    return f"{rate:.{max(0, 2 - math.floor(math.log10(max(rate, 0.01))))}f} {unit}"


def matrix_rate(dtype: torch.dtype, kind: str = "cpu", seconds: float = 0.3) -> float:
    """GFLOP/s of square matrix products on a kind of device, the best of those that fit in `seconds`."""
    size, best = 0, math.inf
    for size in (128, 256, 512, 1024) if kind == "cpu" else (1024, 2048, 4096):
        best = min(_product(size, dtype, kind) for _ in range(3))
        if best > seconds / 6:  # one of the next size would take eight times as long
            break
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, _product(size, dtype, kind))
    return 2 * size**3 / best / 1e9


def _product(size: int, dtype: torch.dtype, kind: str) -> float:
    """Seconds of one square matrix product."""
    a, b = (torch.ones(size, size, dtype=dtype, device=kind) for _ in range(2))
    wait = torch.cuda.synchronize if kind == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    torch.matmul(a, b)
    wait()
    return time.perf_counter() - start
