"""How fast a CMD pre-training step is: ``python benchmarks/cmd_step.py [--batch 16] [--threads N] [--device cpu|cuda] [--rounds 3]``.

    --small        a tiny network, to see that it runs
    --processor    with --threads 1, the time of the processor, which other work on the machine does not stretch

Compares, in one process and interleaved, stepping the networks a frame at a time, as published, with Kinema's step, at the published size (64
frames of 150 numbers, 3 layers of 2 x 1024, a queue of 16,384; fp32). Both train the same weights in Kinema's training loop: three query
and three key encoders forward, the losses, backward, SGD, momentum encoders and queues. Both must give the same loss before anything is timed.

Small products with states run far below the rate of large square ones. So the rate that a step is measured by is that of its own products:
each is timed alone in the same run, and the time that all of them need is their share of the step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import timing
import torch
import torch.nn.functional as F
from cmd_products import BACKWARD, FORWARD, KEYS, Product, measure, operations, products, rate
from lightning_fabric import Fabric
from timing import milliseconds, square_rate
from torch import Tensor, nn

from kinema.data.batches import ViewBatch
from kinema.motion.skeletons import NTU25
from kinema.nn.recurrent import TwoStreamGRU, several
from kinema.recognition.cmd import CMD, CMDConfig
from kinema.recognition.presets import cmd_paper_ntu
from kinema.recognition.sequence import MODALITIES, GRUConfig, Modality, RecurrentEncoder
from kinema.training.method import Losses, Method, Step
from kinema.training.processes import Processes
from kinema.training.stage import Stage
from kinema.training.update import Update, updating

K = TypeVar("K")
Clock = Callable[[Callable[[], object]], float]
"""Seconds of a call."""
PUBLISHED = "frame by frame, as published"
AIMS = """Aims: 60 % of the rate of a step's products, 1.5x frame by frame.
Given, not measured here: the published step at batch 16 took 21.7 s on two such cores."""


class FrameByFrame(Method):
    """The same CMD, its networks stepped as published: PyTorch's bidirectional GRU on one frame at a time, with the state carried."""

    def __init__(self, model: CMD):
        super().__init__()
        self.model = model
        self._grus: dict[nn.Module, nn.GRU] = {e: published(e.gru) for e in encoders(model).values()}

    def vector(self, network: RecurrentEncoder, x: Tensor) -> Tensor:
        """`(B, T, M, J, C)` -> unit vectors `(B, D)`."""
        x, gru = network.norm(x), self._grus[network]
        state = x.new_zeros(2 * gru.num_layers, x.shape[0], gru.hidden_size)
        steps = x.new_empty(x.shape[0], 0, 2 * gru.hidden_size)
        for t in range(x.shape[1]):
            step, state = gru(x[:, t : t + 1], state)
            steps = torch.cat([steps, step], 1)
        return F.normalize(network.fc(network.last(steps)), dim=1)

    def loss(self, batch: ViewBatch, step: Step) -> Losses:
        """As that of CMD."""
        networks = encoders(self.model)
        queries = {m: self.vector(networks["query", m], self.model.see(batch.first, m)) for m in MODALITIES}
        with torch.no_grad():
            keys = {m: self.vector(networks["key", m], self.model.see(batch.second, m)) for m in MODALITIES}
        total, parts = self.model.losses(queries, keys)
        return Losses(total, {name: value.detach() for name, value in parts.items()}, carry=keys)

    def after_step(self, carry: list[Any]) -> None:
        """As that of CMD."""
        self.model.after_step(carry)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """As those of CMD."""
        return self.model.parameter_groups()


def encoders(model: CMD) -> dict[tuple[str, Modality], RecurrentEncoder]:
    """The six by role and modality."""
    found = {(role, m): find(m) for role, find in (("query", model.query), ("key", model.key)) for m in MODALITIES}
    return {place: encoder for place, encoder in found.items() if isinstance(encoder, RecurrentEncoder)}


def published(gru: TwoStreamGRU) -> nn.GRU:
    """PyTorch's GRU of the same weights, not copied."""
    found = nn.GRU(gru.inputs, gru.hidden, gru.layers, batch_first=True, bidirectional=True, device="meta")
    for name, parameter in gru.named_parameters():
        setattr(found, name, parameter)
    found.flatten_parameters()
    return found


