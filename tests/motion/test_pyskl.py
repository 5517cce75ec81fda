"""PySKL pickles: read as data, never run."""

import collections
import fractions
import os
import pickle
import pickletools
import re
import struct

import numpy as np
import pytest

from kinema.data.build import build
from kinema.data.splits import split
from kinema.data.store import Store
from kinema.errors import FormatError
from kinema.motion.conventions import Conventions
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


def test_a_clip_that_looks_otherwise_is_in_the_units_of_its_file(tmp_path):
    odd = annotation("odd", img_shape=(1080, 1920))
    odd["keypoint"] = np.full_like(odd["keypoint"], 0.5)
    many = {"annotations": [odd, *(annotation(f"c{i}", img_shape=(1080, 1920)) for i in range(12))], "split": {}}
    assert {(clip.units, clip.image_size) for clip in read(tmp_path, many)} == {("pixels", (1920, 1080))}
    few = {"annotations": many["annotations"][:3], "split": {}}
    assert [clip.units for clip in read(tmp_path, few)] == ["normalised", "pixels", "pixels"]


def test_units_that_are_said_are_not_guessed(tmp_path):
    given = annotation(img_shape=(1080, 1920))
    given["keypoint"] = np.full_like(given["keypoint"], 0.5)
    (tmp_path / "set.pkl").write_bytes(pickle.dumps({"annotations": [given], "split": {}}))
    build(tmp_path / "set.pkl", tmp_path / "s", workers=1, conventions=Conventions(units="px"))
    clip = Store.open(tmp_path / "s").clip(0)
    assert (clip.units, clip.image_size) == ("pixels", (1920, 1080))


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
        ({"annotations": [annotation() | {"keypoint": np.zeros((0, 6, 17, 2))}]}, "nobody is in it: keypoint is (0, 6, 17, 2)"),
        ({"annotations": [annotation(label=2**31 - 1)]}, "expected a class from 0 to 99999"),
        ({"annotations": [annotation(label=-1), annotation(joints=3)]}, "none of its 2 clips can be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    with pytest.raises(FormatError) as error:
        read(tmp_path, content)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def lacks(key):
    return {k: v for k, v in annotation("bad").items() if k != key}


NAN = np.ones((1, 6, 17, 2))
NAN[0, 3, 5, 1] = np.inf


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (annotation("bad") | {"keypoint": np.zeros((0, 6, 17, 2))}, "nobody is in it"),
        (annotation("bad", frames=0), "0 frames"),
        (annotation("bad") | {"keypoint": NAN}, "NaN or infinity"),
        (annotation("bad") | {"keypoint": NAN * 1e38}, "NaN or infinity"),
        (annotation("bad", joints=16), "expected (people, frames, 17, 2)"),
        (annotation("bad", joints=25, dims=3), "keypoints of ntu25"),
        (annotation("bad") | {"keypoint": NAN > 0}, "keypoint is bool"),
        (annotation("bad") | {"keypoint": NAN.astype(object)}, "keypoint is an array of O8"),
        (annotation("bad") | {"keypoint": NAN.astype("S4")}, "keypoint is an array of S4"),
        (annotation("bad") | {"keypoint": np.zeros((1, 6, 17, 2), [("x", "f4")])}, "keypoint is an array of records"),
        (annotation("bad") | {"keypoint": NAN.astype(complex)}, "keypoint is an array of c16"),
        (annotation("bad", label=np.datetime64("2020-01-01")), "label an array of M8"),
        (annotation("bad") | {"keypoint": None}, "keypoint is no array"),
        (lacks("keypoint"), "no keypoint"),
        (lacks("frame_dir"), "frame_dir is missing"),
        (annotation("bad", label=-1), "label -1"),
        (annotation("bad", label=10**9), "expected a class from 0 to"),
        (annotation("bad", label=1.5), "label float"),
        (annotation("bad", label="wave"), "label 'wave'"),
        (annotation("bad", label=[1, 2]), "label list"),
        (annotation("bad", label=np.arange(2)), "label tuple"),
        (annotation("bad") | {"total_frames": 5}, "total_frames is 5"),
        (annotation("bad") | {"total_frames": np.arange(3)}, "total_frames is tuple"),
        (annotation("bad", keypoint_score=np.full((2, 6, 17), np.nan)), "keypoint_score"),
        (annotation("bad", keypoint_score=np.zeros((2, 6))), "keypoint_score"),
        ("bad", "instead of a dictionary"),
        (None, "instead of a dictionary"),
    ],
)
def test_one_bad_annotation_is_skipped_by_name_and_the_others_are_read(tmp_path, bad, reason):
    good = [annotation(f"v{i}", label=i) for i in range(3)]
    given = {"annotations": [*good[:2], bad, good[2]], "split": {"train": ["v0", "bad"], "val": ["v1", "v2"]}}
    found = read(tmp_path, given)
    assert [clip.meta["name"] for clip in found] == ["v0", "v1", "v2"]
    (skipped,) = found.skipped
    assert found.found[2] is skipped
    assert skipped.name == ("bad" if isinstance(bad, dict) and "frame_dir" in bad else "annotation 2")
    assert reason in skipped.reason
    summary = build(tmp_path / "set.pkl", tmp_path / "s", workers=1)
    store = Store.open(tmp_path / "s")
    assert [e.id for e in store.entries] == ["set#1", "set#2", "set#4"]
    assert summary.skipped == ((f"set#3 ({skipped.name})", skipped.reason),)
    assert f"3 clips, 1 skipped:\n  set#3 ({skipped.name}): " in "\n".join(summary.lines())
    part = split(store, "given")
    assert (part.train.tolist(), part.test.tolist()) == ([0], [1, 2])
    with pytest.raises(FormatError, match=re.escape(f"set#3 ({skipped.name}): ")):
        build(tmp_path / "set.pkl", tmp_path / "t", workers=1, strict=True)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"label": np.int64(2)},
        {"label": 2.0},
        {"label": "2"},
        {"label": np.array([2])},
        {"label": [2]},
        {"keypoint": np.ones((2, 6, 17, 2), np.float64)},
        {"keypoint": np.ones((2, 6, 17, 2), int)},
        {"keypoint": np.asfortranarray(np.ones((2, 6, 17, 2), np.float16))},
        {"keypoint_score": np.ones((2, 6, 17, 1), np.float16)},
        {"keypoint_score": None},
        {"total_frames": np.int64(6)},
        {"total_frames": None},
        {"img_shape": None},
        {"img_shape": (480.0, 640.0)},
        {"img_shape": np.array([480, 640])},
        {"frame_dir": None, "filename": "v"},
        {"valid": {0.5: 6, 0.9: 2}},
    ],
)
def test_what_differs_but_can_be_read_is_read(tmp_path, change):
    given = annotation("v", label=2) | change
    if given["frame_dir"] is None:
        del given["frame_dir"]
    for content in ({"annotations": [given]}, {"annotations": {"v": given}}, [given], {"annotations": (given,), "split": None}):
        (clip,) = read(tmp_path, content)
        assert (clip.label, clip.meta["name"], clip.positions.shape) == (2, "v", (6, 2, 17, 2))
        assert clip.image_size == (None if given.get("img_shape") is None else (640, 480))


