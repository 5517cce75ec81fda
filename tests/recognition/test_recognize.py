"""From motions to labels: windows over a clip, what they are merged to, and a stream that never looks ahead."""

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.prepare import Preparation
from kinema.motion.skeleton import Skeleton
from kinema.motion.skeletons import HOLISTIC75, KINECT20, NTU25, SIGN49
from kinema.recognition.classifier import Recogniser, guides
from kinema.recognition.masa_prepare import SignPreparation
from kinema.recognition.presets import recipe
from kinema.recognition.recognize import BATCH, Label, Piece, Recognition, Stream, recognize

FPS = 10.0
ONE = Skeleton("one", ("tip",), (-1,))


@dataclass
class Fake:
    """Tells by the mean height of the joints: class k where it is near k + 1."""

    skeleton: Skeleton = ONE
    usual: float = 2.0
    classes: tuple[str, ...] = ("low", "middle", "high")
    units: tuple[str, ...] | None = None
    recipe = SimpleNamespace(preparation=Preparation(), signs=False)
    folder = Path("run")
    converted = Recogniser.converted

    def __post_init__(self):
        self.calls = []

    def prepare(self, clip):
        """Without the steps of the preparation."""
        clip = self.converted(clip)
        return clip if clip.somebody() else None

    def check_coordinates(self, clip):
        if clip.positions.shape[-1] != 3:
            raise UserError("made for 3 coordinates")

    def probabilities(self, clips):
        self.calls.append([clip.frames for clip in clips])
        heights = np.array([clip.positions[..., 1][clip.present()].mean() for clip in clips])
        logits = -8 * np.abs(heights[:, None] - np.arange(1, len(self.classes) + 1))
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


def refuse(clip):
    raise UserError("not this window")


def motion(heights, confidence=None, **more):
    """A clip of one joint, whose height is given frame by frame; None: nobody."""
    positions = np.zeros((len(heights), 1, 1, 3), np.float32)
    for frame, height in enumerate(heights):
        if height is not None:
            positions[frame] = (0.5, height, 0.25)
    return Clip(positions, ONE, fps=FPS, confidence=confidence, source="motion", **more)


def names(pieces):
    return [piece.labels[0].name if piece.labels else None for piece in pieces]


def test_a_short_clip_is_one_piece():
    fake = Fake()
    found = recognize(fake, motion([2] * 40), top=2)
    assert fake.calls == [[40]]
    assert [label.name for label in found.labels] == ["middle", "low"]
    assert found.labels[0].confidence > 0.9
    assert [(p.start, p.end) for p in found.pieces] == [(0, 4)]
    assert found.pieces[0].labels == found.labels
    assert (found.source, found.fps, found.frames) == ("motion", FPS, 40)


def test_a_long_clip_is_cut_into_windows_and_the_last_ends_with_it():
    found = recognize(Fake(), motion([1] * 30 + [3] * 33))
    assert found.pieces[0] == Piece(0, 2, found.pieces[0].labels)
    assert [p.start for p in found.pieces[:3]] == [0, 0.5, 1]
    assert (found.pieces[-1].start, found.pieces[-1].end) == (4.3, 6.3)
    assert found.pieces[-2].start == 4
    merged = [span for span in found.merged() if span.labels[0].name != "middle"]
    assert names(merged) == ["low", "high"]
    assert (merged[0].start, merged[-1].end) == (0, 6.3)
    assert merged[0].end == pytest.approx(3, abs=0.3)
    assert merged[0].labels[0].confidence > 0.9


def test_the_whole_is_the_mean_of_the_windows():
    fake, clip = Fake(), motion([1] * 30 + [3] * 33)
    found = recognize(fake, clip, window=1, hop=0.5, top=3)
    rows = [{label.name: label.confidence for label in piece.labels} for piece in found.pieces]
    for label in found.labels:
        assert label.confidence == pytest.approx(np.mean([row[label.name] for row in rows]), abs=1e-6)
    assert sum(label.confidence for label in found.labels) == pytest.approx(1, abs=1e-5)


def test_windows_are_seen_in_batches():
    fake, done = Fake(), []
    recognize(fake, motion([1] * 200), window=1, hop=0.1, progress=done.append)
    assert [len(call) for call in fake.calls] == [BATCH, BATCH, 191 - 2 * BATCH]
    assert done[-1] == 200
    assert done == sorted(done)


