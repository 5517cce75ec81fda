"""Names that drive a terminal, turn letters round or hide, wherever a name can stand: nothing of them reaches a screen or a page."""

import csv
import json
import os
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "motion")]
from ntu_writers import person

from conftest import TINY, kinema_
from kinema.data.store import Store
from kinema.motion.clip import Caption, Clip
from kinema.motion.formats import npz
from kinema.motion.skeleton import Skeleton
from kinema.motion.skeletons import KINECT20

EVIL = {
    "color": "\x1b[31m",
    "title": "\x1b]0;owned\x07",
    "clear": "\x1b[2J\x1b[H\x9b2J",
    "back": "\b\b\b\r\x7f\x00",
    "turned": "\u202egpj.\u2066exe\u200f",
    "hidden": "\u200b\ufeff\u2060\u00ad\u3164\U000e0041\U000e0100",
    "lines": "\n\u2028\u2029\x85\x0b\x0c",
    "markup": "[bold red]x[/] [link=file:///]y[/link] :smile:",
    "page": "<script>alert(1)</script><img src=x onerror=alert(1)>&\"'`",
    "formula": "$\\frac{a}{$ $x^2$ _x {} %s {0}",
}
ALL = "".join(EVIL.values())
IN_A_PATH = "".join(EVIL.values()).replace("\x00", "").replace("/", "|")
GOOD = "Gänge العربية עברית 手話 👨\u200d👩\u200d👧 می\u200cخواهم"
"""Of every script, and joiners that mean something: must stay."""


def is_seen(c: str) -> bool:
    return c.isprintable() or unicodedata.category(c) == "Zs"


def check_text(text: str, what: object) -> None:
    """A text for a screen or a page holds nothing that cannot be seen, but line breaks, and joiners between letters."""
    for good in ("👨\u200d👩\u200d👧", "می\u200cخواهم"):
        text = text.replace(good, "")
    hidden = [c for c in text if (not is_seen(c) and c != "\n") or c in "\u3164\U000e0100"]
    assert not hidden, f"{what}: {hidden[:5]} in {text[max(0, text.index(hidden[0]) - 80) :][:160]!a}"


def check_page(text: str, what: object) -> None:
    check_text(text, what)
    assert "<script>alert" not in text, what
    assert "<img src=x" not in text, what


@pytest.fixture
def run(capfd, tmp_path):
    """Runs a verb and looks at every byte that it says and writes."""

    def go(*words, code=0):
        capfd.readouterr()
        before = set(tmp_path.rglob("*"))
        got = kinema_(*words)
        said = capfd.readouterr()
        assert got == code, f"{words[:2]}: {said.err}"
        what = " ".join(str(w) for w in words[:2])[:60]
        check_text(said.out, what)
        check_text(said.err, what)
        for file in set(tmp_path.rglob("*")) - before:
            if file.suffix in (".html", ".svg"):
                check_page(file.read_text("utf-8"), (what, file.suffix))
            elif file.suffix in (".json", ".jsonl"):
                check_text(file.read_text("utf-8"), (what, file.name))
                for line in file.read_text("utf-8").splitlines() if file.suffix == ".jsonl" else [file.read_text("utf-8")]:
                    json.loads(line)
        return said

    return go


def clips(skeleton, count=8):
    for i in range(count):
        positions = person(10, seed=i)[:, None, : len(skeleton)].astype(np.float32)
        yield (
            f"{ALL}{GOOD}{i}",
            Clip(
                positions,
                skeleton,
                label=i % 2,
                label_name=[f"a{ALL}", f"{ALL}{GOOD}"][i % 2],
                subject=f"{ALL}{i % 4}",
                view=ALL,
                source=f"{IN_A_PATH}{i}",
                captions=(Caption(ALL + GOOD),),
                meta={f"k{ALL}": ALL, "splits": [f"{ALL}_{'test' if i >= 5 else 'train'}"]},
            ),
        )


