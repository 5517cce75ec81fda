"""Whatever is in a run folder or a store, each command that reads it does its work or says in one line why not.

Every file that any command reads from such a folder is damaged in many ways: as bytes, as JSON value by value, as something that is no
file at all, and, where a hash would tell, with the hash made right again.
"""

import copy
import hashlib
import json
import os
import resource
import shutil
import struct
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import TINY
from kinema import cli
from kinema.data.splits import check, split, splits
from kinema.data.store import INDEX, Store
from kinema.errors import UserError
from kinema.recognition.classifier import open_recogniser
from kinema.recognition.run import open_run
from kinema.training import checkpoint, log

HUGE = "<huge>"
"""Stands for a token of JSON that Python does not write."""
VALUES = [None, True, -1, 0, 10**9, 0.5, "x", "", "\x1b[31m\u202e\ud800", [], ["x"], [[]], {}, {"x": 1}]
TOKENS = ["1e999", "-1e999", "1" + "0" * 400, "1" * 5000, "NaN", "-Infinity", "[" * 100_000, '{"a":' * 100_000]
BYTES = {
    "empty": lambda b: b"",
    "one byte": lambda b: b[:1],
    "half": lambda b: b[: len(b) // 2],
    "without its end": lambda b: b[:-2],
    "not UTF-8": lambda b: b[: len(b) // 2] + b"\xff\xfe" + b[len(b) // 2 :],
    "UTF-16": lambda b: b.decode("latin-1").encode("utf-16"),
    "zeros": lambda b: bytes(len(b)),
    "deep": lambda b: b"[" * 100_000,
    "deep and closed": lambda b: b"[" * 100_000 + b"]" * 100_000,
    "another file": lambda b: b'{"a": 1}',
    "null": lambda b: b"null",
    "twice": lambda b: b + b,
    "long header": lambda b: struct.pack("<Q", 2**63) + b[8:],
}


def damaged(file: Path, how: str) -> None:
    """Puts something that is no file in the place of one."""
    file.unlink()
    if how == "folder":
        file.mkdir()
    elif how == "dangling":
        file.symlink_to(file.with_name("nothing"))
    elif how == "loop":
        file.symlink_to(file)
    elif how == "pipe":
        os.mkfifo(file)  # whoever opens it as a file waits for ever
    elif how == "sparse":
        file.touch()
        os.truncate(file, 2**42)


NO_FILES = ("missing", "folder", "dangling", "loop", "pipe", "sparse")


def places(value, path=()):
    """The paths of all values within a JSON value; of long lists the first and the last."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for i in sorted({0, len(value) - 1}) if value else ():
            yield from places(value[i], (*path, i))


def changed(value, path, new):
    value = copy.deepcopy(value)
    place = value
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return value


def without(value, path):
    value = copy.deepcopy(value)
    place = value
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return value


def json_variants(content: bytes):
    """(what was done, text) for a JSON file, value by value."""
    value = json.loads(content)
    paths = list(places(value))
    for path in paths[1:]:
        name = ".".join(map(str, path))
        for new in VALUES:
            if "recipe" not in path or new != 10**9:  # sizes in recipes have tests of their own
                yield f"{name} = {new!r}", json.dumps(changed(value, path, new))
        yield f"without {name}", json.dumps(without(value, path))
    for path in paths[1:] if len(paths) < 20 else [p for p in paths[1:] if len(p) < 3]:
        whole = json.dumps(changed(value, path, HUGE))
        for token in TOKENS:
            yield f"{'.'.join(map(str, path))} = {token[:12]}", whole.replace(json.dumps(HUGE), token)
    for path in paths:
        place = value
        for key in path:
            place = place[key]
        if isinstance(place, dict):
            name = ".".join(map(str, path))
            yield f"more in {name}", json.dumps(changed({"": value}, ("", *path), {**place, "strange": 1})[""])
            if place:
                key = next(iter(place))
                twice = json.dumps(changed({"": value}, ("", *path), HUGE)[""])
                pair = f"{json.dumps(key)}: {json.dumps(place[key])}"
                yield f"twice {key} in {name}", twice.replace(json.dumps(HUGE), f"{{{pair}, {pair}}}")


def tensor_variants(content: bytes):
    """(what was done, content) for a safetensors file whose header is changed."""
    size = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
    name = next(k for k in header if k != "__metadata__")
    one = header[name]
    news = {
        "renamed": {**{k: v for k, v in header.items() if k != name}, "strange": one},
        "dropped": {k: v for k, v in header.items() if k != name},
        "none": {},
        "metadata": {**header, "__metadata__": {"a": "b"}},
        "no metadata": {**header, "__metadata__": 3},
        **{
            f"dtype {t}": {**header, name: {**one, "dtype": t}}
            for t in ("F16", "BF16", "F64", "I32", "BOOL", "F8_E4M3", "X", 3, [])
        },
        **{
            f"shape {s}": {**header, name: {**one, "shape": s}}
            for s in (
                [],
                [0],
                [10**9],
                [10**30],
                [-1],
                [True],
                [1.5],
                "x",
                None,
                [2**62, 4],
                [0, 2**62],
                [1] * 100,
                [*one["shape"], 1],
            )
        },
        **{
            f"offsets {o}": {**header, name: {**one, "data_offsets": o}}
            for o in ([0, 0], [0, 10**9], [-1, 3], [0, 10**30], [0], "x", None, [0.5, 1], [True, False])
        },
        "without shape": {**header, name: {k: v for k, v in one.items() if k != "shape"}},
        "a list": [header],
        "a list in it": {**header, name: [1]},
    }
    for what, new in news.items():
        text = json.dumps(new).encode()
        yield what, struct.pack("<Q", len(text)) + text + body
    deep = b"[" * 100_000
    yield "deep header", struct.pack("<Q", len(deep)) + deep + body
    nan = bytearray(content)
    nan[8 + size : 8 + size + 4] = b"\x00\x00\xc0\x7f"
    yield "NaN", bytes(nan)
    yield "more bytes", content + bytes(8)


def variants(file: Path):
    """(what was done, content) for any of the files."""
    content = file.read_bytes()
    for what, change in BYTES.items():
        yield what, change(content)
    if file.suffix == ".json":
        yield "BOM", b"\xef\xbb\xbf" + content
        for what, text in json_variants(content):
            yield what, text.encode()
    elif file.suffix == ".jsonl":
        first, *others = content.decode().splitlines()
        for what, text in json_variants(first.encode()):
            yield what, "\n".join([text, *others, ""]).encode()
    elif file.suffix == ".safetensors":
        yield from tensor_variants(content)


def believed(step: Path) -> None:
    """Makes the hashes of a checkpoint right again, as somebody who changes it on purpose would."""
    try:
        state = json.loads((step / "state.json").read_bytes())
        for name in state["sha256"]:
            state["sha256"][name] = hashlib.sha256((step / name).read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    (step / "state.json").write_text(json.dumps(state))


# the doors, one by one


def use_store(folder):
    store = Store.open(folder)
    store.verify()
    for i in range(len(store)):
        store.clip(i)


def use_unverified_store(folder):
    store = Store.open(folder)
    assert store.labels.max(initial=-1) < len(store.classes)
    for i in range(len(store)):
        store.clip(i)
    for name in splits(store):
        split(store, name)
    check(store)


def use_run(folder):
    run = open_run(folder)
    run.encoder()


def use_log(folder):
    log.read(folder)


def use_checkpoint(folder):
    checkpoint.newest(folder)


@pytest.fixture(scope="module")
def world(made, tmp_path_factory):
    """A store, a run with two checkpoints, a classifier, kept features of a store, and everything that `evaluate` leaves."""
    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(made.store, folder / "store")
    shutil.copytree(made.run, folder / "run")
    run = lambda *words: cli.main([str(w) for w in words])  # noqa: E731
    assert run(*made.train, "--out", folder / "part", "--max-steps", 1) == 0
    shared = ("--data", folder / "store", "--split", "view", "--accelerator", "cpu")
    assert run("finetune", folder / "run", *shared, "--out", folder / "named", "--epochs", 1) == 0
    assert run("retrieve", folder / "store", "--data", folder / "store", "--run", folder / "run", "--out", folder / "a.png") == 0
    assert run("evaluate", folder / "run", *shared, "--protocols", "finetune", "--epochs", 1, "--out", folder / "run" / "e") == 0
    return folder


DOORS = {
    "store/index.json": (use_store, use_unverified_store),
    "store/frames.safetensors": (use_store, use_unverified_store),
    "run/config.json": (use_run,),
    "run/log.jsonl": (use_log,),
    "run/checkpoints/*/state.json": (use_checkpoint, use_run),
    "run/checkpoints/*/model.safetensors": (use_checkpoint, use_run),
    "run/checkpoints/*/optimizer.safetensors": (use_checkpoint,),
    "named/config.json": (open_recogniser,),
    "named/checkpoints/*/model.safetensors": (open_recogniser,),
}


def put(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    if file.parent.name.startswith("step-") and file.name != "state.json":
        believed(file.parent)


def restored(world, top, tmp_path):
    """A fresh copy of one of the world's folders."""
    target = tmp_path / top
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(world / top, target)
    return target


def newest(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern), key=lambda p: p.parent.name)[-1]


@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("pattern", DOORS)
def test_whatever_a_file_holds_its_door_opens_or_says_why(world, tmp_path, pattern, every):
    """Of the many ways one in nine is tried here, and all of them in the slow tests."""
    top = pattern.split("/")[0]
    folder = restored(world, top, tmp_path)
    file = newest(tmp_path, pattern)
    state = file.parent / "state.json"
    whole, state_was = file.read_bytes(), state.read_bytes() if state.exists() else b""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = refused = 0
    for what, content in list(variants(file))[::every]:
        put(file, content)
        for use in DOORS[pattern]:
            count += 1
            said = "nothing"
            try:
                use(folder)
            except UserError as error:
                refused, said = refused + 1, str(error)
            except BaseException as error:
                error.add_note(f"{file.name}: {what}, {use.__name__}")
                raise
            assert 0 < len(said) < 1500, what
        if state_was:
            state.write_bytes(state_was)
        file.write_bytes(whole)
    for how in NO_FILES:
        damaged(file, how)
        for use in DOORS[pattern]:
            try:
                use(folder)
                assert file.suffix == ".jsonl", how  # a run without a log is a run
            except UserError:
                pass
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        file.write_bytes(whole)
    assert refused > count / 3 or file.suffix == ".jsonl"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000, "kilobytes"


# the commands


def commands(at: Path):
    """Each command that reads a folder, by the part of the world that is damaged. Outputs lie beside, so that nothing hinders the next."""
    store, run, named, out = at / "store", at / "run", at / "named", at / "out"
    cpu = ("--accelerator", "cpu")
    data = ("--data", store, "--split", "view", *cpu)
    small = ("--protocols", "knn", "--out", out / "e")
    return {
        "store": [
            ("data", "check", store),
            ("show", store, "--clip", 5, "--out", out / "a.png"),
            ("embed", run, store, "--out", out / "a.npz", *cpu),
            ("retrieve", store, "--data", store, "--run", run, "--out", out / "a.png", *cpu),
            ("recognize", store, "--run", named, "--out", out / "a.png", *cpu),
            ("evaluate", run, *data, *small),
            ("finetune", run, *data, "--out", out / "named", "--epochs", 1),
            ("train", "mamp", *data, *TINY, "--out", out / "run", "--max-steps", 1),
        ],
        "run": [
            ("train", "mamp", *data, *TINY, "--out", run, "--resume"),
            ("embed", run, store, "--out", out / "a.npz", *cpu),
            ("retrieve", store, "--data", store, "--run", run, "--out", out / "a.png", *cpu),
            ("evaluate", run, *data, "--protocols", "finetune", "--epochs", 1, "--out", run / "e"),
            ("finetune", run, *data, "--out", out / "named", "--epochs", 1),
            ("train", "mamp", *data, *TINY, "--out", out / "run", "--max-steps", 1, "--init", run),
        ],
        "part": [("train", "mamp", *data, *TINY, "--out", at / "part", "--resume")],
        "named": [
            ("recognize", store, "--run", named, "--out", out / "a.png", *cpu),
            ("finetune", run, *data, "--out", named, "--epochs", 1),
        ],
    }


FILES = (
    *DOORS,
    "run/retrieval/*.safetensors",
    "run/made.json",
    "run/e/protocols/*.json",
    "run/e/protocols/*/config.json",
    "run/e/protocols/*/checkpoints/*/state.json",
    "run/e/protocols/*/checkpoints/*/model.safetensors",
    "part/config.json",
    "part/checkpoints/*/state.json",
    "part/checkpoints/*/model.safetensors",
    "part/checkpoints/*/optimizer.safetensors",
    "named/log.jsonl",
    "named/checkpoints/*/state.json",
)
READ_BY = {"run/e/": "evaluate", "run/made": "evaluate", "run/retrieval": "retrieve"}
"""Places that one verb alone reads."""


def told(capfd, words, what):
    """Runs a command that may refuse, in one line, and must not fail."""
    capfd.readouterr()
    code = cli.main([str(w) for w in words])
    captured = capfd.readouterr()
    assert code in (0, 2), f"{what}: {captured.err[-3000:]}"
    assert not [c for c in captured.out + captured.err if not c.isprintable() and c != "\n"], what
    if code == 2:
        assert captured.err.splitlines()[-1].startswith("kinema: "), what
    return code, captured


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("pattern", FILES)
def test_whatever_a_file_holds_every_command_works_or_says_why(world, tmp_path, pattern, capfd):
    top = pattern.split("/")[0]
    for name in ("store", "run", "part", "named"):
        restored(world, name, tmp_path)
    number = 0
    verb = next((verb for place, verb in READ_BY.items() if place in pattern), None)
    for words in commands(tmp_path)[top]:
        if verb not in (None, words[0]):
            continue
        restored(world, top, tmp_path)
        file = newest(tmp_path, pattern)
        tried = list(variants(file))
        chosen = [*tried[: len(BYTES)], *tried[len(BYTES) :: 1 + len(tried) // 12], *NO_FILES]
        for each in chosen:
            restored(world, top, tmp_path)
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            (tmp_path / "out").mkdir()
            file = newest(tmp_path, pattern)
            if isinstance(each, str):
                damaged(file, each)
            else:
                put(file, each[1])
            number += 1
            told(capfd, words, f"{words[:2]} with {pattern}, {each if isinstance(each, str) else each[0]}")
    assert number


@pytest.fixture
def copied(world, tmp_path):
    for name in ("store", "run", "named", "part"):
        restored(world, name, tmp_path)
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"", b"\xff", b"3", b'{"schema": 1e999}'], ids=["deep", "empty", "bytes", "3", "inf"]
)
def test_a_damaged_checkpoint_is_passed_over_with_a_line(made, copied, capfd, content):
    steps = sorted((copied / "run" / "checkpoints").iterdir(), key=lambda p: int(p.name[5:]))
    shutil.copytree(copied / "part" / "checkpoints" / "step-1", steps[0].with_name("step-1"), dirs_exist_ok=True)
    config = json.loads((copied / "run" / "config.json").read_bytes())
    assert json.loads((copied / "part" / "config.json").read_bytes()) == config
    for step in steps:
        if step.name != "step-1":
            (step / "state.json").write_bytes(content)
    words = ("embed", copied / "run", copied / "store", "--out", copied / "a.npz", "--accelerator", "cpu")
    code, captured = told(capfd, words, "embed")
    assert code == 0
    assert "going by step-1 instead" in captured.err
    code, captured = told(capfd, (*made.train, "--data", copied / "store", "--out", copied / "run", "--resume"), "train")
    assert code == 0
    assert "resuming at step 1" in captured.err
    assert "finished after 4 steps" in captured.out


def test_a_log_that_is_no_text(copied, capfd):
    path = copied / "run" / "log.jsonl"
    path.write_bytes(b"\xff\xfe\x00" + path.read_bytes())
    code, captured = told(capfd, commands(copied)["store"][5], "evaluate")
    assert code == 0
    assert "log.jsonl: line 1 is damaged (not a text file (byte 0 is not UTF-8)); it and what follows are left out" in captured.err


def test_a_label_beyond_the_classes(copied, capfd):
    """Of a store whose checksum is right, as somebody who makes one on purpose would have it."""
    index = json.loads((copied / "store" / INDEX).read_text())
    index["clips"][7]["label"] = len(index["classes"])
    (copied / "store" / INDEX).write_text(json.dumps(index))
    for words in commands(copied)["store"]:
        code, captured = told(capfd, words, words[0])
        assert code == 2, words
        assert captured.err.count("\n") == 1
        assert f"{INDEX}: damaged: clip " in captured.err
        assert f"has label {len(index['classes'])}, of {len(index['classes'])} classes" in captured.err
