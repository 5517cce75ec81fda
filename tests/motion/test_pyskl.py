"""PySKL pickles: read as data, never run."""

import collections
import fractions
import os
import pickle
import struct

import numpy as np
import pytest

from kinema.errors import FormatError
from kinema.motion.formats import pyskl, unpickle


def annotation(name="S001C002P003R002A013", joints=17, dims=2, frames=6, label=12, **more):
    rng = np.random.default_rng(frames)
    keypoint = rng.normal(*((600, 90) if dims == 2 else (0, 1)), size=(2, frames, joints, dims)).astype(np.float16)
    return {"frame_dir": name, "label": label, "keypoint": keypoint, "total_frames": frames, **more}


def read(folder, content, protocol=4):
    file = folder / "set.pkl"
    file.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    (job,) = pyskl.jobs(file)
    assert job.name == "set"
    return pyskl.read(job)


@pytest.mark.parametrize("protocol", range(6))
def test_two_dimensions_with_scores_and_splits(tmp_path, protocol):
    scores = np.full((2, 6, 17), 1.05, np.float16)
    given = annotation(keypoint_score=scores, img_shape=(1080, 1920))
    split = {"xsub_train": [given["frame_dir"]], "xsub_val": ["other"], "xview_val": [given["frame_dir"], "other"]}
    first, second = read(tmp_path, {"annotations": [given, annotation("other", label=3)], "split": split}, protocol)
    assert first.positions.shape == (6, 2, 17, 2)
    np.testing.assert_array_equal(first.positions, given["keypoint"].swapaxes(0, 1).astype(np.float32))
    assert (first.skeleton.name, first.units, first.image_size, first.confidence.max()) == ("coco17", "pixels", (1920, 1080), 1)
    assert (first.label, first.label_name, first.subject, first.meta["camera"]) == (12, "tear up paper", "P003", 2)
    assert first.meta["splits"] == ["xsub_train", "xview_val"]
    assert (second.label, second.label_name, second.confidence, second.meta) == (
        3,
        None,
        None,
        {"name": "other", "splits": ["xsub_val", "xview_val"]},
    )


def test_shares_of_the_picture_are_not_pixels(tmp_path):
    given = annotation(img_shape=(1080, 1920))
    given["keypoint"] = np.full_like(given["keypoint"], 0.5)
    given["keypoint"][0, 0, 0] = 900  # one joint of one frame
    (clip,) = read(tmp_path, {"annotations": [given], "split": {}})
    assert (clip.units, clip.image_size) == ("normalised", None)


def test_three_dimensions(tmp_path):
    (clip,) = read(tmp_path, {"annotations": [annotation(joints=25, dims=3, label=0)], "split": {}})
    assert (clip.skeleton.name, clip.units, clip.positions.shape, clip.image_size) == ("ntu25", "metres", (6, 2, 25, 3), None)
    assert (clip.label, clip.label_name) == (0, None)  # classes of its own


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "no list of annotations"),
        ({"annotations": []}, "no list of annotations"),
        ({"annotations": [3]}, "annotation 0"),
        ({"annotations": [annotation(joints=18)]}, "expected (people, frames, 17, 2)"),
        ({"annotations": [annotation() | {"keypoint": [[1]]}]}, "keypoint is no array"),
        ({"annotations": [annotation() | {"total_frames": 7}]}, "total_frames is 7, but keypoint has 6"),
        ({"annotations": [annotation() | {"total_frames": 1 << 99999}]}, "total_frames is int"),
        ({"annotations": [annotation(label="x\ny")]}, r"label 'x\ny'; expected a class"),
        ({"annotations": [annotation(label=-1)]}, "label -1; expected a class"),
        ({"annotations": [annotation(name="a\nb")]}, "frame_dir is not a name"),
        ({"annotations": [annotation(frames=0)]}, "0 frames; expected 1"),
        ({"annotations": [annotation(keypoint_score=np.ones((2, 6, 16)))]}, "keypoint_score is not"),
        ({"annotations": [annotation(frames=2) | {"keypoint": np.full((1, 2, 17, 2), np.nan)}]}, "NaN"),
        ({"annotations": [annotation()], "split": {"a": 3}}, "split 'a' is not a list"),
        ({"annotations": [annotation()], "split": 3}, "split is not a dictionary"),
        ({"annotations": [annotation()] * 2}, "its keypoint is also that of another"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    with pytest.raises(FormatError) as error:
        read(tmp_path, content)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


RAN = []


def ran():
    RAN.append(1)


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("value", "refused"),
    [
        (Runs(os.system, "touch run"), "system"),
        (Runs(eval, "open('run', 'w')"), "eval"),
        (Runs(exec, "open('run', 'w')"), "exec"),
        (Runs(open, "run", "w"), "open"),
        (Runs(getattr, "a", "upper"), "getattr"),
        (Runs(ran), "ran"),
        ({"annotations": [[{"label": (1, [Runs(ran)])}]]}, "ran"),
        (fractions.Fraction(1, 3), "fractions.Fraction"),
        (np.load, "load"),
        (complex(1, 2), "complex"),
        (np.array([{}], dtype=object), "refused"),
        (np.array([(1, 2)], dtype=[("a", "i4"), ("b", "i4")]), "refused"),
        (np.array(["text"]), "refused"),
        (np.datetime64("2020-01-01"), "refused"),
        (np.ma.array([1, 2]), "refused"),
        ({(1, 2): 3}, "dictionary key of type tuple"),
        ({1, 2}, "refused"),
        (np.ndarray, "name"),
    ],
)
def test_nothing_of_a_hostile_pickle_runs(tmp_path, monkeypatch, protocol, value, refused):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError) as error:
        unpickle.load(pickle.dumps(value, protocol), "file.pkl")
    assert refused in str(error.value)
    assert "Nothing of it was run" in str(error.value)
    assert "\n" not in str(error.value)
    assert not RAN
    assert not list(tmp_path.iterdir())


