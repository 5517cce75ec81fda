"""WLASL, MS-ASL, NMFs-CSL and SLR500: made pose files with lists of the published form."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import sign_writers as writers

from kinema.cli import main
from kinema.data.build import BuildSummary, build
from kinema.data.splits import check, split, splits
from kinema.data.store import Store
from kinema.errors import UserError
from kinema.motion.formats import FORMATS, guess, unpickle
from kinema.motion.formats.members import members
from kinema.motion.formats.sign_lists import MAX_LIST

IDS = ["00335", "00336", "00337", "00338", "00339", "00340"]
SUBSETS = ["train", "train", "val", "val", "test", "test"]


def points(frames: int = 3) -> np.ndarray:
    return (np.random.default_rng(0).uniform(0.1, 1, (frames, 133, 3)) * [300, 300, 1]).astype(np.float32)


def put(folder: Path, name: str, content: Any) -> None:
    """A list, or a pose file by its suffix."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".json"):
        file.write_text(json.dumps(content))
    elif name.endswith(".npy"):
        np.save(file, content)
    elif name.endswith(".npz"):
        np.savez(file, keypoints=content)
    elif name.endswith(".pkl"):
        file.write_bytes(pickle.dumps(content))
    else:
        file.write_text(content)


def listing(ids: list[str] = IDS) -> dict[str, Any]:
    return {v: {"subset": s, "action": [i % 2 * 99, 1, 55]} for i, (v, s) in enumerate(zip(ids, SUBSETS, strict=True))}


def wlasl(folder: Path) -> Path:
    """Six videos in the formats of 133 points, with image sizes."""
    put(folder, "nslt_100.json", listing())
    put(folder, "sizes.json", {v: [640, 480] for v in IDS})
    for i, video in enumerate(IDS):
        suffix = (".npy", ".npz", ".pkl")[i % 3]
        masa = {"keypoints": points(), "img_list": ["a", "b", "c"]}
        put(folder, f"poses/{video}{suffix}", masa if suffix == ".pkl" else points())
    return folder


def made(source: Path, dataset: str) -> tuple[Store, BuildSummary]:
    out = source.parent / "store"
    summary = build(source, out, dataset=dataset, workers=1, overwrite=True)
    return Store.open(out), summary


def refused(source: Path, dataset: str) -> str:
    with pytest.raises(UserError) as error:
        made(source, dataset)
    message = str(error.value)
    assert "\n" not in message
    assert len(message.replace(str(source), "")) < 300
    return message


def test_wlasl(tmp_path: Path):
    source = wlasl(tmp_path / "raw")
    glosses = [{"gloss": f"g{i}", "instances": []} for i in range(120)]
    glosses[0]["instances"] = [{"video_id": "00335", "signer_id": 7}, {"video_id": "00337", "signer_id": -1}]
    put(source, "WLASL_v0.3.json", glosses)
    store, summary = made(source, "wlasl100")
    assert [e.id for e in store.entries] == IDS
    assert [e.label for e in store.entries] == [0, 99] * 3
    assert store.classes == tuple(f"g{i}" for i in range(100))
    assert store.clip(1).label_name == "g99"
    assert [e.subject for e in store.entries] == ["7", *[None] * 5]
    assert {e.image_size for e in store.entries} == {(640, 480)}
    np.testing.assert_array_equal(store.clip(2).positions[:, 0], points()[..., :2])
    assert (store.dataset, store.skeleton.name, summary.remarks) == ("wlasl100", "wholebody133", ())


def test_the_official_validation_part_validates(tmp_path: Path):
    store, _ = made(wlasl(tmp_path / "raw"), "wlasl100")
    assert splits(store) == ["official"]
    found = split(store, "official")
    assert [list(part) for part in (found.train, found.fit, found.validation, found.test)] == [[0, 1, 2, 3], [0, 1], [2, 3], [4, 5]]


def test_a_check_compares_with_the_published_counts(tmp_path: Path):
    store, _ = made(wlasl(tmp_path / "raw"), "wlasl100")
    first, second = check(store)
    assert first == "wlasl100: 6 clips; WLASL100, word-level American Sign Language has 2038"
    assert second == "wlasl100: split official has 2 / 2 / 2 clips; expected 1442 / 338 / 258"


