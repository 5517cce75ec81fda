"""The road through the verbs, from files to a trained and measured run: what each makes, and that its mistakes leave nothing."""

import json
import os
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "motion"))
from ntu_writers import person

from kinema.data.store import Store
from kinema.motion.clip import Clip
from kinema.motion.formats import npz
from kinema.motion.skeletons import COCO17, NTU25
from kinema.training.checkpoint import read_weights
from kinema.training.folder import locked


def snapshot(folder):
    return {p: p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file() and p.name != ".lock"}


# from files to features and pictures


def test_check_reads_everything(good, bad, made):
    said = good("data", "check", made.store)
    assert "whole; 24 clips, 10 classes, kinect20" in said
    assert "has 1484" in said
    assert "differences from the published protocol: nw-ucla: 24 clips" in bad("data", "check", made.store, "--strict")


def test_build_names_what_it_skips(good, bad, made, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for file in sorted(made.raw.iterdir())[:4]:
        (raw / file.name).write_bytes(file.read_bytes())
    (raw / "a01_s01_e09_v01.json").write_bytes(b"\x80\x04.")
    said = good("data", "build", raw, "--dataset", "nw-ucla", "--out", tmp_path / "s", "--workers", 1)
    assert "4 clips from 5 files" in said
    assert "a01_s01_e09_v01: not a text file" in said
    said = bad("data", "build", raw, "--dataset", "nw-ucla", "--out", tmp_path / "t", "--workers", 1, "--strict")
    assert "a01_s01_e09_v01" in said
    assert not (tmp_path / "t").exists()
    before = snapshot(tmp_path / "s")
    assert "--overwrite" in bad("data", "build", raw, "--dataset", "nw-ucla", "--out", tmp_path / "s", "--workers", 1)
    assert snapshot(tmp_path / "s") == before
    good("data", "build", made.raw, "--dataset", "nw-ucla", "--out", tmp_path / "s", "--workers", 1, "--overwrite")
    assert len(Store.open(tmp_path / "s")) == 24


@pytest.mark.parametrize("kind", ["png", "gif", "mp4"])
def test_show_draws(good, made, tmp_path, kind):
    magic = {"png": b"\x89PNG", "gif": b"GIF8", "mp4": b"ftyp"}[kind]
    out = tmp_path / f"clip.{kind}"
    said = good("show", made.store, "--clip", 3, "--out", out)
    assert "clip 3 of 24" in said
    assert "kinect20" in said
    assert magic in out.read_bytes()[:12]


def test_show_takes_files_folders_zips_and_bare_arrays(good, bad, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = sorted(made.raw.iterdir())[0]
    assert "clip 0 of 1" in good("show", file)
    assert (tmp_path / f"{file.stem}.png").exists()
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for f in sorted(made.raw.iterdir()):
            archive.write(f, f"inner/{f.name}")
    assert "kinect20" in good("show", made.raw, "--clip", 5)
    assert "inner/a" in good("show", tmp_path / "all.zip", "--clip", 5)
    assert "clip 0 of 1" in good("show", f"{tmp_path / 'all.zip'}:inner/{file.name}")
    assert "has 24 clips, from 0 to 23" in bad("show", tmp_path / "all.zip", "--clip", 24)
    assert "has 24 clips, from 0 to 23" in bad("show", made.store, "--clip", 24)
    assert "--clip -1" in bad("show", made.raw, "--clip", -1)
    np.save("bare.npy", person(6))
    assert "name its joints with --skeleton" in bad("show", "bare.npy")
    assert "6 (0.20 s" in good("show", "bare.npy", "--skeleton", "ntu25")
    assert "expected (frames, 15, 3)" in bad("show", "bare.npy", "--skeleton", "sbu15")
    (tmp_path / "mine.json").write_text(json.dumps(NTU25.to_json()))
    np.savetxt("bare.csv", person(6).reshape(6, 75), delimiter=",")
    assert "ntu25" in good("show", "bare.csv", "--skeleton", "mine.json")
    assert "leave it out" in bad("show", made.store, "--skeleton", "ntu25")
    assert "leave it out" in bad("show", file, "--skeleton", "ntu25")
    assert "leave it out" in bad("show", made.raw, "--skeleton", "ntu25")


def test_what_a_file_says_cannot_drive_the_terminal(good, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = Clip(person(4)[:, None].astype(np.float32), NTU25, label=0, label_name="wave\x1b[31m\x07", source="x\x1b]0;y\x07")
    npz.write(clip, tmp_path / "a.npz")
    said = good("show", "a.npz")
    assert "\x1b" not in said
    assert r"wave\x1b[31m\x07" in said


def test_evaluate_embed_and_their_mistakes(good, bad, made, tmp_path):
    shared = ("--data", made.store, "--split", "view", "--accelerator", "cpu")
    said = good("evaluate", made.run, made.other, *shared, "--out", tmp_path / "e", "--protocols", "knn", "raw-knn")
    assert "1-nearest neighbour on frozen features" in said
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert set(metrics["protocols"]) == {"knn", "raw-knn"}
    assert metrics["clips"]["test"] == 8
    assert "<html" in (tmp_path / "e" / "report.html").read_text()[:200]
    before = snapshot(tmp_path / "e")

    assert "unknown protocol 'knm': did you mean knn" in bad(
        "evaluate", made.run, *shared, "--out", tmp_path / "e", "--protocols", "knm"
    )
    assert "unknown split 'veiw': did you mean view" in bad("evaluate", made.run, *shared[:3], "veiw", "--out", tmp_path / "e")
    assert "the same seed" in bad("evaluate", made.run, made.run, *shared, "--out", tmp_path / "e")
    assert "no store here" in bad("evaluate", made.run, "--data", made.run, "--split", "view", "--out", tmp_path / "e")
    assert "no run here" in bad("evaluate", made.store, *shared, "--out", tmp_path / "e")
    file = tmp_path / "e" / "metrics.json"
    assert f"{file} is a file" in bad("evaluate", made.run, *shared, "--out", file / "x", "--protocols", "raw-knn")
    assert snapshot(tmp_path / "e") == before

    for source, count in ((made.store, 24), (made.raw, 24), (sorted(made.raw.iterdir())[0], 1)):
        assert f"of {count} clip{'s' if count > 1 else ''};" in good(
            "embed", made.run, source, "--out", tmp_path / "f.npz", "--accelerator", "cpu"
        )
        with np.load(tmp_path / "f.npz", allow_pickle=False) as found:
            assert found["features"].shape == (count, 16 * 20)  # `small` puts the features of joints side by side
            assert found["labels"].min() >= 0
    npz.write(Clip(person(4)[:, None].astype(np.float32), NTU25), tmp_path / "ntu.npz")
    before = snapshot(tmp_path)
    said = bad("embed", made.run, tmp_path / "ntu.npz", "--out", tmp_path / "f.npz", "--accelerator", "cpu")
    assert "ntu25 (25 joints), but" in said
    assert "trained on kinect20" in said
    assert snapshot(tmp_path) == before


def test_retrieve_prints_and_draws(good, bad, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made.run, "run")
    shared = ("--data", made.store, "--run", "run", "--accelerator", "cpu")
    store = Store.open(made.store)
    said = good("retrieve", made.store, "--clip", 4, *shared)
    assert "computing features of 24 clips" in said
    assert f"the query is in the store ({store.entries[4].id}) and left out" in said
    assert "drawn to retrieved.png" in said
    assert Path("retrieved.png").read_bytes()[:4] == b"\x89PNG"

    source = sorted(made.raw.iterdir())[4]
    found = json.loads(good("retrieve", source, *shared, "--json", "--top", 3, "--out", "a.html"))
    assert found["left_out"] == [source.stem]
    assert (found["store"], found["clips"], found["stream"], found["picture"]) == (store.name, 24, None, "a.html")
    label = store.entries[4].label
    assert found["query"] == {"source": str(source), "clip": 0, "label": label, "class_name": store.classes[label]}
    assert [n["rank"] for n in found["neighbours"]] == [1, 2, 3]
    for n in found["neighbours"]:
        entry = store.entries[n["row"]]
        assert (n["id"], n["label"], n["class_name"], n["source"]) == (
            entry.id,
            entry.label,
            store.classes[entry.label],
            entry.source,
        )
        assert n["id"] in said  # the table before gave the same ones
        assert f"{n['similarity']:.3f}" in said
    page = Path("a.html").read_text()
    assert page.count("<canvas") == 4
    assert page.count('class="motion"') == 1  # in step
    assert str(tmp_path) not in page

    assert "only 23 clips to compare with; all are given" in good("retrieve", made.store, *shared, "--top", 99)
    np.save("bare.npy", store.clip(0).positions[:, 0])  # a bare array has the joints of the run
    assert "and left out" in good("retrieve", "bare.npy", *shared)

    before = snapshot(tmp_path)
    npz.write(Clip(person(4)[:, None].astype(np.float32), NTU25), tmp_path / "ntu.npz")
    assert "ntu.npz: ntu25 (25 joints), but run was trained on kinect20 (20 joints)" in bad("retrieve", "ntu.npz", *shared)
    npz.write(store.clip(0).with_(positions=np.zeros_like(store.clip(0).positions), source="empty"), tmp_path / "ntu.npz")
    assert "ntu.npz: nobody is in any of its 10 frames" in bad("retrieve", "ntu.npz", *shared)
    Path("ntu.npz").unlink()
    assert "has 24 clips, from 0 to 23" in bad("retrieve", made.store, *shared, "--clip", 24)
    assert "stream 'joint': run (mamp) has no streams" in bad("retrieve", made.store, *shared, "--stream", "joint")
    assert "no store here" in bad("retrieve", made.store, *shared[2:], "--data", "run")
    assert "no such file or folder" in bad("retrieve", "nothing.npz", *shared)
    assert snapshot(tmp_path) == before


def test_names_in_a_store_cannot_drive_the_terminal_that_retrieves(good, made, tmp_path):
    store = Store.open(made.store)
    evil = ("[red]x[/red]\x1b[31m", "<script>alert(1)</script>")
    clips = [(f"{i}\x1b]0;y\x07", store.clip(i).with_(label=i % 2, label_name=evil[i % 2])) for i in range(6)]
    Store.write(tmp_path / "s", clips, name="evil\x1b", classes=evil)
    shutil.copytree(made.run, tmp_path / "run")
    shared = ("--data", tmp_path / "s", "--run", tmp_path / "run", "--accelerator", "cpu", "--out", tmp_path / "a.html")
    said = good("retrieve", tmp_path / "s", *shared)
    assert "\x1b" not in said
    assert "[red]" in said  # as it is, not as a colour
    assert "\x1b" not in good("retrieve", tmp_path / "s", *shared, "--json")
    assert "<script>alert" not in (tmp_path / "a.html").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(bad, made, tmp_path):
    assert "accelerator cuda: this machine has none" in bad(
        "embed", made.run, made.store, "--out", tmp_path / "f.npz", "--accelerator", "cuda"
    )
    assert "accelerator cuda: this machine has none" in bad(*made.train, "--out", tmp_path / "r", "--accelerator", "cuda")
    assert list(tmp_path.iterdir()) == []


# training


def test_stop_resume_and_the_wrong_way_to_do_it(good, bad, made, tmp_path):
    out = ("--out", tmp_path / "r")
    assert "stopped after 1 step; the same command with --resume goes on" in good(*made.train, *out, "--max-steps", 1)
    before = snapshot(tmp_path)
    assert "a run is already here; pass --resume to go on with it, or choose another folder" in bad(*made.train, *out)
    said = bad(*made.train, *out, "--resume", "--set", "model.tau=0.5")
    assert "model.tau (was 0.8, now 0.5)" in said
    assert "another configuration" in bad(*made.train, *out, "--resume", "--seed", 5)
    assert snapshot(tmp_path) == before
    assert "finished after 4 steps; measure it with `kinema evaluate" in good(*made.train, *out, "--resume")
    whole, parts = (read_weights(f) for f in (made.run, tmp_path / "r"))
    assert all(torch.equal(whole[k], v) for k, v in parts.items())


def test_a_folder_that_is_in_use(bad, made, tmp_path):
    with locked(tmp_path / "r"):
        assert f"another run (process {os.getpid()}) is using this folder" in bad(*made.train, "--out", tmp_path / "r")
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [".lock"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--preset", "smal"], "unknown preset of mamp 'smal': did you mean small"),
        (["--preset", "paper-ntu60"], "made for the 25 joints of Kinect v2, but the data has 20"),
        (["--split", "veiw"], "unknown split 'veiw': did you mean view"),
        (["--epochs", "0"], "epochs 0.0: expected a number above 0"),
        (["--epochs", "nan"], "--epochs NaN: expected a number above 0"),
        (["--epochs", "inf"], "--epochs Infinity: expected a number above 0"),
        (["--lr", "-1"], "--lr -1.0: expected a number above 0"),
        (["--batch-size", "0"], "--batch-size 0: expected 1 to "),
        (["--devices", "0"], "devices 0: expected 1 or more"),
        (["--checkpoint-minutes", "0"], "expected a number above 0"),
        (["--set", "model.tua=1"], "did you mean tau"),
        (["--set", "tau"], "expected path=value"),
        (["--set", "model.encoder.joints=19"], "model.encoder.joints is 19, but .* has 20"),
        (["--set", "model.encoder.heads=3"], "not divisible by 3 heads"),
        (["--set", "model.encoder.coordinates=2"], "has 3 coordinates a joint, the recipe expects 2"),
    ],
)
def test_a_run_that_cannot_begin_leaves_nothing(bad, made, tmp_path, options, said):
    # without the split and sizes of `made.train`, whose place the wrong ones take
    base = ["train", "mamp", "--data", made.store, "--out", tmp_path / "r", "--accelerator", "cpu"]
    assert re.search(said, bad(*base, *options))
    assert list(tmp_path.iterdir()) == []


def test_flat_poses_are_told_how(good, bad, made, tmp_path):
    rng = np.random.default_rng(0)
    clips = [
        (f"{i}", Clip(rng.normal(size=(9, 1, 17, 2)).astype(np.float32), COCO17, units="pixels", label=i % 2)) for i in range(6)
    ]
    Store.write(tmp_path / "flat", clips, name="flat", classes=("a", "b"))
    base = ("train", "mamp", "--data", tmp_path / "flat", "--out", tmp_path / "r", *made.tiny)
    said = bad(*base)
    assert "has 2 coordinates a joint" in said
    good(*base, *said.split("add ")[1].split())


def test_a_cached_classifier_is_never_that_of_another_run(good, bad, made, tmp_path):
    """Fine-tuning is not repeated; but the result of one run must not be reported for another of the same name and seed."""
    shutil.copytree(made.run, tmp_path / "run")
    shared = ("--data", made.store, "--split", "view", "--protocols", "finetune", "--epochs", 1, "--accelerator", "cpu")
    shared += ("--out", tmp_path / "e")
    good("evaluate", tmp_path / "run", *shared)
    before = json.loads((tmp_path / "e" / "metrics.json").read_text())["fine_tuned"]
    good("evaluate", tmp_path / "run", *shared)
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["fine_tuned"] == before
    shutil.rmtree(tmp_path / "run")
    good(*made.train, "--out", tmp_path / "run", "--lr", 0.1)
    said = bad("evaluate", tmp_path / "run", *shared)
    assert "another configuration: recipe.optimiser.lr (was" in said
    assert "encoder (was" in said


def test_a_store_is_no_run_folder(bad, made):
    before = snapshot(made.store)
    assert "holds a store, a run folder is another" in bad(*made.train, "--out", made.store)
    assert snapshot(made.store) == before


def test_a_users_own_data_needs_no_out(good, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "d"):
        np.save(folder / f"{name}.npy", rng.standard_normal((12, 2, 3)).astype(np.float32))
    (folder / "clips.csv").write_text("file,label\na.npy,left\nb.npy,right\nc.npy,left\nd.npy,right\n")
    (folder / "my.json").write_text(json.dumps({"name": "stick", "joints": ["top", "tip"], "parents": [None, "top"]}))
    monkeypatch.chdir(tmp_path)
    good("data", "build", "mine", "--index", "mine/clips.csv", "--skeleton", "mine/my.json", "--workers", "1")
    store = Store.open(tmp_path / "stores" / "mine")
    assert (len(store), store.classes, store.skeleton.joints) == (4, ("left", "right"), ("top", "tip"))
