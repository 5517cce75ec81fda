"""`kinema recognize`: from files, videos and poses on standard input to labels."""

import io
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import sign_stream

from kinema.cli import main
from kinema.data.store import Store
from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.formats import dotpose, npz
from kinema.motion.prepare import Preparation
from kinema.motion.skeleton import Skeleton
from kinema.motion.skeletons import HOLISTIC75, NTU25, SIGN49
from kinema.recognition.classifier import Recogniser
from kinema.recognition.presets import recipe
from kinema.recognition.protocols import Supervision
from kinema.recognition.recognize import recognize
from kinema.training.checkpoint import latest
from kinema.verbs import recognize as verb
from kinema.view.film import write_film

REAL = verb.open_recogniser
CLASSES = ("low", "middle\x1b[31m", "high")


class Fake:
    """Class k where the mean of the second coordinates is near 100 k; confident where it is very near."""

    classes, usual, folder, units = CLASSES, 1.0, Path("run"), None
    recipe = SimpleNamespace(method="fake", preset="small", preparation=Preparation(), supervision=Supervision(), signs=False)
    converted = Recogniser.converted

    def __init__(self, skeleton):
        self.skeleton = skeleton

    def prepare(self, clip):
        clip = self.converted(clip)
        return clip if clip.somebody() else None

    def check_coordinates(self, clip):
        pass

    def probabilities(self, clips):
        heights = np.array([clip.positions[..., 1][clip.positions[..., 1] != 0].mean() for clip in clips])
        logits = -np.abs(heights[:, None] - 100 * np.arange(1, 4)) / 20
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return (shares / shares.sum(1, keepdims=True)).astype(np.float32)


class Signs(Fake):
    """Prepares as a run for signs does."""

    recipe = recipe("masa", "small", SIGN49)
    prepare = Recogniser.prepare

    def probabilities(self, clips):
        return np.tile(np.array([[0.1, 0.8, 0.1]], np.float32), (len(clips), 1))


def verb_main(*words):
    return main([str(word) for word in words])


@pytest.fixture(autouse=True)
def run(monkeypatch, tmp_path):
    """A classifier of NTU's joints called `run`, and of SIGN49 called `sign`; any other name is no classifier."""

    def opened(folder, device="cpu"):
        skeletons = {"run": NTU25, "sign": SIGN49}
        if str(folder) not in skeletons:
            raise UserError(f"{folder}: no classifier")
        return Fake(skeletons[str(folder)])

    monkeypatch.setattr(verb, "open_recogniser", opened)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def moving(*heights, frames=20, people=1, skeleton=NTU25):
    """Each height for `frames` frames, 10 a second; None: nobody."""
    positions = np.zeros((frames * len(heights), people, len(skeleton), 3), np.float32)
    for part, height in enumerate(heights):
        if height is not None:
            positions[part * frames : (part + 1) * frames] = (1, height, 1)
    return Clip(positions, skeleton, fps=10)


def test_a_short_file(good, run):
    npz.write(moving(100), run / "a.npz")
    said = good("recognize", "a.npz", "--run", "run", "--top", 2)
    assert "a.npz, 2.0 s" in said
    assert [line.split("│")[1].strip() for line in said.splitlines() if "%" in line] == ["low", r"middle\x1b[31m"]
    assert "99 %" in said
    assert [p.name for p in run.iterdir()] == ["a.npz"], "a short clip is drawn only if it is asked for"
    assert "drawn to b.png" in good("recognize", "a.npz", "--run", "run", "--out", "b.png")
    assert (run / "b.png").read_bytes()[:4] == b"\x89PNG"


def test_a_long_file_is_told_over_time_and_drawn(good, run):
    npz.write(moving(100, None, 300), run / "a.npz")
    lines = good("recognize", "a.npz", "--run", "run", "--hop", 1).splitlines()
    assert lines[:3] == ["0.0-2.0 s  low        99 %", "2.0-4.0 s  (nobody)", "4.0-6.0 s  high       99 %"]
    assert lines[3].startswith("on the whole: low 50 %, high 50 %")
    assert lines[4:] == ["drawn to a-labels.png"]
    assert (run / "a-labels.png").read_bytes()[:4] == b"\x89PNG"


