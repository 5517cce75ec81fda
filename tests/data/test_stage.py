"""Stage-1 as a data set: determinism, labels, captions, splits, the sensor, and the frozen hash."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest

from kinema.data.stage import captions as words
from kinema.data.stage import stage1
from kinema.data.stage.sensor import sensor
from kinema.data.stage.table import ACTIONS
from kinema.data.stage.take import Style
from kinema.errors import UserError
from kinema.motion.clip import Clip

FROZEN = "c0026cde39fd60436c8cac9dc4c0419c638a93142075ba0f749c54a15d95b125"


def digest(clip: Clip) -> bytes:
    """What is frozen of a clip: positions to 0.1 mm, who, what and when."""
    rounded = np.rint(clip.positions.astype(np.float64) * 1e4).astype("<i4")
    facts = [rounded.shape, clip.label, clip.label_name, clip.subject, clip.view, clip.source]
    facts += [(c.text, round(c.start, 3), None if c.end is None else round(c.end, 3)) for c in clip.captions]
    lost = np.packbits(clip.confidence == 0) if clip.confidence is not None else np.zeros(0, np.uint8)
    return hashlib.sha256(
        rounded.tobytes() + lost.tobytes() + np.packbits(clip.contacts).tobytes() + json.dumps(facts).encode()
    ).digest()


def test_stage_1_is_frozen():
    """If this fails, the change breaks everything measured on stage-1: undo it, and put what is new into a new stage."""
    whole = hashlib.sha256(json.dumps(stage1.CLASSES).encode())
    for k, index in enumerate(range(0, 33 * 32, 33)):  # every class once, each time another subject
        whole.update(digest(stage1.clip(index, sensor=k % 2 == 0)))
    for index in range(8):
        whole.update(digest(stage1.sequence(index, sensor=index % 2 == 0)))
    for name in sorted(stage1.SPLITS):
        for part in stage1.split(name):
            whole.update(part.astype("<i8").tobytes())
    assert whole.hexdigest() == FROZEN


def test_a_clip_is_a_pure_function_of_seed_and_index():
    for make in (stage1.clip, stage1.sequence):
        a, _, b, other = make(7), make(8), make(7), make(7, seed=1)
        assert a.positions.tobytes() == b.positions.tobytes()
        assert a.rotations.tobytes() == b.rotations.tobytes()
        assert a.captions == b.captions
        assert dict(a.meta) == dict(b.meta)
        assert a.positions.shape != other.positions.shape or not np.allclose(a.positions, other.positions)


def test_classes_are_balanced_and_named():
    assert len(stage1.CLASSES) >= 24
    assert set(stage1.CLASSES) <= set(ACTIONS)
    assert stage1.SIZE % len(stage1.CLASSES) == 0
    for index in (0, 13, 30, 63):
        clip = stage1.clip(index)
        assert clip.label_name == stage1.CLASSES[clip.label]
        assert stage1.MIN_FRAMES <= clip.frames <= stage1.MAX_FRAMES
        assert clip.people == ACTIONS[clip.label_name].people
        assert clip.source == f"stage-1/{index:06d}"
        assert clip.meta["actions"][0]["action"] == clip.label_name
        json.dumps(dict(clip.meta), allow_nan=False)


def test_the_floor_is_at_zero_and_people_stand_on_it():
    for index in range(0, 32, 5):
        p = stage1.clip(index, sensor=False).positions
        assert 0 < p[..., 1].min() < 0.03
        assert p[..., 1].max() < 2.8


@pytest.mark.parametrize("name", sorted(stage1.SPLITS))
def test_splits_part_the_world(name):
    train, test = stage1.split(name)
    assert len(np.intersect1d(train, test)) == 0
    assert len(train) + len(test) == stage1.SIZE
    for part, least in ((train, 60), (test, 8)):
        assert np.bincount(part % len(stage1.CLASSES), minlength=len(stage1.CLASSES)).min() >= least


def test_splits_hold_out_what_they_say():
    def seen(indices: np.ndarray) -> set[str]:
        draws = [stage1.draw(int(i)) for i in indices]
        return {s for d in draws for s in (d.subject, d.partner)}

    train, test = stage1.split("subject")
    assert not seen(train) & seen(test)
    assert len(train) == len(test)
    train, test = stage1.split("style")
    combinations = [{(d.label, d.cell) for d in map(stage1.draw, map(int, part))} for part in (train, test)]
    assert not combinations[0] & combinations[1]
    with pytest.raises(UserError, match="did you mean subject"):
        stage1.split("subjects")


def test_meta_agrees_with_the_draw():
    for index in (3, 29):
        clip, d = stage1.clip(index), stage1.draw(index)
        assert (clip.subject, clip.view, clip.meta["cell"]) == (f"s{d.subject:02d}", d.view, d.cell)
        assert clip.meta["style"]["side"] == d.style.side


def test_the_sensor_adds_noise_and_loses_joints():
    clean = stage1.clip(44, sensor=False)
    assert clean.confidence is None
    noisy = [sensor(clean, np.random.default_rng(k), dropped=2.0) for k in range(8)]
    for clip in noisy:
        lost = clip.confidence == 0
        assert (clip.positions[lost] == 0).all()
        assert not lost[:, :, 0].any(), "the pelvis is never lost"
        error = np.linalg.norm(clip.positions - clean.positions, axis=-1)[~lost]
        assert 0.005 < np.sqrt((error**2).mean()) < 0.08
        assert clip.rotations is clean.rotations
    assert any((clip.confidence == 0).any() for clip in noisy)


@pytest.mark.parametrize("name", stage1.CLASSES)
def test_captions_are_sentences(name):
    for style in (Style("left", 0.75, 0.8, curve=30.0), Style("right", 1.3, 1.2, curve=-30.0), Style()):
        lines = words.captions(name, style)
        assert len(set(lines)) >= 3
        for line in lines:
            assert re.fullmatch(r"[a-z][a-z ,;]*[a-z]", line), line
            assert "  " not in line
            assert ("slowly" in line, "quickly" in line) == (style.speed < 0.8, style.speed > 1.2)
        if "{side}" in ACTIONS[name].words.rest:
            assert sum(f"the {style.side}" in line for line in lines) >= 3


def test_captions_of_a_sequence_say_what_and_when():
    clip = stage1.compose(["walk", "wave"], [Style("right", 0.75), Style("left")], 0)
    texts = [c.text for c in clip.captions]
    assert texts[0] == "a person walks forward slowly, then waves with the left hand"
    assert texts[1] == "someone slowly walks forward and then waves with the left hand"
    whole, parts = clip.captions[:3], clip.captions[3:]
    assert all(c.end is None for c in whole)
    assert [c.text for c in parts] == ["a person walks forward slowly", "a person waves with the left hand"]
    assert 0 <= parts[0].start < parts[0].end <= parts[1].start < parts[1].end <= clip.seconds
    assert clip.label is None


def test_sequences_are_two_or_three_actions():
    for index in range(12):
        clip = stage1.sequence(index)
        n = len(clip.meta["actions"])
        assert n in (2, 3)
        assert len(clip.captions) == 3 + n
        assert clip.people == max(ACTIONS[a["action"]].people for a in clip.meta["actions"])


def test_bad_requests_are_told():
    with pytest.raises(UserError, match="expected 0 or more"):
        stage1.clip(-1)
    with pytest.raises(UserError, match="unknown action 'wak': did you mean walk"):
        stage1.compose(["wak"], [Style()], 0)
    with pytest.raises(UserError, match="choose another order"):
        stage1.compose(["hug", "run"], [Style(), Style()], 0)
