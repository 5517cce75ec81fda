"""PKU-MMD: videos cut into labelled instances, with splits."""

import zipfile

import numpy as np
import pytest
from ntu_writers import person, pku_text

from kinema.errors import FormatError
from kinema.motion.formats import pku

VIDEO = np.zeros((40, 2, 25, 3))
VIDEO[:, 0], VIDEO[10:20, 1] = person(40, 1), person(10, 2)
SPLIT = "Training videos:\n{}, \nValidataion videos:\n0003-R, \n"


def source(folder, labels="1,2,12,1\n51,15,99\n", skeleton=None, label_folder="Label", split=None):
    (folder / "skeleton").mkdir(parents=True)
    (folder / label_folder).mkdir()
    (folder / "skeleton" / "0002-L.txt").write_text(pku_text(VIDEO) if skeleton is None else skeleton)
    (folder / label_folder / "0002-L.txt").write_text(labels)
    for name, trains in (split or {}).items():
        (folder / f"{name}.txt").write_text(SPLIT.format(", ".join(trains)))
    return folder


def test_instances_are_cut_out_of_the_video(tmp_path):
    (job,) = pku.jobs(source(tmp_path))
    assert job.name == "0002-L"
    bow, writing = pku.read(job)
    assert (bow.positions.shape, writing.positions.shape) == ((10, 2, 25, 3), (25, 2, 25, 3))
    np.testing.assert_allclose(bow.positions, VIDEO[2:12], atol=1e-5)
    assert [(c.label, c.label_name, c.view) for c in (bow, writing)] == [(0, "bow", "L"), (50, "writing", "L")]
    assert dict(writing.meta) == {"video": "0002-L", "instance": 1, "start": 15, "end": 40}


def test_empty_and_damaged_instances_are_skipped_by_name(tmp_path):
    silent = VIDEO.copy()
    silent[30:] = 0
    text = pku_text(silent).splitlines(keepends=True)
    text[33] = text[33].replace(text[33].split()[0], "nan", 1)
    file = source(tmp_path, "1,30,33\n2,9,9\n3,12,5\n4,50,60\n5,0,30\n6,31,36\n99,0,4\n", "".join(text))
    found = pku.read(pku.jobs(file)[0])
    assert [(c.label, c.meta["instance"]) for c in found] == [(4, 4)]
    assert [s.name for s in found.skipped] == [f"instance {i}" for i in (0, 1, 2, 3, 5, 6)]
    assert [s.reason[:31] for s in found.skipped[-2:]] == [
        "row 34: holds something else th",
        "label row 7: class 99; expected",
    ]


@pytest.mark.parametrize(("subject", "view"), [("cross-subject", "cross-view"), ("cross_subject_v2", "cross_view_v2")])
def test_splits_are_told_by_each_clip(tmp_path, subject, view):
    folder = source(tmp_path, split={subject: ["0002-L", "0009-M"], view: ["0009-M"]})
    meta = pku.read(pku.jobs(folder)[0])[0].meta
    assert (meta["train_cross_subject"], meta["train_cross_view"]) == (True, False)
    assert pku.read_split((folder / f"{subject}.txt").read_text()) == {"0002-L", "0009-M"}


def test_both_phases_of_a_zip(tmp_path):
    folder = source(tmp_path / "in", label_folder="Label_PKUMMD")
    with zipfile.ZipFile(tmp_path / "pku.zip", "w") as archive:
        for file in (folder / "skeleton" / "0002-L.txt", folder / "Label_PKUMMD" / "0002-L.txt"):
            archive.write(file, f"v1/{file.parent.name}/{file.name}")
            archive.write(file, f"v2/{file.parent.name}/A01N02-R.txt")
    assert [j.name for j in pku.jobs(tmp_path / "pku.zip")] == ["0002-L", "A01N02-R"]
    assert [len(pku.read(j)) for j in pku.jobs(tmp_path / "pku.zip")] == [2, 2]


ROW = " ".join(["0.5"] * 150) + "\n"


@pytest.mark.parametrize(
    ("labels", "skeleton", "message"),
    [
        ("1,2,12\n", "", "no frame"),
        ("1,0,2\n", ROW + ROW[4:], "row 2: 149 numbers; expected 150"),
        ("1,0,2\n", ROW + ROW.replace("0.5", "nan", 1), "row 2: holds something else"),
        ("1,0,2\n", ROW + ROW.replace("0.5", "1-1", 1), "could not convert"),
        ("1,0,2\n", ROW + ROW.replace("0.5", "1e99", 1), "row 2: a number too large"),
        ("52,0,2\n", ROW, "row 1: class 52; expected 1 to 51"),
        ("0,0,2\n", ROW, "row 1: class 0"),
        ("1,0\n", ROW, "is not class,start,end"),
        ("1,-3,2\n", ROW, "is not class,start,end"),
        ("\n", ROW, "no instance with anybody"),
        ("1,5,9\n", ROW, "nobody is in any of frames 5 to 9; the video has 1"),
        ("1,0,1\n" * 17, ROW, "expected clips that hardly overlap"),
    ],
)
def test_damage_is_named(tmp_path, labels, skeleton, message):
    (job,) = pku.jobs(source(tmp_path, labels, skeleton))
    with pytest.raises(FormatError) as error:
        pku.read(job)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("gone", "message"), [("skeleton", "no skeleton file"), ("Label", "no label file")])
def test_a_missing_half_is_named(tmp_path, gone, message):
    folder = source(tmp_path)
    (folder / gone / "0002-L.txt").unlink()
    with pytest.raises(FormatError, match=message):
        pku.read(pku.jobs(folder)[0])


def test_two_files_of_one_video_and_empty_splits_are_refused(tmp_path):
    folder = source(tmp_path)
    (folder / "copy").mkdir()
    (folder / "copy" / "0002-L.txt").write_text(ROW)
    with pytest.raises(FormatError, match="a second file for video 0002-L"):
        pku.jobs(folder)
    with pytest.raises(FormatError, match="second line"):
        pku.read_split("Training videos:\n")


def test_classes():
    assert (len(set(pku.CLASSES)), pku.CLASSES[0], pku.CLASSES[50]) == (51, "bow", "writing")
    assert list(pku.CLASSES) == sorted(pku.CLASSES)