def test_pictures_of_one_source_do_not_overwrite_each_other(good, run):
    Store.write(run / "mine", ((f"c{i}", moving(100, 300)) for i in range(2)), name="mine", classes=())
    (run / "folder").mkdir()
    npz.write(moving(100, 300), run / "folder" / "a.npz")
    for source, number in (("mine", 0), ("mine", 1), ("folder", 0)):
        assert f"drawn to {source}-{number}-labels.png" in good("recognize", source, "--clip", number, "--run", "run")
    assert len(list(run.glob("*.png"))) == 3


def test_a_picture_that_cannot_be_written_is_refused_before_the_work(bad, good, run, monkeypatch):
    npz.write(moving(100, 300), run / "a.npz")
    npz.write(moving(100), run / "b.npz")
    for name in ("a-labels.png", "b-labels.png", "x.png"):
        (run / name).mkdir()
    worked = []
    monkeypatch.setattr(verb, "run_recognize", lambda *a, **k: worked.append(a))
    assert "a-labels.png: a folder is in the way" in bad("recognize", "a.npz", "--run", "run")
    assert "x.png: a folder is in the way" in bad("recognize", "b.npz", "--run", "run", "--out", "x.png")
    monkeypatch.setattr(verb, "Holistic", lambda: worked.append("MediaPipe"))
    film(run / "a.mp4", 40)
    assert "a-labels.png: a folder is in the way" in bad("recognize", "a.mp4", "--run", "sign")
    assert not worked
    monkeypatch.setattr(verb, "run_recognize", recognize)
    assert "low" in good("recognize", "b.npz", "--run", "run"), "a short clip is not drawn"


def test_json_stands_alone_and_draws_nothing_unasked(good, run):
    npz.write(moving(100, 300), run / "a.npz")
    told = json.loads(good("recognize", "a.npz", "--run", "run", "--json", "--window", 2, "--hop", 2))
    assert (told["run"], told["file"], told["clip"], told["person"], told["picture"]) == ("run", "a.npz", 0, None, None)
    assert [(p["start"], p["end"], p["labels"][0]["name"]) for p in told["pieces"]] == [(0, 2, "low"), (2, 4, "high")]
    assert len(told["pieces"][0]["labels"]) == 3
    found = recognize(Fake(NTU25), moving(100, 300), window=2, hop=2)
    assert told["labels"][0]["confidence"] == round(found.labels[0].confidence, 6)
    assert [p.name for p in run.iterdir()] == ["a.npz"]
    assert json.loads(good("recognize", "a.npz", "--run", "run", "--json", "--out", "x.png"))["picture"] == "x.png"
    assert (run / "x.png").exists()


def test_bare_arrays_have_the_joints_of_the_run(good, bad, run):
    positions = moving(300).positions[:, 0]
    np.save(run / "a.npy", positions)
    np.savetxt(run / "b.csv", positions.reshape(20, -1), delimiter=",")
    np.savez(run / "c.npz", positions=positions)
    for name in ("a.npy", "b.csv", "c.npz"):
        assert json.loads(good("recognize", name, "--run", "run", "--json"))["labels"][0]["name"] == "high"
    np.save(run / "d.npy", positions[:, :7])
    assert "25" in bad("recognize", "d.npy", "--run", "run")


def test_one_person_of_several(good, bad, run):
    clip = moving(100, people=2)
    clip.positions[:, 1, :, 1] = 300
    npz.write(clip, run / "a.npz")
    names = [json.loads(good("recognize", "a.npz", "--run", "run", "--json", "--person", n))["labels"][0]["name"] for n in (0, 1)]
    assert names == ["low", "high"]
    assert "--person 2: a.npz has 2 people, from 0 to 1" in bad("recognize", "a.npz", "--run", "run", "--person", 2)


