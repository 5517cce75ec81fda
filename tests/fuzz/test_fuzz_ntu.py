"""Whatever the bytes: valid clips or one FormatError, in bounded time and memory."""

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "motion"))
from ntu_writers import person, pku_text, skeleton_text

from kinema.errors import FormatError
from kinema.motion.clip import Clip
from kinema.motion.formats import ntu, pku, pyskl, unpickle

SKELETON = skeleton_text([[(7, person(1)[0])], [], [(7, person(1)[0]), (8, person(1, 1)[0])]]).encode()
VIDEO = pku_text(np.stack([person(4), person(4, 1)], 1)).encode()
LABELS = b"1,0,3\n51,2,9,1\n"
ANNOTATION = {"frame_dir": "a", "label": 1, "keypoint": np.ones((1, 3, 17, 2), np.float16), "img_shape": (4, 5), "total_frames": 3}
PICKLES = [pickle.dumps({"annotations": [ANNOTATION], "split": {"t": ["a"]}}, protocol) for protocol in range(6)]
FUZZ = settings(max_examples=120, deadline=2000)


@st.composite
def damaged(draw, wholes):
    """A valid file with bytes changed, cut out, doubled or put in."""
    data = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["byte", "cut", "end", "double", "insert"]))
        if kind == "byte" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "end":
            del data[at:]
        elif kind == "double":
            data[at:at] = data[at : at + draw(st.integers(1, 400))]
        else:
            data[at:at] = draw(
                st.one_of(st.binary(max_size=12), st.sampled_from([b"\n", b"-1", b"nan", b"1e400", b"9" * 30, b","]))
            )
    return bytes(data)


def refusal(call):
    """What a call returns, and the message of its FormatError; any other error is a failure."""
    try:
        return call(), None
    except FormatError as error:
        return [], str(error)


def check(module, source):
    """All jobs of a source, read."""
    clips, message = refusal(lambda: [clip for job in module.jobs(source) for clip in module.read(job)])
    assert message is None or ("\n" not in message and str(source) in message)
    for clip in clips:
        assert isinstance(clip, Clip)  # which checks itself
        assert clip.positions.nbytes < 2**20


@given(st.one_of(damaged([SKELETON]), st.binary(max_size=300)))
@FUZZ
def test_skeleton_files(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "S001C001P001R001A001.skeleton"
    file.write_bytes(data)
    check(ntu, file)


@given(st.one_of(damaged([VIDEO]), st.just(VIDEO)), st.one_of(damaged([LABELS]), st.binary(max_size=60)), st.binary(max_size=60))
@FUZZ
def test_pku_folders(tmp_path_factory, video, labels, split):
    folder = tmp_path_factory.getbasetemp() / "pku"
    for name, data in (("skeleton/0002-L.txt", video), ("label/0002-L.txt", labels), ("cross_view.txt", b"x\n0002-L," + split)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    check(pku, folder)


@given(st.one_of(damaged(PICKLES), st.binary(max_size=300)))
@FUZZ
def test_annotation_pickles(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "set.pkl"
    file.write_bytes(data)
    check(pyskl, file)


@given(
    st.lists(
        st.sampled_from([bytes([b]) for b in b"()[]{}.012NIKJMCXUjhpqrtuseablRocPQ\x80\x81\x85\x86\x87\x88\x8a\x8c\x93\x94\x95"])
    )
)
@FUZZ
def test_programs_of_pickle_operations(operations):
    _, message = refusal(lambda: unpickle.load(b"".join(operations), "file.pkl"))
    assert message is None or "\n" not in message


@pytest.mark.parametrize("module", [ntu, pku, pyskl])
def test_archives(tmp_path, module):
    name = {ntu: "a.skeleton", pku: "label/0002-L.txt", pyskl: "a.pkl"}[module]
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, b"0\n" * 10**6)
    check(module, file)
    content = bytearray(file.read_bytes())
    content[60:200] = b"x" * 140
    file.with_name("b.zip").write_bytes(content)
    check(module, file.with_name("b.zip"))
