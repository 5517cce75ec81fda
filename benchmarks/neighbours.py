"""Nearest neighbours at the size of NTU RGB+D: ``python benchmarks/neighbours.py`` (queries, gallery and width as in CMD's protocol)."""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from kinema.recognition.neighbours import BUDGET, search


def main() -> None:
    """Prints seconds, GFLOP/s, and what memory grew by beyond the features themselves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=16_000)
    parser.add_argument("--gallery", type=int, default=40_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((arguments.gallery, arguments.width), np.float32)
    queries = rng.standard_normal((arguments.queries, arguments.width), np.float32)
    search(queries[:64], gallery[:64], device=arguments.device)  # what is loaded once is not measured
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    search(queries, gallery, device=arguments.device)
    seconds = time.perf_counter() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    rate = 2e-9 * arguments.queries * arguments.gallery * arguments.width / seconds
    size = f"{arguments.queries:,} x {arguments.gallery:,} x {arguments.width:,}"
    print(
        f"{size}, {torch.get_num_threads()} threads: {seconds:.1f} s, {rate:.0f} GFLOP/s, memory grew by {grown:.0f} MiB", end=" "
    )
    print(f"(budget {BUDGET / 2**20:.0f} MiB)")


if __name__ == "__main__":
    main()