def test_another_skeleton_is_converted_or_refused(good, bad, run):
    clip = moving(200, skeleton=HOLISTIC75)
    flat = clip.with_(
        positions=np.ascontiguousarray(clip.positions[..., :2]), units="pixels", image_size=(640, 480),
        confidence=np.ones(clip.positions.shape[:3], np.float32),
    )  # fmt: skip
    dotpose.write(flat, run / "a.pose")
    assert "middle" in good("recognize", "a.pose", "--run", "sign")
    odd = Clip(np.ones((4, 1, 1, 3), np.float32), Skeleton("odd", ("x",), (-1,)))
    npz.write(odd, run / "odd.npz")
    assert "cannot be converted" in bad("recognize", "odd.npz", "--run", "sign")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--run run", "name a motion file or a video, or .* --live"),
        ("x.npz --run other", "other: no classifier"),
        ("x.npz --run run", "x.npz: no such file"),
        ("x.mp4 --run run", "x.mp4: no such"),
        ("odd.xyz --run run", r"odd.xyz: no known format \(by its name\); known are .*docs/formats.md tells"),
        ("x.mp4 --run run --clip 1", "--clip 1: x.mp4 has 1 clip,"),
        ("a.npz --run run --clip 1", "--clip 1"),
        ("a.npz --run run --top 0", "--top 0: expected 1 or more"),
        ("a.npz --run run --person -1", "--person -1"),
        ("a.npz --run run --window 0", "window of 0 s"),
        ("a.npz --run run --window 1 --hop 2", "hop of 2 s"),
        ("a.npz --run run --out x.gif", r"--out x\.gif: expected a name that ends in \.png"),
        ("a.npz --run run --live", "leave out the file"),
        ("--run run --live --out x.png", "leave out"),
        ("empty.npz --run run", "empty.npz: nobody is in any of its 20 frames"),
    ],
)
def test_mistakes(bad, run, words, said):
    npz.write(moving(100), run / "a.npz")
    npz.write(moving(None), run / "empty.npz")
    (run / "odd.xyz").write_text("1 2 3")
    before = sorted(run.iterdir())
    assert re.search(said, bad("recognize", *words.split()))
    assert sorted(run.iterdir()) == before


# videos


class Finder:
    """Stands in for MediaPipe: everybody is at a height of 200 pixels."""

    skeleton, version = HOLISTIC75, "0"

    def landmarks(self, frames):
        for _ in frames:
            yield np.tile(np.array([5, 200, 1], np.float32), (1, 75, 1))


def film(path, frames=20):
    from PIL import Image

    write_film((Image.new("RGB", (64, 48), (99, 99, 99)) for _ in range(frames)), path, 10, "x")


def test_a_video(good, bad, run, monkeypatch):
    film(run / "a.mp4")
    monkeypatch.setattr(verb, "Holistic", Finder)
    said = good("recognize", "a.mp4", "--run", "sign")
    assert "20 frames looked at by MediaPipe 0" in said
    assert "middle" in said
    assert json.loads(good("recognize", "a.mp4", "--run", "sign", "--json"))["labels"][0]["name"] == CLASSES[1]

    monkeypatch.setattr(verb, "open_recogniser", lambda *_: Fake(Skeleton("odd", ("x",), (-1,))))
    assert "cannot be converted" in bad("recognize", "a.mp4", "--run", "odd"), "before the long work"
    monkeypatch.setattr(verb, "open_recogniser", lambda *_: Fake(SIGN49))

    class Nobody(Finder):
        def landmarks(self, frames):
            for _ in frames:
                yield np.zeros((0, 75, 3), np.float32)

    monkeypatch.setattr(verb, "Holistic", Nobody)
    assert "a.mp4: nobody is in any of its 20 frames" in bad("recognize", "a.mp4", "--run", "sign")


def test_a_bare_array_of_a_signer_wants_the_size_of_its_image(good, bad, run, monkeypatch):
    monkeypatch.setattr(verb, "open_recogniser", lambda *_: Signs(SIGN49))
    positions = np.random.default_rng(0).uniform(50, 150, (20, 49, 2)).astype(np.float32)
    np.save(run / "a.npy", positions)
    shared = ("recognize", "a.npy", "--run", "sign")
    assert "a.npy: pixels, image size None" in bad(*shared)
    assert "--image-size" in bad(*shared)
    assert "middle" in good(*shared, "--image-size", "640x480")
    for wrong in ("640", "0x480", "640x", "axb"):
        assert f"--image-size {wrong}: expected width x height" in bad(*shared, "--image-size", wrong)
    npz.write(Clip(positions[:, None], SIGN49, units="pixels", image_size=(512, 512)), run / "b.npz")
    assert "b.npz says 512 x 512 itself" in bad("recognize", "b.npz", "--run", "sign", "--image-size", "640x480")
    assert "middle" in good("recognize", "b.npz", "--run", "sign", "--image-size", "512 x 512")
    npz.write(Clip(positions[:, None] / 512, SIGN49, units="normalised"), run / "c.npz")
    assert "c.npz is in normalised, not in pixels" in bad("recognize", "c.npz", "--run", "sign", "--image-size", "640x480")