def test_missing_pose_files_are_counted_by_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = wlasl(tmp_path / "raw")
    for video in ("00335", "00336", "00339"):
        next(source.glob(f"poses/{video}.*")).unlink()
    put(source, "poses/99999.npy", points())
    assert main(["data", "build", str(source), "--dataset", "wlasl100", "--out", str(tmp_path / "s"), "--strict"]) == 0
    out = capsys.readouterr().out
    assert "clips of nslt_100.json without a pose file: 3 of 6 (2 train, 0 validation, 1 test)" in out
    assert "pose files of no clip of nslt_100.json, left out: 1" in out
    assert "100 classes" in out


def test_the_list_chooses_the_subset(tmp_path: Path):
    source = wlasl(tmp_path / "raw")
    assert guess(source) == "wlasl100"
    put(
        source,
        "nslt_300.json",
        {"00335": {"subset": "test", "action": [299, 1, 5]}, "00336": {"subset": "train", "action": [1, 1, 5]}},
    )
    assert guess(source) == "wlasl300"
    store, _ = made(source, "wlasl300")
    assert [(e.id, e.label) for e in store.entries] == [("00335", 299), ("00336", 1)]
    assert len(store.classes) == 300
    assert "no nslt_1000.json" in refused(source, "wlasl1000")


def test_names_from_the_class_list_or_numbers(tmp_path: Path):
    source = wlasl(tmp_path / "raw")
    assert made(source, "wlasl100")[0].classes == tuple(map(str, range(100)))
    put(source, "wlasl_class_list.txt", "".join(f"{i}\tsign {i}\n" for i in range(2000)))
    assert made(source, "wlasl100")[0].classes == tuple(f"sign {i}" for i in range(100))


def test_a_zip_and_its_folder_give_the_same_jobs(tmp_path: Path):
    source = wlasl(tmp_path / "raw")
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", source))
    a, b = (FORMATS["wlasl100"].jobs(s) for s in (source, archive))
    assert [(j.name, j.member.name, j.context) for j in a] == [(j.name, j.member.name, j.context) for j in b]
    assert len(made(archive, "wlasl100")[0]) == 6


def test_another_process_can_be_sent_the_work(tmp_path: Path):
    source = wlasl(tmp_path / "raw")
    store, _ = made(source, "wlasl100")
    job = FORMATS["wlasl100"].jobs(source)[0]
    read, sent = pickle.loads(pickle.dumps((FORMATS["wlasl100"].read, job)))  # what a worker process is sent
    np.testing.assert_array_equal(read(sent)[0].positions, store.clip(0).positions)
    for name in ("msasl200", "nmfs-csl", "slr500"):
        pickle.loads(pickle.dumps(FORMATS[name].read))


def test_image_sizes(tmp_path: Path):
    source = wlasl(tmp_path / "raw")
    put(source, "sizes.json", {"00336": [256, 256.0]})
    put(source, "poses/00337.pkl", {"keypoints": points(), "image_size": (320, 240)})
    store, summary = made(source, "wlasl100")
    assert [(e.id, e.image_size) for e in store.entries] == [("00336", (256, 256)), ("00337", (320, 240))]
    assert [name for name, _ in summary.skipped] == ["00335", "00338", "00339", "00340"]
    (source / "sizes.json").unlink()
    (source / "poses/00337.pkl").unlink()
    message = refused(source, "wlasl100")
    assert 'no image size; write it into sizes.json beside the list: {"00335": [width, height], ...}' in message


def test_dot_pose_and_openhands(tmp_path: Path):
    source = tmp_path / "raw"
    put(source, "nslt_100.json", {v: row for v, row in listing().items() if v in IDS[:2]})
    components = [("LEFT_HAND_LANDMARKS", "XYZC", writers.MEDIAPIPE_HAND), ("RIGHT_HAND_LANDMARKS", "XYZC", writers.MEDIAPIPE_HAND)]
    score = np.ones((2, 1, 42))
    (source / "00335.pose").write_bytes(writers.pose(0.2, components, np.full((2, 1, 42, 3), 99.0), score))
    pixels = {"keypoints": np.full((2, 75, 3), 77.0), "confidences": np.ones((2, 75))}
    put(source, "sizes.json", {"00336": [90, 90]})
    put(source, "00336.pkl", pixels)
    store, _ = made(source, "wlasl100")
    assert [(e.image_size, e.units) for e in store.entries] == [((640, 480), "pixels"), ((90, 90), "pixels")]
    assert store.skeleton.name == "holistic75"
    put(source, "00336.pkl", pixels | {"keypoints": np.full((2, 75, 3), 0.5)})
    message = refused(source, "wlasl100")
    assert (
        "1 of holistic75 (75 joints, 2-D, pixels), such as 00335; 1 of holistic75 (75 joints, 2-D, normalised), such as 00336"
        in message
    )
    (source / "00336.pkl").unlink()
    put(source, "00336.npy", points())
    message = refused(source, "wlasl100")
    assert "1 of wholebody133 (133 joints, 2-D, pixels), such as 00336" in message
    assert "convert all by the names of joints: --skeleton sign49" in message


