"""Numbers of a recipe beyond reason are refused before anything is built, wherever the recipe comes from."""

import json
import shutil
import time
import typing
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import pytest

from kinema import machine
from kinema.errors import UserError
from kinema.motion.skeletons import NTU25, SIGN49
from kinema.nn.hyper_connections import HyperConnections
from kinema.recognition import limits, recipes, run
from kinema.recognition.cmd import CMDConfig
from kinema.recognition.encoder import TransformerConfig
from kinema.recognition.heads import HeadConfig
from kinema.recognition.i2md import I2MDConfig
from kinema.recognition.mamp import MAMPConfig
from kinema.recognition.presets import PRESETS, recipe
from kinema.recognition.recipes import Recipe, build_method, from_json, to_json
from kinema.verbs.train import changed

ALL = [(method, preset) for method, presets in PRESETS.items() for preset in presets]


def reachable(kind, found=None):
    """Every dataclass that a recipe may hold, by its type hints."""
    found = {} if found is None else found
    if is_dataclass(kind) and kind not in found:
        found[kind] = typing.get_type_hints(kind)
        for field in fields(kind):
            reachable(found[kind][field.name], found)
    for inner in typing.get_args(kind):
        reachable(inner, found)
    return found


def holds_numbers(kind):
    return kind in (int, float) or any(holds_numbers(inner) for inner in typing.get_args(kind) if isinstance(inner, type | object))


def test_every_number_that_a_recipe_or_a_head_may_hold_has_a_range():
    kinds = {**reachable(Recipe), **reachable(HeadConfig)}
    assert {MAMPConfig, CMDConfig, I2MDConfig, TransformerConfig, HyperConnections, HeadConfig} <= kinds.keys()
    missing = [
        f"{kind.__name__}.{field.name}"
        for kind, hints in kinds.items()
        for field in fields(kind)
        if holds_numbers(hints[field.name])
        and f"{kind.__name__}.{field.name}" not in limits.RANGES
        and field.name not in limits.RANGES
    ]
    assert not missing, f"give {missing} a range in limits.RANGES"