def test_where_nobody_is_there_is_no_label_and_it_does_not_count():
    fake = Fake()
    clip = motion([1] * 20 + [None] * 20 + [1] * 20)
    found = recognize(fake, clip, window=1, hop=1)
    assert names(found.pieces) == ["low"] * 2 + [None] * 2 + ["low"] * 2
    assert names(found.merged()) == ["low", None, "low"]
    assert found.labels == found.pieces[0].labels
    assert sum(map(len, fake.calls)) == 4
    unseen = np.ones((60, 1, 1), np.float32)
    unseen[20:40] = 0
    seen_nowhere = recognize(Fake(), motion([1] * 60, unseen), window=1, hop=1)
    assert names(seen_nowhere.pieces) == names(found.pieces)


def test_nobody_at_all():
    for clip in (motion([None] * 5), motion([1] * 5, np.zeros((5, 1, 1), np.float32))):
        with pytest.raises(UserError, match="motion: nobody is in any of its 5 frames"):
            recognize(Fake(), clip)


def test_nobody_is_who_has_none_of_the_joints_that_are_looked_at():
    positions = np.zeros((8, 1, len(HOLISTIC75), 2), np.float32)
    positions[:, :, HOLISTIC75.index("left_ankle")] = 5
    clip = Clip(positions, HOLISTIC75, confidence=(positions[..., 0] != 0).astype(np.float32), units="pixels", source="feet")
    with pytest.raises(UserError, match="feet: nobody"):
        recognize(Fake(SIGN49), clip)
    with pytest.raises(UserError, match="cannot be converted"):
        recognize(Fake(Skeleton("odd", ("x",), (-1,))), clip)


def test_clips_of_other_units_are_refused():
    fake = Fake(units=("metres", "normalised"))
    assert recognize(fake, motion([1] * 5, units="normalised")).labels[0].name == "low"
    said = "motion: pixels, but run was trained on metres and normalised; give a clip of such units"
    with pytest.raises(UserError, match=said):
        recognize(fake, motion([1] * 5, units="pixels"))
    with pytest.raises(UserError, match="stream: pixels, but run"):
        Stream(fake, skeleton=ONE, fps=FPS, units="pixels")
    assert recognize(Fake(), motion([1] * 5, units="pixels")), "not known"


@pytest.mark.parametrize(
    ("preparation", "without", "said"),
    [
        (Preparation(centre="first"), ["hip_centre"], "kinect19 has no hip_centre, by which run places people"),
        (Preparation(centre="every"), ["hip_centre", "left_hip"], "has no hip_centre, by"),
        (Preparation(yaw=True), ["left_shoulder", "right_hip"], "has no left_shoulder, right_hip, by"),
        (Preparation(yaw=True), ["hip_centre", "head"], None),
        (Preparation(scale=True), ["hip_centre", "left_hip"], None),
    ],
)
def test_joints_that_people_are_placed_by_must_be_there(preparation, without, said):
    fake = Fake(KINECT20)
    fake.recipe = SimpleNamespace(preparation=preparation, signs=False)
    joints = tuple(joint for joint in KINECT20.joints if joint not in without)
    fewer = Skeleton("kinect19", joints, (-1, *[0] * (len(joints) - 1)))
    clip = Clip(np.full((5, 1, len(fewer), 3), 2, np.float32), fewer, fps=FPS)
    if said is None:
        assert recognize(fake, clip).labels[0].name == "middle"
        return
    with pytest.raises(UserError, match=said):
        recognize(fake, clip)
    with pytest.raises(UserError, match=said):
        Stream(fake, skeleton=fewer, fps=FPS)


def test_published_preparations_go_by_more_joints():
    assert guides(Preparation(centre="mamp", people=2), NTU25) == ["spine_mid"]
    assert guides(Preparation(centre="cmd", people=2), NTU25) == ["spine_mid", "spine_base", "left_shoulder", "right_shoulder"]
    assert guides(SignPreparation(), SIGN49) == []


def test_a_signer_is_who_has_a_hand_in_a_frame_that_is_looked_at():
    class Signs(Fake):
        recipe = replace(recipe("masa", "small", SIGN49), preparation=SignPreparation.wlasl())

        prepare = Recogniser.prepare

    positions = np.zeros((40, 2, len(SIGN49), 2), np.float32)
    positions[19:30, 0, :21] = np.random.default_rng(0).uniform(1, 3, (11, 21, 2))
    positions[:, 1] = 3  # somebody else, who is not looked at
    sure = (positions != 0).any(-1).astype(np.float32)
    clip = Clip(positions, SIGN49, FPS, sure, units="pixels", image_size=(640, 480))
    found = recognize(Signs(SIGN49), clip, window=1, hop=1)
    assert [bool(piece.labels) for piece in found.pieces] == [False, False, True, False], "of WLASL the last frame is left out"
    with pytest.raises(UserError, match="pixels"):
        recognize(Signs(SIGN49), clip.with_(units="metres"))
    with pytest.raises(UserError, match="pixels"):
        Stream(Signs(SIGN49), skeleton=SIGN49, fps=25)
    with pytest.raises(UserError, match="no joints of hands"):
        Stream(Signs(SIGN49), skeleton=KINECT20, fps=25, units="pixels", image_size=(640, 480))


