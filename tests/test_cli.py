"""The front door: what it offers, that it opens at once, and that every mistake is told in one line."""

import io
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "motion"))

import kinema
from kinema import cli
from kinema.verbs import about

VERBS = {
    "data list": [],
    "data build": [
        "--dataset",
        "--format",
        "--index",
        "--left-handed",
        "--out",
        "--overwrite",
        "--skeleton",
        "--strict",
        "--units",
        "--up",
        "--workers",
    ],
    "data stage": ["--clips", "--out", "--overwrite"],
    "data check": ["--strict"],
    "show": ["--clip", "--out", "--skeleton"],
    "pose": ["--fps", "--out", "--overlay"],
    "train": [
        *("--accelerator", "--batch-size", "--checkpoint-minutes", "--compile", "--data", "--devices", "--epochs", "--init"),
        *("--lr", "--max-steps", "--out", "--precision", "--preset", "--resume", "--seed", "--set", "--split", "--tensorboard"),
    ],
    "finetune": [
        "--accelerator",
        "--data",
        "--epochs",
        "--frozen",
        "--out",
        "--scratch",
        "--seed",
        "--set",
        "--split",
        "--weights",
    ],
    "evaluate": ["--accelerator", "--data", "--epochs", "--fuse", "--out", "--part", "--protocols", "--split", "--weights"],
    "embed": ["--accelerator", "--data", "--out", "--skeleton", "--weights"],
    "retrieve": ["--accelerator", "--clip", "--data", "--json", "--out", "--run", "--stream", "--top", "--weights"],
    "recognize": [
        *(
            "--accelerator",
            "--clip",
            "--hop",
            "--image-size",
            "--json",
            "--live",
            "--out",
            "--person",
            "--run",
            "--top",
            "--window",
        ),
    ],
    "import-weights": ["--out", "--preset", "--skeleton"],
    "demo": ["--out"],
    "papers": [],
    "doctor": [],
}
"""What people have in their scripts: a verb or an option may be added here, and never taken away."""


def kinema_(*arguments):
    return cli.main([str(a) for a in arguments])


# what there is


def helps(capsys, *words):
    assert kinema_(*words, "--help") == 0
    return capsys.readouterr().out


def test_verbs_and_options_are_those_promised(capsys):
    top = [v for v in VERBS if not v.startswith("data ")]
    assert ("data", *top) == cli.VERBS
    assert tuple(v.removeprefix("data ") for v in VERBS if v.startswith("data ")) == cli.DATA_VERBS
    assert re.search(r"\{(.*?)\}", helps(capsys))[1].split(",") == list(cli.VERBS)
    assert re.search(r"\{(.*?)\}", helps(capsys, "data"))[1].split(",") == list(cli.DATA_VERBS)
    for name, options in VERBS.items():
        found = re.findall(r"^[│ ]*(--[a-z][a-z-]*)", helps(capsys, *name.split()), re.MULTILINE)
        assert sorted(set(found)) == options, name
        assert sorted(cli.PARAMETERS[name]) == options, name


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_every_terminal_is_told(monkeypatch, capfd, encoding):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    for words in ("trian", "train mamp", "train mamp --data x --out y --accelerator tpu", "train x --lr y", "show --clip"):
        assert kinema_(*words.split()) == 2
        said = capfd.readouterr().err
        assert said.count("\n") == 1
        assert not re.search("--- |───|[│╭]|(.{12,})\\s*\\1", said), said
    assert kinema_("papers") == 0


def test_nothing_at_all_prints_help(good):
    assert "usage: kinema" in good()


HEAVY = (
    "torch",
    "numpy",
    "rich",
    "scipy",
    "sklearn",
    "matplotlib",
    "PIL",
    "av",
    "lightning_fabric",
    "safetensors",
    "cattrs",
    "multiprocessing",
)


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["trian"]])
def test_help_comes_at_once(words):
    script = f"""
import sys
from kinema.cli import main
code = main({words!r})
assert not [m for m in {HEAVY!r} if m in sys.modules], [m for m in {HEAVY!r} if m in sys.modules]
sys.exit(code)
"""
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == (0 if "--help" in words else 2), said
    # seconds of processor, not of the clock: the machine may be busy
    assert usage.ru_utime + usage.ru_stime < 0.5