def leaves(value, path=()):
    """(path, number) of every number in a JSON value."""
    if isinstance(value, dict | list | tuple):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [leaf for key, inner in pairs for leaf in leaves(inner, (*path, key))]
    return [(path, value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def put(value, path, new):
    value = json.loads(json.dumps(value))
    place = value
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return value


@pytest.mark.parametrize(("method", "preset"), [("mamp", "small"), ("cmd", "paper-ntu"), ("i2md", "small"), ("masa", "small")])
@pytest.mark.parametrize("number", [10**12, -(10**12), float("nan"), float("inf"), 1e300, 10**400])
def test_no_number_of_a_preset_may_be_beyond_reason(method, preset, number):
    value = to_json(recipe(method, preset, NTU25))
    numbers = [leaf for leaf in leaves(value) if "bones" not in leaf[0] or leaf[0][-2:] == (3, 1)]
    assert len(numbers) > 30
    for path, _ in numbers:
        with pytest.raises(UserError) as caught:
            from_json(put(value, path, number), "config.json")
        assert str(caught.value).startswith("config.json: recipe.")
        assert ".".join(map(str, path[:1])) in str(caught.value)
        assert len(str(caught.value)) < 400


SIZES = (
    "width depth heads frames queue dim layers hidden decoder_width decoder_depth head_hidden mlp batch_size epochs neighbours "
    "people longest aggregated least warmup"
).split()


@pytest.mark.parametrize(("method", "preset"), ALL)
def test_ten_times_what_was_published_is_within_the_ranges(method, preset):
    value = to_json(recipe(method, preset, NTU25))
    for path, number in leaves(value):
        if path[-1] in SIZES and path[-1] != "least":
            found = limits.RANGES.get(path[-1])
            assert found is None or found.holds(10 * number), f"{path}: {10 * number}"


@pytest.mark.parametrize(
    ("method", "preset", "settings"),
    [
        ("mamp", "paper-ntu60", ["batch_size=1280", "epochs=4000", "model.encoder.width=2560", "model.encoder.frames=1200"]),
        ("mamp", "fast", ["model.encoder.depth=80", "supervision.epochs=1000", "supervision.hidden=20480"]),
        ("cmd", "paper-pku", ["model.queue=163840", "model.neighbours=81920", "model.dim=1280", "model.network.layers=30"]),
        ("masa", "code", ["model.queue=69120", "model.network.mlp=20480", "model.network.depth=30", "crop.frames=3000"]),
    ],
)
def test_ten_times_a_published_size_is_a_recipe(method, preset, settings):
    assert changed(recipe(method, preset, NTU25), {}, settings) != recipe(method, preset, NTU25)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("mamp", []),
        ("mamp", ["model.decoder=self", "model.predict_share=1"]),
        ("mamp", ["model.encoder.residual=dynamic-4"]),
        ("mamp", ["model.encoder.residual=manifold-4"]),
        ("cmd", []),
        ("cmd", ["model.mlp=false", "model.queue=4000"]),
        ("cmd", ['model.network={"width":64,"depth":4,"heads":4,"frames":32,"joints":25}']),
        ("i2md", []),
        ("masa", []),
        ("masa", ["model.network.graph.width=96"]),
    ],
)
def test_the_count_of_numbers_is_that_of_the_network(method, settings):
    chosen = changed(recipe(method, "small", NTU25), {}, settings)
    real = sum(value.numel() for value in build_method(chosen).state_dict().values())
    assert limits.numbers(chosen.model) == pytest.approx(real, rel=0.15)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_built(monkeypatch):
    monkeypatch.setattr(limits, "memory", lambda: 2**33)
    build_method(recipe("mamp", "small", NTU25))
    monkeypatch.setattr(recipes, "MAMP", None)  # nothing is built
    large = changed(recipe("mamp", "small", NTU25), {}, ["model.encoder.width=65536", "model.encoder.depth=100"])
    with pytest.raises(UserError, match=r"a network of about 5,15.* takes 1[\d,.]+ GiB, this machine has 8\.0 GiB"):
        build_method(large)
    settings = ["width=4096", "depth=1", "heads=1", "frames=10000", "frame_patch=1"]
    long = changed(recipe("mamp", "small", NTU25), {}, [f"model.encoder.{setting}" for setting in settings])
    with pytest.raises(UserError, match=r"10000 x 25 tokens of 4 people, 4096 wide, take 15\.3 GiB for one clip"):
        limits.check_network(long.model, 4)
    with pytest.raises(UserError, match=r"a batch of 100000 clips x 10000 frames .* choose a smaller batch_size"):
        limits.check_batch(100000, 10000, 1, 25, 3)


def test_the_memory_of_a_container_counts(tmp_path, monkeypatch):
    (tmp_path / "max").write_text("1048576\n")
    (tmp_path / "none").write_text("max\n")
    monkeypatch.setattr(machine, "LIMITS", (tmp_path / "none", tmp_path / "absent"))
    whole = machine.memory()
    assert whole > 2**20
    monkeypatch.setattr(machine, "LIMITS", (tmp_path / "none", tmp_path / "max"))
    assert machine.memory() == 2**20


# a run folder that somebody else made


@pytest.fixture
def hostile(made, tmp_path):
    """A run folder whose recipe was changed at a path."""

    def spoil(*changes, source=made.run):
        folder = tmp_path / "hostile"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        config = json.loads((folder / "config.json").read_text())
        for path, new in changes:
            config = put(config, path, new)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return spoil


DEEP = (("recipe", "model", "encoder", "depth"), 10**9)
WIDE = (("recipe", "model", "encoder", "width"), 2**12), (("recipe", "model", "encoder", "depth"), 16)