def test_who_shows_no_hand_is_told_and_who_shows_no_arm_is_nobody(good, bad, run, monkeypatch, capfd):
    monkeypatch.setattr(verb, "open_recogniser", lambda *_: Signs(SIGN49))
    positions = np.random.default_rng(0).uniform(50, 150, (20, 1, 49, 2)).astype(np.float32)
    for name, joints in {"arms": slice(42, None), "nose": slice(SIGN49.index("nose"), SIGN49.index("nose") + 1)}.items():
        some = np.zeros_like(positions)
        some[:, :, joints] = positions[:, :, joints]
        sure = 0.5 * (some != 0).any(-1).astype(np.float32)  # too little for an arm to stand in for a hand
        npz.write(Clip(some, SIGN49, 30, sure, "pixels", image_size=(512, 512)), run / f"{name}.npz")
    assert verb_main("recognize", "arms.npz", "--run", "sign") == 0
    assert "arms.npz: no hand is seen in any of its 20 frames" in capfd.readouterr().err
    assert "nose.npz: nobody is in any of its 20 frames" in bad("recognize", "nose.npz", "--run", "sign")


def test_a_file_is_named_and_not_where_its_clip_was_read_from(good, bad, run):
    clip = moving(100)
    npz.write(clip.with_(source="elsewhere/original.skeleton"), run / "copy.npz")
    said = good("recognize", "copy.npz", "--run", "run")
    assert said.startswith("copy.npz, ")
    npz.write(clip.with_(positions=clip.positions * 0, source="elsewhere/original.skeleton"), run / "nobody.npz")
    assert "kinema: nobody.npz: nobody is in any" in bad("recognize", "nobody.npz", "--run", "run")


def test_a_video_without_the_extra(bad, run, monkeypatch):
    film(run / "a.mp4", 2)
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    assert "MediaPipe" in bad("recognize", "a.mp4", "--run", "sign")


# a classifier that was trained


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    """The folder of a classifier."""
    out = tmp_path_factory.mktemp("named")
    options = ("--data", made.store, "--split", "view", "--protocols", "finetune", "--epochs", "1", "--accelerator", "cpu")
    assert main([str(word) for word in ("evaluate", made.run, *options, "--out", out)]) == 0
    return next(file.parent for file in out.rglob("config.json"))


def test_a_trained_classifier_names_files_stores_and_streams(good, bad, made, trained, monkeypatch, capfd):
    monkeypatch.setattr(verb, "open_recogniser", REAL)
    file = sorted(made.raw.iterdir())[0]
    shared = ("--run", trained, "--accelerator", "cpu", "--json")
    whole, same = (json.loads(good("recognize", *words, *shared)) for words in ((file,), (made.store, "--clip", 0)))
    assert whole["labels"] == same["labels"]
    assert {label["name"] for label in whole["labels"]} <= set(Store.open(made.store).classes)
    assert 0 < sum(label["confidence"] for label in whole["labels"]) <= 1 + 1e-5
    clip = Store.open(made.store).clip(0)
    lines = [{"fps": clip.fps}, *({"positions": p.tolist()} for p in clip.positions)]
    code, answers, _ = live(monkeypatch, capfd, lines, "--accelerator", "cpu", "--window", 0.6, "--hop", 0.03, run=str(trained))
    told = {label["name"]: label["confidence"] for label in answers[-1]["labels"]}
    assert (code, answers[-1]["frames"]) == (0, clip.frames)
    assert told == {label["name"]: pytest.approx(label["confidence"], abs=2e-3) for label in whole["labels"]}
    assert "kinema finetune" in bad("recognize", file, "--run", made.run)
    assert "no run here" in bad("recognize", file, "--run", made.store)


def told(capfd, *words):
    """What a verb that must succeed says on standard error."""
    capfd.readouterr()
    assert main([str(word) for word in words]) == 0
    return capfd.readouterr().err


