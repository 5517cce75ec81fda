"""What contrastive methods share: momentum encoders, queues of keys, InfoNCE, and distillation over the neighbours in a queue.

Queries and keys are unit vectors `(B, D)`. Queues hold the keys of past batches as columns `(D, K)`, as published checkpoints do; queues that
are filled by the same batches are in lock-step: a slot is the same sample in each of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
    for mine, theirs in zip(key.parameters(), query.parameters(), strict=True):
        mine.lerp_(theirs, 1 - momentum)


def contrast_logits(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """`(B, 1 + K)`: similarity to the sample's own key, then to every key in the queue, over the temperature."""
    own = (query * key).sum(1, keepdim=True)
    return torch.cat([own, query @ queue], 1) / temperature


def info_nce(logits: Tensor) -> Tensor:
    """Mean cross-entropy of finding one's own key, the first, among all."""
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


def neighbour_distillation(
    teacher: Tensor, student: Tensor, neighbours: int, teacher_temperature: float, student_temperature: float
) -> Tensor:
    """Cross-modal mutual distillation in one direction (CMD, eq. 5): KL divergence over the teacher's nearest slots, mean over the batch.

    Args:
        teacher: `(B, K)` similarities of the teacher's keys to its queue; no gradient flows into them.
        student: `(B, K)` similarities of the student's queries to its own queue, in lock-step with the teacher's.
        neighbours: how many slots, the nearest of the teacher's; all if the queue has fewer.
    """
    near, slots = teacher.detach().topk(min(neighbours, teacher.shape[1]), dim=1)
    target = (near / teacher_temperature).softmax(1)
    found = (student.gather(1, slots) / student_temperature).log_softmax(1)
    return F.kl_div(found, target, reduction="batchmean")
