"""Units and axes that seem wrong are said with the option that mends them; what may be right is not doubted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "motion"))
from people import BODY, body, picture

from kinema.cli import main
from kinema.data.build import build
from kinema.data.doubts import doubts
from kinema.data.stage import signs1, stage1
from kinema.data.store import Store
from kinema.motion.clip import Clip
from kinema.motion.conventions import Conventions
from kinema.motion.keypoints import HAND21, HOLISTIC75, SIGN49
from kinema.motion.skeleton import Skeleton

Change = Callable[[np.ndarray], np.ndarray]
NUMBERED = Skeleton("numbered", tuple(f"joint_{i}" for i in range(len(BODY))), BODY.parents)


def world(
    folder: Path, change: Change = lambda p: p, skeleton: Skeleton = BODY, clips: int = 12, units: str = "metres", **options: float
) -> list[str]:
    """The doubts about a store of people whose positions `(T, J, 3)` are changed."""
    made = (
        (f"c{i}", Clip(change(body(seed=i, **options)).astype(np.float32)[:, None], skeleton, units=units, label=0))
        for i in range(clips)
    )
    return doubts(Store.write(folder / "s", made, name="x"))


def one(lines: list[str], *words: str) -> None:
    (line,) = lines
    assert all(word in line for word in words), line
    assert "\n" not in line


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1000), ("cm", 100), ("in", 1 / 0.0254), ("ft", 1 / 0.3048)])
@pytest.mark.parametrize("sitting", [False, True])
@pytest.mark.parametrize("size", [0.85, 1.1])
def test_units_of_length(tmp_path, unit, scale, sitting, size):
    one(world(tmp_path, lambda p: p * scale, sitting=sitting, size=size), f"`--units {unit}`", "people seem to be", "bones")


def test_small_and_far_too_large(tmp_path):
    one(world(tmp_path / "a", lambda p: p * 0.1), "`--units none`")
    one(world(tmp_path / "b", lambda p: p * 30_000), "`--units none`")
    shoulders = lambda p: p / np.linalg.norm(p[:, 4] - p[:, 7], axis=-1).mean()  # noqa: E731
    one(world(tmp_path / "c", lambda p: shoulders(p) * 1.0), "shoulders are 1 apart", "`--units none`")


@pytest.mark.parametrize(
    ("up", "change"),
    [
        ("z", lambda p: np.stack([p[..., 0], -p[..., 2], p[..., 1]], -1)),
        ("-z", lambda p: np.stack([p[..., 0], p[..., 2], -p[..., 1]], -1)),
        ("x", lambda p: np.stack([p[..., 1], -p[..., 0], p[..., 2]], -1)),
        ("-x", lambda p: np.stack([-p[..., 1], p[..., 0], p[..., 2]], -1)),
        ("-y", lambda p: p * [1, -1, -1]),
    ],
)
@pytest.mark.parametrize("sitting", [False, True])
def test_another_axis_up(tmp_path, up, change, sitting):
    one(world(tmp_path, change, sitting=sitting), f"`--up {up}`", "12 of 12")


def test_both_are_told_and_mended(tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "skeleton.json").write_text(json.dumps(BODY.to_json()))
    rows = ["file,label"]
    for i in range(6):
        p = body(seed=i)
        np.save(raw / f"{i}.npy", 1000 * np.stack([p[..., 0], -p[..., 2], p[..., 1]], -1))
        rows.append(f"{i}.npy,walk")
    (raw / "clips.csv").write_text("\n".join(rows))
    assert main(["data", "build", str(raw), "--out", str(tmp_path / "s"), "--workers", "1"]) == 0
    said = capsys.readouterr().err
    assert "warning: " in said
    assert "`--units mm`" in said
    assert "`--up z`" in said
    assert main(["data", "check", str(tmp_path / "s")]) == 0
    assert "`--up z`" in capsys.readouterr().err
    mended = ["--units", "mm", "--up", "z", "--overwrite"]
    assert main(["data", "build", str(raw), "--out", str(tmp_path / "s"), "--workers", "1", *mended]) == 0
    assert main(["data", "check", str(tmp_path / "s")]) == 0
    said = capsys.readouterr()
    assert "warning" not in said.err
    assert "converted from units mm, up z" in said.out
    assert "\n\n" not in said.out
    store = Store.open(tmp_path / "s")
    np.testing.assert_allclose(store.clip(0).positions[:, 0], body(seed=0), atol=1e-4)
    assert store.read_as == {"units": "mm", "up": "z"}
    assert not Store.open(tmp_path / "s").clip(0).rotations


def test_a_mirrored_world(tmp_path):
    one(world(tmp_path, lambda p: p * [-1, 1, 1]), "left-handed", "names of left and right")
    assert world(tmp_path / "b", lambda p: p * [-1, 1, 1], skeleton=NUMBERED) == []  # nothing says it


def test_angles(tmp_path):
    def angles(scale: float) -> Change:
        def made(p: np.ndarray) -> np.ndarray:
            rng = np.random.default_rng(abs(int(1e6 * p[0, 0, 0])))
            rest = np.random.default_rng(0).uniform(-90, 90, p.shape[1:]) * (np.arange(p.shape[1])[:, None] % 2)
            return scale * (rest + np.cumsum(rng.normal(0, 6, p.shape), 0))

        return made

    one(world(tmp_path / "a", angles(1)), "bones do not keep their length", "degrees")
    one(world(tmp_path / "b", angles(np.pi / 180)), "bones do not keep their length")


def test_a_score_or_nothing_as_third_coordinate(tmp_path):
    flat = lambda p: np.concatenate([400 + 200 * p[..., :1], 500 - 200 * p[..., 1:2]], -1)  # noqa: E731
    rng = np.random.default_rng(0)
    one(world(tmp_path / "a", lambda p: np.concatenate([flat(p), rng.uniform(0.3, 1, p[..., :1].shape)], -1)), "is it a score")
    one(world(tmp_path / "b", lambda p: np.concatenate([flat(p), 0 * p[..., :1]], -1)), "third coordinate is 0")
    one(world(tmp_path / "c", lambda p: flat(p) * [1, -1], units="pixels"), "`--up y`")
    assert world(tmp_path / "d", flat, units="pixels") == []


def test_relative_to_the_root_and_people_for_frames(tmp_path):
    one(world(tmp_path / "a", lambda p: p - p[:, :1]), "pelvis is at 0 in every frame")
    swapped = ((f"c{i}", Clip(body(frames=24, seed=i).astype(np.float32)[None], BODY)) for i in range(4))
    store = Store.write(tmp_path / "b", swapped, name="x")
    assert "24 people and 1 frames" in doubts(store)[0]


def test_joints_without_names(tmp_path):
    assert world(tmp_path / "a", skeleton=NUMBERED) == []
    one(
        world(tmp_path / "b", lambda p: p[..., [0, 2, 1]], skeleton=NUMBERED), "`--up z` or `--up -z`", "do not say which end is up"
    )
    one(world(tmp_path / "c", lambda p: p * 1000, skeleton=NUMBERED), "`--units mm`")


@pytest.mark.parametrize("options", [{}, {"sitting": True}, {"size": 0.4}, {"size": 1.3}, {"frames": 1}, {"frames": 2}])
def test_people_of_any_size_are_not_doubted(tmp_path, options):
    assert world(tmp_path, **options) == []


def test_a_share_may_lie_or_crawl(tmp_path):
    made = []
    for i in range(20):
        p = body(seed=i)
        lying = np.stack([p[..., 0], p[..., 2] * (-1) ** i, p[..., 1] * (-1) ** i], -1) if i % 2 else p
        made.append((f"c{i}", Clip(lying.astype(np.float32)[:, None], BODY)))
    assert doubts(Store.write(tmp_path / "s", made, name="x")) == []


def test_lost_joints_and_absent_people_say_nothing(tmp_path):
    def change(p: np.ndarray) -> np.ndarray:
        p = p.copy()
        p[:, 13] = 9000
        p[::3] = 0
        return p

    assert world(tmp_path, change) == []


def test_signers_are_not_doubted(tmp_path):
    left, right = HOLISTIC75.index("left_shoulder"), HOLISTIC75.index("right_shoulder")
    for k, scale in enumerate((1.0, 1 / 640, 0.0)):
        made = []
        for i in range(6):
            xy = picture(seed=i, yaw=0.1 * i)
            xy = xy * scale if scale else (xy - xy[:, left].mean(0)) / np.linalg.norm(xy[:, left] - xy[:, right], axis=-1).mean()
            made.append((f"c{i}", Clip(xy.astype(np.float32)[:, None], HOLISTIC75, units="pixels" if scale == 1 else "normalised")))
        assert doubts(Store.write(tmp_path / str(k), made, name="x")) == []


def test_hands_in_metres_and_not(tmp_path):
    hand = np.array([[0.01 * (i % 4), 0.015 * (i // 4), 0.03 * (i % 3)] for i in range(21)])
    made = [
        (f"c{i}", Clip((hand + np.random.default_rng(i).normal(0, 0.002, (9, 1, 21, 3))).astype(np.float32), HAND21))
        for i in range(4)
    ]
    assert doubts(Store.write(tmp_path / "a", made, name="x")) == []
    mm = [(n, c.with_(positions=c.positions * np.float32(1000))) for n, c in made]
    one(doubts(Store.write(tmp_path / "b", mm, name="x")), "hands seem to be", "`--units mm`")


def test_the_stage_is_not_doubted(tmp_path):
    acts = ((str(i), stage1.clip(i)) for i in range(0, 320, 10))
    assert doubts(Store.write(tmp_path / "a", acts, name="x")) == []
    signs = ((str(i), signs1.clip(i)) for i in range(0, 120, 10))
    store = Store.write(tmp_path / "b", signs, name="x")
    assert store.skeleton == SIGN49
    assert doubts(store) == []


def test_options_where_the_format_knows_are_refused(tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a01_s01_e00_v01.json").write_text("{}")
    for options in (["--units", "mm"], ["--up", "z"], ["--left-handed"]):
        assert main(["data", "build", str(raw), "--out", str(tmp_path / "s"), "--format", "nw-ucla", *options]) == 2
        assert "format nw-ucla knows its own" in capsys.readouterr().err
        assert main(["data", "build", str(raw), "--out", str(tmp_path / "s"), "--format", "pose", *options]) == 2
        assert "only --units px or none can be said" in capsys.readouterr().err


def test_a_build_that_was_said_otherwise_begins_again(tmp_path, monkeypatch):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "skeleton.json").write_text(json.dumps(BODY.to_json()))
    np.save(raw / "a.npy", body() * 1000)
    (raw / "clips.csv").write_text("file,label\na.npy,x\n")
    import kinema.data.build as module

    monkeypatch.setattr(module, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(raw, tmp_path / "s", workers=1)
    monkeypatch.undo()
    summary = build(raw, tmp_path / "s", workers=1, conventions=Conventions("mm"))
    assert (summary.resumed, summary.doubts) == (0, ())
