"""A small vision transformer on scikit-learn's digits with different connections: ``python benchmarks/hyper/vision.py --out FOLDER``.

All settings were fixed before the first run, none was chosen by a result; the test accuracy is that of the last step. The split is one for all
seeds; seeds differ in first weights and batches, which all arms of a seed share. Finished runs are skipped; ``table.py FOLDER`` shows them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from language import known_arm
from measure import inside
from model import initialise, parameters
from runs import Plan, Task, queue
from sklearn.datasets import load_digits
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.nn.residual import Residual, enter, leave, named_residual
from kinema.nn.transformer import Block
from kinema.training.method import generator

ARMS = ("postnorm", "prenorm", "static-2", "dynamic-2", "dynamic-4")
WIDTH, HEADS, DEPTH, BATCH = 64, 4, 6, 64
PLAN = Plan(600, 1e-3, 30, 20, betas=(0.9, 0.999), decay=0.05, probes=(0,))
PARTS = {"train": (0, 1000), "validation": (1000, 1300), "test": (1300, 1797)}


class VisionTransformer(nn.Module):
    """Patches of 2 x 2 pixels, learned positions, blocks, a final layer norm, the mean over tokens, a linear classifier.

    Shapes: images `(B, 8, 8)` -> logits `(B, 10)`.
    """

    def __init__(self, residual: Residual):
        super().__init__()
        self.residual = residual
        self.patches = nn.Linear(4, WIDTH)
        self.positions = nn.Parameter(torch.empty(16, WIDTH))
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS, residual=residual, index=i) for i in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Classifies."""
        patches = images.unflatten(2, (4, 2)).unflatten(1, (4, 2)).transpose(2, 3).flatten(3).flatten(1, 2)
        x = enter(self.residual, self.patches(patches) + self.positions)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(leave(self.residual, x)).mean(1))


def digits() -> dict[str, tuple[Tensor, Tensor]]:
    """The parts, images `(B, 8, 8)` in [-1, 1] and labels `(B,)`: always the same split."""
    data = load_digits()
    images, labels = torch.from_numpy(data.images).float() / 8 - 1, torch.from_numpy(data.target).long()
    order = torch.randperm(len(labels), generator=generator("digits", "split"))
    return {part: (images[order[a:b]], labels[order[a:b]]) for part, (a, b) in PARTS.items()}


def make(arm: str, seed: int, *, data: dict[str, tuple[Tensor, Tensor]]) -> tuple[Task, dict[str, Any]]:
    """What a run trains, and what to keep of it in the result."""
    model = VisionTransformer(named_residual(arm))
    initialise(model, seed, DEPTH)
    images, labels = data["train"]

    def loss(step: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(labels), (BATCH,), generator=generator(seed, "batch", step))
        shown = F.cross_entropy(model(images[rows]), labels[rows])
        return shown, shown

    @torch.no_grad()
    def on(part: str) -> dict[str, float]:
        x, y = data[part]
        logits = model(x)
        return {"loss": float(F.cross_entropy(logits, y)), "accuracy": 100 * float((logits.argmax(-1) == y).float().mean())}

    def score() -> dict[str, float]:
        test, validation = on("test"), on("validation")
        return {"test accuracy, %": test["accuracy"], "test loss": test["loss"], "validation accuracy, %": validation["accuracy"]}

    first = images[:BATCH], labels[:BATCH]
    task = Task(
        model,
        loss,
        lambda: on("validation"),
        score,
        lambda: inside(model, model.blocks, lambda: F.cross_entropy(model(first[0]), first[1])),
    )
    return task, {"unit": "images", "per_step": BATCH, **parameters(model)}


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of results")
    parser.add_argument("--steps", type=int, default=PLAN.steps)
    parser.add_argument("--arms", nargs="+", type=known_arm, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.threads < 1 or options.steps < 1:
        parser.error("--threads and --steps: expected 1 or more")
    torch.set_num_threads(options.threads)
    plan = replace(PLAN, steps=options.steps)
    settings = {"task": "digits", "width": WIDTH, "heads": HEADS, "depth": DEPTH, "batch": BATCH, "parts": PARTS}
    try:
        for _ in queue(options.out, options.arms, options.seeds, plan, settings, partial(make, data=digits()), "cpu"):
            pass
    except UserError as error:
        raise SystemExit(f"vision.py: {error}") from error


if __name__ == "__main__":
    main()
