"""Every kind of bad input through the real command: one clear line, exit code 2, nothing half-written, nothing lost."""

import hashlib
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch

sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("motion", "training")]
import writers
from ntu_writers import person, pku_text, skeleton_text
from toys import fork

from kinema import cli
from kinema.data.store import Store
from kinema.motion.clip import Clip
from kinema.motion.formats import npz
from kinema.motion.skeletons import NTU25

NAME = "S001C002P003R002A013"
SIZES = {"width": 16, "depth": 1, "heads": 2, "frames": 8}
TINY = [word for k, v in SIZES.items() for word in ("--set", f"model.encoder.{k}={v}")]
TINY += ["--set", "model.decoder_width=16", "--set", "model.decoder_depth=1"]


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


# motion files


def ntu_frames(people=1, frames=6, joints=25):
    bodies = [person(frames, seed=i) + np.array([float(i), 0, 0]) for i in range(people)]
    return [[(100 + i, b[t, :joints]) for i, b in enumerate(bodies)] for t in range(frames)]


def ntu(folder, variant):
    text = skeleton_text(ntu_frames())
    texts = {
        "wrong joint count": skeleton_text(ntu_frames(joints=24)),
        "NaN": text.replace(text.split("\n")[10].split(" ")[0], "nan", 1),
        "zero frames": skeleton_text([]),
        "no body": skeleton_text([[], [], []]),
        "one frame": skeleton_text(ntu_frames(frames=1)),
        "three bodies": skeleton_text(ntu_frames(people=3)),
        "a million bodies": "1\n1000000\n",
    }
    file = folder / f"{NAME}.skeleton"
    file.write_bytes(writers.BROKEN_BYTES[variant](text.encode()) if variant in writers.BROKEN_BYTES else texts[variant].encode())
    return file


def pku(folder, variant):
    video = np.stack([person(20, seed=0), person(20, seed=1)], 1)
    if variant == "NaN":
        video[3, 0, 4, 1] = np.nan
    if variant == "no body":
        video[:] = 0
    text = pku_text(video[: {"zero frames": 0, "one frame": 1}.get(variant, 20)])
    if variant == "wrong joint count":
        text = "\n".join(line.rsplit(" ", 3)[0] for line in text.splitlines())
    (folder / "skeleton").mkdir()
    (folder / "label").mkdir()
    content = writers.BROKEN_BYTES[variant](text.encode()) if variant in writers.BROKEN_BYTES else text.encode()
    (folder / "skeleton" / "0002-L.txt").write_bytes(content)
    (folder / "label" / "0002-L.txt").write_text("3,0,15,1\n")
    return folder


BROKEN = [*writers.BROKEN_BYTES, *writers.BROKEN_ARRAYS]
CASES = [
    # of a recording with labels, what a bad frame is not in can be used
    *((f, v) for f in writers.WRITERS for v in BROKEN if (f, v) != ("utkinect", "NaN")),
    *(("ntu", v) for v in [*BROKEN, "no body", "a million bodies"]),
    *(("pku", v) for v in [*BROKEN, "no body"]),
]
TOLERANT = {(format, "truncated") for format in ("msr-action3d", "sbu", "utkinect", "pku")}
"""Text that was cut at the end of a line looks whole: these formats announce no length."""