def test_every_command_refuses_a_hostile_run_folder_at_once(bad, made, hostile, tmp_path):
    folder = hostile(DEEP)
    begun = time.monotonic()
    for words in (
        ("evaluate", folder, "--data", made.store, "--split", "view"),
        ("embed", folder, made.store, "--out", tmp_path / "f.npz"),
        ("finetune", folder, "--data", made.store, "--out", tmp_path / "o"),
        ("retrieve", made.store, "--data", made.store, "--run", folder, "--out", tmp_path / "r.png"),
    ):
        assert "config.json: recipe.model.encoder.depth 1000000000: expected 1 to 512" in bad(*words)
    assert time.monotonic() - begun < 20
    assert {p.name for p in tmp_path.iterdir()} == {"hostile"}


def test_a_network_that_the_checkpoint_cannot_hold_is_not_built(bad, made, hostile, tmp_path, monkeypatch):
    folder = hostile(*WIDE)
    monkeypatch.setattr(run, "build_method", lambda *_: pytest.fail("was built"))
    said = bad("embed", folder, made.store, "--out", tmp_path / "f.npz")
    assert "config.json describes a network of about 3," in said
    assert "made for another model" in said


def test_a_hostile_classifier_is_refused(bad, good, made, hostile, tmp_path):
    good(
        "finetune",
        made.run,
        "--data",
        made.store,
        "--split",
        "view",
        "--epochs",
        1,
        "--accelerator",
        "cpu",
        "--out",
        tmp_path / "c",
    )
    for change, said in (
        (DEEP, "recipe.model.encoder.depth 1000000000: expected 1 to 512"),
        ((("head", "width"), 10**12), "width is 1000000000000; expected a whole number from 1 to"),
        ((("head", "width"), 10**7), "made for another model"),
        ((("head", "width"), 12_000_000), "head.width 12000000: expected 1 to"),
        ((("head", "hidden"), -1), "hidden is -1; expected a whole number from 0 to"),
    ):
        folder = hostile(change, source=tmp_path / "c")
        assert said in bad("recognize", made.store, "--run", folder)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "model.encoder.depth=1000000"], "--set model.encoder.depth=1000000: expected 1 to 512"),
        (["--batch-size", "1000000000"], "--batch-size 1000000000: expected 1 to 100000"),
        (["--set", "supervision.hidden=1e9"], "--set supervision.hidden=1e9: expected a whole number"),
        (["--set", "optimiser.betas=[0.9,1]"], "optimiser.betas.1 1.0: expected 0 to below 1"),
        (["--set", "schedule.gamma=-1"], "--set schedule.gamma=-1: expected 0 to"),
        (["--devices", "1000"], "devices 1000: this machine has "),
    ],
)
def test_train_refuses_before_anything_is_there(bad, made, tmp_path, words, said):
    assert said in bad("train", "mamp", "--data", made.store, *made.tiny, *words, "--out", tmp_path / "o")
    assert not list(Path(tmp_path).iterdir())


def test_build_refuses_more_workers_than_cores(bad, made, tmp_path):
    said = bad("data", "build", made.raw, "--dataset", "nw-ucla", "--out", tmp_path / "s", "--workers", 100000)
    assert "--workers 100000: expected 1 to " in said
    assert not list(Path(tmp_path).iterdir())


def test_a_new_number_without_a_range_is_noticed():
    @dataclass(frozen=True)
    class New:
        unheard_of: int = 3

    with pytest.raises(LookupError, match=r"New\.unheard_of has no range"):
        limits.check(New())


@pytest.mark.parametrize("method", ["cmd", "i2md", "masa"])
def test_a_classifier_needs_no_room_for_queues(method):
    skeleton = SIGN49 if method == "masa" else NTU25
    short, long = (changed(recipe(method, "small", skeleton), {}, [f"model.queue={n}"]).model for n in (256, 2**20))
    assert limits.numbers(long) > 10 * limits.numbers(short)
    assert limits.numbers(long, queues=False) == limits.numbers(short, queues=False)
    kept = sum(t.numel() for t in build_method(recipe(method, "small", skeleton)).alone().state_dict().values())
    limits.check_held(limits.numbers(long, queues=False) // 8, 4 * kept, "run")