def test_confidences_and_sizes_go_with_a_window():
    class Careful(Fake):
        def probabilities(self, clips):
            for clip in clips:
                assert clip.confidence.shape == clip.positions.shape[:3]
                assert clip.image_size == (640, 480)
                assert clip.fps == FPS
                assert clip.confidence[0, 0, 0] == pytest.approx(clip.positions[0, 0, 0, 1] / 100)
            return super().probabilities(clips)

    heights = np.linspace(1, 3, 60)
    sure = (heights / 100).astype(np.float32)[:, None, None]
    recognize(Careful(), motion(heights, sure, image_size=(640, 480), units="pixels"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top": 0}, "top 0: expected 1"),
        ({"window": 0}, "window of 0 s: expected a number above 0"),
        ({"window": float("nan")}, "window of nan s"),
        ({"hop": -1}, "hop of -1 s"),
        ({"window": 1, "hop": 2}, "at most the window, 1 s"),
    ],
)
def test_numbers_that_make_no_sense(options, said):
    with pytest.raises(UserError, match=said):
        recognize(Fake(), motion([1] * 20), **options)
    with pytest.raises(UserError, match=said):
        Stream(Fake(), skeleton=ONE, fps=FPS, **options)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.floats(0.05, 9), st.floats(0.01, 1))
def test_every_frame_is_in_a_window_and_in_one_span(frames, window, share):
    found = recognize(Fake(), motion([1] * frames), window=window, hop=window * share)
    covered = np.zeros(frames, int)
    for piece in found.pieces:
        covered[round(piece.start * FPS) : round(piece.end * FPS)] += 1
    assert covered.all()
    spans = found.spans()
    assert (spans[0].start, spans[-1].end) == (0, frames / FPS)
    assert all(a.end == b.start and a.start < a.end for a, b in pairwise(spans))
    for piece, span in zip(found.pieces, spans, strict=True):
        assert piece.start - 1e-9 <= span.start
        assert span.end <= piece.end + 1e-9


def test_json_is_json_and_says_what_was_found():
    found = recognize(Fake(), motion([1] * 30 + [None] * 30), window=1, hop=1, top=1)
    told = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert list(told) == ["source", "fps", "frames", "seconds", "labels", "spans", "pieces"]
    assert told["seconds"] == 6
    assert told["spans"] == [
        {"start": 0, "end": 3, "labels": [{"name": "low", "confidence": pytest.approx(1, abs=1e-3)}]},
        {"start": 3, "end": 6, "labels": []},
    ]
    assert len(told["pieces"]) == 6


def test_merged_confidences_are_weighed_by_time():
    label = [(Label("a", c),) for c in (0.2, 0.8)]
    pieces = (Piece(0, 2, label[0]), Piece(2, 4, label[1]), Piece(2.4, 4.4, label[1]))
    merged = Recognition("x", 10.0, 44, label[0], pieces).merged()
    assert merged == (Piece(0, 4.4, (Label("a", pytest.approx((2 * 0.2 + 2.4 * 0.8) / 4.4)),)),)


# streams


def run(stream, clip, frames=None):
    """What a stream says after each pose."""
    said = []
    for frame in range(clip.frames if frames is None else frames):
        sure = None if clip.confidence is None else clip.confidence[frame]
        said.append(stream.push(clip.positions[frame], sure))
    return said