@pytest.mark.parametrize(("format", "variant"), CASES)
def test_a_broken_file_is_named_and_leaves_nothing(bad, tmp_path, format, variant):
    raw = tmp_path / "raw"
    raw.mkdir()
    if format in ("ntu", "pku"):
        file = {"ntu": ntu, "pku": pku}[format](raw, variant)
    else:
        file = writers.broken(format, raw, variant)
    if (format, variant) in TOLERANT:
        rows = file if file.is_file() else next((raw / "skeleton").iterdir())
        content = rows.read_bytes()
        rows.write_bytes(content.rstrip()[:-20])  # the last row is a stump
    before = contents(raw)
    said = bad("data", "build", raw, "--format", format, "--out", tmp_path / "store", "--workers", 1)
    assert str(raw) in said
    assert not (tmp_path / "store").exists()
    assert str(file if file.is_file() else raw) in bad("show", raw if format == "pku" else file, "--out", tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()
    assert contents(raw) == before


@pytest.mark.parametrize("variant", ["one frame", "three bodies"])
def test_unusual_files_simply_work(good, tmp_path, variant):
    raw = tmp_path / "raw"
    raw.mkdir()
    ntu(raw, variant)
    other = skeleton_text(ntu_frames(frames=9))
    (raw / "S001C001P001R001A001.skeleton").write_text(other)
    good("data", "build", raw, "--dataset", "ntu60", "--out", tmp_path / "s", "--workers", 1)
    store = Store.open(tmp_path / "s")
    clip = store.clip([e.id for e in store.entries].index(NAME))
    assert (clip.frames, clip.people) == {"one frame": (1, 1), "three bodies": (6, 3)}[variant]
    for kind in ("png", "gif", "mp4"):
        good("show", raw / f"{NAME}.skeleton", "--out", tmp_path / f"a.{kind}")
    run = ("--out", tmp_path / "run", "--data", tmp_path / "s", "--accelerator", "cpu", "--epochs", 1, "--batch-size", 2)
    for preset in ("small", "paper-ntu60"):
        options = [*TINY, "--out", tmp_path / preset]
        assert "finished after 1 step;" in good("train", "mamp", "--preset", preset, *run, *options)
        good("embed", tmp_path / preset, raw, "--out", tmp_path / "f.npz", "--accelerator", "cpu")
    with np.load(tmp_path / "f.npz") as found:
        assert np.isfinite(found["features"]).all()


def test_pku_of_one_frame_works(good, tmp_path):
    good("data", "build", pku(tmp_path, "one frame"), "--format", "pku", "--out", tmp_path / "s", "--workers", 1)
    assert Store.open(tmp_path / "s").clip(0).frames == 1


def test_one_bad_file_among_good_ones_is_skipped_and_named(good, tmp_path):
    for i in range(3):
        (tmp_path / f"S001C001P001R001A{i + 1:03}.skeleton").write_text(skeleton_text(ntu_frames()))
    ntu(tmp_path, "truncated")
    said = good("data", "build", tmp_path, "--dataset", "ntu60", "--out", tmp_path / "s", "--workers", 1)
    assert "3 clips from 4 files" in said
    assert f"{NAME}: frame 4 of 6: " in said


# archives and pickles


def walker(frames=12, seed=0):
    return Clip(person(frames, seed)[:, None].astype(np.float32), NTU25, label=seed % 2, label_name="ab"[seed % 2])


def read_and_build(bad, tmp_path, file):
    """What both ways of reading say of a file."""
    before = without_work(tmp_path)
    said = bad("show", file, "--out", tmp_path / "a.png") + bad("data", "build", file, "--out", tmp_path / "s", "--workers", 1)
    assert not (tmp_path / "s").exists()
    assert without_work(tmp_path) == before
    return said


def without_work(folder):
    """What is in a folder besides what a build keeps for its next try."""
    return {k: v for k, v in contents(folder).items() if ".building" not in str(k)}


def test_an_npz_that_expands_a_thousandfold(bad, tmp_path):
    npz.write(walker(), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as whole:
        arrays = dict(whole)
    np.savez_compressed(tmp_path / "a.npz", **{**arrays, "positions": np.zeros((400_000, 1, 25, 3), np.float32)})
    assert (tmp_path / "a.npz").stat().st_size < 400_000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "-fold" in read_and_build(bad, tmp_path, tmp_path / "a.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100_000, "kilobytes: it was never unpacked"


def test_an_npz_with_a_pickle_inside(bad, tmp_path):
    np.savez(tmp_path / "a.npz", positions=np.array([{"a": 1}], dtype=object), fps=30.0, skeleton="{}", facts="{}")
    assert "object" in read_and_build(bad, tmp_path, tmp_path / "a.npz")


class Runs:
    """Unpickles by calling a shell."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_hostile_pickle_runs_nothing(bad, tmp_path):
    mark = tmp_path / "it-ran"
    annotation = {"frame_dir": "a", "label": 0, "total_frames": 3, "keypoint": np.zeros((1, 3, 17, 2), np.float16)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"annotations": [annotation], "split": {}, "extra": Runs(mark)}))
    assert "system" in read_and_build(bad, tmp_path, tmp_path / "x.pkl")
    (tmp_path / "x.pkl").write_bytes(b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR.")
    assert "system" in read_and_build(bad, tmp_path, tmp_path / "x.pkl")
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["../../evil.skeleton", "/etc/evil.skeleton", "..\\evil.skeleton", "C:\\evil.skeleton", "a/../../e.skeleton"]
)
def test_a_zip_with_names_that_leave_it(bad, tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, skeleton_text(ntu_frames()))
    assert "points outside the archive; repack it" in read_and_build(bad, tmp_path, tmp_path / "x.zip")


def test_a_zip_whose_names_drive_terminals(bad, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a\x1b[2J\nkinema: all is well\u202e.skeleton", "junk")
    said = read_and_build(bad, tmp_path, tmp_path / "x.zip")
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert r"\x1b[2J" in said


def test_a_zip_bomb_and_a_cut_zip(bad, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{NAME}.skeleton", bytes(2**24))
    assert "-fold" in read_and_build(bad, tmp_path, tmp_path / "x.zip")
    content = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "y.zip").write_bytes(content[: len(content) // 2])
    assert "not a readable zip" in read_and_build(bad, tmp_path, tmp_path / "y.zip")


# checkpoints


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store, a finished run on it, and one that was stopped."""
    folder = tmp_path_factory.mktemp("trained")
    clips = [(f"{i:02}", walker(10 + i, i).with_(meta={"split": "test" if i > 7 else "train"})) for i in range(12)]
    Store.write(folder / "store", clips, name="walkers")
    train = ["train", "mamp", "--data", str(folder / "store"), "--epochs", "2", "--batch-size", "6", "--accelerator", "cpu", *TINY]
    assert cli.main([*train, "--out", str(folder / "run")]) == 0
    assert cli.main([*train, "--out", str(folder / "stopped"), "--max-steps", "1"]) == 0
    return SimpleNamespace(store=folder / "store", run=folder / "run", stopped=folder / "stopped", train=train)


def copied(tmp_path, source):
    shutil.copytree(source, tmp_path / "run")
    return tmp_path / "run"


def weights(run):
    (file,) = sorted(run.glob("checkpoints/step-*/model.safetensors"))[-1:]
    return file


def halve(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def change(spoil):
    """Rewrites a checkpoint's weights with `spoil`, with the right hash, so that nothing but the tensors is wrong."""

    def act(file):
        content = safetensors.torch.save(spoil(safetensors.torch.load(file.read_bytes())))
        file.write_bytes(content)
        state = json.loads((file.parent / "state.json").read_text())
        state["sha256"][file.name] = hashlib.sha256(content).hexdigest()
        (file.parent / "state.json").write_text(json.dumps(state))

    return act


def without(tensors):
    tensors.pop("norm.weight")
    return tensors


SPOILT = {
    "cut in half": (halve, "damaged"),
    "empty": (lambda f: f.write_bytes(b""), "damaged"),
    "no state": (lambda f: (f.parent / "state.json").unlink(), "no usable checkpoint|damaged"),
    "state cut": (lambda f: halve(f.parent / "state.json"), "damaged"),
    "gone": (lambda f: shutil.rmtree(f.parents[1]), "no checkpoint here"),
    "missing": (change(without), "1 missing: norm.weight"),
    "extra": (change(lambda t: {**t, "odd": torch.zeros(1)}), "1 not known here: odd"),
    "misshapen": (
        change(lambda t: {**t, "norm.weight": torch.ones(15)}),
        r"1 misshapen: norm\.weight is float32\[15\], expected float32\[16\]",
    ),
    "NaN": (change(lambda t: {**t, "norm.weight": torch.full((16,), torch.nan)}), "not finite"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_checkpoint(bad, trained, tmp_path, kind):
    spoil, message = SPOILT[kind]
    run = copied(tmp_path, trained.run)
    for folder in sorted(run.glob("checkpoints/step-*"))[:-1]:
        shutil.rmtree(folder)
    spoil(weights(run))
    said = bad("embed", run, trained.store, "--out", tmp_path / "f.npz", "--accelerator", "cpu")
    assert re.search(message, said)
    assert str(run) in said
    assert not (tmp_path / "f.npz").exists()
    data = ("--data", trained.store, "--split", "given", "--protocols", "knn", "--accelerator", "cpu", "--out", tmp_path / "e")
    assert re.search(message, bad("evaluate", run, *data))
    assert not list(tmp_path.glob("e/*.*"))


def test_resuming_from_a_spoilt_checkpoint(bad, trained, tmp_path):
    run = copied(tmp_path, trained.stopped)
    halve(weights(run))
    before = {k: v for k, v in contents(run).items() if k.name != ".lock"}
    said = bad(*trained.train, "--out", run, "--resume")
    assert "no usable checkpoint" in said
    assert "model.safetensors: damaged" in said
    assert "start again in another folder" in said
    assert {k: v for k, v in contents(run).items() if k.name != ".lock"} == before


def test_an_older_checkpoint_is_taken_and_that_is_said(trained, tmp_path, capfd):
    run = copied(tmp_path, trained.stopped)
    assert cli.main([*trained.train, "--out", str(run), "--resume", "--max-steps", "2"]) == 0
    assert len(list(run.glob("checkpoints/step-*"))) == 2
    halve(weights(run))
    capfd.readouterr()
    assert cli.main([*trained.train, "--out", str(run), "--resume"]) == 0
    said = capfd.readouterr()
    assert "step-2/model.safetensors: damaged" in said.err
    assert "going by step-1 instead" in said.err.splitlines()[0]
    assert "finished" in said.out
    whole, again = (safetensors.torch.load_file(weights(folder)) for folder in (trained.run, run))
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_spoilt_configuration(bad, trained, tmp_path):
    for name, content in {
        "half": None,
        "list": "[]",
        "other": '{"room": "generation"}',
        "deep": "[" * 100_000,
        "binary": "\x00",
    }.items():
        run = tmp_path / name
        shutil.copytree(trained.run, run)
        if content is None:
            halve(run / "config.json")
        else:
            (run / "config.json").write_text(content)
        assert str(run) in bad("embed", run, trained.store, "--out", tmp_path / "f.npz", "--accelerator", "cpu")
    run = tmp_path / "type"
    shutil.copytree(trained.run, run)
    config = json.loads((run / "config.json").read_text())
    for key, value in (("seed", "x"), ("skeleton", 3), ("recipe", {**config["recipe"], "batch_size": "many"}), ("data", 3)):
        (run / "config.json").write_text(json.dumps({**config, key: value}))
        assert "config.json" in bad("embed", run, trained.store, "--out", tmp_path / "f.npz", "--accelerator", "cpu")


# the machine


def command(*arguments, **options):
    words = [sys.executable, "-m", "kinema.cli", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options)


def small_files_only():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["build", "train", "embed", "show"])
def test_files_that_cannot_grow(trained, tmp_path, what):
    """A real refusal by the system in the middle of a write, which is what a full disk is."""
    (tmp_path / "raw").mkdir()
    for i in range(8):
        npz.write(walker(60, i), tmp_path / "raw" / f"{i}.npz")
    out = tmp_path / {"embed": "f.npz", "show": "f.mp4"}.get(what, "out")
    verbs = {
        "build": ("data", "build", tmp_path / "raw", "--workers", 1),
        "train": (*trained.train, "--set", "model.encoder.width=64"),
        "embed": ("embed", trained.run, tmp_path / "raw"),
        "show": ("show", tmp_path / "raw" / "0.npz"),
    }
    child = command(*verbs[what], "--out", out, preexec_fn=small_files_only)
    said = child.communicate(timeout=100)[1]
    if what == "embed":  # eight rows are small enough
        assert child.returncode == 0
        return
    assert child.returncode == 2, said
    assert said.startswith("kinema: ")
    assert said.count("\n") == 1
    left = [p for p in tmp_path.rglob("*") if p.is_file() and "raw" not in p.parts and ".building" not in str(p)]
    assert {p.name for p in left} <= {".lock", "config.json", "log.jsonl"}
    assert not list(tmp_path.rglob("checkpoints/*"))


def test_two_runs_in_one_folder(bad, good, trained, tmp_path):
    """The second is refused while the first works; the first ends as if nothing had been."""
    train = [*trained.train, "--out", str(tmp_path / "run"), "--batch-size", "2", "--epochs", "400"]

    def first():
        for stream in (1, 2):  # its progress is not what is looked at
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        assert cli.main(train) == 143

    pid = fork(first)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "config.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    for resume in ([], ["--resume"]):
        assert f"another run (process {pid}) is using this folder" in bad(*train, *resume)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    (newest,) = sorted((tmp_path / "run" / "checkpoints").iterdir(), key=lambda p: p.stat().st_mtime)[-1:]
    step = int(newest.name.removeprefix("step-"))
    assert f"stopped after {step + 1} steps" in good(*train, "--resume", "--max-steps", step + 1)