def test_every_verb_with_hostile_names(run, tmp_path, monkeypatch):
    """Names of classes, clips, subjects, views, splits, captions, joints, skeletons, stores, runs and folders."""
    monkeypatch.chdir(tmp_path)
    names = tuple(f"{name}{ALL if i > 17 else ''}" for i, name in enumerate(KINECT20.joints))
    skeleton = Skeleton(f"s{ALL}{GOOD}", names, KINECT20.parents)
    at = tmp_path / f"d{IN_A_PATH}{GOOD}"[:70]
    store, trained, named = at / f"s{IN_A_PATH}"[:60], at / f"r{IN_A_PATH}"[:60], at / f"n{IN_A_PATH}"[:60]
    Store.write(store, clips(skeleton), name=ALL + GOOD, classes=(f"a{ALL}", f"{ALL}{GOOD}"))
    check_text((store / "index.json").read_text("utf-8"), "index.json")
    cpu = ("--accelerator", "cpu")
    data = ("--data", store, "--split", ALL, *cpu)

    said = run("data", "check", store)
    assert "\\x1b[31m" in said.out
    assert "手話" in said.out
    for kind in ("png", "gif"):
        said = run("show", store, "--clip", 1, "--out", at / f"{IN_A_PATH[:40]}.{kind}")
    assert GOOD in said.out
    assert "[bold red]x[/] [link=file:///]y[/link] :smile:" in said.out
    plain = [w for w in TINY if w not in cpu]
    said = run("train", "mamp", *data, *plain, "--set", "preparation.yaw=false", "--out", trained)
    run("train", "mamp", *data, *plain, "--set", "preparation.yaw=false", "--out", trained, "--resume")
    run("embed", trained, store, "--out", at / f"{IN_A_PATH[:40]}.npz", *cpu)
    run("evaluate", trained, *data, "--protocols", "knn", "raw-knn", "finetune", "--epochs", 1, "--out", at / "e")
    assert "&lt;script&gt;" in (at / "e" / "report.html").read_text()
    assert GOOD in (at / "e" / "report.html").read_text()
    run("retrieve", store, "--clip", 1, "--data", store, "--run", trained, "--out", at / "b.html", *cpu)
    said = run("retrieve", store, "--clip", 1, "--data", store, "--run", trained, "--out", at / "c.png", "--json", *cpu)
    assert json.loads(said.out)["neighbours"][0]["class_name"] in (f"a{ALL}", f"{ALL}{GOOD}")
    run("finetune", trained, *data, "--epochs", 1, "--out", named)
    run("recognize", store, "--clip", 1, "--run", named, "--out", at / "d.png", *cpu)
    said = run("recognize", store, "--clip", 1, "--run", named, "--window", 0.1, "--json", "--out", at / "f.png", *cpu)
    assert {label["name"] for label in json.loads(said.out)["labels"]} == {f"a{ALL}", f"{ALL}{GOOD}"}
    run("recognize", store, "--clip", 1, "--run", named, "--window", 0.1, "--out", at / "f.png", *cpu)
    (trained / "log.jsonl").write_bytes(b"\xff" + (trained / "log.jsonl").read_bytes())
    said = run("evaluate", trained, *data, "--protocols", "knn", "--out", at / "e")
    assert "is damaged" in said.err


