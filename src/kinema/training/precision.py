"""Which precision a run computes in. ``auto`` is bf16 where this machine gains by it, found once a process, else fp32."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

Settled = Literal["32", "bf16"]
Precision = Literal["auto", "32", "bf16"]
"""What may be asked for. ``bf16``: autocast; weights, optimiser and the total loss stay float32."""

MARGIN = 1.25
"""How many times faster bf16 products have to be: a training step also converts, and noise must not decide."""
ROWS, INNER, OUTER = 512, 256, 512
"""Of the measured products: those of a linear map in a small training step, forward and for its weights."""
LEAST, MOST, SECONDS = 3, 30, 0.1
"""How often each precision is measured, and after how many seconds there have been enough."""


@dataclass(frozen=True)
class Verdict:
    """Whether bf16 pays on a device, and why, in a few words."""

    pays: bool
    why: str


def resolve(precision: Precision, device: torch.device | str) -> Settled:
    """What is computed in: ``auto`` by what pays on the device, anything else as it was asked for."""
    if precision != "auto":
        return precision
    return "bf16" if bf16_pays(device) else "32"


def for_inference(precision: Precision, device: torch.device | str) -> Settled:
    """What a trained network is used in: bf16 where its recipe allows it and this device gains by it, wherever it was trained."""
    return "32" if precision == "32" else resolve("auto", device)


def bf16_pays(device: torch.device | str) -> bool:
    """Whether bf16 makes a training step faster on a device."""
    return verdict(device).pays


def verdict(device: torch.device | str) -> Verdict:
    """Whether bf16 pays on a device, judged once a process and kind of device."""
    return _judged(torch.device(device).type)


@functools.cache
def _judged(kind: str) -> Verdict:
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Verdict(native, "the GPU has bf16 instructions" if native else "the GPU has no bf16 instructions")
    if kind != "cpu":
        return Verdict(False, f"bf16 is not tried on {kind}")
    if not _cpu_knows_bf16():
        return Verdict(False, "the processor has no bf16 instructions that torch uses")
    # several threads wait for one another, so that on a busy machine they would measure its other work
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = rates("cpu")
    finally:
        torch.set_num_threads(threads)
    gain = found["bf16"] / found["32"]
    why = f"bf16 products are {gain:.1f} times as fast as fp32"
    return Verdict(gain >= MARGIN, why if gain >= MARGIN else f"{why}; it pays from {MARGIN} on")


def _cpu_knows_bf16() -> bool:
    """What oneDNN, which multiplies for torch, reports; it also obeys ``ONEDNN_MAX_CPU_ISA``. Without it torch's own loops are slow."""
    if not torch.backends.mkldnn.is_available():
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def rates(device: torch.device | str) -> dict[Settled, float]:
    """Operations a second of matrix products of a small training step, the best of some, in fp32 and bf16 by turns.

    With the threads that are set; on a CPU it takes some 0.1 seconds.
    """
    device = torch.device(device)
    products: dict[Settled, Callable[[], None]] = {
        "32": _products(torch.float32, device),
        "bf16": _products(torch.bfloat16, device),
    }
    best: dict[Settled, float] = {"32": math.inf, "bf16": math.inf}
    begun = time.perf_counter()
    for repeat in range(MOST):
        if repeat >= LEAST and time.perf_counter() > begun + SECONDS:
            break
        for name, multiply in products.items():
            start = time.perf_counter()
            multiply()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: 2 * 2 * ROWS * INNER * OUTER / seconds for name, seconds in best.items()}


def _products(dtype: torch.dtype, device: torch.device) -> Callable[[], None]:
    """`(R, I) (I, O)` and the transposed `(O, R) (R, I)`, as a linear map and the gradient of its weights have them."""
    x, w, y = (torch.ones(shape, dtype=dtype, device=device) for shape in ((ROWS, INNER), (OUTER, INNER), (ROWS, OUTER)))

    def multiply() -> None:
        torch.mm(x, w.T)
        torch.mm(y.T, x)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return multiply