def row(subset: Any = "train", action: Any = (0, 1, 2)) -> dict[str, Any]:
    return {"subset": subset, "action": action}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nslt_100.json", [], "no clips; expected"),
        ("nslt_100.json", {"../../00335": row()}, "video '../../00335': the id is no plain file name"),
        ("nslt_100.json", {"a\\b": row()}, "no plain file name"),
        ("nslt_100.json", {"00335": row(action=[-1, 1, 2])}, "video '00335': class -1; expected a whole number from 0 to 99"),
        ("nslt_100.json", {"00335": row(action=[10**400, 1, 2])}, "class int; expected"),
        ("nslt_100.json", {"00335": row(action=["x" * 10**4, 1, 2])}, "; expected a whole number"),
        ("nslt_100.json", {"00335": row(action=[True])}, "class True; expected"),
        ("nslt_100.json", {"00335": row(action=[1.0])}, "class 1.0; expected"),
        ("nslt_100.json", {"00335": row(action=[])}, "action list; expected [class, first frame, last frame]"),
        ("nslt_100.json", {"00335": row(subset="practice")}, "subset 'practice'; expected one of train, validation, test"),
        ("nslt_100.json", {"00335": 3}, "subset NoneType; expected"),
        ("WLASL_v0.3.json", {}, "expected a list of"),
        ("WLASL_v0.3.json", [{"gloss": "a"}], "1 class; nslt_100.json needs 100"),
        ("WLASL_v0.3.json", [{"gloss": "a\nb"}], "entry 0: 'a\\nb' is not the name of a class"),
        ("wlasl_class_list.txt", "0\tbook\n2\tdrink\n", "line 2 is '2\\tdrink'; expected class 1"),
        ("sizes.json", [], 'expected {"clip name": [width, height], ...}'),
        ("sizes.json", {"00335": [0, 480]}, "'00335': image size 0 x 480"),
        ("sizes.json", {"00335": 640}, "'00335': expected [width, height]"),
        ("sizes.json", {"00335": [1e999, 480]}, "image size float x 480"),
        ("b/sizes.json", {}, "sizes.json is there twice, as b/sizes.json and sizes.json"),
        ("b/00335.npy", points(), "two pose files of 00335, b/00335.npy and poses/00335.npy"),
    ],
)
def test_bad_wlasl_lists(tmp_path: Path, name: str, content: Any, message: str):
    source = wlasl(tmp_path / "raw")
    put(source, name, content)
    assert message in refused(source, "wlasl100")


def test_a_list_that_is_no_json_too_large_or_without_pose_files(tmp_path: Path):
    source = wlasl(tmp_path / "raw")
    (source / "nslt_100.json").write_text("[" * 100_000)
    assert "not JSON" in refused(source, "wlasl100")
    with (source / "nslt_100.json").open("wb") as file:
        file.truncate(MAX_LIST + 1)
    assert f"at most {MAX_LIST} are read" in refused(source, "wlasl100")
    put(source, "nslt_100.json", {"11111": row()})
    assert "of 1 clip in nslt_100.json none has a pose file; expected one for each, called 11111" in refused(source, "wlasl100")