def test_an_unfinished_run_is_told(made, trained, monkeypatch, capfd, tmp_path):
    monkeypatch.setattr(verb, "open_recogniser", REAL)
    run, cpu = tmp_path / "part", ("--accelerator", "cpu")
    assert main([str(word) for word in (*made.train, "--out", run, "--max-steps", 1)]) == 0
    state = json.loads((latest(made.run) / "state.json").read_text())
    assert state["step"] > 1
    line = f"{run}: trained 1 of {state['step']} steps; what it says is that of an unfinished run\n"
    file, data = sorted(made.raw.iterdir())[0], ("--data", made.store)
    tune = ("--set", "supervision.hidden=8", "--epochs", 1, *cpu)
    ways = [
        ("embed", "{}", made.store, "--out", tmp_path / "f.npz", *cpu),
        ("retrieve", file, *data, "--run", "{}", "--out", tmp_path / "r.png", *cpu),
        ("evaluate", "{}", *data, "--split", "view", "--protocols", "knn", "--out", tmp_path / "e", *cpu),
        ("finetune", "{}", *data, *tune, "--out", tmp_path / "named"),
    ]
    for words in ways:
        assert told(capfd, *(run if word == "{}" else word for word in words)).count(line) == 1, words[0]
    assert "unfinished" not in told(capfd, *(made.run if word == "{}" else word for word in ways[0]))
    assert "unfinished" not in told(capfd, "finetune", run, *data, *tune, "--scratch", "--out", tmp_path / "scratch")

    ask = ("recognize", file, *cpu, "--json", "--run")
    assert "unfinished" not in told(capfd, *ask, trained)
    part = shutil.copytree(trained, tmp_path / "cut")
    path = latest(part) / "state.json"
    state = json.loads(path.read_text())
    done = {"step": 1, "index": 1, "epoch": 1 * state["epoch"] / state["index"], "finished": False}
    path.write_text(json.dumps(state | done))
    assert told(capfd, *ask, part) == f"{part}: trained 1 of {state['step']} steps; what it says is that of an unfinished run\n"


def test_units_are_those_of_training(good, bad, made, trained, monkeypatch, tmp_path):
    monkeypatch.setattr(verb, "open_recogniser", REAL)
    clip = Store.open(made.store).clip(0)
    npz.write(clip.with_(units="normalised"), tmp_path / "n.npz")
    np.save(tmp_path / "bare.npy", clip.positions)
    ask = ("--accelerator", "cpu", "--run")
    said = bad("recognize", tmp_path / "n.npz", *ask, trained)
    assert f"normalised, but {trained} was trained on metres; give a clip of such units" in said
    good("recognize", tmp_path / "bare.npy", *ask, trained)
    config = json.loads((trained / "config.json").read_text())
    assert config.pop("units") == ["metres"]
    assert config["usual"] == pytest.approx(clip.seconds)
    old = shutil.copytree(trained, tmp_path / "old")
    (old / "config.json").write_text(json.dumps(config))
    good("recognize", tmp_path / "n.npz", *ask, old)
    (old / "config.json").write_text(json.dumps({**config, "units": ["normalised"]}))
    good("recognize", tmp_path / "bare.npy", *ask, old)


def test_the_benchmark_of_streams(made, trained, capsys):
    before = torch.get_num_threads()
    try:
        sign_stream.main(["--run", str(trained), str(sorted(made.raw.iterdir())[0]), "--rounds", "2", "--threads", "1"])
    finally:
        torch.set_num_threads(before)
    row = capsys.readouterr().out.splitlines()[-1].split("|")
    assert row[2].strip() == "10"
    assert float(row[3].split("(")[0]) > 0


# standard input


def live(monkeypatch, capfd, lines, *options, run="run"):
    """Exit code, answers, what was said on standard error."""
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    capfd.readouterr()
    code = main(["recognize", "--run", run, "--live", *map(str, options)])
    captured = capfd.readouterr()
    return code, [json.loads(line) for line in captured.out.splitlines()], captured.err


def pose(height, people=1):
    return {"positions": [[[1.5, height + 200 * person, 1]] * 25 for person in range(people)]}


