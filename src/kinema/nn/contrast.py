"""What contrastive methods share: momentum encoders, queues of keys, InfoNCE, and distillation over the neighbours in a queue.

Queries and keys are unit vectors `(B, D)`. Queues hold the keys of past batches as columns `(D, K)`, as published checkpoints do; queues that
are filled by the same batches are in lock-step: a slot is the same sample in each of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def unit_columns(dim: int, size: int) -> Tensor:
    """A queue to begin with: random unit vectors, `(D, K)`."""
    return F.normalize(torch.randn(dim, size), dim=0)


@torch.no_grad()
def enqueue(queue: Tensor, pointer: Tensor, keys: Tensor) -> None:
    """Overwrites the oldest keys of a queue `(D, K)` by `(B, D)`, round and round, and moves the `pointer` `(1,)`, both in place.

    Any batch size does: of more keys than the queue holds, the last ones stay.
    """
    size = queue.shape[1]
    last = keys[-size:]
    first = pointer + (len(keys) - len(last))
    slots = (first + torch.arange(len(last), device=queue.device)) % size
    queue.index_copy_(1, slots, last.T.to(queue.dtype))
    pointer.copy_((pointer + len(keys)) % size)


@torch.no_grad()
def follow(key: nn.Module, query: nn.Module, momentum: float) -> None:
    """Moves the parameters of a key encoder towards those of the query encoder: ``momentum * key + (1 - momentum) * query``.

    Buffers stay the key encoder's own, as in the published code.
    """
    mine, theirs = tuple[Tensor, ...](key.parameters()), tuple[Tensor, ...](query.parameters())
    if len(mine) != len(theirs):
        raise ValueError(f"{len(mine)} parameters cannot follow {len(theirs)}: expected two networks of one form")
    get_ema_multi_avg_fn(momentum)(mine, theirs, 0)


def similarities(vectors: Tensor, queue: Tensor) -> Tensor:
    """Cosines `(B, K)` of unit vectors `(B, D)` to the keys of a queue `(D, K)`, in float32 also under autocast.

    A temperature of 0.05 makes twenty times as much of each rounding, and the sample's own key would be compared more exactly than others.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        return vectors.float() @ queue


def contrast_logits(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """`(B, 1 + K)`: similarity to the sample's own key, then to every key in the queue, over the temperature."""
    return logits_of(query, key, similarities(query, queue), temperature)


def logits_of(query: Tensor, key: Tensor, to_queue: Tensor, temperature: float) -> Tensor:
    """`contrast_logits` where the similarities `(B, K)` to the queue are known."""
    own = (query * key).sum(1, keepdim=True)
    return torch.cat([own, to_queue], 1) / temperature


def info_nce(logits: Tensor) -> Tensor:
    """Mean cross-entropy of finding one's own key, the first, among all."""
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


def near(teacher: Tensor, neighbours: int, temperature: float) -> tuple[Tensor, Tensor]:
    """What a teacher says: its nearest slots `(B, n)`, and how likely each `(B, n)`.

    Args:
        teacher: `(B, K)` similarities of the teacher's keys to its queue; no gradient flows into them.
        neighbours: how many slots; all if the queue has fewer. temperature: of the distribution over them.
    """
    similar, slots = teacher.detach().topk(min(neighbours, teacher.shape[1]), dim=1)
    return slots, (similar / temperature).softmax(1)


def taught(student: Tensor, slots: Tensor, target: Tensor, temperature: float) -> Tensor:
    """KL divergence of a student's distribution over the slots of a teacher (see `near`) from the teacher's, mean over the batch.

    `student`: `(B, K)` similarities of its queries to its own queue, in lock-step with the teacher's.
    """
    return F.kl_div((student.gather(1, slots) / temperature).log_softmax(1), target, reduction="batchmean")


def neighbour_distillation(
    teacher: Tensor, student: Tensor, neighbours: int, teacher_temperature: float, student_temperature: float
) -> Tensor:
    """Cross-modal mutual distillation in one direction (CMD, eq. 5): `near` and `taught` in one, for a single student."""
    return taught(student, *near(teacher, neighbours, teacher_temperature), student_temperature)
