"""A queue of paired training runs: every arm with every seed, one result file each; what is finished is not done again."""

from __future__ import annotations

import json
import math
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.files import write_json
from kinema.training.method import decay_groups

WINDOW = 10
"""Steps between two lines of a log: losses and times are means over them, read from the device once."""


@dataclass(frozen=True)
class Plan:
    """How a network is trained: AdamW, a linear warm-up, then linear to a tenth.

    Attributes:
        steps, warmup: optimiser steps. lr: the peak. betas, decay: of AdamW. clip: of the gradient's norm.
        validate: steps between two points of the validation curve. probes: steps at which the inside is measured, beside the end.
            Both are multiples of `WINDOW`.
    """

    steps: int
    lr: float
    warmup: int
    validate: int
    betas: tuple[float, float] = (0.9, 0.95)
    decay: float = 0.1
    clip: float = 1.0
    probes: tuple[int, ...] = ()

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        return self.lr * (1 - 0.9 * (step - self.warmup) / max(1, self.steps - self.warmup))


@dataclass(frozen=True)
class Task:
    """What a run trains.

    Attributes:
        model: the network whose weights are trained.
        loss: step -> (what is minimised, what is shown). validate: a point of the curve, by name; ``loss`` is one of them.
        score: of the end, by name; the first is the one that arms are compared by. probe: the inside, see `measure.inside`.
    """

    model: nn.Module
    loss: Callable[[int], tuple[Tensor, Tensor]]
    validate: Callable[[], dict[str, float]]
    score: Callable[[], dict[str, float]]
    probe: Callable[[], dict[str, Any]]


def updater(task: Task, plan: Plan) -> Callable[[int], Tensor]:
    """One optimiser step, which gives the loss to show."""
    optimiser = torch.optim.AdamW(decay_groups(task.model), lr=plan.lr, betas=plan.betas, weight_decay=plan.decay, fused=True)
    weights = list(task.model.parameters())

    def update(step: int) -> Tensor:
        for group in optimiser.param_groups:
            group["lr"] = plan.rate(step)
        total, shown = task.loss(step)
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(weights, plan.clip)
        optimiser.step()
        return shown.detach()

    return update


