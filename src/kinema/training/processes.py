"""What several processes of one run must agree on, and how one of them is asked to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.utils import _pytree as pytree

from ..errors import UserError
from ..machine import cores
from .device import local_rank

T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """How many processes: `devices` on each of `nodes`."""

    devices: int
    nodes: int

    @property
    def count(self) -> int:
        """Processes of the run."""
        return self.devices * self.nodes


def layout(devices: int, kind: str) -> Layout:
    """The processes that torchrun or Slurm started, else `devices` on this machine, of a kind: ``cpu``, ``cuda`` or ``mps``.

    Raises:
        UserError: fewer than one device, or more than there are (on a CPU, unless others started them: than cores).
    """
    started = _started()
    if started is None and devices < 1:
        raise UserError(f"devices {devices}: expected 1 or more")
    found = started or Layout(devices, 1)
    if kind == "cuda" and found.devices > torch.cuda.device_count():
        raise UserError(
            f"{found.devices} CUDA devices were asked for, {torch.cuda.device_count()} are here; use --accelerator cpu or fewer --devices"
        )
    if kind == "mps" and found.devices > 1:
        raise UserError(f"devices {found.devices}: mps is one device; leave --devices out")
    if kind == "cpu" and started is None and devices > cores():
        raise UserError(f"devices {devices}: this machine has {cores()} processor cores, and each process wants one; use fewer")
    return found


def _started() -> Layout | None:
    """What torchrun or Slurm started."""
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" in environment:
        local = int(environment["LOCAL_WORLD_SIZE"])
        return Layout(local, int(environment["WORLD_SIZE"]) // local)
    if "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        tasks, nodes = int(environment["SLURM_NTASKS"]), int(environment.get("SLURM_NNODES", "1"))
        if tasks > 1:
            return Layout(tasks // nodes, nodes)
    return None


def leads() -> bool:
    """Whether this process is, as its launcher told it, the first on its machine; asked before the processes know of each other."""
    return local_rank() == 0


class Processes:
    """The processes of a run, after they were launched. With one process every method returns what it was given.

    What the host decides (stop, save, fail) travels over its own gloo group, so that no GPU is waited for.
    """

    def __init__(self, rank: int, count: int, device: torch.device):
        self.rank, self.count, self.device = rank, count, device
        self._host: Any = distributed.new_group(backend="gloo") if count > 1 else None

    @property
    def first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def on_first(self, action: Callable[[], T]) -> T | None:
        """Runs `action` in the first process (others get None); all wait for it, and its UserError is raised in all."""
        result, problem = None, None
        if self.first:
            try:
                result = action()
            except UserError as error:
                if self.count == 1:
                    raise
                problem = error
        if self.count > 1:
            told: list[Any] = [None if problem is None else str(problem)]
            distributed.broadcast_object_list(told, src=0, group=self._host)
            if told[0] is not None:
                raise problem or UserError(told[0])
        return result

    def same(self, action: Callable[[], T]) -> T:
        """What `action` gives in the first process, in all of them; it has to survive a pickle."""
        told: list[Any] = [self.on_first(action)]
        if self.count > 1:
            distributed.broadcast_object_list(told, src=0, group=self._host)
        return told[0]

    def highest(self, *numbers: int) -> list[int]:
        """The highest of each number over the processes."""
        if self.count == 1:
            return list(numbers)
        shared = torch.tensor(numbers, dtype=torch.int32)
        distributed.all_reduce(shared, op=distributed.ReduceOp.MAX, group=self._host)
        return shared.tolist()

    def any(self, flag: Tensor) -> Tensor:
        """Scalar bool: true where it is true in any process. Stays on the device."""
        if self.count == 1:
            return flag
        shared = flag.to(torch.float32)
        distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
        return shared > 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        if self.count == 1:
            return value
        shared = value.clone()
        distributed.all_reduce(shared)
        return shared / self.count

    def copy_from_first(self, tensors: list[Tensor]) -> None:
        """Overwrites `tensors` with those of the first process."""
        if self.count > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def gather(self, carries: list[Any]) -> list[Any]:
        """The carries of all processes' parts in the order of the global batch.

        Each process gives as many, of the same structure (tuples, lists, dicts) and shapes; leaves are tensors, or
        None, numbers and text that are equal in all processes.

        Raises:
            TypeError: another kind of leaf.
        """
        leaves, structure = pytree.tree_flatten(carries)
        for leaf in leaves:
            if not isinstance(leaf, Tensor | int | float | str | None):
                raise TypeError(f"a carry may hold tensors, numbers and text in tuples, lists and dicts, not {type(leaf).__name__}")
        leaves = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        if self.count == 1:
            return pytree.tree_unflatten(leaves, structure)
        columns = [self._gather(leaf) if isinstance(leaf, Tensor) else [leaf] * self.count for leaf in leaves]
        ranks = [pytree.tree_unflatten([column[rank] for column in columns], structure) for rank in range(self.count)]
        return [carry for rank in ranks for carry in rank]

    def _gather(self, tensor: Tensor) -> list[Tensor]:
        sent = tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor.contiguous()
        received = [torch.empty_like(sent) for _ in range(self.count)]
        distributed.all_gather(received, sent)
        return [r.to(tensor.dtype) for r in received]


class Interrupt:
    """Inside, the first Ctrl-C or SIGTERM is only remembered in `number`, 0 until then; a second one acts at once.

    Launchers pass a terminal's Ctrl-C on to processes that had it already, so with several processes whatever arrives
    within a second of the first counts as the same.
    """

    def __init__(self, several: bool = False):
        self.number = 0
        self.several, self._since = several, 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
            self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if not self.number:
            self.number, self._since = number, time.monotonic()
        elif not self.several or time.monotonic() - self._since > 1:
            self._restore()
            signal.raise_signal(number)