def test_a_bad_entry_of_a_list_is_skipped_by_name(tmp_path: Path):
    source = wlasl(tmp_path / "raw")
    put(source, "nslt_100.json", listing() | {"00336": row(action=[100, 1, 2]), "00338": row(subset="practice")})
    store, summary = made(source, "wlasl100")
    assert [e.id for e in store.entries] == ["00335", "00337", "00339", "00340"]
    assert [name for name, _ in summary.skipped] == ["video '00336'", "video '00338'"]
    assert summary.skipped[0][1] == "class 100; expected a whole number from 0 to 99"
    with pytest.raises(UserError, match=r"nslt_100.json, video '00336': class 100"):
        build(source, tmp_path / "strict", dataset="wlasl100", workers=1, progress=False, strict=True)

    source = msasl(tmp_path / "lists")
    put(source, "MSASL_train.json", [entry(0), entry(10**30), entry(99, width=-1), entry(1)])
    put(source, "sizes.json", {"val_00000": [320, 240]})
    store, summary = made(source, "msasl100")
    assert [e.id for e in store.entries] == ["train_00000", "val_00000", "test_00000"]
    assert [name for name, _ in summary.skipped][-2:] == ["entry 1", "entry 2"]

    source = tmp_path / "table"
    put(source, "list.csv", "file,label,split\na.npy,1,Training\na.npy,1,test\nb.npy,2,\nb.npy,2,dev\nc.npy,-1,test\n")
    put(source, "a.npy", points())
    put(source, "b.npy", points())
    store, summary = made(source, "slr500")
    assert [(e.id, e.meta["split"]) for e in store.entries] == [("a.npy", "train"), ("b.npy", "validation")]
    assert [name for name, _ in summary.skipped] == ["line 3", "line 4", "line 6"]
    assert "'a.npy' was in a line before" in summary.skipped[0][1]


def test_lists_may_call_the_validation_part_otherwise(tmp_path: Path):
    source = msasl(tmp_path / "raw")
    (source / "MSASL_val.json").rename(source / "MSASL_dev.json")
    (source / "val").rename(source / "dev")
    put(source, "sizes.json", {"val_00000": [320, 240]})
    store, _ = made(source, "msasl100")
    assert [e.id for e in store.entries if e.meta["split"] == "validation"] == ["val_00000"]


def test_a_pickle_is_unpickled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = wlasl(tmp_path / "raw")
    put(source, "poses/00337.pkl", {"keypoints": np.full((2, 75, 3), 0.5), "confidences": np.ones((2, 75))})
    jobs = {job.name: job for job in FORMATS["wlasl100"].jobs(source)}
    runs: list[int] = []
    original = unpickle._run  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(unpickle, "_run", lambda *given: runs.append(1) or original(*given))
    assert FORMATS["wlasl100"].read(jobs["00337"])[0].skeleton.name == "holistic75"
    assert FORMATS["wlasl100"].read(jobs["00340"])[0].skeleton.name == "wholebody133"
    assert len(runs) == 2


def test_a_pickle_that_runs_code_is_skipped(tmp_path: Path):
    source = wlasl(tmp_path / "raw")
    (source / "poses/00337.pkl").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "pwned").encode() + b"'\ntR.")
    _, summary = made(source, "wlasl100")
    assert [name for name, _ in summary.skipped] == ["00337"]
    assert not (tmp_path / "pwned").exists()


def entry(label: Any, signer: Any = 3, **more: Any) -> dict[str, Any]:
    facts = {"clean_text": "x", "start": 0, "end": 9, "file": "some", "url": "u", "width": 640.0, "height": 360.0}
    return facts | {"label": label, "signer_id": signer} | more


def msasl(folder: Path) -> Path:
    put(folder, "MSASL_train.json", [entry(0), entry(150), entry(99, signer=None), entry(1)])
    put(folder, "MSASL_val.json", [entry(1, width=None)])
    put(folder, "MSASL_test.json", [entry(2), entry(999)])
    put(folder, "MSASL_classes.json", [f"c{i}" for i in range(1000)])
    for name in ("train_00000.npy", "p/train/1.npz", "train_00002.npy", "val/00000.npy", "p/test_00000.npy", "test/00001.npy"):
        put(folder, name, points())
    return folder