@dataclass(frozen=True)
class Repeated:
    """A source that gives one batch again and again."""

    views: ViewBatch
    batch_size: int
    steps_per_epoch: int = 1000

    def batch(self, step: Step) -> ViewBatch:
        """Always the same."""
        return self.views

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


def views(config: CMDConfig, batch: int, device: str) -> ViewBatch:
    """Two views of people who walk at random."""
    shape = (batch, config.frames, config.people, config.joints, config.coordinates)
    first, second = (torch.randn(shape).cumsum(1).mul(0.02) for _ in range(2))
    return ViewBatch(first, second, torch.arange(batch)).to(device)


def check(model: CMD, plain: FrameByFrame, batch: ViewBatch) -> str:
    """Says both losses. Ends the program if they differ."""
    plain.train()
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    theirs, ours = (method.loss(batch, Step(0)).total.item() for method in (plain, model))
    torch.backends.cudnn.allow_tf32 = before
    if not abs(theirs - ours) <= 1e-4:
        raise SystemExit(f"cmd_step.py: frame by frame the loss is {theirs}, Kinema's is {ours}; expected the same to 1e-4")
    return f"loss of the same batch and weights: frame by frame {theirs:.6f}, Kinema {ours:.6f}"


def parts(model: CMD, batch: ViewBatch, update: Update, clock: Clock) -> dict[str, float]:
    """Seconds of the parts of a step, each by itself."""
    networks, found = encoders(model), {}
    queries, keys = ([networks[role, m] for m in MODALITIES] for role in ("query", "key"))
    first = [e.norm(model.see(batch.first, m)) for e, m in zip(queries, MODALITIES, strict=True)]
    with torch.no_grad():
        second = [e.norm(model.see(batch.second, m)) for e, m in zip(keys, MODALITIES, strict=True)]
    outputs: list[Tensor] = []

    def forward() -> None:
        outputs.extend(several([e.gru for e in queries], first))

    @torch.no_grad()
    def follow() -> None:
        several([e.gru for e in keys], second)

    def backward() -> None:
        last = [e.last(y) for e, y in zip(queries, outputs, strict=True)]
        torch.autograd.backward(last, [torch.randn_like(y) for y in last])

    vectors = {m: F.normalize(torch.randn(len(batch), model.config.dim, device=batch.first.device)) for m in MODALITIES}
    leaves = {m: v.clone().requires_grad_() for m, v in vectors.items()}
    model.zero_grad(set_to_none=True)
    found[FORWARD], found[KEYS], found[BACKWARD] = (clock(run) for run in (forward, follow, backward))
    outputs.clear()
    found["losses and queues"] = clock(lambda: model.losses(leaves, vectors)[0].backward())
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.grad is None:  # the heads', which have not run here
            parameter.grad = torch.zeros_like(parameter)
    found["optimiser"] = clock(update.optimizer.step)
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        found["enqueueing and momentum encoders"] = clock(lambda: model.after_step([vectors]))
    return found


def middle(rounds: Sequence[Mapping[K, float]]) -> dict[K, float]:
    """Medians over rounds."""
    return {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}


def print_steps(times: Sequence[Mapping[str, float]], batch: int, work: float, own: float, square: float) -> None:
    """The table of steps: `work` operations in each; `own`, `square`: GFLOP/s of its products and of square ones."""
    columns = (
        "ms, median (min-max) | clips/s | x frame by frame | GFLOP a clip | GFLOP/s | share of its products' rate | of the square's"
    )
    print(f"\n| step | {columns} |\n|---|---|---|---|---|---|---|---|")
    for name, one in middle(times).items():
        ratio = statistics.median(found[PUBLISHED] / found[name] for found in times)
        rate = work / one / 1e9
        speed = f"{milliseconds([found[name] for found in times])} | {batch / one:.2f} | {ratio:.2f}"
        print(
            f"| {name} | {speed} | {work / batch / 1e9:.3g} | {rate:.3g} | {100 * rate / own:.0f} % | {100 * rate / square:.0f} % |"
        )


