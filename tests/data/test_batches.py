import numpy as np
import pytest
import torch
from fake_format import SKELETON, clip
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from kinema.data.augment import Mirror, Noise, Rotate, Shear, crop_resize
from kinema.data.batches import ClipBatch, ResidentClips
from kinema.data.pieces import Crop
from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.skeletons import KINECT20
from kinema.training.method import Step

ORDER = tuple(SKELETON.mirror())


def steps(index, per_epoch, shard=0, shards=1, seed=3):
    return Step(index, epoch=index // per_epoch, step_in_epoch=index % per_epoch, seed=seed, shard=shard, shards=shards)


def source(count=10, batch_size=4, **options):
    clips = [clip(i, frames=5 + 7 * i % 90, people=1 + i % 3, label=i % 2) for i in range(count)]
    return ResidentClips(clips, **{"frames": 8, "people": 2, "crop": Crop(minimum=3), "batch_size": batch_size, **options})


def naive(clips, starts, lengths, frames):
    """Each row on its own, with the library's own interpolation."""
    rows = []
    for c, s, n in zip(clips, starts, lengths, strict=True):
        piece = torch.tensor(c.positions[s : s + n]).flatten(1).T[None]
        rows.append(interpolate(piece, frames, mode="linear", align_corners=False)[0].T.reshape(frames, *c.positions.shape[1:]))
    return torch.stack(rows)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_crop_resize_is_interpolate_for_each_row(data):
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    clips = [clip(i, frames=n, people=2) for i, n in enumerate(lengths)]
    starts = [data.draw(st.integers(0, n - 1)) for n in lengths]
    pieces = [data.draw(st.integers(1, n - s)) for n, s in zip(lengths, starts, strict=True)]
    frames = data.draw(st.integers(1, 60))
    flat = torch.tensor(np.concatenate([c.positions for c in clips]))
    first = torch.tensor(np.cumsum([0, *lengths[:-1]])) + torch.tensor(starts)
    result = crop_resize(flat, first, torch.tensor(pieces), frames)
    torch.testing.assert_close(result, naive(clips, starts, pieces, frames), atol=1e-6, rtol=0)


def test_a_long_clip_is_resized_within_its_frames():
    flat = torch.arange(100_003.0)[:, None]
    result = crop_resize(flat, torch.tensor([0]), torch.tensor([100_003]), 120)
    assert torch.isfinite(result).all()
    assert result.max() <= 100_002


def test_the_crop_follows_the_published_rule():
    crop = Crop()
    frames = torch.tensor([100, 100, 64, 10, 300])
    share = torch.tensor([0.9239, 0.5, 0.97, 0.5, 0.5])
    assert crop.length(frames, share).tolist() == [92, 64, 64, 10, 150]
    start, length = crop.middle(torch.tensor([100, 40, 39, 1]))
    assert start.tolist() == [2, 1, 0, 0]
    assert length.tolist() == [96, 38, 39, 1]


@given(seed=st.integers(0, 1000), low=st.floats(0, 1), minimum=st.integers(1, 80))
@settings(max_examples=50, deadline=None)
def test_a_crop_lies_within_its_clip(seed, low, minimum):
    frames = torch.arange(1, 200)
    start, length = Crop(low=low, minimum=minimum).draw(frames, Step(0, seed=seed))
    assert (start >= 0).all()
    assert (length >= torch.minimum(frames, torch.tensor(minimum))).all()
    assert (start + length <= frames).all()


def test_every_start_can_be_drawn():
    start, _ = Crop(low=0.5, high=0.5, minimum=1).draw(torch.full((500,), 8), Step(0))
    assert sorted(set(start.tolist())) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_shards_together_are_the_whole_batch(shards):
    augment = (Rotate(), Mirror(ORDER), Shear(0.3, p=0.5), Noise(0.1))
    whole, cut = source(16, 8, augment=augment), source(16, 8, augment=augment)
    for index in range(3):
        expected = whole.batch(steps(index, 2))
        parts = [cut.batch(steps(index, 2, shard, shards)) for shard in range(shards)]
        for name in ("positions", "present", "label", "index"):
            assert torch.equal(torch.cat([getattr(p, name) for p in parts]), getattr(expected, name))


def test_a_batch_depends_on_its_step_alone():
    a, b = source(10, augment=(Rotate(),)), source(10, augment=(Rotate(),))
    late = a.batch(steps(5, a.steps_per_epoch))
    for index in range(7):
        b.batch(steps(index, b.steps_per_epoch))
    again = b.batch(steps(5, b.steps_per_epoch))
    assert torch.equal(late.positions, again.positions)
    assert torch.equal(late.index, again.index)
    assert a.state_dict() == {}
    a.load_state_dict({})
    with pytest.raises(UserError):
        a.load_state_dict({"queue": 1})


def test_an_epoch_shows_each_clip_once_in_a_new_order():
    s = source(12)
    assert s.steps_per_epoch == 3
    epochs = [torch.cat([s.batch(steps(3 * e + i, 3)).index for i in range(3)]).tolist() for e in range(2)]
    assert [sorted(e) for e in epochs] == [list(range(12))] * 2
    assert epochs[0] != epochs[1] != list(range(12))
    assert source(12, shuffle=False).batch(steps(1, 3)).index.tolist() == [4, 5, 6, 7]
    assert source(12, seed=1).order(0).tolist() != source(12, seed=2).order(0).tolist()


def test_fewer_clips_than_a_batch_repeat():
    s = source(3, 8)
    assert s.steps_per_epoch == 1
    index = s.batch(steps(0, 1)).index.tolist()
    assert index[:3] == index[3:6]
    assert sorted(index[:3]) == [0, 1, 2]


def test_people_are_filled_with_zeros_or_cut_off():
    batch = next(source(3, shuffle=False).ordered(3))
    assert batch.positions.shape == (3, 8, 2, 4, 3)
    assert batch.present.tolist() == [[True, False], [True, True], [True, True]]
    assert not batch.positions[0, :, 1].any()
    assert batch.label.tolist() == [0, 1, 0]
    assert source(3, labels=[7, 8, 9]).batch(steps(0, 1)).label.min() >= 7


def test_evaluation_is_in_order_and_whole():
    s = source(10, augment=(Rotate(),))
    batches = list(s.ordered(4))
    assert [len(b) for b in batches] == [4, 4, 2]
    assert torch.cat([b.index for b in batches]).tolist() == list(range(10))
    clips = [clip(i, frames=5 + 7 * i % 90, people=1 + i % 3) for i in range(10)]
    bias = [int(0.05 * c.frames / 2) for c in clips]
    for i, c in enumerate(clips):
        expected = naive([c], [bias[i]], [c.frames - 2 * bias[i]], 8)[0, :, :2]
        torch.testing.assert_close(batches[i // 4].positions[i % 4, :, : expected.shape[1]], expected, atol=1e-6, rtol=0)


def test_a_lazy_sequence_is_read_once():
    reads = []

    class Lazy:
        def __len__(self):
            return 5

        def __getitem__(self, i):
            if i >= 5:
                raise IndexError
            reads.append(i)
            return clip(i, frames=1 if i == 0 else 50)

    s = ResidentClips(Lazy(), frames=4, people=1, batch_size=2)
    assert reads == [0, 1, 2, 3, 4]
    torch.testing.assert_close(s._flat[1:51, 0], torch.tensor(clip(1, frames=50).positions[:, 0]))
    assert len(s._flat) == 201


@pytest.mark.parametrize(
    ("clips", "options", "message"),
    [
        ([], {}, "no clips"),
        ([clip(), clip(coordinates=2)], {}, "4 joints x 2, others 4 x 3"),
        ([clip()], {"frames": 0}, "at least 1"),
        ([clip()], {"labels": [1, 2]}, "2 labels for 1 clip"),
    ],
)
def test_clips_that_make_no_batch_are_told(clips, options, message):
    with pytest.raises(UserError, match=message):
        ResidentClips(clips, **{"frames": 4, "people": 1, "batch_size": 1, **options})


def test_a_batch_that_cannot_be_shared_is_told():
    with pytest.raises(UserError, match="3 equal parts"):
        source().batch(steps(0, 1, 0, 3))
    with pytest.raises(UserError, match="low"):
        Crop(low=0.9, high=0.1)


def test_a_batch_moves():
    batch = next(source().ordered(2)).to("cpu")
    assert isinstance(batch, ClipBatch)
    assert len(batch) == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_batch_on_the_device_does_not_wait_for_it():
    s = source(16, 8, augment=(Rotate(), Mirror(ORDER), Shear(0.3), Noise(0.1)), device="cuda")
    on_cpu = source(16, 8, augment=(Rotate(), Mirror(ORDER), Shear(0.3), Noise(0.1))).batch(steps(1, 2))
    step = Step(1, step_in_epoch=1, seed=3, device=torch.device("cuda"))
    s.batch(step)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = s.batch(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(batch.positions.cpu(), on_cpu.positions, atol=1e-5, rtol=1e-5)


def test_cropped_views_are_the_same_in_every_call_and_lie_inside_the_clip() -> None:
    rng = np.random.default_rng(3)
    clips = [Clip(rng.standard_normal((t, 1, 20, 3)).astype(np.float32), KINECT20) for t in (1, 9, 40, 70)]
    source = ResidentClips(clips, frames=16, people=1, batch_size=3, crop=Crop(minimum=8), shuffle=False)
    first = torch.cat([b.positions for b in source.cropped(Step(5), 3)])
    again = torch.cat([b.positions for b in source.cropped(Step(5), 2)])
    assert torch.equal(first, again), "the size of a batch must not change a view"
    assert not torch.equal(first, torch.cat([b.positions for b in source.cropped(Step(6), 3)]))
    for whole, view in zip(clips, first, strict=True):
        assert view.min() >= whole.positions.min() - 1e-5
        assert view.max() <= whole.positions.max() + 1e-5


def test_two_views_are_of_the_same_clips_and_differ():
    plain = source(12, 6, augment=(Rotate(), Shear()))
    step = steps(1, 2)
    pair, single = plain.views(step), plain.batch(step)
    assert torch.equal(pair.first, single.positions)  # the first view is the batch itself
    assert torch.equal(pair.index, single.index)
    assert pair.second.shape == pair.first.shape
    assert all(not torch.equal(a, b) for a, b in zip(pair.first, pair.second, strict=True))
    assert torch.equal(pair.second, plain.views(step).second)
    halves = [plain.views(steps(1, 2, shard, 2)) for shard in range(2)]
    assert torch.equal(torch.cat([half.second for half in halves]), pair.second)
    still = source(12, 6, crop=Crop(1, 1)).views(step)
    assert torch.equal(still.first, still.second)  # whole clips without augmentation
    assert pair.to("meta").second.device.type == "meta"
    assert len(pair) == 6