def test_msasl(tmp_path: Path):
    source = msasl(tmp_path / "raw")
    put(source, "sizes.json", {"val_00000": [320, 240]})
    store, summary = made(source, "msasl100")
    assert [(e.id, e.label, e.subject, e.image_size) for e in store.entries] == [
        ("train_00000", 0, "3", (640, 360)),
        ("train_00002", 99, None, (640, 360)),
        ("val_00000", 1, "3", (320, 240)),
        ("test_00000", 2, "3", (640, 360)),
    ]
    assert store.classes == tuple(f"c{i}" for i in range(100))
    found = split(store, "official")
    assert [list(part) for part in (found.fit, found.validation, found.test)] == [[0, 1], [2], [3]]
    assert summary.remarks == (
        "clips of MSASL_train.json, _val and _test without a pose file: 1 of 5 (1 train, 0 validation, 0 test)",
        "pose files of no clip of MSASL_train.json, _val and _test, left out: 2",
    )
    assert [len(FORMATS[f"msasl{n}"].jobs(source)) for n in (200, 500, 1000)] == [5, 5, 6]
    assert guess(source) == "msasl1000"
    assert check(store) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("MSASL_train.json", [entry(-1)], "MSASL_train.json, entry 0: class -1; expected a whole number from 0 to 999"),
        ("MSASL_train.json", [entry(10**30)], "entry 0: class int; expected"),
        ("MSASL_train.json", [entry("3")], "entry 0: class '3'; expected"),
        ("MSASL_train.json", ["x"], "entry 0: class NoneType; expected"),
        ("MSASL_train.json", {}, "expected a list of"),
        ("MSASL_val.json", [entry(0, width=-4)], "image size -4 x 360.0"),
        ("MSASL_val.json", [entry(0, height="tall")], "image size 640.0 x 'tall'"),
        ("MSASL_classes.json", ["a"], "1 name; expected a list of at least 100"),
        ("MSASL_classes.json", [7] * 100, "entry 0: 7 is not the name of a class"),
        ("train/00000.pose", "", "two pose files of train_00000, train/00000.pose and train_00000.npy"),
    ],
)
def test_bad_msasl_lists(tmp_path: Path, name: str, content: Any, message: str):
    source = msasl(tmp_path / "raw")
    put(source, name, content)
    assert message in refused(source, "msasl100")


def test_msasl_needs_its_three_lists(tmp_path: Path):
    source = msasl(tmp_path / "raw")
    (source / "MSASL_val.json").unlink()
    assert "no MSASL_val.json; put the three lists" in refused(source, "msasl100")


@pytest.mark.parametrize(("name", "sizes"), [("nmfs-csl", [(1000, 720), (540, 540)]), ("slr500", [(1280, 720)] * 2)])
def test_tables_of_ours(tmp_path: Path, name: str, sizes: list[tuple[int, int]]):
    source = tmp_path / "raw"
    put(
        source,
        "list.csv",
        "file,label,split,signer\na/1.npy,609,train,ann\n2.npy,610,test,\n3.npy,0,validation,ben\ngone.pkl,3,test,\n",
    )
    for file in ("a/1.npy", "2.npy", "3.npy"):
        put(source, file, points())
    assert guess(source) == "wholebody"
    store, summary = made(source, name)
    assert [(e.id, e.label, e.subject) for e in store.entries] == [
        ("a/1.npy", 609, "ann"),
        ("2.npy", 610, None),
        ("3.npy", 0, "ben"),
    ]
    assert [e.image_size for e in store.entries[:2]] == sizes
    assert store.classes == tuple(map(str, range(611)))
    found = split(store, "given")
    assert [list(part) for part in (found.fit, found.validation, found.test)] == [[0], [2], [1]]
    assert summary.remarks == ("clips of list.csv without a pose file: 1 of 4 (0 train, 0 validation, 1 test)",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.npy,0\n", "line 1: no column split, only 'file', 'label'; required: file, label, split; possible: signer"),
        ("file,label,split\n", "a header and no clips"),
        ("file,label,split\na.npy,-1,train\n", "line 2: class '-1'; expected a whole number from 0 to 9999"),
        ("file,label,split\na.npy,99999999,train\n", "class 99999999; expected"),
        ("file,label,split\na.npy,wave,train\n", "class 'wave'; expected"),
        ("file,label,split\na.npy,1,both\n", "split 'both'; expected one of train, validation, test"),
        ("file,label,split\n../a.npy,1,train\n", "line 2: file '../a.npy'; expected a path in the source"),
        ("file,label,split\n/a.npy,1,train\n", "expected a path in the source"),
        ("file,label,split\na.mp4,1,train\n", "that ends in .pose"),
        ("file,label,split\na.npy,1\n", "line 2: 2 cells; the header has 3"),
        ('file,label,split\n"a.npy,1,train\n', "not a CSV row"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str):
    put(tmp_path / "raw", "list.csv", text)
    put(tmp_path / "raw", "a.npy", points())
    assert message in refused(tmp_path / "raw", "slr500")


def test_a_folder_without_a_table_is_told_what_to_write(tmp_path: Path):
    put(tmp_path / "raw", "a.npy", points())
    assert len(members(tmp_path / "raw")) == 1
    assert "no list.csv; write one beside the pose files, columns file,label,split,signer" in refused(tmp_path / "raw", "nmfs-csl")
