"""NTU RGB+D: names, lists, and what the reader makes of good and damaged files."""

import time
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ntu_writers import person, skeleton_text

from kinema.errors import FormatError
from kinema.motion.formats import ntu

ID = 72057594037931101  # above 2**53, as in real files


def write(folder, text, name="S001C002P003R002A013"):
    file = folder / f"{name}.skeleton"
    file.write_text(text)
    return file


def one(file):
    (job,) = ntu.jobs(file)
    (clip,) = ntu.read(job)
    return clip


def frames(*counts, start=0):
    """Frames with that many bodies, ids from ID."""
    bodies = [person(len(counts), seed=start + s) for s in range(max((*counts, 1)))]
    return [[(ID + s, bodies[s][t]) for s in range(count)] for t, count in enumerate(counts)]


def test_a_name_tells_who_did_what(tmp_path):
    clip = one(write(tmp_path, skeleton_text(frames(1, 1, 1))))
    assert (clip.label, clip.label_name, clip.subject, clip.view) == (12, "tear up paper", "P003", "C002")
    assert dict(clip.meta) == {"setup": 1, "camera": 2, "performer": 3, "replication": 2, "action": 13, "missing": False}


def test_positions_ids_and_empty_frames_are_kept_as_in_the_file(tmp_path):
    given_frames = frames(0, 1, 2, 0, 1)
    clip = one(write(tmp_path, skeleton_text(given_frames, state=1)))
    assert clip.positions.shape == (5, 2, 25, 3)
    assert clip.body_ids.tolist() == [[0, 0], [ID, 0], [ID, ID + 1], [0, 0], [ID, 0]]
    assert clip.present().tolist() == [[False, False], [True, False], [True, True], [False, False], [True, False]]
    np.testing.assert_allclose(clip.positions[2, 1], given_frames[2][1][1], atol=1e-6)
    assert set(np.unique(clip.confidence)) == {0, 0.5}


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6).filter(any))
@settings(max_examples=20, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, counts):
    source = frames(*counts)
    clip = one(write(tmp_path_factory.mktemp("n"), skeleton_text(source)))
    assert clip.positions.shape[:2] == (len(counts), max(counts))
    for t, bodies in enumerate(source):
        for slot, (identity, joints) in enumerate(bodies):
            assert clip.body_ids[t, slot] == identity
            np.testing.assert_allclose(clip.positions[t, slot], joints, atol=1e-6)


def test_another_name_has_no_label_and_crlf_is_fine(tmp_path):
    file = write(tmp_path, skeleton_text(frames(1, 1)).replace("\n", "\r\n"), name="my take")
    clip = one(file)
    assert (clip.label, clip.subject, clip.meta) == (None, None, {"missing": False})


