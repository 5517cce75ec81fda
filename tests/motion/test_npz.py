"""Our own file: everything comes back, and nothing dangerous gets in."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kinema.errors import FormatError, UserError
from kinema.motion.clip import Caption, Clip
from kinema.motion.formats import npz
from kinema.motion.formats.members import members
from kinema.motion.skeletons import COCO17, SMPL22


def full_clip() -> Clip:
    rng = np.random.default_rng(0)
    return Clip(
        rng.normal(size=(4, 2, 22, 3)).astype(np.float32),
        SMPL22,
        fps=29.97,
        confidence=rng.random((4, 2, 22)).astype(np.float32),
        body_ids=np.array([[72057594037931101, 0]] * 4),
        rotations=rng.normal(size=(4, 2, 22, 4)).astype(np.float32),
        offsets=rng.normal(size=(2, 22, 3)).astype(np.float32),
        contacts=rng.random((4, 2, 4)) > 0.5,
        image_size=(640, 480),
        label=3,
        label_name="wave — éç",
        captions=(Caption("a person waves"), Caption("twice", 0.5, 1.25)),
        subject="p1",
        view="c2",
        source="somewhere",
        meta={"camera": 2, "nested": [1, {"a": None}]},
    )


def read(path: Path) -> Clip:
    (job,) = npz.jobs(path)
    (clip,) = npz.read(job)
    return clip


def test_everything_comes_back(tmp_path: Path):
    clip = full_clip()
    npz.write(clip, tmp_path / "a.npz")
    back = read(tmp_path / "a.npz")
    for name in Clip.__dataclass_fields__:
        a, b = getattr(clip, name), getattr(back, name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b, name
    with np.load(tmp_path / "a.npz", allow_pickle=False) as plain:  # readable without Kinema
        assert '"smpl22"' in plain["skeleton"].item()


def test_a_bare_clip_comes_back(tmp_path: Path):
    npz.write(Clip(np.ones((1, 1, 17, 2), np.float32), COCO17, units="pixels"), tmp_path / "b.npz")
    back = read(tmp_path / "b.npz")
    assert (back.units, back.label, back.confidence, back.captions) == ("pixels", None, None, ())
    assert back.source == str(tmp_path / "b.npz")


def test_what_json_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path):
    with pytest.raises(UserError, match="JSON-safe"):
        npz.write(full_clip().with_(meta={"a": object()}), tmp_path / "c.npz")
    assert not list(tmp_path.iterdir())


def save(path: Path, **arrays: object) -> Path:
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


STRINGS = {"skeleton": '{"joints": ["a", "b"]}', "facts": "{}"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": np.zeros((2, 1, 2, 3))}, None),
        ({"positions": np.zeros((2, 2, 3))}, "expected .frames, people"),
        ({"positions": np.zeros((2, 1, 2, 3), np.int32)}, "positions is int32"),
        ({"skeleton": "{"}, "not JSON"),
        ({"skeleton": '{"joints": ["a", "a"]}'}, "different names"),
        ({"skeleton": np.zeros(3)}, "not a string"),
        ({"facts": "[]"}, "not a JSON object"),
        ({"facts": '{"label": "x"}'}, "label is 'x'"),
        ({"facts": '{"weather": 1}'}, "unknown fact 'weather'"),
        ({"facts": '{"captions": [3]}'}, "caption 3"),
        ({"facts": '{"captions": [{"text": "a", "start": 1e999}]}'}, "caption"),
        ({"facts": '{"image_size": [1]}'}, "not a clip"),
        ({"facts": '{"units": "miles"}'}, "units 'miles'"),
        ({"fps": np.array([1.0, 2.0])}, "not a clip"),
        ({"fps": 0.0}, "fps 0.0"),
        ({"fps": "fast"}, "not a clip"),
        ({"confidence": np.full((2, 1, 2), np.nan)}, "confidence outside"),
    ],
)
def test_wrong_content_is_named(change: dict[str, object], message: str | None, tmp_path: Path):
    file = save(tmp_path / "a.npz", **{"positions": np.zeros((2, 1, 2, 3)), "fps": 30.0, **STRINGS, **change})
    if message is None:
        assert read(file).frames == 2
        return
    with pytest.raises(FormatError, match=message) as caught:
        read(file)
    assert str(caught.value).startswith(str(file))


def test_arrays_alone_need_a_skeleton(tmp_path: Path):
    file = save(tmp_path / "a.npz", positions=np.zeros((2, 17, 2)))
    with pytest.raises(FormatError, match=r"clips\.csv"):
        read(file)
    (member,) = members(file)
    assert npz.read_array(member, COCO17, 25.0).positions.shape == (2, 1, 17, 2)
    for shape in ((2, 3, 17, 3), (2, 51), (2, 34), (2, 17, 3)):
        np.save(tmp_path / "x.npy", np.full(shape, 99.0))
        clip = npz.read_array(members(tmp_path / "x.npy")[0], COCO17, 25.0)
        assert clip.units == ("pixels" if clip.positions.shape[3] == 2 else "metres")
    for shape in ((2, 16, 3), (2, 50), (2,), (0, 17, 3), (2, 17, 4), (1, 1, 1, 17, 3)):
        np.save(tmp_path / "x.npy", np.ones(shape))
        with pytest.raises(FormatError):
            npz.read_array(members(tmp_path / "x.npy")[0], COCO17, 25.0)
    save(file, positions=np.zeros((2, 17, 2)), confidence=np.ones((2, 17)))
    assert npz.read_array(members(file)[0], COCO17, 25.0).confidence is not None
    for bad in (np.ones((3, 17)), np.full((2, 17), 2.0), np.array("sure")):
        save(file, positions=np.zeros((2, 17, 2)), confidence=bad)
        with pytest.raises(FormatError):
            npz.read_array(members(file)[0], COCO17, 25.0)


def archive(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as z:
        for name, content in entries.items():
            z.writestr(name, content)
    return path


def header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text + b"\n"


def test_pickles_and_bombs_are_refused(tmp_path: Path):
    file = tmp_path / "a.npz"
    pickled = io.BytesIO()
    np.save(pickled, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    cases = {
        "only numbers": {"positions.npy": pickled.getvalue()},
        "another size": {"positions.npy": header("(1000000000, 1, 22, 3)") + b"abcd"},
        "fold": {"positions.npy": header("(25000000,)") + bytes(100_000_000)},
        "each once": {"../positions.npy": header("(1,)") + bytes(4)},
        "more than 32": {f"a{i}.npy": b"" for i in range(40)},
        "damaged": {"positions.npy": header("(-1, -1)") + bytes(4)},
        "version": {"positions.npy": b"\x93NUMPY\x09\x00" + bytes(99)},
    }
    for message, entries in cases.items():
        archive(file, entries)
        with pytest.raises(FormatError, match="damaged|another size" if message == "damaged" else message):
            read(file)
    archive(file, {"positions.npy": header("(1,)") + bytes(4)}, zipfile.ZIP_LZMA)
    with pytest.raises(FormatError, match="unusual"):
        read(file)
    # a directory that promises more than there is
    archive(file, {"positions.npy": header("(1, 1, 22, 3)") + bytes(264)}, zipfile.ZIP_STORED)
    content = bytearray(file.read_bytes())
    at = content.rindex(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<I", 2**32 - 2)
    file.write_bytes(bytes(content))
    with pytest.raises(FormatError, match="more than 32 arrays or"):
        read(file)