def train(task: Task, plan: Plan, tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Trains to the end, or until the loss is not finite (`diverged`: the step by which it was noticed).

    Args:
        task, plan: see there. tell: is given each line of the log.

    Returns:
        curve: `train` and `validation`, lists of `[step, loss]`; probes: the inside at some steps; ms and processor_ms: medians of a step
        (validation left out; processor_ms counts all threads of the process); score: None where it diverged.
    """
    update = updater(task, plan)
    training: list[list[float]] = []
    validation: list[list[float]] = []
    probes: list[dict[str, Any]] = []
    clocks: list[tuple[float, float]] = []
    recent: list[Tensor] = []
    diverged = None

    def look(step: int) -> None:
        if step in (*plan.probes, plan.steps):
            probes.append({"step": step} | task.probe())
        if step % plan.validate == 0 or step == plan.steps:
            found = task.validate()
            validation.append([step, found["loss"]])
            tell({"step": step, "validation": found})

    begin, start = time.perf_counter(), clock()
    for step in range(plan.steps):
        if step % WINDOW == 0:
            look(step)  # outside the clock
            recent, start = [], clock()
        recent.append(update(step))
        done = step + 1
        if done % WINDOW == 0 or done == plan.steps:
            losses = torch.stack(recent).tolist()
            now = clock()
            clocks.append(((now[0] - start[0]) / len(losses), (now[1] - start[1]) / len(losses)))
            mean = statistics.fmean(losses)
            if not math.isfinite(mean):
                diverged = done
                break
            training.append([done, mean])
            tell({"step": done, "loss": mean, "lr": plan.rate(step), "ms": 1e3 * clocks[-1][0]})
    if diverged is None:
        look(plan.steps)
    settled = clocks[1:] or clocks  # the first window pays for warming up and compiling
    return {
        "curve": {"train": training, "validation": validation},
        "probes": probes,
        "ms": 1e3 * statistics.median(c[0] for c in settled),
        "processor_ms": 1e3 * statistics.median(c[1] for c in settled),
        "seconds": time.perf_counter() - begin,
        "diverged": diverged,
        "score": task.score() if diverged is None else None,
    }


def clock() -> tuple[float, float]:
    """Seconds by the clock and by the processor (all threads of this process), after what a GPU still does."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def about(device: str) -> dict[str, Any]:
    """Where and with what a result was made."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return {
        "commit": commit or "unknown",
        "torch": torch.__version__,
        "machine": torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU",
        "threads": torch.get_num_threads(),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def results(folder: Path) -> list[dict[str, Any]]:
    """All finished runs of a folder, in order of arm and seed.

    Raises:
        UserError: there are none.
    """
    found = [json.loads(f.read_text(encoding="utf-8")) for f in sorted(folder.glob("*-seed*.json"))]
    if not found:
        raise UserError(f"{folder}: no finished runs here; expected files such as prenorm-seed0.json")
    return sorted(found, key=lambda r: (r["arm"], r["seed"]))


def queue(
    folder: Path,
    arms: Sequence[str],
    seeds: Sequence[int],
    plan: Plan,
    settings: dict[str, Any],
    make: Callable[[str, int], tuple[Task, dict[str, Any]]],
    device: str,
) -> Iterator[dict[str, Any]]:
    """Does what is not done yet, a seed after another, so that a broken-off queue leaves whole pairs. Gives each result.

    Args:
        folder: results go to ``ARM-seedK.json`` and the log of each run to ``.jsonl`` beside it.
        arms, seeds, plan: what to train. settings: everything else that must be the same for all results of the folder.
        make: (arm, seed) -> what to train, and what else to keep in the result. device: where, for the record.

    Raises:
        UserError: the folder has results of other settings.
    """
    settings = json.loads(json.dumps(settings | {"plan": asdict(plan)}))
    pairs = [(arm, seed) for seed in seeds for arm in arms]
    spent: dict[str, list[float]] = {}
    todo = []
    for arm, seed in pairs:
        path = folder / f"{arm}-seed{seed}.json"
        if not path.exists():
            todo.append((arm, seed))
            continue
        old = json.loads(path.read_text(encoding="utf-8"))
        if old["settings"] != settings:
            differing = [k for k in settings if old["settings"].get(k) != settings[k]]
            raise UserError(f"{path}: made with other settings ({', '.join(differing)}); choose another --out")
        spent.setdefault(arm, []).append(old["seconds"])
    print(f"{len(pairs) - len(todo)} of {len(pairs)} runs are done", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (arm, seed) in enumerate(todo):
        with open(folder / f"{arm}-seed{seed}.jsonl", "w", encoding="utf-8") as log:
            progress = _Progress(arm, seed, plan.steps, [a for a, _ in todo[number + 1 :]], spent)

            def tell(line: dict[str, Any], log: Any = log, progress: _Progress = progress) -> None:
                log.write(json.dumps(line) + "\n")
                log.flush()
                progress(line)

            task, extra = make(arm, seed)
            found = train(task, plan, tell)
        result = {"arm": arm, "seed": seed, "settings": settings, **extra, **about(device), **found}
        write_json(folder / f"{arm}-seed{seed}.json", result)
        spent.setdefault(arm, []).append(found["seconds"])
        line = f"{arm} seed {seed}: {_said(found)}"
        print(f"\r{line.ljust(110)}" if sys.stdout.isatty() else line, flush=True)
        yield result


def _said(found: dict[str, Any]) -> str:
    if found["diverged"] is not None:
        return f"diverged by step {found['diverged']}"
    scores = ", ".join(f"{name} {value:.4f}" for name, value in found["score"].items())
    return f"{scores}; {found['ms']:.0f} ms/step, {found['seconds']:.0f} s"


class _Progress:
    """The line that says how far a queue is."""

    def __init__(self, arm: str, seed: int, steps: int, later: list[str], spent: dict[str, list[float]]):
        self._arm, self._seed, self._steps, self._later, self._spent = arm, seed, steps, later, spent
        self._begin = self._shown = time.perf_counter()

    def __call__(self, line: dict[str, Any]) -> None:
        step = line["step"]
        if "loss" not in line:
            return
        whole = (time.perf_counter() - self._begin) * self._steps / step
        known = {arm: statistics.fmean(seconds) for arm, seconds in self._spent.items()} | {self._arm: whole}
        left = whole * (1 - step / self._steps) + sum(known.get(a, statistics.fmean(known.values())) for a in self._later)
        text = f"{self._arm} seed {self._seed}: step {step}/{self._steps}, loss {line['loss']:.3f}, {line['ms']:.0f} ms/step"
        text = f"{text}; {left / 60:.1f} min left in all, {len(self._later)} runs after this"
        if sys.stdout.isatty():
            print(f"\r{text.ljust(110)}", end="", flush=True)
        elif time.perf_counter() - self._shown > 60:  # in a file, where a line is not overwritten
            print(text, flush=True)
            self._shown = time.perf_counter()
