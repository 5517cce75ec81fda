"""Signs-1: determinism, hands and arms that can be, groups that only movement tells apart, the estimator, and the frozen hash.

The slow test prints the figures of docs/stage.md.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from kinema.data.splits import split as store_split
from kinema.data.stage import signs1, world
from kinema.data.stage.hands import SHAPES, local_hand
from kinema.data.stage.signer import LEFT_HANDED, SIGNERS
from kinema.data.stage.signs import GROUPS, MOVEMENTS, SIGNS
from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.keypoints import SIGN49

FROZEN = "d80a68f612cd92f46157e3c7f3317700e342acc40e23329f13464dff59076aff"
N = len(signs1.CLASSES)
LEFT, RIGHT = slice(0, 21), slice(21, 42)
IN_GROUPS = [i for i, sign in enumerate(SIGNS) if sign.group in GROUPS]
GROUP = [sign.group for sign in SIGNS]


def clip_of(name: str, signer: int, **how: bool) -> Clip:
    return signs1.clip(signs1.CLASSES.index(name) + N * signer, **how)


def digest(clip: Clip) -> bytes:
    """What is frozen of a clip: positions to 0.01 pixels, confidence to 0.001, who and what."""
    rounded = np.rint(clip.positions.astype(np.float64) * 100).astype("<i4")
    sure = b"" if clip.confidence is None else np.rint(clip.confidence.astype(np.float64) * 1000).astype("<i4").tobytes()
    facts = [rounded.shape, clip.label, clip.label_name, clip.subject, clip.source, clip.image_size, dict(clip.meta)]
    return hashlib.sha256(rounded.tobytes() + sure + json.dumps(facts).encode()).digest()


def test_signs_1_is_frozen():
    """If this fails, the change breaks everything measured on signs-1: undo it, and put what is new into a `signs2`."""
    whole = hashlib.sha256(json.dumps(signs1.CLASSES).encode())
    for k, index in enumerate(range(0, N * (N + 1), N + 1)):  # every class once, every signer twice
        whole.update(digest(signs1.clip(index, sensor=k % 2 == 0)))
    for part in signs1.split("signer"):
        whole.update(part.astype("<i8").tobytes())
    assert whole.hexdigest() == FROZEN


def test_a_clip_is_a_pure_function_of_seed_and_index():
    a, _, b, other = signs1.clip(7), signs1.clip(8), signs1.clip(7), signs1.clip(7, seed=1)
    assert a.positions.tobytes() == b.positions.tobytes()
    assert a.confidence.tobytes() == b.confidence.tobytes()
    assert dict(a.meta) == dict(b.meta)
    assert a.positions.shape != other.positions.shape or not np.allclose(a.positions, other.positions)


def test_a_clip_is_what_a_sign_recogniser_reads():
    for index in (0, 61, 150, 700):
        clip = signs1.clip(index)
        assert (clip.skeleton, clip.units, clip.image_size, clip.fps, clip.people) == (SIGN49, "pixels", (512, 512), 25.0, 1)
        assert clip.positions.shape[-1] == 2
        assert clip.label_name == signs1.CLASSES[clip.label]
        assert signs1.MIN_FRAMES <= clip.frames <= signs1.MAX_FRAMES
        nose, shoulders = clip.positions[:, 0, 42], clip.positions[:, 0, [43, 46]]
        assert (nose[:, 1] < shoulders[..., 1].min(1)).all(), "y runs down"
        assert (shoulders[:, 0, 0] > shoulders[:, 1, 0]).all(), "the left side is on the right of the picture"
        begin, end = clip.meta["stroke"]
        assert 0 < begin < end < clip.seconds
        json.dumps(dict(clip.meta), allow_nan=False)


def test_there_are_signs_that_only_movement_tells_apart():
    assert len(set(signs1.CLASSES)) == N >= 40
    assert len(IN_GROUPS) >= 30
    for signs in GROUPS.values():
        assert len({(s.shape, s.second_shape, s.palm, s.place, s.other) for s in signs}) == 1
        assert len({s.movement for s in signs}) == len(signs) >= 4
    assert {s.movement for s in SIGNS} <= set(MOVEMENTS)


def test_movements_are_centred_and_end_where_they_should():
    u = np.linspace(0, 1, 801)
    for name, movement in MOVEMENTS.items():
        for repeats in movement.repeats:
            assert np.abs(movement.offset(u, repeats).mean(0)).max() < 1e-3, name
            if movement.inner is not None:
                inner = movement.inner(u, repeats)
                assert {round(inner[0], 9), round(inner[-1], 9)} == {0, 1}, name
                quarters = np.quantile(inner, [0.1, 0.25, 0.5, 0.75, 0.9])
                assert np.allclose(quarters, np.quantile(MOVEMENTS["open"].inner(u, 1), [0.1, 0.25, 0.5, 0.75, 0.9]), atol=0.02)


def test_handshapes_are_different_hands_with_the_same_bones():
    hands = np.stack([local_hand(shape) for shape in SHAPES.values()])
    chains = [[0, *range(5 + 4 * f, 9 + 4 * f)] for f in range(4)] + [[0, 1, 2, 3, 4]]
    for a, b in (edge for chain in chains for edge in pairwise(chain)):
        assert np.ptp(np.linalg.norm(hands[:, a] - hands[:, b], axis=-1)) < 1e-12
    apart = np.linalg.norm(hands[:, None] - hands, axis=-1).max(-1) + np.eye(len(hands))
    assert apart.min() > 0.02, "two handshapes look the same"
    tip = {name: local_hand(shape)[[4, 8, 12, 16, 20]] for name, shape in SHAPES.items()}
    assert np.linalg.norm(tip["pinch"][0] - tip["pinch"][1]) < 0.01, "thumb and index meet"
    assert np.linalg.norm(tip["o"][0] - tip["o"][1]) < 0.01
    assert tip["flat"][1, 1] > 0.17 > 0.10 > tip["fist"][1, 1], "fingers stretched and curled"
    assert tip["l"][0, 0] > 0.08, "the thumb stands off"


def test_nobody_bends_what_does_not_bend():
    def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        cos = (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)
        return np.degrees(np.arccos(np.clip(cos, -1, 1)))

    for index in range(0, N * SIGNERS, 17):
        p = signs1.perform(index).positions
        for hand, arm in ((0, 43), (21, 46)):
            shoulder, elbow, wrist = (p[:, arm + k] for k in range(3))
            assert np.array_equal(p[:, hand], wrist), "the hand hangs on the wrist"
            for a, b in ((shoulder, elbow), (elbow, wrist), (wrist, p[:, hand + 9]), (p[:, hand + 5], p[:, hand + 6])):
                assert np.ptp(np.linalg.norm(a - b, axis=-1)) < 1e-9, "bones keep their length"
            bend = angle(wrist - elbow, elbow - shoulder)
            assert 10 < bend.min()
            assert bend.max() < 155
            assert angle(wrist - elbow, p[:, hand + 9] - wrist).max() < 85, "the wrist"
            assert np.linalg.norm(np.diff(wrist, 2, axis=0), axis=-1).max() * 25**2 < 160, "jumps"


def test_left_handed_signers_sign_with_the_left_hand():
    for number in range(SIGNERS):
        clip = clip_of("v_side-sink", number, sensor=False)
        top = clip.positions[:, 0, [0, 21], 1].min(0)
        working = "left" if top[0] < top[1] else "right"
        assert working == clip.meta["works"] == ("left" if number in LEFT_HANDED else "right")
        both = clip_of("hands_front-rise", number, sensor=False).positions[:, 0, [0, 21], 1]
        assert (np.ptp(both, axis=0) > 60).all(), "a sign of two hands"


def test_the_signer_split_holds_out_signers():
    train, test = signs1.split("signer")
    who = [{signs1.draw(int(i)).signer for i in part} for part in (train, test)]
    assert (len(who[0]), len(who[1])) == (16, 8)
    assert not who[0] & who[1]
    assert all(len(part & LEFT_HANDED) >= 2 for part in who)
    assert len(train) + len(test) == signs1.SIZE
    assert set(Counter(train % N).values()) == {48}
    assert set(Counter(test % N).values()) == {24}
    with pytest.raises(UserError, match="did you mean signer"):
        signs1.split("signers")
    with pytest.raises(UserError, match="expected 0 or more"):
        signs1.clip(-1)


def test_the_estimator_jitters_and_loses_hands():
    errors, lost, sure, quick = [], [], [], []
    for index in range(0, 24 * 55, 55):
        clean, clip = signs1.clip(index, sensor=False).positions[:, 0], signs1.clip(index)
        found, confidence = clip.positions[:, 0], clip.confidence[:, 0]
        assert (found[confidence == 0] == 0).all()
        assert (found[confidence > 0] > 0).all()
        inside = ((clean > 12) & (clean < 499)).all(-1)
        for hand in (LEFT, RIGHT):
            gone = confidence[:, hand] == 0
            assert (gone.all(1) | ~gone.any(1))[inside[:, hand].all(1)].all(), "a hand is found or lost as a whole"
            lost.append(gone.all(1).mean())
            there = np.flatnonzero(~gone.any(1))
            speed = np.linalg.norm(np.gradient(clean[:, hand], axis=0), axis=-1).mean(1)
            sure.extend(confidence[there, hand].mean(1))
            quick.extend(speed[there])
        errors.append(np.linalg.norm(found - clean, axis=-1)[confidence > 0])
    assert 1.0 < np.sqrt((np.concatenate(errors) ** 2).mean()) < 6.0
    assert 0.05 < np.mean(lost) < 0.4
    assert np.corrcoef(sure, quick)[0, 1] < -0.5, "less sure of what is quick"


def features(clip: Clip, frames: int = 16) -> dict[str, np.ndarray]:
    """Four views of a clip: mean hand pose; hand poses over time; those and the wrists' paths; the same, brought into line."""
    x = clip.positions[:, 0].astype(np.float64)
    seen = np.ones(x.shape[:2], bool) if clip.confidence is None else clip.confidence[:, 0] > 0
    for j in range(49):
        at = np.flatnonzero(seen[:, j])
        for c in range(2 if 0 < len(at) < len(x) else 0):
            x[:, j, c] = np.interp(np.arange(len(x)), at, x[at, j, c])
    middle = (x[:, 43] + x[:, 46])[:, None] / 2
    x = (x - middle) / np.median(np.linalg.norm(x[:, 43] - x[:, 46], axis=-1))

    def over_time(y: np.ndarray, first: int = 0, last: int = -1) -> np.ndarray:
        times = np.linspace(first, len(y) - 1 if last < 0 else last, frames)
        low = times.astype(int)
        high, w = np.minimum(low + 1, len(y) - 1), (times - low)[:, None, None]
        return y[low] * (1 - w) + y[high] * w

    def poses(y: np.ndarray) -> np.ndarray:
        return np.concatenate([y[:, 1:21] - y[:, :1], y[:, 22:42] - y[:, 21:22]], 1)

    hands, wrists = over_time(poses(x)).ravel(), over_time(x[:, [0, 21]]).ravel()
    way = np.abs(np.diff(x[:, [0, 21]], axis=0)).sum((0, 2))
    if way[0] > way[1]:  # a left-handed signer: mirrored
        x = x[:, [*range(21, 42), *range(21), *range(42, 49)]] * (-1, 1)
    height = x[:, 21, 1]
    raised = np.flatnonzero(height < (np.percentile(height, 95) + np.percentile(height, 5)) / 2)
    stroke = over_time(x, raised[0], raised[-1])
    path = stroke[:, [0, 21]]
    place = path.mean(0, keepdims=True)
    return {
        "mean": poses(stroke).mean(0).ravel(),
        "hands": hands,
        "all": np.concatenate([hands, wrists]),
        "aligned": np.concatenate([0.4 * poses(stroke).ravel(), 3 * (path - place).ravel(), 3 * place.ravel()]),
    }


