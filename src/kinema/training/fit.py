"""The one loop: stages in order, for every method and every source.

Everything in a run follows from (seed, step), so a run that was stopped, by Ctrl-C, by SIGTERM or by a power cut, and resumed
is equal bit for bit on a CPU to one that was not. Fabric is imported here alone, and only when a training begins,
because importing it takes seconds.
"""

from __future__ import annotations

import gc
import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from ..errors import CheckpointError, FormatError, UserError
from . import checkpoint
from .device import device_of
from .folder import CONFIG, enter, kept, locked
from .log import Log, means
from .made import Record
from .outcome import EpochEnd, Every, Result
from .precision import Precision, Settled, bf16_pays, resolve, verdict
from .processes import Interrupt, Processes, layout
from .progress import Bar, Clock
from .stage import Stage
from .update import Update, stage_seed, updating

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def fit(
    stages: Sequence[Stage],
    folder: Path,
    *,
    config: Mapping[str, Any] | Callable[[Settled], Mapping[str, Any]],
    seed: int = 0,
    precision: Precision = "32",
    compile: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    checkpoint_every: Every | None = None,
    keep: int = 2,
    log_every: int = 50,
    max_steps: int | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    on_epoch: Callable[[EpochEnd], Mapping[str, float] | None] | None = None,
    quiet: bool = False,
) -> Result:
    """Trains `stages` in order and keeps everything about it in `folder`.

    Started by ``torchrun`` or Slurm it uses their processes instead of `devices`. A batch is cut into processes and
    accumulated parts; draws made through `Step` and results agree, up to rounding, however it is cut. Each stage counts its
    steps, epochs and progress from 0. The global generators are reseeded at each step, and so they stay.

    Args:
        stages: what to train.
        folder: the run folder; made if it is not there.
        config: JSON-safe, kept in ``config.json`` with what the stages say; a resumed run must have the same, but for a ``precision`` that
            is ``auto``. Or what gives it for the precision that was settled on.
        seed: of every draw.
        precision: ``32``, ``bf16`` for autocast (weights and the total loss stay float32), or ``auto``: that of the run that goes on, else
            what pays on this machine, as the first process finds it.
        compile: run ``torch.compile`` on the method's loss.
        accelerator: ``auto``, ``cpu``, ``cuda`` or ``mps``. devices: processes on this machine.
        checkpoint_every: default each epoch. keep: how many checkpoints stay, besides the last of each finished stage.
        log_every: steps between lines of ``log.jsonl``; losses are read from the device only then.
        max_steps: stop after so many steps over all stages, as an interruption would; schedules do not change.
        resume: go on from the newest whole checkpoint; begin where there is none.
        tensorboard: write event files too.
        on_epoch: called after each epoch in all processes; what it returns is logged. It must not change the weights.
        quiet: print nothing.

    Raises:
        UserError: the folder is in use, holds another run, or cannot be written; a device that is not there; weights to
            start from that do not fit; too many steps whose loss is not finite.
    """
    for name, value in (("keep", keep), ("log_every", log_every), ("number of stages", len(stages))):
        if value < 1:
            raise UserError(f"{name} {value}: expected 1 or more")
    if precision not in get_args(Precision):
        raise UserError(f"precision {precision!r}: expected one of {', '.join(get_args(Precision))}")
    fabric = _fabric(accelerator, devices)
    interrupt = Interrupt(several=layout(devices, device_of(accelerator).type).count > 1)
    folder = Path(folder)

    def described(settled: Settled) -> dict[str, Any]:
        given = config(settled) if callable(config) else config
        if "fit" in given:
            raise ValueError("the configuration's key 'fit' is the loop's own")
        return {**given, "fit": {"seed": seed, "precision": settled, "stages": [s.describe() for s in stages]}}

    with ExitStack() as stack:
        if interrupt.several:  # one that left while they find each other would take the others down with an error
            stack.enter_context(interrupt)
        fabric.launch()
        processes = Processes(fabric.global_rank, fabric.world_size, fabric.device)
        settled: Settled = processes.same(lambda: _settled(precision, folder, fabric.device, resume=resume))
        processes.on_first(lambda: stack.enter_context(locked(folder)))
        whole = processes.same(lambda: enter(folder, described(settled), resume=resume))
        start = checkpoint.newest(folder)
        run = _Run(
            fabric=fabric,
            processes=processes,
            folder=folder,
            stages=list(stages),
            seed=seed,
            config=checkpoint.config_hash(whole),
            every=checkpoint_every or Every(),
            keep=keep,
            log_every=log_every,
            max_steps=max_steps,
            precision=settled,
            compile=compile,
            on_epoch=on_epoch,
        )
        run.begin(start, stack, tensorboard=tensorboard, shown=processes.first and not quiet)
        run.interrupt = interrupt if interrupt.several else stack.enter_context(interrupt)
        return run.all_stages(start)


