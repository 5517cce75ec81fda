"""A user's own data: a table and arrays, and messages that name the line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kinema.errors import FormatError, UserError
from kinema.motion.formats import guess, user
from kinema.motion.skeletons import COCO17

RNG = np.random.default_rng(0)
P3 = RNG.random((8, 17, 3)).round(4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", P3)
    np.savez(tmp_path / "b.npz", positions=P3[:, None].repeat(2, 1))
    np.savetxt(tmp_path / "c.csv", P3[..., :2].reshape(8, 34), delimiter=",", fmt="%.4f")
    return tmp_path


def table(folder: Path, text: str) -> list:
    (folder / "clips.csv").write_text(text, encoding="utf-8-sig")
    return user.jobs(folder, folder / "clips.csv", COCO17)


def test_reads_all_kinds_with_everything_the_table_says(folder: Path):
    jobs = table(
        folder,
        "file,label,subject,view,split,fps,start,end,caption\n"
        'in/a.npy,wave,anna,left,train,25,2,6,"she waves, twice"\n'
        "b.npz,sit,bob,,test,,,,\n\n"
        "c.csv,wave,,,,,,,\n",
    )
    assert [j.name for j in jobs] == ["in/a.npy[2:6]", "b.npz", "c.csv"]
    a, b, c = (user.read(j)[0] for j in jobs)
    np.testing.assert_array_equal(a.positions[:, 0], P3[2:6].astype(np.float32))
    assert (a.label, a.label_name, a.subject, a.view, a.fps) == (1, "wave", "anna", "left", 25)
    assert a.captions[0].text == "she waves, twice"
    assert (a.meta, b.meta, c.meta) == ({"split": "train"}, {"split": "test"}, {})
    assert (b.label, b.people, b.view, b.fps, b.units) == (0, 2, None, user.FPS, "metres")
    np.testing.assert_allclose(c.positions[:, 0], P3[..., :2], atol=1e-6)
    assert c.units == "normalised"  # 0 to 1 are shares of a picture


def test_table_and_skeleton_may_lie_inside_and_all_in_a_zip(folder: Path, tmp_path: Path):
    (folder / "clips.csv").write_text("label,file\nx,b.npz\n")
    with pytest.raises(UserError, match=r"no skeleton\.json"):
        user.jobs(folder)
    (folder / "skeleton.json").write_text(json.dumps(COCO17.to_json()))
    assert guess(folder) == "user"
    archive = folder / "all.zip"
    with zipfile.ZipFile(archive, "w") as z:
        for name in ("clips.csv", "skeleton.json", "b.npz"):
            z.write(folder / name, name)
    for source in (folder, archive):
        (job,) = user.jobs(source)
        assert user.read(job)[0].people == 2


HEAD = "file,label,start,end,split,fps\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\nb.npz\n", "line 1: no column label"),
        (",,\n", "line 1: no column file, label"),
        ("file,label,label\nb.npz,x,y\n", "line 1: a column twice"),
        ("file,label\n", "no clips"),
        ("file,label\nb.npz,x\nz.npz,x\n", r"line 3: no file 'z\.npz'"),
        ("file,label\n../b.npz,x\n", "line 2: no file"),
        ("file,label\nb.npz,x\nb.npz,y\n", r"line 3: b\.npz is already in line 2"),
        ("file,label\nb.npz\n", "line 2: 1 cell; the header has 2"),
        ("file,label\nb.npz,\n", "line 2: label is empty"),
        ("file,label\nb.txt,x\n", "line 2: 'b.txt'; expected a file that ends in"),
        (HEAD + "b.npz,x,-1,,,\n", "line 2: start '-1'"),
        (HEAD + "b.npz,x,4,4,,\n", "line 2: end 4 is not after start 4"),
        (HEAD + "b.npz,x,,,both,\n", "line 2: split 'both'"),
        (HEAD + "b.npz,x,,,,0\n", "line 2: fps '0'"),
        (HEAD + "b.npz,x,,,,nan\n", "line 2: fps 'nan'"),
        ('file,label\n"b.npz,x\n', "line 2: not a CSV row"),
    ],
)
def test_mistakes_in_the_table_name_their_line(text: str, message: str, folder: Path):
    with pytest.raises(UserError, match=message) as caught:
        table(folder, text)
    assert "\n" not in str(caught.value)
    assert "clips.csv" in str(caught.value)


def test_files_that_are_missing_or_wrong(folder: Path):
    with pytest.raises(UserError, match=r"no clips\.csv; list your clips"):
        user.jobs(folder, None, COCO17)
    with pytest.raises(UserError, match="no such file"):
        user.jobs(folder, folder / "none.csv", COCO17)
    (job,) = table(folder, HEAD + "b.npz,x,0,9,,\n")
    with pytest.raises(FormatError, match="8 frames; line 2 of the table asks for 0 to 9"):
        user.read(job)
    (job,) = table(folder, HEAD + "b.npz,x,8,,,\n")
    with pytest.raises(FormatError, match="asks for 8 to the end"):
        user.read(job)
    (folder / "c.csv").write_text("1,2,three\n")
    (job,) = table(folder, "file,label\nc.csv,x\n")
    with pytest.raises(FormatError, match="not a table of numbers"):
        user.read(job)
    np.save(folder / "in" / "a.npy", np.full((2, 17, 3), np.nan))
    (job,) = table(folder, "file,label\nin/a.npy,x\n")
    with pytest.raises(FormatError, match="NaN or infinity in frame 0; write 0 for absent joints"):
        user.read(job)
