"""A store holds clips of one kind; several are named with what to do, and doing it helps."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "motion"))
from people import BODY, body, normalised, picture

from kinema.cli import main
from kinema.data.kinds import Kinds
from kinema.data.store import Store
from kinema.motion.clip import Clip
from kinema.motion.convert import common, convert
from kinema.motion.formats import dotpose, npz
from kinema.motion.keypoints import COCO17, HAND21, HOLISTIC75, MEDIAPIPE33, OPENPOSE137, SIGN49, WHOLEBODY133
from kinema.motion.skeleton import Skeleton
from kinema.motion.skeletons import NTU25

LEFT, RIGHT = HOLISTIC75.index("left_shoulder"), HOLISTIC75.index("right_shoulder")


def holistic(seed: int = 0) -> Clip:
    xy = picture(seed=seed).astype(np.float32)[:, None]
    return Clip(xy, HOLISTIC75, 25, np.ones(xy.shape[:3], np.float32), "pixels", image_size=(640, 480))


def folder(path: Path, count: dict[Skeleton, int]) -> Path:
    path.mkdir()
    for skeleton, n in count.items():
        for i in range(n):
            dotpose.write(convert(holistic(i), skeleton), path / f"{skeleton.name}-{i}.pose")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["data", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("chunk", [2, 64])
def test_a_folder_of_several_layouts_offers_to_convert_and_does(tmp_path, capsys, monkeypatch, chunk):
    monkeypatch.setattr("kinema.data.build.CHUNK", chunk)
    raw = folder(tmp_path / "raw", {HOLISTIC75: 3, OPENPOSE137: 2, WHOLEBODY133: 1})
    build = ("build", raw, "--out", tmp_path / "s", "--workers", 1)
    for _ in range(2):  # told again
        code, _, said = run(capsys, *build)
        assert code == 2
        for part in (
            "3 kinds",
            "3 of holistic75 (75 joints, 2-D, pixels), such as holistic75-0",
            "2 of openpose137",
            "1 of wholebody133",
        ):
            assert part in said
        assert "--skeleton sign49" in said
        assert len(said.strip().splitlines()) == 1
        assert not (tmp_path / "s").exists()
    assert run(capsys, *build, "--skeleton", "sign49")[0] == 0
    store = Store.open(tmp_path / "s")
    assert (len(store), store.skeleton) == (6, SIGN49)
    assert {tuple(c.positions[0, 0, SIGN49.index("nose")].tolist()) for c in map(store.clip, range(6))} <= {
        tuple(holistic(i).positions[0, 0, 0].tolist()) for i in range(3)
    }
    assert not list(tmp_path.glob(".*"))


def test_pixels_and_normalised(tmp_path, capsys):
    raw = folder(tmp_path / "raw", {HOLISTIC75: 3})
    whole = holistic(9)
    xy = normalised(whole.positions[:, 0], LEFT, RIGHT).astype(np.float32)[:, None]
    dotpose.write(whole.with_(positions=xy, units="normalised"), raw / "odd.pose")
    build = ("build", raw, "--out", tmp_path / "s", "--workers", 1)
    code, _, said = run(capsys, *build)
    assert code == 2
    assert (
        "3 of holistic75 (75 joints, 2-D, pixels), such as holistic75-0; 1 of holistic75 (75 joints, 2-D, normalised), such as odd"
        in said
    )
    assert "--units px or none" in said
    assert run(capsys, *build, "--units", "none")[0] == 0
    assert {e.units for e in Store.open(tmp_path / "s").entries} == {"normalised"}


def test_two_and_three_coordinates_and_other_joints(tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    p = body().astype(np.float32)[:, None]
    npz.write(Clip(p, BODY), raw / "a.npz")
    npz.write(Clip(p[..., :2] * 0 + 300, BODY, units="pixels"), raw / "b.npz")
    renamed = Skeleton("body", tuple(f"j{i}" for i in range(len(BODY))), BODY.parents)
    npz.write(Clip(p, renamed), raw / "c.npz")
    code, _, said = run(capsys, "build", raw, "--out", tmp_path / "s", "--workers", 1)
    assert code == 2
    for part in (
        "3-D, metres) with pelvis, spine, neck, ..., such as a",
        "2-D, pixels) with pelvis",
        "with j0, j1, j2, ..., such as c",
    ):
        assert part in said
    assert "--skeleton" not in said  # they share no known one


def test_an_older_store_of_two_units_is_read_and_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Kinds, "first", lambda _, clips: clips)
    clips = [("a", holistic()), ("b", holistic(1).with_(units="normalised", image_size=None))]
    Store.write(tmp_path / "s", clips, name="old")
    monkeypatch.undo()
    assert [Store.open(tmp_path / "s").clip(i).units for i in range(2)] == ["pixels", "normalised"]
    code, _, said = run(capsys, "check", tmp_path / "s")
    assert code == 2
    assert "1 of holistic75 (75 joints, 2-D, pixels), such as a; 1 of" in said


def test_the_skeleton_that_all_can_become():
    assert common([HOLISTIC75, OPENPOSE137, WHOLEBODY133]) == SIGN49
    assert common([HOLISTIC75, MEDIAPIPE33]) == MEDIAPIPE33
    assert common([WHOLEBODY133, COCO17]) == COCO17
    assert common([HAND21, HOLISTIC75]) is None
    assert common([NTU25, COCO17]) is None


def test_a_data_set_keeps_its_skeleton(tmp_path, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a01_s01_e00_v01.json").write_text("{}")
    code, _, said = run(capsys, "build", raw, "--dataset", "nw-ucla", "--skeleton", "ntu25", "--out", tmp_path / "s")
    assert code == 2
    assert "has the skeleton kinect20; leave it out" in said