def test_poses_come_in_and_labels_go_out(monkeypatch, capfd):
    lines = [{"fps": 10}, *[pose(100)] * 10, {"positions": []}, *[pose(300)] * 15]
    code, answers, said = live(monkeypatch, capfd, lines, "--hop", 0.5, "--top", 2)
    assert (code, said) == (0, "")
    assert [a["frames"] for a in answers] == [5, 10, 15, 20, 25]
    assert [a["seconds"] for a in answers] == [0.5, 1, 1.5, 2, 2.5]
    assert answers[0]["labels"][0]["name"] == "low"
    assert answers[-1]["labels"][0]["name"] == "high"
    assert all(len(a["labels"]) == 2 for a in answers)


def test_a_header_may_say_all(monkeypatch, capfd):
    header = {"skeleton": "holistic75", "fps": 10, "image_size": [640, 480], "units": "pixels"}
    poses = [{"positions": [[[5, 200]] * 75], "confidence": [[1] * 75]}] * 5
    code, answers, _ = live(monkeypatch, capfd, [header, *poses], run="sign")
    assert code == 0
    assert answers[0]["labels"][0]["name"] == CLASSES[1]
    own = {"skeleton": NTU25.to_json(), "fps": 10.0}
    assert live(monkeypatch, capfd, [own, *[pose(100)] * 5])[1]


def test_one_person_of_a_stream(monkeypatch, capfd):
    lines = [{"fps": 10}, *[pose(100, 2)] * 5]
    assert live(monkeypatch, capfd, lines, "--person", 1)[1][0]["labels"][0]["name"] == "high"
    assert live(monkeypatch, capfd, lines, "--person", 2)[1][0]["labels"] == []


def test_a_stream_that_ends_too_soon_says_so(monkeypatch, capfd):
    code, answers, said = live(monkeypatch, capfd, [{"fps": 10}, pose(100)])
    assert (code, answers) == (0, [])
    assert said == "the input ended after 1 pose; the first answer comes after 5\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "line 1: nothing comes in"),
        (["nonsense\n"], "line 1: no JSON object"),
        ([[1]], "line 1: expected a JSON object with fps"),
        ([{"fps": 0}], "line 1: fps 0"),
        ([{"fps": True}], "line 1: fps True"),
        ([{"fps": 10, "unit": "pixels"}], "no other keys than skeleton, fps, image_size, units"),
        ([{"fps": 10, "units": "feet"}], "line 1: .*units 'feet'"),
        ([{"fps": 10, "image_size": [640]}], r"line 1: image_size \[640\]"),
        ([{"fps": 10, "skeleton": "ntu26"}], "unknown skeleton 'ntu26': did you mean ntu25"),
        ([{"fps": 10, "skeleton": {"joints": ["x"]}}], "line 1: .*cannot be converted"),
        ([{"fps": 10, "skeleton": 5}], "a skeleton is a JSON object"),
        ([{"fps": 10}, pose(100), {"position": []}], "line 3: expected a JSON object with positions"),
        ([{"fps": 10}, pose(100), "\n"], "line 3: no JSON object"),
        ([{"fps": 10}, {"positions": [[[1, 2, 3]]]}], r"line 2: .*\(1, 1, 1, 3\); expected .*25 joints"),
        ([{"fps": 10}, {"positions": "x"}], "line 2: positions hold what is no number"),
        ([{"fps": 10}, {"positions": 5}], "line 2: positions"),
        ([{"fps": 10}, '{"positions": [[[NaN, 1, 1]]]}\n'], "line 2: "),
        ([{"fps": 10}, "[" * 100_000 + "\n"], "line 2: no JSON object"),
        ([{"fps": 10}, {**pose(1), "confidence": [[2] * 25]}], "line 2: .*confidence outside 0 to 1"),
    ],
)
def test_a_line_that_is_no_pose_ends_it(monkeypatch, capfd, lines, said):
    code, answers, complaint = live(monkeypatch, capfd, lines)
    assert (code, answers) == (2, [])
    assert re.search("^kinema: standard input, .*" + said.removeprefix(".*"), complaint), complaint
    assert complaint.count("\n") == 1


def test_what_was_said_before_a_mistake_stands(monkeypatch, capfd):
    code, answers, said = live(monkeypatch, capfd, [{"fps": 10}, *[pose(100)] * 6, "{\n"])
    assert code == 2
    assert [a["frames"] for a in answers] == [5, 6]
    assert "line 8" in said