ARRAY = pickle.dumps(np.zeros(7, np.uint8), 4)
NEW_ARRAY = b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
DTYPE = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f8\x89\x88tR"


@pytest.mark.parametrize(
    "program",
    [
        NEW_ARRAY + b"(\x8a\x08" + struct.pack("<q", 2**40) + b"tC\x01b\x87R.",  # an empty array of a terabyte
        NEW_ARRAY + b"K\x00\x85C\x01b\x87R(K\x01(J\xff\xff\xff\x7ft" + DTYPE + b"\x89C\x04abcdtb.",  # more than its bytes
        NEW_ARRAY + b"K\x00\x85C\x01b\x87R.",  # never filled
        b"\x80\x05\x8e" + struct.pack("<Q", 2**62) + b"ab.",  # bytes that are not there
        b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"ab.",
        b"\x80\x04]r\xff\xff\xff\xff0Nj\xff\xff\xff\x7f.",  # a memo of gigabytes
        b"\x80\x04" + b"]" * 10000 + b"a" * 9999,  # no end
        b"\x80\x04K\x01" + b"2" * 100,  # DUP
        b"\x80\x06N.",
        b"\x80\x04h\x00.",
        b"Pid\n.",
        b"ios\nsystem\n.",
        b"(S'touch run'\nios\nsystem\n.",
        b"(cos\nsystem\nS'touch run'\no.",
        b"\x82\x01.",
        b"\x80\x04cbuiltins\nlist\n)\x81.",
        b"c__builtin__\neval\n(V1\ntR.",
        b"",
        b".",
        b"0.",
        b"a.",
        b"\x85.",
        ARRAY[:-30],
        ARRAY[:20],
    ],
)
def test_a_damaged_pickle_is_refused_within_bounds(program, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError):
        unpickle.load(program, "file.pkl")
    assert not list(tmp_path.iterdir())


def test_deep_nesting_is_data():
    value = unpickle.load(b"\x80\x04" + b"]" * 50000 + b"a" * 49999 + b".", "file.pkl")
    assert len(value) == 1
    assert len(unpickle.load(b"\x80\x04" + b"(" * 20000 + b"t" * 20000 + b".", "file.pkl")) == 1


def test_one_text_cannot_become_many_bytes():
    text = "a" * 5000
    call = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86Ra"
    program = b"\x80\x04X" + struct.pack("<I", len(text)) + text.encode() + b"\x94]" + call * 1000 + b"."
    with pytest.raises(FormatError, match="again and again"):
        unpickle.load(program, "file.pkl")


def test_one_list_cannot_become_many_dictionaries():
    pairs = b"]\x94(" + b"".join(b"X\x04\x00\x00\x00%04dK\x01\x86" % i for i in range(2000)) + b"e0"
    call = b"ccollections\nOrderedDict\nh\x00\x85Ra"
    program = b"\x80\x04" + pairs + b"](" + b"e" + call * 50 + b"."
    with pytest.raises(FormatError, match="again and again"):
        unpickle.load(program, "file.pkl")
    once = b"\x80\x04" + pairs + call[:-1] + b"."
    assert len(unpickle.load(once, "file.pkl")) == 2000


def test_steps_are_counted(monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_STEPS", 10)
    with pytest.raises(FormatError, match="more than 10 steps"):
        unpickle.load(pickle.dumps(list(range(50))), "file.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_all_that_data_needs_is_read(protocol):
    value = {
        "ordered": collections.OrderedDict(a=[1, 2.5, None, True], b=("x", b"\x00\xff", b"")),
        "arrays": [np.arange(6).astype(t).reshape(2, 3) for t in ("f2", "<f4", ">f8", "u1", "i8", "?")],
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "empty": np.zeros((0, 3), np.float32),
        "scalar": np.float32(1.5),
        "index": np.int64(-3),
        "huge": 1 << 90,
        "text": "é",
    }
    read = unpickle.load(pickle.dumps(value, protocol), "file.pkl")
    assert list(read) == list(value)
    for key in ("arrays", "fortran", "empty"):
        for a, b in zip(value.pop(key), read.pop(key), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
    assert read == value