def test_a_zip_and_a_folder_have_the_same_jobs(tmp_path):
    text = skeleton_text(frames(1))
    (tmp_path / "in").mkdir()
    names = ["S001C001P001R001A001", "S001C001P001R001A002"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            write(tmp_path / "in", text, name)
            archive.writestr(f"{name}.skeleton", text)
        archive.writestr("readme.txt", "no clip")
    assert [j.name for j in ntu.jobs(tmp_path / "in")] == [j.name for j in ntu.jobs(tmp_path / "a.zip")] == names
    assert [ntu.read(j)[0].label for j in ntu.jobs(tmp_path / "a.zip")] == [0, 1]


def test_unread_columns_may_hold_nan(tmp_path):
    assert one(write(tmp_path, skeleton_text(frames(1)).replace("990.4", "NaN"))).frames == 1


LINES = skeleton_text(frames(1, 2, 1)).splitlines()  # frame 2 begins at line 29: count, body, 25, joints...


def damaged(line, text):
    lines = list(LINES)
    lines[line] = text
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a number of frames"),
        ("0\n", "expected a number of frames"),
        ("3\n0\n0\n0\n", "no body in any of 3 frames"),
        ("\n".join(LINES[:60]), "frame 2 of 3: the file ends within body 2"),
        ("\n".join(LINES[:84]), "frame 3 of 3: the file ends before it"),
        ("\n".join([*LINES, "1"]), "1 line after"),
        (damaged(29, "65"), "frame 2 of 3: '65' is not a number of bodies"),
        (damaged(29, "-1"), "frame 2 of 3"),
        (damaged(31, "24"), "frame 2 of 3: body 1: '24' joints; expected 25"),
        (damaged(30, "12 0 1"), "frame 2 of 3: body 1: expected a line of 10 fields"),
        (damaged(30, f"{2**64} 0 1 1 0 1 0 0 0 2"), "frame 2 of 3: body 1: expected a line of 10 fields"),
        (damaged(40, "1 2 3"), "frame 2 of 3: body 1, joint 9: 3 numbers; expected 12"),
        (damaged(40, "x" + LINES[40]), "frame 2 of 3: b'x' is no part of a number"),
        (damaged(40, LINES[40] + "é"), "frame 2 of 3"),
        (damaged(40, "nan 0 0 0 0 0 0 0 0 0 0 2"), "frame 2 of 3: body 1: a position is NaN"),
        (damaged(40, "1e39 0 0 0 0 0 0 0 0 0 0 2"), "frame 2 of 3: body 1: a position is NaN"),
        (damaged(40, "1-2 0 0 0 0 0 0 0 0 0 0 2"), "frame 2 of 3: body 1: could not convert"),
        (damaged(40, "0 0 0 0 0 0 0 0 0 0 0 3"), "frame 2 of 3: body 1: a tracking state"),
        (damaged(0, "99999999999"), "expected a number of frames"),
        (damaged(0, "999999"), "frame 4 of 999999: the file ends before it"),
    ],
)
def test_damage_is_named_with_its_frame(tmp_path, text, message):
    file = write(tmp_path, text)
    with pytest.raises(FormatError) as error:
        one(file)
    assert message in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_few_bytes_cannot_ask_for_gigabytes(tmp_path):
    crowd = skeleton_text([[(ID + s, person(1)[0]) for s in range(64)]]).split("\n", 1)[1]
    with pytest.raises(FormatError, match="in all are read"):
        one(write(tmp_path, f"20001\n{crowd}" + "0\n" * 20000))


def test_missing_lists():
    assert (len(ntu.MISSING_60), len(ntu.MISSING_120)) == (302, 535)
    assert ntu.MISSING_60 < ntu.MISSING_120
    names = [ntu.parse_name(name) for name in ntu.MISSING_60]
    # published sample counts are what the full grid has without these: 37,920 - 274, 18,960 - 28; 40,320 - 229, 16,560 - 73
    assert sum(n.camera == 1 for n in names) == 28
    assert sum(n.performer in ntu.NTU60_TRAIN_SUBJECTS for n in names) == 229
    assert "S001C002P005R002A008" in ntu.MISSING_60
    assert "S032C003P067R002A077" in ntu.MISSING_120


def test_split_rules_and_classes():
    assert len(set(ntu.NTU60_TRAIN_SUBJECTS)) == 20
    assert len(set(ntu.NTU120_TRAIN_SUBJECTS)) == 53
    assert set(ntu.NTU60_TRAIN_SUBJECTS) < set(ntu.NTU120_TRAIN_SUBJECTS)
    assert len(set(ntu.CLASSES_120)) == 120
    assert ntu.CLASSES_60 == ntu.CLASSES_120[:60]
    assert (ntu.CLASSES_60[49], ntu.CLASSES_60[59]) == ("punching/slapping other person", "walking apart from each other")
    assert ntu.CLASSES_120[119].startswith("finger-guessing game")


@pytest.mark.parametrize("stem", ["S001C001P001R001A000", "S001C001P001R001A121", "S001C001P001R001A001x", "s1", ""])
def test_other_names(stem):
    assert ntu.parse_name(stem) is None


@pytest.mark.slow
def test_sixty_files_a_second(tmp_path):
    (job,) = ntu.jobs(write(tmp_path, skeleton_text(frames(*[1] * 100))))
    start = time.process_time()
    for _ in range(60):
        ntu.read(job)
    assert time.process_time() - start < 1
