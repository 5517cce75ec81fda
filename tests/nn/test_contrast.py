"""Queues against a list, momentum against arithmetic, and distillation against its limits."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kinema.nn.contrast import contrast_logits, enqueue, follow, info_nce, neighbour_distillation, unit_columns


@given(st.integers(1, 9), st.lists(st.integers(1, 25), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_queue_holds_the_newest_keys_whatever_the_batches(size, batches):
    queue, pointer = torch.full((1, size), -1.0), torch.zeros(1, dtype=torch.int64)
    slots, count = [-1.0] * size, 0
    for batch in batches:
        keys = torch.arange(count, count + batch, dtype=torch.float32)[:, None]
        for key in keys[:, 0].tolist():  # one at a time
            slots[count % size] = key
            count += 1
        enqueue(queue, pointer, keys)
        assert queue[0].tolist() == slots
        assert pointer.tolist() == [count % size]


def test_queues_of_one_size_stay_in_lock_step():
    first, second = unit_columns(4, 10), unit_columns(4, 10)
    places = [torch.zeros(1, dtype=torch.int64) for _ in range(2)]
    for batch in (3, 4, 6):
        keys = F.normalize(torch.randn(batch, 4), dim=1)
        enqueue(first, places[0], keys)
        enqueue(second, places[1], -keys)
    torch.testing.assert_close(first, -second)
    assert torch.allclose(unit_columns(4, 10).norm(dim=0), torch.ones(10))


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_follow_mixes_parameters_and_leaves_buffers(momentum):
    query, key = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    with torch.no_grad():
        query.weight.fill_(2.0)
        query.running_mean.fill_(7.0)
    follow(key, query, momentum)
    torch.testing.assert_close(key.weight, torch.full((3,), momentum * 1 + (1 - momentum) * 2))
    assert torch.equal(key.running_mean, torch.zeros(3))
    assert torch.equal(query.weight, torch.full((3,), 2.0))


def test_info_nce_is_the_share_of_ones_own_key():
    query, key, queue = F.normalize(torch.randn(5, 4), dim=1), F.normalize(torch.randn(5, 4), dim=1), unit_columns(4, 6)
    own, others = ((query * key).sum(1) / 0.07).exp(), ((query @ queue) / 0.07).exp().sum(1)
    torch.testing.assert_close(info_nce(contrast_logits(query, key, queue, 0.07)), -(own / (own + others)).log().mean())


def test_similarities_are_exact_under_autocast_too():
    query, key, queue = F.normalize(torch.randn(5, 4), dim=1), F.normalize(torch.randn(5, 4), dim=1), unit_columns(4, 6)
    expected = contrast_logits(query, key, queue, 0.07)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(contrast_logits(query, key, queue, 0.07), expected)


def test_with_a_cold_teacher_distillation_is_the_mining_of_its_nearest_slot():
    """CMD, section 3.3: as the teacher's temperature goes to 0 its neighbour becomes the student's one positive."""
    torch.manual_seed(0)
    teacher, student = torch.rand(6, 20), torch.rand(6, 20)
    nearest = teacher.argmax(1)
    for neighbours in (4, 20, 99):
        near = teacher.topk(min(neighbours, 20), 1).indices
        mined = F.cross_entropy((student / 0.1).gather(1, near), torch.zeros(6, dtype=torch.int64))
        assert torch.equal(near[:, 0], nearest)
        torch.testing.assert_close(neighbour_distillation(teacher, student, neighbours, 1e-6, 0.1), mined, rtol=0, atol=1e-5)


def test_distillation_is_zero_between_equals_and_teaches_the_student_alone():
    teacher, student = torch.rand(3, 8, requires_grad=True), torch.rand(3, 8, requires_grad=True)
    assert neighbour_distillation(teacher, teacher, 5, 0.1, 0.1).abs() < 1e-6
    found = neighbour_distillation(teacher, student, 5, 0.05, 0.1)
    assert found > 0
    found.backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert ((student.grad != 0).sum(1) <= 5).all()
