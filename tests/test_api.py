"""`import kinema`: what it offers, that it comes at once, and that the examples do what they say."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kinema
from conftest import kinema_
from kinema.motion.formats import npz

ROOT = Path(__file__).parents[1]
NAMES = {
    *("Caption", "CheckpointError", "Clip", "FormatError", "Skeleton", "Store", "UserError", "__version__"),
    *("embed", "open_classifier", "open_run", "open_store", "read", "recognize", "retrieve", "show"),
}
"""What people have in their programs: a name may be added here, and never taken away."""


def test_names_are_those_promised():
    assert set(kinema.__all__) == NAMES <= set(dir(kinema))
    for name in NAMES:
        assert getattr(kinema, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'imbed'"):
        kinema.imbed


def test_type_checkers_see_the_same_names():
    """They read the imports under TYPE_CHECKING."""
    tree = ast.parse((ROOT / "src" / "kinema" / "__init__.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level for alias in node.names}
    assert imported - {"api"} == NAMES - {"__version__"}
    assert (ROOT / "src" / "kinema" / "py.typed").exists()


def test_every_function_has_an_example():
    for name in NAMES:
        if name.islower() and not name.startswith("_"):
            assert f"kinema.{name}(" in getattr(kinema, name).__doc__.partition(">>> ")[2], name


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import kinema; kinema.__version__", ("numpy", "torch", "rich", "kinema.api")),
        ("import kinema; kinema.Clip, kinema.read, kinema.Store", ("torch", "matplotlib", "av", "sklearn")),
        ("from kinema import open_run, embed", ("torch", "matplotlib", "av", "sklearn")),
    ],
)
def test_nothing_is_imported_before_it_is_needed(code, absent):
    script = f"{code}; import sys; print(*({set(absent)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.parametrize("start", [["-m", "kinema"], ["-m", "kinema.cli"]])
def test_the_version(start):
    done = subprocess.run([sys.executable, *start, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"kinema {kinema.__version__}\n", "")


def test_as_a_module_it_is_the_command():
    done = subprocess.run([sys.executable, "-m", "kinema", "shwo"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean show?" in done.stderr


@pytest.fixture(scope="module")
def work(made, tmp_path_factory):
    """Folders called as the README calls them."""
    folder = tmp_path_factory.mktemp("work")
    for name, target in {"my-motions": made.raw, "stores/mine": made.store}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(target)
    shutil.copytree(made.run, folder / "runs" / "mine-0")  # features are kept in it, which other tests count
    shared = ("--data", made.store, "--split", "view", "--accelerator", "cpu", "--epochs", 1)
    assert kinema_("finetune", made.run, *shared, "--out", folder / "runs" / "mine-named") == 0
    return folder


def test_the_readmes_example_runs(work, monkeypatch, capsys):
    monkeypatch.chdir(work)
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"^## In Python\n\n```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    names = {}
    exec(example, names)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("<Clip: 10 frames, 1 person, 20 joints of kinect20")
    assert len(said) > 5
    assert Path("clip.gif").read_bytes()[:4] == b"GIF8"
    assert names["features"].shape[0] == len(names["store"]) == len(names["clips"]) == 24


def test_what_is_open_and_what_lies_somewhere_are_the_same(work, made):
    store, run = kinema.open_store(str(work / "stores" / "mine")), kinema.open_run(str(work / "runs" / "mine-0"))
    named = kinema.open_classifier(str(work / "runs" / "mine-named"))
    clip = store.clip(2)
    assert np.array_equal(kinema.embed(run, store)[2:3], kinema.embed(str(made.run), [clip]))
    assert kinema.retrieve(run, clip, store) == kinema.retrieve(work / "runs" / "mine-0", clip, made.store)
    assert kinema.recognize(named, clip) == kinema.recognize(work / "runs" / "mine-named", clip)
    assert len(kinema.read(made.store)) == len(store)


def test_read_takes_what_the_command_takes(work, tmp_path):
    clip = kinema.read(next((work / "my-motions").iterdir()))[0]
    np.save(tmp_path / "bare.npy", clip.positions[:, 0])
    for skeleton in (clip.skeleton, "kinect20"):
        assert np.array_equal(kinema.read(str(tmp_path / "bare.npy"), skeleton)[0].positions, clip.positions)
    with pytest.raises(kinema.UserError, match="name its joints"):
        kinema.read(tmp_path / "bare.npy")
    with pytest.raises(kinema.UserError, match="a store knows its own skeleton"):
        kinema.read(work / "stores" / "mine", "kinect20")
    with pytest.raises(kinema.UserError, match="no such file or folder"):
        kinema.read(tmp_path / "nothing.npz")


def test_show_draws_into_a_notebook_and_to_a_file(work, tmp_path):
    clip = kinema.read(work / "stores" / "mine")[0]
    image = kinema.show(clip)
    assert image._repr_png_()[:4] == b"\x89PNG"
    for kind in ("png", "gif", "mp4"):
        kinema.show(clip, str(tmp_path / f"a.{kind}"))
        assert (tmp_path / f"a.{kind}").stat().st_size > 500
    with pytest.raises(kinema.UserError, match=r"a\.pdf: expected a name that ends in \.png"):
        kinema.show(clip, tmp_path / "a.pdf")


def test_things_show_themselves_in_one_line(work):
    store, run = kinema.open_store(work / "stores" / "mine"), kinema.open_run(work / "runs" / "mine-0")
    named = kinema.open_classifier(work / "runs" / "mine-named")
    clip = store.clip(0).with_(
        label=3, label_name="\x1b[31mred\u202e", subject="s\n1", source="x" * 50, captions=(kinema.Caption("word " * 1000, 1),)
    )
    texts = [
        repr(thing)
        for thing in (clip, clip.skeleton, store, run, named, *clip.captions, clip.skeleton.__class__("", ("a",), (-1,)))
    ]
    for text in texts:
        assert "\n" not in text
        assert len(text) < 300
        assert text.isprintable()
        assert "array(" not in text
    assert texts[0] == (
        "<Clip: 10 frames, 1 person, 20 joints of kinect20, 3 coordinates, 30 fps, metres, label 3 \\x1b[31mred\\u202e, subject s 1, "
        f"from {'x' * 50}>"
    )
    assert texts[1] == "<Skeleton kinect20: 20 joints: hip_centre, spine, shoulder_centre, head, ...>"
    assert texts[2].startswith("<Store nw-ucla: 24 clips, 10 classes, kinect20, 30 fps, in ")
    assert texts[3].startswith("<Trained: mamp small, kinect20, seed 0, in ")
    assert texts[4].startswith("<Recogniser: 10 classes, mamp small, kinect20, in ")
    assert texts[5].startswith("<Caption: 'word word")
    assert texts[5].endswith("...', 1 s to the end>")


def test_a_clip_that_was_written_is_read_again(tmp_path):
    skeleton = kinema.Skeleton("stick", ("top", "tip"), (-1, 0))
    clip = kinema.Clip(np.ones((3, 1, 2, 3), np.float32), skeleton, fps=10)
    npz.write(clip, tmp_path / "a.npz")
    (again,) = kinema.read(tmp_path / "a.npz")
    assert np.array_equal(again.positions, clip.positions)
    assert again.skeleton == skeleton
