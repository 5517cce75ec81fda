"""What every format promises, and what is particular to each."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import writers

from kinema.errors import FormatError, UserError
from kinema.motion.clip import Clip
from kinema.motion.formats import FORMATS, guess, msr_action3d, nw_ucla, read_file, sbu, utd_mhad, utkinect
from kinema.motion.formats.jobs import Skipped
from kinema.motion.skeletons import KINECT20, SBU15

ALL = sorted(writers.WRITERS)


def read_all(name: str, source: Path):
    return [clip for job in FORMATS[name].jobs(source) for clip in FORMATS[name].read(job)]


@pytest.mark.parametrize("name", ALL)
def test_reads_back_what_was_written(name: str, tmp_path: Path):
    p = writers.people(name)
    writers.WRITERS[name](tmp_path, p)
    (tmp_path / "readme.md").write_text("not a clip")
    clips = read_all(name, tmp_path)
    got = np.concatenate([c.positions for c in clips])
    np.testing.assert_allclose(got, p, atol=3e-6)
    assert clips[0].skeleton == writers.SKELETON[name]
    assert clips[0].label is not None
    assert clips[0].label_name
    assert str(tmp_path) in clips[0].source
    assert guess(tmp_path) == name


@pytest.mark.parametrize("name", ALL)
def test_zip_and_folder_give_the_same_jobs_and_clips(name: str, tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    writers.WRITERS[name](folder, writers.people(name))
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
        for file in folder.rglob("*.*"):
            z.write(file, f"inner/{file.relative_to(folder).as_posix()}")
    assert guess(archive) == name
    jobs = FORMATS[name].jobs(archive)
    if name != "npz":  # its files are named by where they lie
        assert [j.name for j in jobs] == [j.name for j in FORMATS[name].jobs(folder)]
    jobs = pickle.loads(pickle.dumps(jobs))  # a job travels to a worker process
    a = [c for j in jobs for c in FORMATS[name].read(j)]
    b = read_all(name, folder)
    assert len(a) == len(b) > 0
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x.positions, y.positions)
        assert (x.label, x.subject, x.view, x.meta) == (y.label, y.subject, y.view, y.meta)


@pytest.mark.parametrize("variant", [*writers.BROKEN_ARRAYS, *writers.BROKEN_BYTES])
@pytest.mark.parametrize("name", ALL)
def test_a_damaged_file_is_named_in_one_line(name: str, variant: str, tmp_path: Path):
    file = writers.broken(name, tmp_path, variant)
    (job,) = FORMATS[name].jobs(tmp_path)
    if (name, variant) == ("utkinect", "NaN"):  # a recording of several clips, one of which is damaged
        found = FORMATS[name].read(job)
        assert [type(item) for item in found.found] == [Skipped, Clip]
        assert found.skipped[0].reason.startswith("NaN or infinity in frame")
        return
    with pytest.raises(FormatError) as caught:
        FORMATS[name].read(job)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) > len(str(file)) + 15


@pytest.mark.parametrize("name", ALL)
def test_one_frame_and_absent_people_are_valid(name: str, tmp_path: Path):
    p = writers.people(name, frames=3)
    p[1] = 0
    if name == "sbu":
        p[1] = writers.sbu_format.SHIFT  # stored as zeros
    writers.WRITERS[name](tmp_path, p)
    present = np.concatenate([c.present() for c in read_all(name, tmp_path)])
    assert present.all(1).tolist() == [True, False, True]
    if name == "utkinect":
        writers.utkinect(tmp_path, p[:1], labels="s01_e01\nwalk: 10 10\n")
    else:
        writers.WRITERS[name](tmp_path, p[:1])
    assert [c.frames for c in read_all(name, tmp_path)] == [1]


@pytest.mark.parametrize("name", ALL)
def test_a_single_file_can_be_shown(name: str, tmp_path: Path):
    file = writers.WRITERS[name](tmp_path, writers.people(name))
    clips = read_file(file)
    assert clips
    assert clips[0].label is not None


def test_a_file_in_a_zip_is_named_as_messages_name_it(tmp_path: Path):
    file = writers.nw_ucla(tmp_path, writers.people("nw-ucla"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as z:
        z.write(file, f"in/{file.name}")
    (clip,) = read_file(Path(f"{tmp_path}/a.zip:in/{file.name}"))
    assert clip.source.endswith(f"a.zip:in/{file.name}")
    with pytest.raises(UserError, match="no readable file"):
        read_file(Path(f"{tmp_path}/a.zip:nothing"))
    for whole in (tmp_path, tmp_path / "a.zip"):
        with pytest.raises(UserError, match="name one file"):
            read_file(whole)


def test_guess_teaches(tmp_path: Path):
    with pytest.raises(UserError, match="it is empty"):
        guess(tmp_path)
    (tmp_path / "song.mp3").write_bytes(b"x")
    with pytest.raises(UserError, match=r"song\.mp3.*nw-ucla"):
        guess(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        guess(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("ntu", ["S001C001P001R001A001.skeleton"]),
        ("pku", ["label/0002-L.txt", "skeleton/0002-L.txt"]),
        ("pyskl", ["ntu60_hrnet.pkl"]),
        ("user", ["clips.csv", "a.npz", "S001C001P001R001A001.skeleton"]),
        ("npz", ["sub/a.npz", "notes.txt"]),
    ],
)
def test_guess_by_names(name: str, files: list[str], tmp_path: Path):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert guess(tmp_path) == name


def test_nw_ucla_classes_close_the_gap_and_must_agree_with_the_name(tmp_path: Path):
    p = writers.people("nw-ucla")
    writers.nw_ucla(tmp_path, p, label=7)
    (clip,) = read_all("nw-ucla", tmp_path)
    assert (clip.label, clip.label_name, clip.subject, clip.view) == (6, "donning", "2", "1")
    assert clip.meta == {"action": 8, "subject": 2, "episode": 3, "view": 1}
    writers.nw_ucla(tmp_path, p, label=3)
    with pytest.raises(FormatError, match="label 3; its file name says 7"):
        read_all("nw-ucla", tmp_path)
    writers.nw_ucla(tmp_path, p, name="a07_s01_e01_v01")
    with pytest.raises(FormatError, match="action of 1 2 3"):
        nw_ucla.read(next(j for j in nw_ucla.jobs(tmp_path) if "a07" in j.name))


@pytest.mark.parametrize(
    "value", ["[1, 2]", '{"skeletons": [[["a"]]]}', '{"skeletons": [[1], [1, 2]]}', "[" * 9999, '{"skeletons": 1e999}']
)
def test_nw_ucla_refuses_other_json(value: str, tmp_path: Path):
    (tmp_path / "a01_s01_e01_v01.json").write_text(value)
    with pytest.raises(FormatError):
        read_all("nw-ucla", tmp_path)


@pytest.mark.parametrize("compress", [False, True])
def test_utd_joints_are_taken_by_name(compress: bool, tmp_path: Path):
    p = writers.people("utd-mhad")
    file = writers.utd_mhad(tmp_path, p, compress=compress)
    stored = writers.scipy.io.loadmat(file)["d_skel"]
    (clip,) = read_all("utd-mhad", tmp_path)
    np.testing.assert_array_equal(clip.positions[:, 0, KINECT20.index("head")], stored[0].T.astype(np.float32))
    assert (clip.label, clip.subject, clip.meta["repetition"]) == (2, "1", 2)


def test_utd_refuses_other_variables_and_bombs(tmp_path: Path):
    p = writers.people("utd-mhad")
    writers.utd_mhad(tmp_path, p, variable="other")
    with pytest.raises(FormatError, match="no variable d_skel; it holds other"):
        read_all("utd-mhad", tmp_path)
    file = writers.utd_mhad(tmp_path, p)
    writers.scipy.io.savemat(
        file, {"junk": np.zeros(utd_mhad.MAX_MAT // 8), "d_skel": p[:, 0].transpose(1, 2, 0)}, do_compression=True
    )
    with pytest.raises(FormatError, match="expand beyond"):
        read_all("utd-mhad", tmp_path)
    writers.scipy.io.savemat(file, {"d_skel": {"a": 1}})
    with pytest.raises(FormatError, match="d_skel is struct"):
        read_all("utd-mhad", tmp_path)
    writers.scipy.io.savemat(file, {"d_skel": p[0, 0].astype(np.float64)})  # one frame: MATLAB stores it without a last axis
    assert read_all("utd-mhad", tmp_path)[0].frames == 1


def test_msr_keeps_confidence_and_flags_what_the_field_drops(tmp_path: Path):
    p = writers.people("msr-action3d")
    writers.msr_action3d(tmp_path, p, name="a13_s09_e02", confidence=0.25)
    writers.msr_action3d(tmp_path, p, name="a13_s09_e04")
    dropped, kept = read_all("msr-action3d", tmp_path)
    assert (dropped.meta["excluded"], kept.meta["excluded"]) == (True, False)
    assert dropped.confidence is not None
    assert (dropped.confidence == 0.25).all()
    writers.msr_action3d(tmp_path, p, name="a13_s09_e04", confidence=1.5)
    with pytest.raises(FormatError, match="confidence"):
        msr_action3d.read(msr_action3d.jobs(tmp_path)[1])


def test_utkinect_cuts_by_frame_number_and_skips_labels_that_were_never_given(tmp_path: Path):
    p = writers.people("utkinect")
    writers.utkinect(tmp_path, p)
    (job,) = utkinect.jobs(tmp_path)
    assert job.context == (("walk", 10, 18), ("push", 20, 20))
    walk, push = utkinect.read(job)
    np.testing.assert_allclose(walk.positions, p[:5], atol=1e-6)  # the first of repeated rows counts
    np.testing.assert_allclose(push.positions, p[5:], atol=1e-6)
    assert (walk.label, push.label, push.label_name) == (0, 6, "push")


def test_utkinect_labels(tmp_path: Path):
    p = writers.people("utkinect")
    file = writers.utkinect(tmp_path, p, name="s01_e02", labels="s01_e02\nwalk: 154 192\n")
    assert utkinect.jobs(tmp_path)[0].context == (("walk", 154, 270),)  # a known typing error
    with pytest.raises(FormatError, match="no frame of walk, 154 to 270"):
        utkinect.read(utkinect.jobs(tmp_path)[0])
    (tmp_path / "actionLabel.txt").write_text("s01_e02\nwalk: one two\n")
    with pytest.raises(FormatError, match="line 2"):
        utkinect.jobs(tmp_path)
    (tmp_path / "actionLabel.txt").write_text("s01_e02\nfly: 1 2\n")
    with pytest.raises(FormatError, match="line 2"):
        utkinect.jobs(tmp_path)
    (tmp_path / "actionLabel.txt").write_text("s01_e01\nwalk: 10 12\n")
    with pytest.raises(UserError, match="s01_e02 is not in the label file"):
        utkinect.jobs(tmp_path)
    (tmp_path / "actionLabel.txt").unlink()
    with pytest.raises(UserError, match="no actionLabel"):
        utkinect.jobs(tmp_path)
    (clip,) = read_file(file)
    assert (clip.label, clip.frames) == (None, 6)


def test_sbu_is_upright_and_keeps_two_people(tmp_path: Path):
    p = writers.people("sbu")
    writers.sbu(tmp_path, p, place="SBU/s05s02/08/003")
    (clip,) = read_all("sbu", tmp_path)
    assert clip.positions.shape == (6, 2, 15, 3)
    assert (clip.label, clip.label_name, clip.subject) == (7, "punching", "s05s02")
    assert clip.meta == {"action": 8, "pair": "s05s02", "subject": 5, "partner": 2, "repetition": 3}
    top, bottom = (sbu.SHIFT + sbu.SCALE * [0.5, y, 1.8] for y in (0.1, 0.9))  # stored y points down
    assert top[1] > bottom[1]


def test_sbu_without_its_folders_has_no_label(tmp_path: Path):
    file = writers.sbu(tmp_path, writers.people("sbu"))
    moved = file.rename(tmp_path / file.name)
    (clip,) = read_file(moved)
    assert clip.label is None
    assert clip.skeleton == SBU15


def test_json_labels_of_jobs_are_unique(tmp_path: Path):
    for view in (1, 2):
        writers.nw_ucla(tmp_path, writers.people("nw-ucla"), name=f"a01_s01_e01_v0{view}")
    assert [j.name for j in nw_ucla.jobs(tmp_path)] == ["a01_s01_e01_v01", "a01_s01_e01_v02"]
    assert json.dumps([dict(c.meta) for c in read_all("nw-ucla", tmp_path)])