def test_every_refusal_with_hostile_names(run, tmp_path, monkeypatch):
    """One line, whatever was wrong and wherever its name came from."""
    monkeypatch.chdir(tmp_path)
    name = IN_A_PATH[:80]
    (tmp_path / name).mkdir()
    (tmp_path / f"{name}.npy").write_bytes(b"x")
    (tmp_path / f"{name}.npz").write_bytes(b"x")
    (tmp_path / f"{name}.zip").write_bytes(b"x")
    (tmp_path / f"{name}.json").write_text(json.dumps({ALL: 1, "joints": [ALL], "parents": [ALL]}))
    np.save(tmp_path / "a.npy", np.zeros((3, 1, 3), np.float32))
    os.rename(tmp_path / "a.npy", os.fsencode(tmp_path) + b"/\xff\x1b[31m.npy")
    for words in (
        (ALL,),
        ("data", ALL),
        ("show", "x", f"--{ALL}"),
        ("show", "x", f"--clip={ALL}"),
        ("show", name),
        ("show", f"{name}.npy"),
        ("show", f"{name}.npz"),
        ("show", f"{name}.zip"),
        ("show", f"{name}.npy", "--skeleton", ALL.replace("\x00", "")),
        ("show", f"{name}.npy", "--skeleton", f"{name}.json"),
        ("show", os.fsdecode(b"\xff\x1b[31m.npy")),
        ("show", "a.npy", "--out", IN_A_PATH),
        ("data", "build", name, "--out", "s"),
        ("data", "build", name, "--out", "s", "--format", ALL),
        ("data", "build", name, "--out", "s", "--dataset", ALL),
        ("data", "stage", ALL, "--out", "s"),
        ("data", "check", name),
        ("train", ALL, "--data", name, "--out", "r"),
        ("train", "mamp", "--data", name, "--out", "r", "--set", ALL),
        ("train", "mamp", "--data", name, "--out", "r", "--accelerator", ALL),
        ("evaluate", name, "--data", name, "--split", ALL),
        ("embed", name, name, "--out", f"{name}.npz"),
        ("retrieve", name, "--data", name, "--run", name),
        ("recognize", name, "--run", name),
        ("finetune", name, "--data", name, "--out", "r"),
        ("import-weights", ALL, name, "--preset", ALL, "--out", "r"),
        ("pose", f"{name}.mp4"),
    ):
        said = run(*words, code=2)
        assert said.err.count("\n") == 1, words
        assert said.err.startswith("kinema: ")


def test_a_build_with_hostile_names(run, tmp_path, monkeypatch):
    """Names of files and of columns of a person's own table, good and bad ones."""
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / f"raw{IN_A_PATH}"[:80]
    raw.mkdir()
    # control characters in a table are refused, see above; all else may stand there
    evil = {k: "".join(c for c in v if unicodedata.category(c) not in ("Cc", "Zl", "Zp") and c != "/") for k, v in EVIL.items()}
    rows = [
        {"file": f"{name}{text}.npy", "label": f"{name}{text}", "subject": text, "caption": text} for name, text in evil.items()
    ]
    for i, row in enumerate(rows):
        if i != 2:
            np.save(raw / row["file"], person(8, seed=i)[:, :2].astype(np.float32))
        else:
            (raw / row["file"]).write_bytes(b"no array")
    with (raw / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    (raw / "skeleton.json").write_text(json.dumps({"name": f"s{ALL}", "joints": [f"a{ALL}", f"b{ALL}"], "parents": [None, 0]}))
    said = run("data", "build", raw, "--out", f"s{evil['turned']}", "--workers", 1)
    assert f"{len(rows) - 1} clips from {len(rows)} " in said.out
    assert "skipped" in said.out
    run("data", "check", f"s{evil['turned']}")
    shutil.rmtree(tmp_path / f"s{evil['turned']}")
    run("data", "build", raw, "--out", f"s{evil['turned']}", "--workers", 1, "--strict", code=2)
    npz.write(Clip(person(8)[:, None].astype(np.float32), KINECT20_OF_25, source=ALL, label_name=ALL), tmp_path / "a.npz")
    run("show", "a.npz")


KINECT20_OF_25 = Skeleton("x" + ALL, tuple(f"{i}{ALL}" for i in range(25)), (-1,) * 25)


def test_our_own_fault_is_told_safely_too(run, monkeypatch):
    from kinema.verbs import about

    def fail():
        raise RuntimeError(ALL)

    monkeypatch.setattr(about, "papers", fail)
    said = run("papers", code=1)
    assert "this is our fault" in said.err
    assert said.err.startswith("Traceback")