def test_the_installed_command(tmp_path):
    done = subprocess.run([sys.executable, "-m", "kinema.cli", "show", tmp_path / "no\nsuch.npz"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"kinema: {tmp_path}/no such.npz: no such file or folder\n"


# the words of the command line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trian", "unknown verb 'trian': did you mean train?"),
        ("data lst", "unknown verb of kinema data 'lst': did you mean list?"),
        ("data", r"Expected one of \{list, build, stage, check\}"),
        ("train", "Missing from kinema train: .*--data"),
        ("train mamp --data x --out y --epoch 3", "unknown option of kinema train '--epoch': did you mean --epochs"),
        ("train mamp --data x --out y --epochs many", "--epochs many: expected FLOAT; see kinema train --help"),
        ("train mamp --data x --out y --accelerator tpu", r"'tpu' for argument '--accelerator'\. Expected one of"),
        ("train mamp --data x --out y --seed", "--seed"),
        ("train mamp x --data x --out y", "Unrecognized options: x"),
        ("evaluate --data x --split y", "no run folder"),
        ("evaluate r --data x", "--split"),
        ("embed a b", "--out"),
        ("embed a b --out c.txt", "--out c.txt: expected a name that ends in .npz"),
        ("show x --out x.pdf", r"--out x\.pdf: expected a name that ends in \.png"),
        ("retrieve x", "--data"),
        ("retrieve x --data y --run z --out a.gif", r"--out a\.gif: expected a name that ends in \.png or \.html"),
        ("retrieve x --data y --run z --top 0", "--top 0: expected 1 or more"),
        ("retrieve x --data y --run z", "z: no run here"),
        ("data build x --out y --index t.csv", "x: no such file or folder"),
        ("data build x --out y --workers 0", "--workers 0: expected 1 to "),
        ("data build x --out y --dataset nwucla", "unknown data set 'nwucla': did you mean nw-ucla"),
        ("data build x --out y", "x: no such file or folder"),
        ("data stage stage-2 --out y", "unknown world of the stage 'stage-2': did you mean stage-1"),
        ("data stage signs-1", "--out"),
        ("data stage signs-1 --out y --clips 0", "--clips 0: signs-1 has 3456 clips; expected 1 to 3456"),
        ("data stage signs-1 --out y --clips 3457", "--clips 3457: signs-1 has 3456 clips; expected 1 to 3456"),
        ("data check x", "x: no store here"),
        ("train mamp --data x --out y", "x: no store here"),
        ("train mamp --data x --out y --max-steps 0", "--max-steps 0: expected 1 or more"),
        (f"train mamp --data x --out y --seed {2**70}", "--seed .*expected a number from"),
        ("evaluate x --data y --split z", "x: no run here"),
        ("embed x y --out z.npz", "x: no run here"),
        ("import-weights mamp x.pth --preset paper-ntu60 --out y", "x.pth: no such file"),
        ("import-weights mamp x.pth --preset paper-ntu60 --out y --skeleton ntu52", "unknown skeleton 'ntu52': did you mean ntu25"),
        ("import-weights cdm x.pth --preset paper-ntu60 --out y", "unknown method 'cdm': did you mean cmd"),
        ("show x.npz --skeleton ntu26", "unknown skeleton 'ntu26'"),
    ],
)
def test_a_wrong_word_is_told(bad, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert re.search(said, bad(*words.split()))
    assert list(tmp_path.iterdir()) == []


# what it tells of itself


def test_list_fits_a_terminal(good):
    lines = good("data", "list").splitlines()
    assert max(map(len, lines)) <= 80
    for name in ("ntu60", "nw-ucla", "sbu"):
        assert any(line.startswith(name) for line in lines)
    assert any("xsub, xview" in line for line in lines)


def test_papers_and_doctor(good):
    assert "kinema train mamp" in good("papers")
    said = good("doctor")
    for word in ("python", "torch", "GFLOP/s", kinema.__version__):
        assert word in said


def test_papers_says_that_masa_works(good):
    (row,) = [line for line in good("papers").splitlines() if "kinema train masa" in line]
    assert "MASA" in row
    assert "not yet" not in row


@pytest.mark.parametrize("version", ["0.10.21", None])
def test_doctor_finds_mediapipe_or_says_what_it_is_for(good, monkeypatch, version):
    of = metadata.version

    def found(name):
        if name != "mediapipe":
            return of(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", found)
    monkeypatch.setattr(about, "matrix_rate", lambda dtype, kind: 1.0)
    said = good("doctor")
    assert "mediapipe" in said
    assert ("not installed" in said, "docs/pose.md" in said) == ((True, True) if version is None else (False, False))
    assert version is None or version in said


def test_doctor_names_what_is_missing(bad, monkeypatch):
    monkeypatch.setattr(about, "NEEDED", ("torch", "no-such-package"))
    assert "missing: no-such-package; run `pip install kinema` again" in bad("doctor")
