"""Byte-level language models with different connections: ``python benchmarks/hyper/language.py run --out FOLDER [--size cpu] [--arms ...]``.

`run` trains each arm with each seed, paired: the same first weights (but for the connections' own), batches and settings. Run the same line
again after an interruption: finished runs are skipped. ``table.py FOLDER`` makes tables and plots of the results. `time` measures steps of the
arms in turn, which on a shared machine is the only fair clock.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measure import inside
from model import LanguageModel, initialise, parameters
from runs import Plan, Task, clock, queue, updater
from text import Text, read
from torch import Tensor

from kinema.errors import UserError
from kinema.nn.residual import named_residual

ARMS = ("postnorm", "prenorm", "dynamic-1", "dynamic-2", "dynamic-4", "dynamic-8", "static-4", "manifold-4", "fraction-4")
BALANCE = 0.01
"""How much the experts' imbalance adds to the loss (Switch Transformer)."""


@dataclass(frozen=True)
class Size:
    """A model and how it is trained.

    Attributes:
        width, heads, depth, context: of the model. batch: windows of a step. plan: see there.
        curve, score: validation windows of a point of the curve, and of the figure of the end.
        bf16: autocast. compile: torch.compile, which experts (whose shapes depend on the data) turn off.
    """

    width: int
    heads: int
    depth: int
    context: int
    batch: int
    plan: Plan
    curve: int
    score: int
    bf16: bool = False
    compile: bool = False


_CPU = Size(64, 4, 8, 96, 12, Plan(300, 3e-3, 20, 20, probes=(0,)), curve=96, score=960)
SIZES = {
    "smoke": Size(16, 2, 2, 16, 4, Plan(20, 3e-3, 2, 10, probes=(0,)), curve=4, score=8),
    "cpu": _CPU,
    "long": replace(_CPU, plan=Plan(1500, 3e-3, 20, 50, probes=(0, 50, 150, 300, 600, 1000))),
    "gpu": Size(
        384, 6, 12, 512, 64, Plan(1500, 1e-3, 100, 50, probes=(0, 50, 150, 300, 600, 1000)), 128, 512, bf16=True, compile=True
    ),
}


def make(arm: str, seed: int, *, size: Size, text: Text, experts: int, top: int, device: str) -> tuple[Task, dict[str, Any]]:
    """What a run trains, and what to keep of it in the result."""
    model = LanguageModel(size.width, size.heads, size.depth, size.context, named_residual(arm), experts, top)
    initialise(model, seed, size.depth)
    model = model.to(device)
    # all arms share the code of one forward pass, of which the compiler makes 8 variants and then gives up
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    call = torch.compile(model, fullgraph=True) if size.compile and not experts else model
    fixed = {rows: text.fixed(rows, size.context).to(device) for rows in (size.batch, size.curve, size.score)}

    def cross_entropy(forward: Callable[[Tensor], Tensor], data: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=size.bf16):
            logits = forward(data[:, :-1])
        return F.cross_entropy(logits.float().flatten(0, 1), data[:, 1:].flatten())

    def loss(step: int) -> tuple[Tensor, Tensor]:
        shown = cross_entropy(call, text.batch(seed, step, size.batch, size.context).to(device))
        imbalance = model.imbalance()
        return (shown if imbalance is None else shown + BALANCE * imbalance), shown

    @torch.no_grad()
    def validation(rows: int) -> dict[str, float]:
        parts = [cross_entropy(model, part) * len(part) for part in fixed[rows].split(4 * size.batch)]
        return {"loss": float(torch.stack(parts).sum()) / rows}

    task = Task(
        model,
        loss,
        lambda: validation(size.curve),
        lambda: {"validation loss": validation(size.score)["loss"]},
        lambda: inside(model, model.blocks, lambda: cross_entropy(model, fixed[size.batch])),
    )
    return task, {"unit": "tokens", "per_step": size.batch * size.context, **parameters(model)}


def measure_time(size: Size, arms: list[str], rounds: int, make: Callable[[str, int], tuple[Task, Any]]) -> None:
    """Prints ms a step of the arms, which take turns, in another order each round: by the clock, and by the time of the processor."""
    updates = [updater(make(arm, 0)[0], size.plan) for arm in arms]
    times: list[list[tuple[float, float]]] = [[] for _ in arms]
    for number in range(-2, rounds):  # two to warm up
        for place in range(len(arms)):
            which = (place + number) % len(arms)
            begin = clock()
            updates[which](max(0, number))
            end = clock()
            if number >= 0:
                times[which].append((1e3 * (end[0] - begin[0]), 1e3 * (end[1] - begin[1])))
    middle = {arm: [statistics.median(t[kind] for t in found) for kind in (0, 1)] for arm, found in zip(arms, times, strict=True)}
    base = middle.get("prenorm", middle[arms[0]])
    print("| arm | ms a step by the clock | x | by the processor | x |\n|---|---|---|---|---|")
    for arm, (wall, processor) in middle.items():
        print(f"| {arm} | {wall:.1f} | {wall / base[0]:.2f} | {processor:.1f} | {processor / base[1]:.2f} |")


def known_arm(name: str) -> str:
    """The name itself, for argparse."""
    try:
        named_residual(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "time"))
    parser.add_argument("--out", type=Path, required=True, help="folder of results; the text is kept in FOLDER/text")
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--steps", type=int, help="other than the size's")
    parser.add_argument("--arms", nargs="+", type=known_arm, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--experts", type=int, default=0, help="experts in place of each MLP")
    parser.add_argument("--top", type=int, default=2, choices=(1, 2), help="experts a token goes through")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15, help="steps of each arm that `time` measures")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no such device here")
    if options.experts < 0 or options.experts == 1 or (options.experts and options.experts < options.top):
        parser.error(f"--experts {options.experts}: expected 0, or 2 and more")
    if options.threads < 1 or (options.steps is not None and options.steps < 1):
        parser.error("--threads and --steps: expected 1 or more")
    torch.set_num_threads(options.threads)
    size = SIZES[options.size]
    if options.steps is not None:
        size = replace(size, plan=replace(size.plan, steps=options.steps))
    try:
        text = read(options.out / "text")
        one = partial(make, size=size, text=text, experts=options.experts, top=options.top, device=options.device)
        if options.what == "time":
            measure_time(size, options.arms, options.rounds, one)
            return
        settings = {"task": "language", "text": text.origin, "digest": text.digest, "experts": options.experts}
        settings |= {"top": options.top if options.experts else None, **asdict(size), "device": options.device}
        for _ in queue(options.out, options.arms, options.seeds, size.plan, settings, one, options.device):
            pass
    except UserError as error:
        raise SystemExit(f"language.py: {error}") from error


if __name__ == "__main__":
    main()