@pytest.mark.parametrize("confident", [False, True])
def test_a_stream_says_what_recognize_says_of_the_same_window(confident):
    rng = np.random.default_rng(0)
    heights = rng.uniform(0.5, 3.5, 50)
    clip = motion(heights, rng.uniform(0.1, 1, (50, 1, 1)).astype(np.float32) if confident else None)
    stream = Stream(Fake(), skeleton=ONE, fps=FPS, window=2, hop=0.3, top=3)
    said = run(stream, clip)
    assert [i for i, labels in enumerate(said) if labels is not None] == list(range(9, 50, 3))
    for frame in range(9, 50, 3):
        first = max(0, frame - 19)
        window = clip.with_(
            positions=clip.positions[first : frame + 1],
            confidence=clip.confidence[first : frame + 1] if confident else None,
        )
        assert said[frame] == recognize(Fake(), window, top=3).labels


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 39), st.integers(0, 2**32 - 1))
def test_what_a_stream_has_said_does_not_change_with_what_comes_after(cut, seed):
    rng = np.random.default_rng(seed)
    one, other = rng.uniform(0.5, 3.5, (2, 40))
    other[:cut] = one[:cut]
    first, second = (run(Stream(Fake(), skeleton=ONE, fps=FPS), motion(h)) for h in (one, other))
    assert first[:cut] == second[:cut]


def test_a_stream_keeps_no_more_than_its_window():
    fake = Fake()
    stream = Stream(fake, skeleton=ONE, fps=FPS, window=1, hop=0.2)
    run(stream, motion([1] * 500))
    assert stream.frames == 500
    assert max(frames for call in fake.calls for frames in call) == 10
    assert len(stream._kept) == 10


def test_eight_answers_a_second_from_half_a_window_on():
    stream = Stream(Fake(), skeleton=ONE, fps=80.0)
    said = [stream.push(np.ones((1, 1, 3))) is not None for _ in range(240)]
    assert said.index(True) == 79
    assert sum(said[80:160]) == 8


def test_people_come_and_go_in_a_stream():
    stream = Stream(Fake(), skeleton=ONE, fps=FPS, window=0.4, hop=0.1)
    assert stream.push([]) is None
    assert stream.push([]) == ()
    assert stream.push([[[0, 3, 0]]])[0].name == "high"
    assert stream.push([[[0, 3, 0]], [[1, 3, 0]]], [[1], [1]])[0].name == "high"
    for _ in range(3):
        stream.push(np.zeros((0, 1, 3)))
    assert stream.push([[[0, 3, 0]]], [[0]]) == ()


@pytest.mark.parametrize(
    ("positions", "confidence", "said"),
    [
        ([[1, 2, 3]], None, r"positions \(1, 3\); expected \(people, 1 joints, 2 or 3\)"),
        ([[[1, 2, 3], [1, 2, 3]]], None, "expected .* 1 joints of one"),
        ([[[1, 2, "x"]]], None, "no number"),
        ([[[1, 2, True]], [[1, 2]]], None, "different lengths"),
        ([[[1, 2, float("nan")]]], None, "NaN"),
        ([[[1, 2, 1e300]]], None, "infinity"),
        ([[[1, 2, 3]]], [[2]], "confidence outside 0 to 1"),
        ([[[1, 2, 3]]], [1], "confidence"),
        ([[[1, 2]]], None, "made for 3 coordinates"),
    ],
)
@pytest.mark.parametrize("before", [0, 1])
def test_a_pose_that_is_refused_was_not_taken(positions, confidence, said, before):
    stream = Stream(Fake(), skeleton=ONE, fps=FPS)
    for _ in range(before):
        stream.push([[[1, 2, 3]]])
    with pytest.raises(UserError, match=said):
        stream.push(positions, confidence)
    assert stream.frames == before


def test_a_pose_whose_window_is_refused_was_not_taken(monkeypatch):
    stream, other = (Stream(Fake(), skeleton=ONE, fps=FPS, window=0.4, hop=0.1) for _ in range(2))
    heights = [1, 2, 3, 3, 2, 1]
    said = [other.push([[[0, h, 0]]]) for h in heights]
    fake = stream._recogniser
    for i, height in enumerate(heights):
        if i > 0:  # from the first answer on, each pose is refused once and comes again
            with monkeypatch.context() as patch:
                patch.setattr(fake, "prepare", refuse)
                with pytest.raises(UserError, match="not this window"):
                    stream.push([[[0, 9, 0]]])
        assert stream.push([[[0, height, 0]]]) == said[i]
    assert stream.frames == other.frames == 6


def test_a_stream_that_cannot_be_taken_is_told_at_once():
    with pytest.raises(UserError, match="cannot be converted"):
        Stream(Fake(), skeleton=KINECT20, fps=30)
    with pytest.raises(UserError, match="fps"):
        Stream(Fake(), skeleton=ONE, fps=0)
    with pytest.raises(UserError, match="units"):
        Stream(Fake(), skeleton=ONE, fps=30, units="feet")
