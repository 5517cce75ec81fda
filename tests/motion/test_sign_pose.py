""".pose files: every layout by name, three versions, several people, and what headers may not promise."""

from __future__ import annotations

import os
import struct
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from sign_writers import COCO_HAND, MEDIAPIPE_HAND, header, pose

from kinema.errors import FormatError, UserError
from kinema.motion.clip import Clip
from kinema.motion.convert import convert
from kinema.motion.formats import dotpose, guess, read_file
from kinema.motion.keypoints import COCO17, HAND21, HOLISTIC75, MEDIAPIPE33, OPENPOSE137, SIGN49, WHOLEBODY133
from kinema.motion.skeleton import Skeleton

DATA = Path(os.environ.get("KINEMA_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
MEDIA = DATA.parent / "media" / "sign"
BODY8 = [f"{side}_{joint}" for joint in ("SHOULDER", "ELBOW", "WRIST", "HIP") for side in ("LEFT", "RIGHT")]


def numbers(points: int, frames: int = 3, people: int = 1, coordinates: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(points)
    data = rng.uniform(20, 400, (frames, people, points, coordinates)).astype(np.float32)
    return data, rng.uniform(0.1, 1, (frames, people, points)).astype(np.float32)


def read(folder: Path, content: bytes) -> Clip:
    file = folder / "clip.pose"
    file.write_bytes(content)
    (clip,) = read_file(file)
    return clip


def at(clip: Clip, joint: str) -> np.ndarray:
    return clip.positions[:, :, clip.skeleton.index(joint)]


@pytest.mark.parametrize("version", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("letters", ["XYC", "XYZC", "XYZKC"])
def test_points_are_found_by_name(tmp_path: Path, version: float, letters: str):
    components = [
        ("RIGHT_HAND_LANDMARKS", letters, MEDIAPIPE_HAND[::-1]),
        ("FACE_LANDMARKS", letters, ["0", "7"]),
        ("POSE_LANDMARKS", letters, BODY8),
    ]
    data, score = numbers(31, coordinates=len(letters) - 1)
    score[1, :, :21] = 0
    clip = read(tmp_path, pose(version, components, data, score))
    assert (clip.skeleton, clip.fps, clip.units, clip.image_size) == (HOLISTIC75, 25, "pixels", (640, 480))
    assert guess(tmp_path) == "pose"
    np.testing.assert_array_equal(at(clip, "left_wrist"), data[:, :, 23 + 4, :2])
    wanted = data[:, :, 20, :2].copy()
    wanted[1] = 0  # there are numbers, but nobody saw the hand
    np.testing.assert_array_equal(at(clip, "right_hand_root"), wanted)
    np.testing.assert_array_equal(clip.confidence[:, :, HOLISTIC75.index("right_little1")], score[:, :, 3])
    assert not clip.confidence[:, :, HOLISTIC75.index("nose")].any()  # not among these points
    assert not clip.confidence[:, :, 33:54].any()  # no left hand


@pytest.mark.parametrize("version", [0.0, 0.1, 0.2])
def test_several_people_who_come_and_go(tmp_path: Path, version: float):
    data, score = numbers(8, people=3)
    score[0, 2] = score[2, 1:] = 0
    clip = read(tmp_path, pose(version, [("POSE_LANDMARKS", "XYC", BODY8)], data, score))
    assert clip.skeleton == MEDIAPIPE33
    np.testing.assert_array_equal(clip.present(), [[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    np.testing.assert_array_equal(at(clip, "left_shoulder")[1], data[1, :, 0])


@pytest.mark.parametrize(("suffix", "skeleton"), [("", WHOLEBODY133), ("_133", WHOLEBODY133)])
def test_whole_bodies_of_mmpose_and_alphapose(tmp_path: Path, suffix: str, skeleton: Skeleton):
    components = [
        (f"BODY{suffix}", "XYC", list(skeleton.joints[:23])),
        (f"FACE{suffix}", "XYC", [f"face-{i}" for i in range(68)]),
        (f"LEFT_HAND{suffix}", "XYC", COCO_HAND),
        (f"RIGHT_HAND{suffix}", "XYC", COCO_HAND),
    ]
    data, score = numbers(133)
    score[0, 0, 5] = 1.02  # heat maps go slightly above
    clip = read(tmp_path, pose(0.2, components, data, score, 29.97))
    np.testing.assert_array_equal(clip.positions, data)
    assert (clip.confidence.max(), clip.fps) == (1, pytest.approx(29.97))


def test_one_hand_alone_knows_its_side(tmp_path: Path):
    data, score = numbers(21)
    data[0], score[0] = np.nan, 0  # as the library's normalisation leaves absent points
    clip = read(tmp_path, pose(0.1, [("LEFT_HAND_LANDMARKS", "XYC", MEDIAPIPE_HAND)], data, score))
    assert (clip.skeleton, clip.meta) == (HAND21, {"hand": "left"})
    assert not clip.positions[0].any()


def test_small_coordinates_are_not_pixels(tmp_path: Path):
    data, score = numbers(8)
    clip = read(tmp_path, pose(0.1, [("POSE_LANDMARKS", "XYC", BODY8)], data / 200, score))
    assert (clip.units, clip.image_size) == ("normalised", None)


@pytest.mark.parametrize("skeleton", [HOLISTIC75, MEDIAPIPE33, WHOLEBODY133, OPENPOSE137, HAND21], ids=lambda s: s.name)
@pytest.mark.parametrize("people", [1, 2])
def test_what_is_written_is_read(tmp_path: Path, skeleton: Skeleton, people: int):
    data, score = numbers(len(skeleton), people=people)
    score[1, 0, 3] = data[1, 0, 3] = 0
    meta = {"hand": "right"} if skeleton == HAND21 else {}
    clip = Clip(data, skeleton, 23.5, score, "pixels", image_size=(640, 480), meta=meta)
    dotpose.write(clip, tmp_path / "a.pose")
    (back,) = read_file(tmp_path / "a.pose")
    np.testing.assert_array_equal(back.positions, data)
    np.testing.assert_array_equal(back.confidence, score)
    assert [back.fps, back.units, back.image_size, back.meta] == [23.5, "pixels", (640, 480), meta]
    assert back.skeleton == skeleton


def test_the_library_reads_what_is_written(tmp_path: Path):
    from pose_format import Pose

    data, score = numbers(75)
    dotpose.write(Clip(data, HOLISTIC75, 25, score, "pixels", image_size=(640, 480)), tmp_path / "a.pose")
    found = Pose.read((tmp_path / "a.pose").read_bytes())
    i = found.header.get_point_index("RIGHT_HAND_LANDMARKS", "INDEX_FINGER_TIP")
    np.testing.assert_array_equal(found.body.data.data[:, :, i], data[:, :, HOLISTIC75.index("right_index4")])


def test_an_image_size_that_is_not_known_is_not_made_up(tmp_path: Path):
    data, score = numbers(75)
    clip = Clip(data, HOLISTIC75, 25, score, "pixels")
    dotpose.write(clip, tmp_path / "a.pose")
    (back,) = read_file(tmp_path / "a.pose")
    assert (back.units, back.image_size) == ("pixels", None)
    np.testing.assert_array_equal(back.positions, clip.positions)


def test_what_cannot_be_written_is_told(tmp_path: Path):
    data, score = numbers(49)
    signer = Clip(data, SIGN49, 25, score, "pixels")
    with pytest.raises(UserError, match="not sign49; use kinema"):
        dotpose.write(signer, tmp_path / "a.pose")
    dotpose.write(convert(signer, HOLISTIC75), tmp_path / "a.pose")
    with pytest.raises(UserError, match="2-D clips"):
        dotpose.write(Clip(np.zeros((1, 1, 33, 3), np.float32), MEDIAPIPE33), tmp_path / "b.pose")
    with pytest.raises(UserError, match="which hand"):
        dotpose.write(Clip(np.ones((1, 1, 21, 2), np.float32), HAND21, units="pixels"), tmp_path / "b.pose")
    large = Clip(np.full((1, 1, 33, 2), 1e6, np.float32), MEDIAPIPE33, units="pixels", image_size=(2**20, 2**20))
    with pytest.raises(UserError, match="65535"):
        dotpose.write(large, tmp_path / "b.pose")
    with pytest.raises(UserError, match="not coco17"):
        dotpose.write(Clip(np.ones((1, 1, 17, 2), np.float32), COCO17, units="pixels"), tmp_path / "b.pose")
    assert [f.name for f in tmp_path.iterdir()] == ["a.pose"]


GOOD = pose(0.1, [("POSE_LANDMARKS", "XYC", BODY8)], *numbers(8))
START = header(0.2, (640, 480, 0), [("POSE_LANDMARKS", "XYC", BODY8)])
OLD = header(0.0, (640, 480, 0), [("POSE_LANDMARKS", "XYC", BODY8)])


def bad(components: list[tuple[str, str, list[str]]], points: int, coordinates: int = 2) -> bytes:
    return pose(0.2, components, *numbers(points, coordinates=coordinates))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes, no .pose file"),
        (GOOD[:30], "damaged header"),
        (GOOD[:-4], "promises 3 frames of 1 person, 288 bytes, and 284 follow"),
        (GOOD + b"\0" * 96, "promises 3 frames of 1 person, 288 bytes, and 384 follow"),
        (GOOD[: len(OLD) + 2], "cut off after the header"),
        (struct.pack("<f", 0.3) + GOOD[4:], "version 0.0, 0.1 or 0.2"),
        (struct.pack("<f", float("nan")) + GOOD[4:], "version 0.0, 0.1 or 0.2"),
        (START + struct.pack("<fIH", 25, 2**32 - 1, 65535), "promises 4294967295 frames of 65535 people"),
        (START + struct.pack("<fIH", 25, 3, 0), "promises 3 frames of 0 people"),
        (START + struct.pack("<fIH", 25, 0, 1), "0 frames; expected 1"),
        (OLD + struct.pack("<HHH", 25, 65535, 65535), "do not fill the file"),
        (OLD + struct.pack("<HH", 25, 2) + b"\0\0\0\0\0", "do not fill the file"),
        (OLD + struct.pack("<HH", 25, 0), "0 frames"),
        (struct.pack("<fHHHH", 0.2, 1, 1, 1, 65535), "damaged header"),
        (struct.pack("<fHHHH", 0.2, 1, 1, 1, 0), "components none; known are MediaPipe Holistic: POSE_LANDMARKS"),
        (bad([("SMPL\n", "XYC", ["a", "b"])], 2), r"unknown layout with the components SMPL\n (2); known are"),
        (bad([("POSE_LANDMARKS", "XYC", ["NOSE"]), ("BODY", "XYC", ["nose"])], 2), "components POSE_LANDMARKS (1), BODY (1)"),
        (bad([("POSE_LANDMARKS", "XYC", ["NOSE", "TAIL"])], 2), "has a point 'TAIL', which MediaPipe Holistic does not have"),
        (bad([("POSE_LANDMARKS", "XYC", ["NOSE", "NOSE"])], 2), "has the point NOSE twice"),
        (bad([("POSE_LANDMARKS", "XYC", ["NOSE"])] * 2, 2), "a component twice"),
        (bad([("POSE_LANDMARKS", "ZZC", ["NOSE"])], 1), "expected x, y, ... and a confidence"),
        (bad([("POSE_LANDMARKS", "XYC", ["NOSE"]), ("FACE_LANDMARKS", "XYZC", ["0"])], 2, 3), "other coordinates than the rest"),
        (bad([("FACE_LANDMARKS", "XYC", ["0"])], 1), "unknown layout"),
        (START + struct.pack("<fIH", float("nan"), 1, 1) + b"\0" * 96, "fps nan"),
        (START + struct.pack("<fIH", 25, 1, 1) + struct.pack("<f", float("nan")) * 24, "NaN or infinity in frame 0"),
    ],
)
def test_bad_files_are_told_in_one_line_and_soon(tmp_path: Path, content: bytes, message: str):
    tracemalloc.start()
    with pytest.raises(FormatError) as error:
        read(tmp_path, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert peak < 20e6


def test_few_points_of_very_many_frames_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from kinema.motion.formats import estimates

    monkeypatch.setattr(estimates, "MAX_JOINTS", 3000)
    data, score = numbers(1, frames=100)
    with pytest.raises(FormatError, match="at most 3000 are read"):
        read(tmp_path, pose(0.2, [("POSE_LANDMARKS", "XYC", ["NOSE"])], data, score))
    # version 0.0: one frame full of people makes room for as many in all
    data, score = numbers(1, frames=100, people=40)
    score[1:] = 0
    with pytest.raises(FormatError, match="at most 3000 are read"):
        read(tmp_path, pose(0.0, [("POSE_LANDMARKS", "XYC", ["NOSE"])], data, score))


def test_more_frames_than_version_0_1_can_count(tmp_path: Path):
    data, score = numbers(1, frames=70_000)
    clip = read(tmp_path, pose(0.1, [("POSE_LANDMARKS", "XYC", ["NOSE"])], data, score))
    assert clip.frames == 70_000


REAL = {
    "autsl_signer0_sample1000": (HOLISTIC75, (43, 1), 30, (512, 512), {}),
    "mediapipe": (HOLISTIC75, (170, 1), 24, (1250, 1250), {}),
    "mediapipe_hand_normalized": (HAND21, (170, 1), 24, (223, 229), {"hand": "right"}),
    "openpose": (OPENPOSE137, (93, 1), 24, (1000, 1000), {}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(tmp_path: Path, name: str):
    file = MEDIA / f"{name}.pose"
    if not file.exists():
        pytest.skip(f"needs {file.name}")
    (clip,) = read_file(file)
    skeleton, shape, fps, size, meta = REAL[name]
    assert (clip.skeleton, clip.positions.shape[:2], clip.fps, clip.image_size, clip.meta) == (skeleton, shape, fps, size, meta)
    assert not clip.positions[clip.confidence == 0].any()
    dotpose.write(clip, tmp_path / "again.pose")
    (back,) = read_file(tmp_path / "again.pose")
    np.testing.assert_array_equal(back.positions, clip.positions)
    np.testing.assert_array_equal(back.confidence, clip.confidence)
    signer = convert(clip, SIGN49)
    hands = {side: (signer.confidence[:, 0, signer.skeleton.index(f"{side}_hand_root")] > 0).sum() for side in ("left", "right")}
    found = {"autsl_signer0_sample1000": (40, 43), "mediapipe": (0, 145), "mediapipe_hand_normalized": (0, 145)}
    if name in found:
        assert (hands["left"], hands["right"]) == found[name]
    if skeleton != HAND21:  # people stand upright in the picture, whose y runs down, and face the camera
        seen = clip.confidence[..., clip.skeleton.index("left_elbow")] > 0.3
        assert (at(clip, "left_shoulder")[seen][:, 1] < at(clip, "left_elbow")[seen][:, 1]).mean() > 0.6
        assert (at(clip, "left_shoulder")[..., 0] > at(clip, "right_shoulder")[..., 0]).mean() > 0.9
