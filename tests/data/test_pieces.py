"""Windows of frames as they are: which frames, what is padding, and batches whose clips differ in length."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.batches import ResidentClips
from kinema.data.pieces import Window
from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.skeleton import Skeleton
from kinema.training.method import Step

TAKES = ("first", "run", "spread")
SKELETON = Skeleton("pair", ("top", "tip"), (-1, 0))
LENGTHS = (5, 12, 3, 30, 12, 7, 1, 20)


def clip(number, frames, confidence=False):
    """Frame `t` of clip `n` has coordinates of its own, so that what a batch holds can be read off it; none is zero."""
    place = 1000.0 * (number + 1) + np.arange(1, frames + 1)
    positions = np.stack([place, place + 0.25], 1)[:, None, :, None].repeat(2, 3).astype(np.float32)
    sure = None
    if confidence:
        sure = (0.2 + 0.7 * np.random.default_rng(number).random((frames, 1, 2))).astype(np.float32)
    return Clip(positions, SKELETON, confidence=sure, label=number % 3)


def source(lengths=LENGTHS, *, take="first", frames=10, batch_size=4, **options):
    clips = [clip(i, n, options.get("confidence", False)) for i, n in enumerate(lengths)]
    return ResidentClips(clips, frames=100, people=1, batch_size=batch_size, crop=Window(frames, take), **options)


def frames_of(positions):
    """Which frames of their clips `(B, T, 1, 2, C)` are, -1 where it is padding."""
    first = positions[:, :, 0, 0, 0]
    return torch.where(first > 0, first.remainder(1000) - 1, -1).long()


def at(index, shard=0, shards=1, per_epoch=2, seed=3):
    return Step(index, epoch=index // per_epoch, step_in_epoch=index % per_epoch, seed=seed, shard=shard, shards=shards)


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 700), min_size=1, max_size=6),
    frames=st.integers(1, 320),
    take=st.sampled_from(TAKES),
    seed=st.none() | st.integers(0, 2**31),
)
def test_frames_lie_within_their_clip_in_order_and_the_rest_is_padding(lengths, frames, take, seed):
    total, step = torch.tensor(lengths), None if seed is None else Step(0, seed=seed)
    kept = total.clamp(max=frames)
    places, real = Window(frames, take).places(total, int(kept.max()), step)
    assert places.dtype == torch.int64
    assert real.sum(1).tolist() == kept.tolist()
    for row, length, taken in zip(places.tolist(), lengths, kept.tolist(), strict=True):
        assert 0 <= row[0]
        assert row[taken - 1] < length
        assert all(a < b for a, b in pairwise(row[:taken]))
        if length <= frames:
            assert row[:taken] == list(range(length)), "a shorter clip is taken whole"
    assert torch.equal(real, torch.arange(real.shape[1]) < kept[:, None])


def test_a_window_takes_what_it_says():
    long = torch.tensor([100])
    assert Window(4).places(long, 4, Step(0))[0].tolist() == [[0, 1, 2, 3]]
    assert Window(4, "run").places(long, 4, None)[0].tolist() == [[48, 49, 50, 51]]
    assert Window(4, "spread").places(long, 4, None)[0].tolist() == [[12, 37, 62, 87]]
    run = Window(4, "run").places(torch.full((2000,), 10), 4, Step(0))[0]
    assert (run.diff() == 1).all()
    assert run[:, 0].unique().tolist() == [0, 1, 2, 3, 4, 5, 6]
    spread = Window(4, "spread").places(torch.full((2000,), 10), 4, Step(0))[0]
    for column, stretch in zip(spread.T, ([0, 1], [2, 3, 4], [5, 6], [7, 8, 9]), strict=True):
        assert column.unique().tolist() == stretch, "every frame may be drawn, each from its own stretch"


@pytest.mark.parametrize("take", TAKES)
def test_evaluation_draws_nothing_and_training_draws_by_its_step_alone(take):
    window, lengths = Window(6, take), torch.tensor([40, 3, 17])
    assert torch.equal(*(window.places(lengths, 6, None)[0] for _ in range(2)))
    first, again, other = (window.places(lengths, 6, Step(n, seed=1))[0] for n in (4, 4, 5))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (take == "first")


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("training", [False, True])
def test_a_clips_frames_do_not_depend_on_the_padding(take, training):
    step = Step(2, seed=5) if training else None
    window, few = Window(20, take), torch.tensor([9, 14])
    short, real = window.places(few, 14, step)
    padded, seen = window.places(few, 20, step)
    assert torch.equal(padded[:, :14], short)
    assert torch.equal(seen[:, :14], real)
    assert not padded[:, 14:].any()
    assert not seen[:, 14:].any()


def test_a_window_of_nothing_is_told():
    with pytest.raises(UserError, match="frames 0: expected 1 or more"):
        Window(0)


# in batches


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize("shards", [2, 4])
def test_every_shard_is_padded_to_the_longest_of_the_whole_batch(take, shards):
    whole = source(take=take)
    for index in range(4):
        expected = whole.batch(at(index))
        parts = [source(take=take).batch(at(index, shard, shards)) for shard in range(shards)]
        for name in ("positions", "present", "label", "index"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(expected, name))
        longest = max(min(LENGTHS[i], 10) for i in expected.index.tolist())
        assert expected.positions.shape == (4, longest, 1, 2, 2)
        for row, number in zip(expected.positions, expected.index.tolist(), strict=True):
            assert ((row != 0).flatten(1).any(1) == (torch.arange(longest) < min(LENGTHS[number], 10))).all()
            assert (row[0, 0] // 1000 - 1 == number).all(), "nobody else's frames"


def test_all_clips_come_once_and_nothing_is_padded():
    found = list(source().ordered(3))
    assert sorted(i for batch in found for i in batch.index.tolist()) == list(range(len(LENGTHS)))
    assert all(len(batch) <= 3 for batch in found)
    for batch in found:
        assert {min(LENGTHS[i], 10) for i in batch.index.tolist()} == {batch.positions.shape[1]}
        assert batch.label.tolist() == [i % 3 for i in batch.index.tolist()]
        assert frames_of(batch.positions).tolist() == [list(range(batch.positions.shape[1]))] * len(batch)
    lengths = [batch.positions.shape[1] for batch in found]
    assert len(lengths) > len(set(lengths)), "the four of ten frames do not fit into one batch"


@pytest.mark.parametrize("take", TAKES)
def test_random_views_do_not_depend_on_how_they_are_batched(take):
    made = source(take=take)

    def rows(size, seed=0):
        return {
            i: row.tolist()
            for batch in made.cropped(Step(1, seed=seed), size)
            for i, row in zip(batch.index.tolist(), frames_of(batch.positions), strict=True)
        }

    assert rows(1) == rows(3) == rows(8)
    assert len(rows(3)) == len(LENGTHS)
    assert (rows(3) == rows(3, seed=1)) == (take == "first")


def test_no_more_frames_than_the_network_reads():
    clips = [clip(0, 50), clip(1, 4)]
    made = ResidentClips(clips, frames=8, people=1, batch_size=2, crop=Window(300))
    assert made.batch(at(0)).positions.shape[1] == 8


def test_confidences_are_the_last_coordinate():
    clips = [clip(i, n, confidence=True) for i, n in enumerate(LENGTHS)]
    made = source(confidence=True)
    batch = made.batch(at(0))
    assert batch.positions.shape[-1] == 3
    for row, number in zip(batch.positions, batch.index.tolist(), strict=True):
        taken = min(LENGTHS[number], 10)
        assert torch.equal(row[:taken, 0, :, 2], torch.from_numpy(clips[number].confidence[:taken, 0]))
        assert torch.equal(row[:taken, 0, :, :2], torch.from_numpy(clips[number].positions[:taken, 0]))
        assert not row[taken:].any(), "padding is not sure of anything"


def test_without_confidences_a_joint_is_sure_where_it_is_there():
    positions = np.ones((4, 1, 2, 2), np.float32)
    positions[1, 0, 1] = 0
    made = ResidentClips([Clip(positions, SKELETON)], frames=9, people=1, batch_size=1, crop=Window(9), confidence=True)
    assert made.batch(at(0)).positions[0, :, 0, :, 2].tolist() == [[1, 1], [1, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize("take", TAKES)
def test_two_views_are_padded_alike(take):
    pair = source(take=take, pairs=True).batch(at(1))
    assert pair.first.shape == pair.second.shape
    assert torch.equal(pair.first[..., 0] > 0, pair.second[..., 0] > 0)
    assert torch.equal(pair.first, pair.second) == (take == "first")