def test_labels_that_are_all_text_are_names_of_classes(tmp_path):
    read(tmp_path, {"annotations": [annotation(f"v{i}", label=label) for i, label in enumerate(("wave", "clap", "wave"))]})
    build(tmp_path / "set.pkl", tmp_path / "s", workers=1)
    store = Store.open(tmp_path / "s")
    assert (store.classes, store.labels.tolist()) == (("clap", "wave"), [1, 0, 1])


def test_two_annotations_of_one_array_are_one_clip(tmp_path):
    found = read(tmp_path, {"annotations": [annotation()] * 2})
    assert len(found) == 1
    assert "its keypoint is also that of another" in found.skipped[0].reason


@pytest.mark.parametrize("kind", [list, tuple, set, np.array])
def test_a_split_may_be_any_collection_of_names(tmp_path, kind):
    names = [f"v{i}" for i in range(4)]
    split = {"train": kind(names[:2]), "test": kind(names[2:])}
    found = read(tmp_path, {"annotations": [annotation(np.str_(n)) for n in names], "split": split})
    assert [clip.meta["splits"] for clip in found] == [["train"]] * 2 + [["test"]] * 2


def test_a_name_without_a_split_is_not_needed(tmp_path):
    assert len(read(tmp_path, {"annotations": [lacks("frame_dir"), lacks("frame_dir")]})) == 2


