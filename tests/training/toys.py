"""Four tiny methods, one for each thing that the contract of a method allows, and what their tests share."""

from __future__ import annotations

import json
import os
import socket
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.training.method import Losses, Method, Optimiser, Schedule, Step, generator
from kinema.training.stage import Stage

ROWS, BATCH = 24, 8


@dataclass(frozen=True)
class Rows:
    x: Tensor
    y: Tensor
    index: Tensor


class Table:
    """24 rows in memory, reshuffled each epoch: 3 steps an epoch."""

    def __init__(self, batch_size: int = BATCH, poison: tuple[int, ...] = ()):
        draw = generator("table")
        self.x = torch.randn(ROWS, 4, generator=draw)
        self.y = self.x.sum(1).sin()
        self.batch_size, self.steps_per_epoch, self.poison = batch_size, ROWS // batch_size, poison

    def batch(self, step: Step) -> Rows:
        order = torch.randperm(ROWS, generator=generator(step.seed, step.epoch, "order"))
        rows = self.batch_size // step.shards
        start = step.step_in_epoch * self.batch_size + step.shard * rows
        index = order[start : start + rows]
        x = self.x[index]
        if step.index in self.poison:
            x = x * float("nan")
        return Rows(x, self.y[index], index)

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state) -> None:
        assert not state


class Regression(Method):
    """Nothing but a loss; noise from the step and, if asked, dropout from the global generator."""

    def __init__(self, dropout: float = 0.0, norm: bool = False):
        super().__init__()
        self.encoder, self.head = nn.Linear(4, 8), nn.Linear(8, 1)
        self.drop = nn.Dropout(dropout)
        self.norm = nn.BatchNorm1d(8) if norm else nn.Identity()

    def loss(self, batch: Rows, step: Step) -> Losses:
        x = batch.x + 0.1 * step.normal("noise", tuple(batch.x.shape))
        y = self.head(self.drop(self.norm(self.encoder(x)).tanh()))[:, 0]
        error = (y.float() - batch.y).square().mean()
        return Losses(error, {"error": error.detach()})