def print_parts(found: Mapping[str, float], step: float, alone: Mapping[Product, float], shapes: Sequence[Product]) -> None:
    """The table of parts, and what the products of each part take alone."""
    print("\n| part of Kinema's step | ms | share | its products alone, ms: at once | frame by frame |\n|---|---|---|---|---|")
    rows = {**found, "the rest: modalities, batch norm, heads, checks": step - sum(found.values())}
    for name, seconds in rows.items():
        mine = [p for p in shapes if p.part == name]
        cells = [f"{1e3 * sum(alone[p] for p in mine if p.stepwise is kind):.0f}" if mine else "" for kind in (False, True)]
        print(f"| {name} | {1e3 * seconds:.0f} | {100 * seconds / step:.0f} % | {cells[0]} | {cells[1]} |")


def print_profile(update: Update) -> None:
    """The kernels of one step that take longest."""
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        update(0)
        torch.cuda.synchronize()
    print(profile.key_averages().table(sort_by="self_device_time_total", row_limit=15, max_name_column_width=60))


def read(arguments: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a tiny network, to see that the benchmark runs")
    parser.add_argument("--processor", action="store_true", help="time of the processor, for a busy machine; needs --threads 1")
    options = parser.parse_args(arguments)
    if options.processor and (options.threads != 1 or options.device != "cpu"):
        parser.error("--processor: threads that wait count too; expected --threads 1 and --device cpu")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no such device here")
    if options.batch < 2 or options.rounds < 1 or options.threads < 1:
        parser.error("--batch: expected 2 or more (batch norm); --rounds and --threads: 1 or more")
    return options


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    options = read(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device, cuda = options.device, options.device == "cuda"
    timer = time.process_time if options.processor else time.perf_counter
    clock: Clock = partial(timing.clock, cuda=cuda, timer=timer)
    recipe = cmd_paper_ntu(NTU25)
    config = recipe.model
    assert isinstance(config, CMDConfig)
    if options.small:
        config = replace(config, frames=8, network=GRUConfig(hidden=32, layers=2), queue=64, neighbours=32)
    model, batch = CMD(config).to(device), views(config, options.batch, device)
    plain = FrameByFrame(model)
    agreed = check(model, plain, batch)
    shapes = products(config, options.batch)
    square = Product("square", 1, *[8192 if cuda else 1024] * 3)
    fabric = Fabric(accelerator=device, devices=1)
    processes = Processes(0, 1, fabric.device)
    with ExitStack() as stack:
        updates: dict[str, Update] = {}
        for name, method in ((PUBLISHED, plain), ("Kinema", model)):
            source = Repeated(batch, options.batch)
            stage = Stage("step", method, source, recipe.epochs, recipe.optimiser, recipe.schedule)
            updates[name] = stack.enter_context(updating(fabric, processes, stage, seed=0))
            for i in range(3 if cuda else 1):
                updates[name](i)
        alone, times, found, wall = [], [], [], []
        for i in range(options.rounds):
            wall.append(square_rate(torch.float32, cuda))
            alone.append(measure([*shapes, square], device, timer))
            times.append({name: clock(partial(update, i)) for name, update in updates.items()})
            found.append(parts(model, batch, updates["Kinema"], clock))
        seconds = middle(alone)
        own, work = rate(shapes, seconds), operations(config, options.batch)
        how = "time of the processor" if options.processor else "by the clock"
        size = ", a tiny network" if options.small else ""
        print(timing.header(cuda, f"batch {options.batch}, fp32, {options.rounds} rounds, {how}{size}"))
        print(agreed)
        by_clock = statistics.median(wall)
        large = rate([square], seconds) if options.processor else by_clock
        aside = f" ({by_clock:.0f} by the clock)" if options.processor else ""
        print(f"matrix products: square {large:.0f} GFLOP/s{aside}; a step's own {own:.0f}, of which")
        for p in {replace(p, part=""): p for p in shapes}.values():
            print(f"- {p}: {rate([p], seconds):.0f} GFLOP/s")
        print_steps(times, options.batch, work, own, large)
        print_parts(middle(found), middle(times)["Kinema"], seconds, shapes)
        print(f"\n{AIMS}")
        if cuda:
            print_profile(updates["Kinema"])


if __name__ == "__main__":
    main()