def test_only_movement_tells_the_signs_of_a_group_apart():
    """By the nearest class mean of other signers, within each group: hand poses without their order say nothing."""
    right = {"mean": 0, "aligned": 0}
    chance = tried = 0
    who = range(0, SIGNERS, 3)
    for signs in GROUPS.values():
        seen = [(features(clip_of(s.name, n, sensor=False)), k, n % 2) for k, s in enumerate(signs) for n in who]
        labels, half = np.array([k for _, k, _ in seen]), np.array([h for _, _, h in seen])
        for view in right:
            x = np.stack([f[view] for f, _, _ in seen])
            for part in (0, 1):
                means = np.stack([x[(half == part) & (labels == k)].mean(0) for k in range(len(signs))])
                nearest = np.linalg.norm(x[half != part][:, None] - means, axis=-1).argmin(1)
                right[view] += int((nearest == labels[half != part]).sum())
        tried += len(seen)
        chance += len(who)
    assert right["mean"] / tried < chance / tried + 0.06
    assert right["aligned"] / tried > 0.6


def test_signs_make_a_store_with_its_split(tmp_path):
    store = world.write_signs(tmp_path / "signs", 3 * N)
    assert (store.name, store.classes, store.skeleton) == ("signs-1", signs1.CLASSES, SIGN49)
    part = store_split(store, "signer")
    assert {store.entries[i].subject for i in part.train} == {"p00", "p01"}
    assert {store.entries[i].subject for i in part.test} == {"p02"}
    again, made = store.clip(50), signs1.clip(50)
    assert np.array_equal(again.positions, made.positions)
    assert (again.units, again.image_size, again.label_name) == ("pixels", (512, 512), made.label_name)


