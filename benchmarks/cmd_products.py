"""The matrix products of a CMD step: how many operations they are, and how fast each is alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from timing import Timer, clock

from kinema.recognition.cmd import CMDConfig
from kinema.recognition.sequence import MODALITIES, GRUConfig

FORWARD, KEYS, BACKWARD = "recurrence forward, queries", "recurrence forward, keys", "recurrence backward"


@dataclass(frozen=True)
class Product:
    """`count` times in a row, `batch` products of `(M, K) @ (K, N)`.

    `left`, `right`: the factor lies in memory as its transpose. `part`: of the step.
    """

    part: str
    batch: int
    m: int
    k: int
    n: int
    count: int = 1
    left: bool = False
    right: bool = False

    def __str__(self) -> str:
        return f"{self.batch} x ({self.m} x {self.k}) @ ({self.k} x {self.n})"

    @property
    def operations(self) -> float:
        """Of all of them, floating-point."""
        return 2.0 * self.count * self.batch * self.m * self.k * self.n

    @property
    def stepwise(self) -> bool:
        """Whether it is one with the state, a frame at a time."""
        return self.count > 1

    def measure(self, device: str, timer: Timer) -> float:
        """Seconds of all of them, the best of a few tries. In a row, so that weights come from memory as often as in a step."""
        a = torch.randn(self.batch, *((self.k, self.m) if self.left else (self.m, self.k)), device=device)
        b = torch.randn(self.batch, *((self.n, self.k) if self.right else (self.k, self.n)), device=device)
        a, b = a.transpose(1, 2) if self.left else a, b.transpose(1, 2) if self.right else b

        def run() -> None:
            for _ in range(self.count):
                torch.bmm(a, b)

        best, tried, end = float("inf"), 0, time.perf_counter() + 0.1
        while tried < 2 or time.perf_counter() < end:
            best, tried = min(best, clock(run, device == "cuda", timer)), tried + 1
        return best


def products(config: CMDConfig, batch: int) -> list[Product]:
    """Those of the recurrent networks in a step, layer by layer.

    With inputs it is one product for all frames, with states one a frame for all streams of all modalities; the gradients of
    weights are one product after the last frame.
    """
    network, t, n = config.network, config.frames, len(MODALITIES)
    assert isinstance(network, GRUConfig)
    h, rows = network.hidden, t * batch
    found: list[Product] = []
    for layer in range(network.layers):
        c = 2 * h if layer else config.coordinates * config.joints * config.people
        for part in (FORWARD, KEYS):
            found.append(Product(part, n, rows, c, 6 * h, right=True))
            found.append(Product(part, 2 * n, batch, h, 3 * h, t, right=True))
        found.append(Product(BACKWARD, n, rows, 6 * h, c))
        found.append(Product(BACKWARD, n, 6 * h, rows, c, left=True))
        found.append(Product(BACKWARD, 2 * n, batch, 3 * h, h, t))
        found.append(Product(BACKWARD, 2 * n, 3 * h, rows, h, left=True))
    return found


def measure(shapes: Sequence[Product], device: str, timer: Timer) -> dict[Product, float]:
    """Seconds of each; those of one shape are measured once."""
    seconds = {shape: shape.measure(device, timer) for shape in {replace(p, part=""): None for p in shapes}}
    return {p: seconds[replace(p, part="")] for p in shapes}


def rate(shapes: Sequence[Product], seconds: Mapping[Product, float]) -> float:
    """GFLOP/s of all together: what a step would reach if it did nothing else."""
    return sum(p.operations for p in shapes) / sum(seconds[p] for p in shapes) / 1e9


def operations(config: CMDConfig, batch: int) -> float:
    """Floating-point operations of a step: six encoders forward, three backward (twice as many), and products with the queues."""
    w, d, n = config.network.width, config.dim, len(MODALITIES)
    recurrent = sum(p.operations for p in products(config, batch))
    heads = 2 * (w * w + w * d) * (3 * n + n)
    queues = 2 * d * config.queue * 3 * n  # of queries forward and back, of keys
    return recurrent + batch * (heads + queues)
