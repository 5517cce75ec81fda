"""Letters that can be written in two ways are one letter, wherever names meet."""

from __future__ import annotations

import json
import pickle
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kinema.data.build import build
from kinema.data.store import INDEX, Store
from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.formats import FORMATS, npz, read_file, user
from kinema.motion.formats.members import members
from kinema.motion.names import one_form
from kinema.motion.skeleton import Skeleton, tree

NFC, NFD = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))
STICK = tree("stick", "root -\na root\nb root\nc root")
P = np.random.default_rng(0).random((8, 4, 3)).astype(np.float32)
FORMS = [(NFC, NFD), (NFD, NFC), (NFD, NFD)]


def test_one_form():
    assert NFC != NFD
    assert one_form(NFD) == one_form(NFC) == NFC
    assert one_form("plain") == "plain"


@pytest.mark.parametrize(("disk", "table"), FORMS)
def test_files_of_a_table_are_found_and_opened_by_the_name_that_the_disk_has(tmp_path: Path, disk: str, table: str):
    folder = tmp_path / "in"
    (folder / disk).mkdir(parents=True)
    np.save(folder / disk / f"{disk}.npy", P)
    text = f"file,label\n{table}/{table}.npy,x\n"
    (folder / "clips.csv").write_text(text)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(folder / disk / f"{disk}.npy", f"{disk}/{disk}.npy")
        archive.writestr("clips.csv", text)
    for source in (folder, tmp_path / "in.zip"):
        (job,) = user.jobs(source, None, STICK)
        assert job.name == f"{NFC}/{NFC}.npy"
        np.testing.assert_array_equal(user.read(job)[0].positions[:, 0], P)


def test_a_zip_of_macos_that_does_not_say_how_its_names_are_written(tmp_path: Path):
    file = tmp_path / "x.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{NFD}.txt", "here")
    content = bytearray(file.read_bytes())
    for mark, place in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        content[content.index(mark) + place] &= ~0x08
    file.write_bytes(content)
    (found,) = members(file)
    assert (found.name, found.read()) == (f"{NFC}.txt", b"here")


def test_both_forms_in_one_folder_are_told(tmp_path: Path):
    (tmp_path / f"{NFC}.npy").touch()
    (tmp_path / f"{NFD}.npy").touch()
    with pytest.raises(UserError, match=r"'Jos.xe9.npy' and 'Jose.u0301.npy' are one name with its letters in two forms"):
        members(tmp_path)


def test_labels_subjects_and_views_are_kept_in_one_form(tmp_path: Path):
    rows = [f"{name}.npy,{form},{form},{form}" for name, form in zip("abcd", (NFC, NFD, NFC, NFD), strict=True)]
    for name in "abcd":
        np.save(tmp_path / f"{name}.npy", P)
    (tmp_path / "clips.csv").write_text("\n".join(["file,label,subject,view", *rows]))
    build(tmp_path, tmp_path / "out", format="user", skeleton=STICK, workers=1)
    store = Store.open(tmp_path / "out")
    assert store.classes == (NFC,)
    assert {(e.subject, e.view) for e in store.entries} == {(NFC, NFC)}
    assert NFD not in (tmp_path / "out" / INDEX).read_text("utf-8")


def test_a_clip_and_a_store_keep_one_form_whoever_writes_them(tmp_path: Path):
    clip = Clip(P[:, None], STICK, label_name=NFD, subject=NFD, view=NFD)
    assert (clip.label_name, clip.subject, clip.view) == (NFC, NFC, NFC)
    clips = [("a", clip.with_(label_name=NFC)), ("b", clip)]
    assert Store.write(tmp_path / "s", clips, name="s").classes == (NFC,)
    assert Store.write(tmp_path / "t", clips, name="t", classes=[NFD, "other"]).labels.tolist() == [0, 0]


def test_ids_and_members_named_on_the_command_line(tmp_path: Path):
    npz.write(Clip(P[:, None], STICK), tmp_path / f"{NFD}.npz")
    build(tmp_path, tmp_path / "out", workers=1)
    assert [e.id for e in Store.open(tmp_path / "out").entries] == [NFC]
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / f"{NFD}.npz", f"{NFD}.npz")
    for form in (NFC, NFD):
        assert read_file(tmp_path / f"x.zip:{form}.npz")[0].frames == 8


def test_joints_are_one_in_both_forms():
    described = {"joints": [NFD, "b", "c"], "parents": [None, NFC, "b"], "pairs": [["b", "c"]], "parts": {"all": [NFC]}}
    skeleton = Skeleton.from_json({**described, "bones": [["b", NFD]]})
    assert skeleton.joints == (NFC, "b", "c")
    assert skeleton.index(NFD) == skeleton.index(NFC) == 0
    assert skeleton.has(NFD)
    with pytest.raises(UserError, match="the joint 'José' is there twice"):
        Skeleton("x", (NFC, NFD), (-1, 0))


@pytest.mark.parametrize(("disk", "table"), FORMS)
def test_lists_of_signs(tmp_path: Path, disk: str, table: str):
    np.save(tmp_path / f"{disk}.npy", np.ones((3, 133, 3)))
    (tmp_path / "list.csv").write_text(f"file,label,split,signer\n{table}.npy,0,train,{table}\n")
    (job,) = FORMATS["slr500"].jobs(tmp_path)
    assert job.name == f"{NFC}.npy"
    assert FORMATS["slr500"].read(job)[0].subject == NFC


def test_names_of_signs_and_image_sizes(tmp_path: Path):
    np.save(tmp_path / "1.npy", np.full((3, 133, 3), 0.5))
    (tmp_path / "nslt_100.json").write_text(json.dumps({"1": {"subset": "train", "action": [0, 0, 1]}}))
    (tmp_path / "WLASL_v0.3.json").write_text(json.dumps([{"gloss": NFD}, *({"gloss": str(i)} for i in range(99))]))
    (tmp_path / "sizes.json").write_text('{"1": [640, 480]}')
    found = FORMATS["wlasl100"].jobs(tmp_path)
    assert found.classes[0] == NFC
    assert FORMATS["wlasl100"].read(found[0])[0].label_name == NFC


def test_splits_of_a_pickle_list_clips_in_either_form(tmp_path: Path):
    points = np.random.default_rng(0).uniform(50, 400, (1, 5, 17, 2))
    annotations = [{"frame_dir": name, "label": 0, "keypoint": points.copy()} for name in (NFC, f"{NFD}2")]
    split = {"x_train": [NFD], "x_test": [f"{NFC}2"]}
    (tmp_path / "data.pkl").write_bytes(pickle.dumps({"annotations": annotations, "split": split}))
    clips = read_file(tmp_path / "data.pkl")
    assert [clip.meta["splits"] for clip in clips] == [["x_train"], ["x_test"]]


def test_the_case_of_a_stranger():
    case = Path(__file__).resolve().parents[2].parent / "shared" / "cases" / "csv-nfd"
    if not case.exists():
        pytest.skip(f"needs {case}")
    assert len(user.jobs(case)) == 9