@pytest.mark.slow
def test_how_hard_it_is():
    """The figures of docs/stage.md, printed with ``-s``."""
    import time

    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    start = time.process_time()
    clips = [signs1.clip(i) for i in range(signs1.SIZE)]
    print(f"\n{signs1.SIZE / (time.process_time() - start):.0f} clips a second")
    seen = [features(clip) for clip in clips]
    label = np.arange(signs1.SIZE) % N
    train, test = signs1.split("signer")
    accuracy: dict[tuple[str, str], float] = {}
    for view in seen[0]:
        x = np.stack([f[view] for f in seen]).astype(np.float32)
        models = {
            "linear SVM": make_pipeline(StandardScaler(), SVC(kernel="linear", C=0.01)),
            "kernel SVM": SVC(C=10.0),
            "1-NN": KNeighborsClassifier(1),
        }
        for name, model in models.items():
            accuracy[view, name] = float((model.fit(x[train], label[train]).predict(x[test]) == label[test]).mean())
            within = []
            for group in GROUPS:
                own = np.array([GROUP[k] == group for k in label])
                a, b = train[own[train]], test[own[test]]
                within.append(model.fit(x[a], label[a]).predict(x[b]) == label[b])
            inside = float(np.concatenate(within).mean())
            accuracy[view, name + " within"] = inside
            print(f"{view:8} {name:10}: {100 * accuracy[view, name]:5.1f} %, within groups {100 * inside:5.1f} %")
    chance = len(GROUPS) / len(IN_GROUPS)
    assert max(v for (view, name), v in accuracy.items() if view == "mean" and "within" in name) < chance + 0.05
    assert all(v < 0.97 for v in accuracy.values())
    assert accuracy["all", "linear SVM"] > 0.4
    assert accuracy["aligned", "kernel SVM"] > 0.85