def test_one_list_under_many_names_is_not_read_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(pyskl, "MAX_STEPS", 1000)
    names = [f"v{i}" for i in range(100)]
    with pytest.raises(FormatError, match="more than 2000 names in all"):
        read(tmp_path, {"annotations": [annotation()], "split": {f"s{i}": names for i in range(50)}})


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
        (np.array([b"text"]), "refused"),
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


def test_calls_are_counted(monkeypatch):
    monkeypatch.setattr(unpickle, "MAX_CALLS", 10)
    with pytest.raises(FormatError, match="more than 10 calls"):
        unpickle.load(pickle.dumps([np.float32(i) for i in range(11)]), "file.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_the_largest_known_set_stays_within_the_steps(protocol):
    def whole(i):
        scores = np.ones((2, 6, 17), np.float16)
        shape = {
            "img_shape": (1080, 1920),
            "original_shape": (1080, 1920),
            "num_person_raw": 2,
            "modality": "Pose",
            "start_index": 0,
        }
        return annotation(f"S001C001P001R001A001_{i}", label=np.int64(i), keypoint_score=scores, **shape)

    def operations(count):
        names = [f"S001C001P001R001A001_{i}" for i in range(count)]
        split = {f"{kind}_{side}": names for kind in ("xsub", "xset") for side in ("train", "val")}
        content = pickle.dumps({"annotations": [whole(i) for i in range(count)], "split": split}, protocol)
        return [o.name for o, _, _ in pickletools.genops(content)]

    ten, twenty = operations(10), operations(20)
    ntu120 = 11_400  # tens of clips in NTU RGB+D 120
    assert (len(twenty) - len(ten)) * ntu120 < unpickle.MAX_STEPS
    assert (twenty.count("REDUCE") - ten.count("REDUCE")) * ntu120 < unpickle.MAX_CALLS / 2


@pytest.mark.parametrize(
    "program",
    [
        b"](" + b"\x8f" * 1000 + b"e.",  # a thousand sets of a byte each
        b"](cnumpy.core.multiarray\nscalar\n\x94cnumpy\ndtype\n(X\x05\x00\x00\x00<U900\x89\x88tR\x94B\x10\x0e\x00\x00"
        + b"a\0\0\0" * 900
        + b"\x94"
        + b"h\x00h\x01h\x02\x86R" * 100
        + b"e.",  # one text made a hundred times
        b"}(\x8b" + struct.pack("<i", 1000) + b"\x01" * 1000 + b"Nu.",  # a key of 8000 bits
        b"}(" + b"".join(b"K%cN" % i for i in range(100)) + b"u.",  # many keys that are numbers
        b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n(X\x03\x00\x00\x00<U1\x89\x88tRC\x04\xff\xff\xff\xff\x86R.",
        b"cnumpy\ndtype\n(X\x02\x00\x00\x00U0\x89\x88tR.",  # texts of no length, as many as one likes
        b"cbuiltins\nset\n]K\x01a\x85R.",
        b"\x8fK\x01\x85\x90.",
    ],
)
def test_what_cannot_be_bounded_is_refused(program):
    with pytest.raises(FormatError):
        unpickle.load(b"\x80\x04" + program, "file.pkl")


@pytest.mark.parametrize("protocol", range(6))
def test_collections_and_text_of_usual_makers_are_read(protocol):
    value = {
        "default": collections.defaultdict(list, a=[1]),
        "set": {"a", "b"},
        "frozen": frozenset("ab"),
        "none": set(),
        "numbers": {0.5: 3, 1: "a"},
        "text": np.str_("abc"),
        "texts": np.array(["a", "bcd"]),
    }
    read = unpickle.load(pickle.dumps(value, protocol), "file.pkl")
    assert read.pop("texts").tolist() == value.pop("texts").tolist()
    assert read == value


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