class Momentum(Method):
    """A key encoder that follows the query encoder, and a queue of keys."""

    def __init__(self):
        super().__init__()
        self.query, self.key = nn.Linear(4, 6), nn.Linear(4, 6)
        self.key.load_state_dict(self.query.state_dict())
        self.key.requires_grad_(False)
        self.register_buffer("queue", functional.normalize(torch.randn(16, 6, generator=generator("queue")), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    def loss(self, batch: Rows, step: Step) -> Losses:
        shape = tuple(batch.x.shape)
        q = functional.normalize(self.query(batch.x + 0.1 * step.normal("a", shape)), dim=1)
        with torch.no_grad():
            k = functional.normalize(self.key(batch.x + 0.1 * step.normal("b", shape)), dim=1)
        logits = torch.cat([(q * k).sum(1, keepdim=True), q @ self.queue.T], dim=1) / 0.2
        loss = functional.cross_entropy(logits, torch.zeros(len(q), dtype=torch.long))
        return Losses(loss, {"positive": logits[:, 0].mean().detach()}, carry={"keys": k})

    def after_step(self, carry: list) -> None:
        for key, query in zip(self.key.parameters(), self.query.parameters(), strict=True):
            key.lerp_(query, 0.1)
        keys = torch.cat([c["keys"] for c in carry])
        where = (self.pointer + torch.arange(len(keys))) % len(self.queue)
        self.queue[where] = keys
        self.pointer += len(keys)


class Codebook(Method):
    """A codebook that follows the mean of the latents that chose each code."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 3), nn.Linear(3, 4)
        self.register_buffer("codes", torch.randn(5, 3, generator=generator("codes")))

    def loss(self, batch: Rows, step: Step) -> Losses:
        z = self.encoder(batch.x)
        chosen = torch.cdist(z.detach(), self.codes).argmin(1)
        code = self.codes[chosen]
        commit = (z - code).square().mean()
        total = (self.decoder(z + (code - z).detach()) - batch.x).square().mean() + 0.2 * commit
        return Losses(total, {"commit": commit.detach()}, carry=(z.detach(), chosen, chosen > 0))

    def after_step(self, carry: list) -> None:
        z, chosen = torch.cat([c[0] for c in carry]), torch.cat([c[1] for c in carry])
        assert torch.equal(torch.cat([c[2] for c in carry]), chosen > 0)
        one = functional.one_hot(chosen, len(self.codes)).to(z.dtype)
        count = one.sum(0)[:, None]
        means = torch.where(count > 0, one.T @ z / count.clamp(min=1), self.codes)
        self.codes.lerp_(means, 0.2)


class Policy(Method):
    """Four actions; the loss weighs their log-probability by what they brought."""

    def __init__(self):
        super().__init__()
        self.actor = nn.Linear(4, 4)

    def loss(self, batch: tuple, step: Step) -> Losses:
        x, action, advantage = batch
        chosen = self.actor(x).log_softmax(1).gather(1, action[:, None])[:, 0]
        return Losses(-(chosen * advantage).mean(), {"advantage": advantage.mean()})


class Rollouts(Table):
    """Samples actions from the policy, and remembers a baseline of its reward."""

    def __init__(self, policy: Policy):
        super().__init__()
        self.policy, self.baseline, self.steps = policy, torch.zeros(1), 0

    @torch.no_grad()
    def batch(self, step: Step) -> tuple:
        if step.index >= self.steps:  # the first part of a step; the policy is the same for all its parts
            expected = (self.policy.actor(self.x).softmax(1) * self.x).sum(1).mean()
            self.baseline, self.steps = 0.9 * self.baseline + 0.1 * expected, step.index + 1
        rows = super().batch(step)
        chances = self.policy.actor(rows.x).softmax(1).cumsum(1)
        action = (step.uniform("action", (len(rows.x), 1)) > chances[:, :3]).sum(1)
        return rows.x, action, rows.x.gather(1, action[:, None])[:, 0] - self.baseline

    def state_dict(self) -> dict:
        return {"baseline": self.baseline, "steps": self.steps}

    def load_state_dict(self, state) -> None:
        self.baseline, self.steps = state["baseline"], state["steps"]


KINDS = {"regression": Regression, "momentum": Momentum, "codebook": Codebook, "policy": Policy}


def stage(kind: str = "regression", *, source: Table | None = None, method=None, **over) -> Stage:
    """A stage of 4 epochs (12 steps) of one of the four; `method`, or what it makes, from always the same initial weights."""
    torch.manual_seed(7)
    if not isinstance(method, Method):
        method = (method or KINDS[kind])()
    source = source or (Rollouts(method) if isinstance(method, Policy) else Table())
    sgd = kind in ("momentum", "policy")
    optimiser = Optimiser("sgd", lr=0.1, weight_decay=1e-3, clip=1.0) if sgd else Optimiser("adamw", lr=0.02, clip=5.0)
    given = {"name": kind, "epochs": 4, "optimiser": optimiser, "schedule": Schedule("cosine", warmup=1)}
    return Stage(**{**given, "method": method, "source": source, **over})


def log(folder: Path) -> list[dict]:
    """The lines of the log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "clips_per_s"} for line in lines]


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two modules hold the same bits."""
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def fork(action, **environment: str) -> int:
    """Runs `action` in a copy of this process (no second import of torch); its exit code is 0 if it returned. Gives the pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        torch.set_num_threads(1)
        os.environ.update(environment)
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def two_processes(action) -> None:
    """Runs `action` in two processes that believe torchrun started them, and waits for both."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "MASTER_PORT": port}
    common["MASTER_ADDR"] = "127.0.0.1"
    pids = [fork(action, RANK=str(r), LOCAL_RANK=str(r), **common) for r in range(2)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0, 0]