def _settled(precision: Precision, folder: Path, device: torch.device, *, resume: bool) -> Settled:
    """What the run computes in.

    Raises:
        UserError: bf16 on a GPU that does not know it.
    """
    before = kept(folder) if resume and precision == "auto" else None
    asked: Precision = precision if before is None else before["fit"].get("precision")
    if asked not in get_args(Precision):
        raise FormatError(folder / CONFIG, f"fit.precision {asked!r}: expected 32 or bf16")
    settled = resolve(asked, device)
    if settled == "bf16" and device.type == "cuda" and not bf16_pays(device):
        raise UserError("this GPU does not know bfloat16; use --precision 32")
    return settled


def _fabric(accelerator: str, devices: int) -> Fabric:
    """Fabric for the devices. Its own precision stays float32: `Update` sees to that, once the processes have agreed on one."""
    device = device_of(accelerator)
    cut = layout(devices, device.type)
    from lightning_fabric import Fabric  # here, because whoever does not train need not wait for it
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # every parameter may be unused in some step, as with one process; torch then warns when all of them are used
    warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
    # buffers change alike in all processes (`Method.after_step`), so none are sent round
    strategy = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False) if cut.count > 1 else "auto"
    return Fabric(
        accelerator=device.type,  # Fabric's own choice would take any accelerator it knows
        devices=cut.devices,
        num_nodes=cut.nodes,
        strategy=strategy,
        precision="32-true",
    )


@dataclass
class _Run:
    """The state of one call of `fit`."""

    fabric: Fabric
    processes: Processes
    folder: Path
    stages: list[Stage]
    seed: int
    config: str
    every: Every
    keep: int
    log_every: int
    max_steps: int | None
    precision: Settled
    compile: bool
    on_epoch: Callable[[EpochEnd], Mapping[str, float] | None] | None
    interrupt: Interrupt | None = None
    signal: int = 0
    log: Log | None = None
    record: Record | None = None
    bar: Bar | None = None
    step: int = 0
    skipped: int = 0
    consecutive: int = 0
    saved: Path | None = None
    saved_step: int | None = None
    loss: float | None = None

    def begin(self, start: checkpoint.Checkpoint | None, stack: ExitStack, *, tensorboard: bool, shown: bool) -> None:
        """Checks the checkpoint, opens log and progress."""
        if start is not None:
            state = start.state
            if state.config != self.config:
                raise UserError(f"{start.path}: written by a run with another configuration than {self.folder / CONFIG}")
            self.step, self.skipped, self.consecutive = state.step, state.skipped, state.consecutive
            self.saved, self.saved_step = start.path, state.step
        self.log = self.processes.on_first(lambda: Log(self.folder, self.step, tensorboard=tensorboard))
        self.record = self.processes.on_first(lambda: Record(self.folder, str(self.fabric.device), self.processes.count))
        if self.log is not None:
            stack.callback(self.log.close)
        total = sum(s.steps for s in self.stages)
        self.bar = Bar(total, "step", self.step, unit="clips", shown=shown)
        stack.callback(self.bar.close)
        if start is not None and self.step < total:
            self.bar.say(f"resuming at step {self.step} (stage {start.state.stage_name})")
        if shown and self.precision == "bf16" and not (found := verdict(self.fabric.device)).pays:
            self.bar.say(f"bf16, as asked for; fp32 is likely faster here ({found.why}): --precision auto would have taken it")

    def all_stages(self, start: checkpoint.Checkpoint | None) -> Result:
        """Runs what is left."""
        done = 0
        stopped = False
        for number, stage in enumerate(self.stages):
            done += stage.steps
            if start is not None and number < start.state.stage + start.state.finished:
                # a later stage may share modules with this one, so it is brought to where it ended
                past = start if number == start.state.stage else checkpoint.newest(self.folder, below=number + 1)
                if past is None or past.state.stage != number or not past.state.finished:
                    raise CheckpointError(
                        f"{self.folder}: the last checkpoint of stage {stage.name} is gone; start again elsewhere"
                    )
                checkpoint.restore(past, stage.method)
                continue
            here = start if start is not None and number == start.state.stage else None
            stopped = self._stage(number, stage, here, first=done - stage.steps)
            if number + 1 < len(self.stages):
                gc.collect()  # the wrapper of a finished stage hangs in cycles, and with it the optimiser's memory
            if stopped:
                break
        finished = self.step == done and not stopped
        if self.interrupt is not None:  # a signal may have come while the last checkpoint was written
            (self.signal,) = self.processes.highest(self.interrupt.number)
        return Result(
            self.folder, self.saved, self.step, finished, self.signal, self.processes.first, self.skipped, self.loss, self.precision
        )

    def _stage(self, number: int, stage: Stage, start: checkpoint.Checkpoint | None, first: int) -> bool:
        """Runs a stage from its start or from a checkpoint; True if it was stopped before its end."""
        if start is not None:
            checkpoint.restore(start, stage.method)
            stage.source.load_state_dict({**start.state.source, **start.under("source.")})
        elif stage.init_from is not None:
            checkpoint.load_model(stage.init_from, stage.method, prefix=stage.init_prefix)
        options = {"seed": stage_seed(self.seed, number), "compile": self.compile, "bf16": self.precision == "bf16"}
        with updating(self.fabric, self.processes, stage, **options) as update:
            update.skipped, update.consecutive = self.skipped, self.consecutive
            if start is not None:
                update.restore(start.averages(stage.method), start.under("optimizer."))
                update.meter.load(start.under("log."))
            return self._steps(number, stage, update, start.state.index if start is not None else 0, first)

    def _steps(self, number: int, stage: Stage, update: Update, begin: int, first: int) -> bool:
        assert self.bar is not None
        per_epoch = stage.source.steps_per_epoch
        self.bar.rows = stage.source.batch_size
        clock = Clock(stage.source.batch_size)
        saved_at = time.monotonic()
        if self.max_steps is not None and self.step >= self.max_steps:
            return True
        for index in range(begin, stage.steps):
            update(index)
            done, self.step = index + 1, first + index + 1
            last = done == stage.steps
            clock.tick()
            self.bar.step(self.step, lambda done=done: self._told(stage, update, done), pause=done % per_epoch == 0 or last)
            if done % self.log_every == 0 or last:
                self._record(stage, update, done, clock)
            if done % per_epoch == 0 or last:
                with clock.paused():
                    self._epoch_end(stage, update, done)
            asked = 0 if self.interrupt is None else self.interrupt.number
            due = self.every.due(done, per_epoch, time.monotonic() - saved_at)
            self.signal, due = self.processes.highest(asked, due)
            stop = self.signal > 0 or self.step == self.max_steps
            if due or stop or last:
                with clock.paused():
                    self._save(number, stage, update, done)
                saved_at = time.monotonic()
            over = last and number + 1 == len(self.stages)
            if stop and not over:
                return True
        return False

    def _record(self, stage: Stage, update: Update, done: int, clock: Clock) -> None:
        update.settle()
        self.skipped, self.consecutive = update.skipped, update.consecutive
        numbers = means({name: self.processes.mean(pair) for name, pair in update.meter.state().items()})
        update.meter.clear()
        self.loss = numbers.get("loss")
        record = {
            "step": self.step,
            "stage": stage.name,
            "epoch": done / stage.source.steps_per_epoch,
            "loss": self.loss,
            "parts": {name.removeprefix("parts."): v for name, v in numbers.items() if name != "loss"},
            "lr": update.lr,
            "grad_norm": float(update.norm),
            "clips_per_s": clock.rate(),
            "skipped": self.skipped,
        }
        self._write(record)

    def _told(self, stage: Stage, update: Update, done: int) -> str:
        """Where a stage is, for a person. The loss is that of this process since the last line of the log."""
        loss = means(update.meter.state()).get("loss", self.loss)
        return f"{stage.name}  epoch {done / stage.source.steps_per_epoch:.2f}  loss {'-' if loss is None else f'{loss:.4g}'}"

    def _write(self, record: Mapping[str, Any]) -> None:
        def act() -> None:
            if self.log is not None:
                self.log.write(record)

        self.processes.on_first(act)

    def _epoch_end(self, stage: Stage, update: Update, done: int) -> None:
        epoch = done / stage.source.steps_per_epoch
        if self.on_epoch is not None:
            average = update.average.weights if update.average is not None else None
            measured = self.on_epoch(EpochEnd(stage, epoch, self.step, average, self.folder))
            stage.method.train()
            if measured:
                self._write({"step": self.step, "stage": stage.name, "epoch": epoch, "evaluation": dict(measured)})

    def _save(self, number: int, stage: Stage, update: Update, done: int) -> None:
        update.settle()
        self.skipped, self.consecutive = update.skipped, update.consecutive
        if self.saved_step == self.step:
            return
        log = {f"log.{name}": self.processes.mean(pair) for name, pair in update.meter.state().items()}

        def act() -> Path:
            assert self.log is not None
            self.log.sync()
            plain, tensors = _split(stage.source.state_dict())
            state = checkpoint.State(
                step=self.step,
                stage=number,
                stage_name=stage.name,
                index=done,
                epoch=done / stage.source.steps_per_epoch,
                finished=done == stage.steps,
                seed=self.seed,
                skipped=self.skipped,
                consecutive=self.consecutive,
                source=plain,
                config=self.config,
            )
            averages, optimizer = update.tensors()
            averages = {checkpoint.AVERAGE + name: t for name, t in averages.items()}
            model = stage.method.state_dict()
            if clash := sorted(set(model) & set(averages)):
                raise UserError(
                    f"stage {stage.name}: {clash[0]} is a weight of the method and the name of an average; rename the module"
                )
            training = {**optimizer, **{f"source.{n}": t for n, t in tensors.items()}, **log}
            parameters = [n for n, _ in stage.method.named_parameters()] + list(averages)
            saved = checkpoint.save(self.folder, state, {**model, **averages}, training, keep=self.keep, parameters=parameters)
            assert self.record is not None
            self.record.write()
            return saved

        self.saved = self.processes.on_first(act) or self.folder / "checkpoints" / f"step-{self.step}"
        self.saved_step = self.step


def _split(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A source's state as JSON-safe values and tensors."""
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return {name: value for name, value in state.items() if name not in tensors}, tensors
