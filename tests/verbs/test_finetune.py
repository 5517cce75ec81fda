"""Signs through the real commands: pre-training MASA, classifiers as run folders, the numbers of metrics.json, and mistakes."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
import toys

from kinema import cli
from kinema.data.batches import with_confidence
from kinema.data.stage import signs1
from kinema.data.stage.parts import sides
from kinema.data.store import Store
from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.convert import convert
from kinema.motion.skeletons import HOLISTIC75, KINECT20
from kinema.recognition import masa_prepare
from kinema.recognition.classifier import open_recogniser
from kinema.recognition.presets import PRESETS, recipe
from kinema.recognition.protocols import evaluation_mode, weights_digest
from kinema.recognition.recipes import build_method
from kinema.recognition.recognize import recognize
from kinema.recognition.run import open_run
from kinema.training.checkpoint import read_weights
from kinema.verbs.train import changed

NETWORK = (
    'model.network.graph={"width":8,"channels":[4,4,6]}', "model.network.depth=1", "model.network.heads=2", "model.network.mlp=16",
    "model.decoder_depth=1", "model.head_hidden=8", "model.dim=4", "model.queue=20", "precision=32",
)  # fmt: skip
TINY = tuple(word for setting in NETWORK for word in ("--set", setting))
TINY += ("--batch-size", 12, "--epochs", 2, "--accelerator", "cpu")
HOW = ("batch_size=16", "precision=32", "crop.frames=32", "crop.take=spread")
HOW = tuple(word for value in HOW for word in ("--set", f"supervision.{value}"))
LABELS, REPEATS = 6, 3


def signs(places):
    for index in places:
        clip = signs1.clip(index)
        yield f"{index:06d}", clip.with_(meta={**clip.meta, "splits": sides(signs1.draw(index), signs1.SPLITS)})


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A store of six signs by three signers, of whom one tests, and a run of MASA on it. There is a class that nobody shows."""
    folder = tmp_path_factory.mktemp("signed")
    places = [48 * 24 * r + 48 * signer + label for r in range(REPEATS) for signer in range(3) for label in range(LABELS)]
    store = Store.write(folder / "store", signs(places), name="some-signs", classes=signs1.CLASSES[: LABELS + 1])
    train = ("train", "masa", "--data", folder / "store", "--split", "signer", *TINY)
    assert cli.main([str(a) for a in (*train, "--out", folder / "run")]) == 0
    tune = ("--data", folder / "store", "--accelerator", "cpu", *HOW)
    tuned = ("finetune", folder / "run", *tune, "--split", "signer", "--epochs", 8, "--out", folder / "tuned")
    assert cli.main([str(a) for a in tuned]) == 0
    return SimpleNamespace(
        folder=folder, store=store, run=folder / "run", tuned=folder / "tuned", train=train, tune=tune, again=tuned
    )


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"}


def rows(signed, side):
    return [i for i, e in enumerate(signed.store.entries) if f"signer_{side}" in e.meta["splits"]]


def test_a_resumed_run_is_the_uninterrupted_one_to_the_bit(good, signed, tmp_path):
    good(*signed.train, "--out", tmp_path / "parts", "--max-steps", 2)
    good(*signed.train, "--out", tmp_path / "parts", "--max-steps", 5, "--resume")
    good(*signed.train, "--out", tmp_path / "parts", "--resume")
    whole, parts = read_weights(signed.run), read_weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    fresh = open_run(signed.run).encoder(weights=False).state_dict()
    assert not torch.equal(whole["encoder_q.embed.mask_token"], fresh["encoder_q.embed.mask_token"])
    assert whole["queue_ptr"].item() == 2 * 3 * 12 % 20


def test_a_clip_in_which_nobody_is_left_stops_nothing(good, bad, signed, tmp_path):
    def clips():
        for i, entry in enumerate(signed.store.entries):
            clip = signed.store.clip(i)
            if i in (rows(signed, "train")[0], rows(signed, "test")[0]):
                clip = clip.with_(confidence=np.zeros_like(clip.confidence), source="nobody.pose")
            yield entry.id, clip

    store = Store.write(tmp_path / "store", clips(), name="some-signs", classes=signed.store.classes)
    data = ("--data", tmp_path / "store", "--split", "signer")
    good(*[tmp_path / "store" if a == signed.folder / "store" else a for a in signed.train], "--out", tmp_path / "run")
    good("finetune", tmp_path / "run", *data, "--epochs", 1, *signed.tune[2:], "--out", tmp_path / "c")
    found = json.loads((tmp_path / "c" / "metrics.json").read_text())
    assert sum(c["clips"] for c in found["classes"]) == len(rows(signed, "test")), "it counts as a clip"
    said = bad("embed", tmp_path / "run", tmp_path / "store", "--out", tmp_path / "f.npz")
    assert said.count("nobody.pose") == 1
    assert "nobody is in any of its" in said
    assert len(store) == len(signed.store)


def test_where_a_classifier_cannot_go_is_told_before_the_work(bad, signed, tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "open", lambda *_: pytest.fail("the work has begun"))
    tune = ("finetune", signed.run, *signed.tune, "--split", "signer")
    before = files(signed.run)
    assert "run: holds a pre-trained encoder, a classifier is another run" in bad(*tune, "--out", signed.run)
    assert files(signed.run) == before
    assert "--epochs 0: expected 1 or more" in bad(*tune, "--epochs", 0, "--out", tmp_path / "c")
    file = tmp_path / "a.pose"
    file.write_bytes(b"mine")
    assert "a.pose: a file is in the way of the folder" in bad(*tune, "--out", file)
    assert "a file is in the way" in bad(*signed.train, "--out", file)
    assert "a.pose: no run here" in bad(*tune[:1], file, *tune[2:], "--out", tmp_path / "c")
    monkeypatch.undo()
    assert "a file is in the way" in bad("evaluate", signed.run, *signed.tune[:2], "--split", "signer", "--out", file)
    assert file.read_bytes() == b"mine"


def test_a_training_has_most_steps_unless_a_length_is_asked_for(good, signed, tmp_path):
    plain = [a for i, a in enumerate(signed.train) if a != "--epochs" and signed.train[i - 1] != "--epochs"]
    said = good(*plain, "--set", "most_steps=4", "--out", tmp_path / "run")
    assert "finished after 4 steps, the most of this recipe (--epochs 30 for all)" in said
    assert "unfinished" not in good("embed", tmp_path / "run", signed.folder / "store", "--out", tmp_path / "f.npz")
    run = open_run(tmp_path / "run")
    assert (run.recipe.most_steps, run.recipe.epochs) == (4, 4 / 3)
    good(*plain, "--set", "most_steps=4", "--out", tmp_path / "run", "--resume")
    assert "finished after 9 steps;" in good(*plain, "--epochs", 3, "--out", tmp_path / "longer")


@pytest.mark.slow
@pytest.mark.parametrize("hands", ["apart", "present"])
def test_two_processes_share_batch_statistics_queues_and_momentum(signed, tmp_path, hands):
    """Nothing is hidden from the query: predictions are averaged over the hidden frames of a process, which differ in number."""
    graph = 'model.network.graph={"width":8,"channels":[4,4,6],"dropout":0,"feature_dropout":0}'
    values = (*NETWORK, graph, "model.network.dropout=0", "model.network.padding=false", f"model.network.hands={hands}")
    values += ("model.motion.hide=0", "model.align_epochs=0", "model.align=1", "schedule.warmup=0")
    # plain SGD: Adam would blow up the rounding of gradients that are exactly zero, those of biases before batch norms
    values += ('optimiser={"kind":"sgd","lr":0.0001,"weight_decay":0}',)
    train = ["train", "masa", "--data", str(signed.folder / "store"), "--split", "signer", "--batch-size", "12"]
    train += [word for value in values for word in ("--set", value)]

    def run(out):
        assert cli.main([*train, "--epochs", "2", "--max-steps", "3", "--accelerator", "cpu", "--out", str(tmp_path / out)]) == 0

    run("whole")
    toys.two_processes(lambda: run("cut"))
    whole, cut = read_weights(tmp_path / "whole"), read_weights(tmp_path / "cut")
    first = open_run(tmp_path / "whole").encoder(weights=False).state_dict()
    assert max((whole[n] - first[n]).abs().max() for n in whole if n.startswith("encoder_q.proj.fc.")) > 1e-3
    assert whole["queue_ptr"].item() == 3 * 12 % 20
    for name, tensor in whole.items():
        # sums in another order, and differences are divided by small spreads in batch norms; a wrong row gives differences near 1
        torch.testing.assert_close(cut[name], tensor, rtol=1e-3, atol=5e-4, msg=name)


def named(recogniser, clips):
    """Probabilities of clips as they were read."""
    return recogniser.probabilities([recogniser.prepare(clip) for clip in clips])


def by_hand(recogniser, clip):
    """Probabilities of one clip: prepared, the middle frame of each of 32 stretches, alone through the network."""
    ready = recogniser.prepare(clip)
    n = ready.frames
    taken = range(n) if n <= 32 else [(2 * i + 1) * n // 64 for i in range(32)]
    x = torch.from_numpy(with_confidence(ready)[list(taken)][None])
    with evaluation_mode(recogniser.model, "32"):
        return recogniser.model.logits(x).softmax(1)[0].numpy()


def test_a_classifier_is_opened_and_says_what_its_network_says(signed):
    found = open_recogniser(signed.tuned)
    assert (found.classes, found.skeleton.name) == (signs1.CLASSES[: LABELS + 1], "sign49")
    train, test = rows(signed, "train"), rows(signed, "test")
    assert found.usual == pytest.approx(np.median([signed.store.clip(i).seconds for i in train]))
    assert found.units == ("pixels",)
    clips = [signed.store.clip(i) for i in test[:5]]
    clips[1] = clips[1].with_(positions=clips[1].positions[10:32], confidence=clips[1].confidence[10:32])
    assert len({found.prepare(clip).frames for clip in clips}) > 1
    shares = named(found, clips)
    assert (shares.dtype, shares.shape) == (np.float32, (5, LABELS + 1))
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    for row, clip in zip(shares, clips, strict=True):
        np.testing.assert_allclose(row, by_hand(found, clip), atol=1e-6)
    np.testing.assert_array_equal(named(found, clips[::-1]), shares[::-1])
    wide = convert(clips[0], HOLISTIC75)
    np.testing.assert_allclose(named(found, [wide])[0], shares[0], atol=1e-6, err_msg="a signer of any skeleton")
    with pytest.raises(UserError, match="no clips"):
        found.probabilities([])
    with pytest.raises(UserError, match="pixels and the size"):
        named(found, [clips[0].with_(units="metres")])


def naive(shares, truth):
    """Percent right at one and at five guesses, over clips and as a mean over classes, by sorting and counting."""
    hits = {1: [], 5: []}
    for row, label in zip(shares, truth, strict=True):
        order = sorted(range(len(row)), key=lambda k: -row[k])
        for guesses, found in hits.items():
            found.append(label in order[:guesses])
    each = {k: [np.mean([h for h, t in zip(v, truth, strict=True) if t == c]) for c in sorted(set(truth))] for k, v in hits.items()}
    return {
        "top1": 100 * np.mean(hits[1]),
        "top5": 100 * np.mean(hits[5]),
        "per_class": 100 * np.mean(each[1]),
        "per_class_top5": 100 * np.mean(each[5]),
    }, dict(zip(sorted(set(truth)), each[1], strict=True))


def test_the_four_numbers_of_metrics_are_those_of_counting(good, signed, tmp_path):
    # classes of different sizes, so that a mean over classes is another than that over clips
    kept = [i for i in range(len(signed.store)) if i not in rows(signed, "test")[:3]]
    entries = ((signed.store.entries[i].id, signed.store.clip(i)) for i in kept)
    store = Store.write(tmp_path / "store", entries, name="fewer", classes=signed.store.classes)
    shared = ("--accelerator", "cpu", *HOW, "--split", "signer", "--epochs", 6)
    said = good("finetune", signed.run, "--data", tmp_path / "store", *shared, "--out", tmp_path / "out")
    test = [i for i, e in enumerate(store.entries) if "signer_test" in e.meta["splits"]]
    truth = store.labels[test].tolist()
    expected, each = naive(named(open_recogniser(tmp_path / "out"), [store.clip(i) for i in test]), truth)
    assert expected["top1"] != pytest.approx(expected["per_class"]) or expected["top5"] != pytest.approx(expected["per_class_top5"])
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)
    assert f"15 test clips: top 1 {expected['top1']:.1f} %, top 5 {expected['top5']:.1f} %" in said
    assert f"over classes {expected['per_class']:.1f} % and {expected['per_class_top5']:.1f} %" in said
    counts = [truth.count(label) for label in range(len(store.classes))]
    assert metrics["classes"] == [
        {"class": name, "clips": clips, "right": round(each.get(label, 0) * clips)}
        for label, (name, clips) in enumerate(zip(store.classes, counts, strict=True))
    ]
    assert (metrics["task"], metrics["unit"]) == ("fewer signer", "percent of test clips")


def test_said_again_it_does_nothing(good, signed):
    before = files(signed.tuned)
    weights = next(signed.tuned.rglob("model.safetensors"))
    when = weights.stat().st_mtime_ns
    said = good(*signed.again)
    assert files(signed.tuned) == before
    assert weights.stat().st_mtime_ns == when
    assert "7 classes, trained on 36 clips" in said


def test_a_training_clip_is_not_cut_and_prepared_once(good, signed, tmp_path, monkeypatch):
    """Its hands are out of view at both ends and it is long, so that the network sees few of its frames: it lasts no less for that."""

    def long():
        for i in rows(signed, "train")[:4]:
            clip = signed.store.clip(i)
            positions, sure = (np.resize(a, (400, *a.shape[1:])).copy() for a in (clip.positions, clip.confidence))
            sure[:150] = sure[-150:] = 0
            yield signed.store.entries[i].id, clip.with_(positions=positions, confidence=sure)

    store = Store.write(tmp_path / "store", long(), name="long", classes=signed.store.classes)
    good("finetune", signed.run, "--data", store.folder, "--accelerator", "cpu", *HOW, "--epochs", 1, "--out", tmp_path / "out")
    found = open_recogniser(tmp_path / "out")
    clip = store.clip(0)
    assert found.prepare(clip).frames < 40
    assert found.usual == pytest.approx(clip.seconds)
    prepared, prepare_sign = [], masa_prepare.prepare_sign
    monkeypatch.setattr(masa_prepare, "prepare_sign", lambda *given: prepared.append(given) or prepare_sign(*given))
    assert len(recognize(found, clip).pieces) == len(prepared) == 1


def test_frozen_leaves_the_encoder_as_it_is(good, signed, tmp_path):
    good("finetune", signed.run, *signed.tune, "--split", "signer", "--epochs", 2, "--frozen", "--out", tmp_path / "out")
    encoder, found = open_run(signed.run).encoder().alone(), open_recogniser(tmp_path / "out").model
    assert weights_digest(found.encoder) == weights_digest(encoder), "weights and batch statistics alike"
    assert found.head.fc.bias.any()
    tuned = open_recogniser(signed.tuned).model.encoder.state_dict()
    moved = {name for name, value in encoder.state_dict().items() if not torch.equal(value, tuned[name])}
    never = {"encoder_q.embed.mask_token"}  # nothing is hidden here
    never |= {f"encoder_q.embed.st_gcn_{part}.{graph}" for part in ("hand", "body") for graph in ("A", "A_pool")}
    assert moved == encoder.state_dict().keys() - never, "fine-tuning moves everything else"


def test_scratch_begins_from_random_weights(good, signed, tmp_path):
    good("finetune", signed.run, *signed.tune, "--epochs", 2, "--scratch", "--seed", 5, "--out", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    run = open_run(signed.run)
    assert config["encoder"] == weights_digest(run.encoder(weights=False, seed=5).alone())
    assert config["encoder"] != weights_digest(run.encoder().alone())
    assert (config["protocol"], config["seed"], config["recipe"]["supervision"]["layer_decay"]) == ("scratch", 5, 1.0)


def test_without_a_split_every_clip_with_a_label_trains_and_none_is_scored(good, signed, tmp_path):
    entries = ((e.id, signed.store.clip(i)) for i, e in enumerate(signed.store.entries))
    some = ((name, clip.with_(label=None, label_name=None) if i % 5 == 0 else clip) for i, (name, clip) in enumerate(entries))
    Store.write(tmp_path / "store", some, name="some", classes=signed.store.classes)
    shared = ("--accelerator", "cpu", "--epochs", 1, "--out", tmp_path / "out")
    said = good("finetune", signed.run, "--data", tmp_path / "store", *shared)
    assert "trained on 43 clips" in said
    assert "test clips" not in said
    assert not (tmp_path / "out" / "metrics.json").exists()
    assert named(open_recogniser(tmp_path / "out"), [signed.store.clip(0)]).shape == (1, LABELS + 1)


def test_a_run_of_signs_is_evaluated_and_embedded(good, signed, tmp_path):
    shared = ("--data", signed.run.parent / "store", "--split", "signer", "--accelerator", "cpu")
    protocols = ("--protocols", "linear", "knn", "finetune", "--epochs", 1)
    good("evaluate", signed.run, *shared, *protocols, "--out", tmp_path / "e")
    metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
    details = {name: row["details"][0] for name, row in metrics["protocols"].items()}
    assert {"top5", "per_class", "per_class_top5"} <= details["linear"].keys() & details["finetune"].keys()
    good("embed", signed.run, signed.folder / "store", "--out", tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as found:
        assert found["features"].shape == (54, 8)
        assert np.isfinite(found["features"]).all()


@pytest.mark.parametrize("method", ["mamp", "cmd"])
def test_other_methods_learn_signs_too(good, signed, tmp_path, method):
    size = {
        "mamp": ("model.encoder.width=16", "model.encoder.depth=1", "model.encoder.heads=2", "model.encoder.frames=8",
                 "model.decoder_width=16", "model.decoder_depth=1"),
        "cmd": ("model.network.hidden=6", "model.dim=4", "model.queue=20", "model.neighbours=4", "model.frames=8"),
    }[method]  # fmt: skip
    tiny = [word for setting in size for word in ("--set", setting)]
    train = ("train", method, "--preset", "signs", "--data", signed.folder / "store", "--batch-size", 12, "--accelerator", "cpu")
    good(*train, *tiny, "--max-steps", 2, "--out", tmp_path / "run")
    tune = ("--data", signed.folder / "store", "--accelerator", "cpu", "--set", "supervision.precision=32")
    shared = (*tune, "--set", "supervision.hidden=8", "--split", "signer", "--epochs", 1)
    assert "18 test clips" in good("finetune", tmp_path / "run", *shared, "--out", tmp_path / "tuned")
    found = open_recogniser(tmp_path / "tuned")
    clips = [signed.store.clip(i) for i in (0, 20)]
    np.testing.assert_allclose(named(found, clips)[1:], named(found, clips[1:]), atol=1e-5)


MISTAKES = {
    "two ways": (["--frozen", "--scratch"], "--frozen --scratch: random weights that do not learn"),
    "the encoder's": (["--set", "model.dim=3"], "--set model.dim=3: the encoder is trained already"),
    "no value": (["--set", "supervision.learning=3"], "unknown value of the recipe .*'learning'"),
    "a crop": (["--set", 'supervision.crop={"low":0.5}'], "supervision.crop: method masa takes a window"),
    "no split": (["--split", "singer"], "unknown split 'singer': did you mean signer"),
    "no epochs": (["--epochs", 0], "epochs 0"),
    "a large seed": (["--seed", 2**70], "seed 1180591620717411303424: expected"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told(bad, signed, tmp_path, mistake):
    options, message = MISTAKES[mistake]
    said = bad("finetune", signed.run, *signed.tune, *options, "--out", tmp_path / "out")
    assert re.search(message, said), said
    assert not (tmp_path / "out").exists()


def test_data_and_folders_that_do_not_fit_are_told(bad, signed, tmp_path):
    tune = ("finetune", signed.run, "--accelerator", "cpu", "--epochs", 1, "--out")
    assert "is another; choose another --out" in bad(*tune, signed.folder / "store", "--data", signed.folder / "store")
    assert "another configuration" in bad(*tune, signed.tuned, "--data", signed.folder / "store", "--split", "signer")
    said = bad("finetune", signed.tuned, *signed.tune, "--out", tmp_path / "o")
    assert "a classifier, not a pre-trained encoder" in said
    assert "no run here" in bad("finetune", tmp_path / "nothing", *signed.tune, "--out", tmp_path / "o")
    bare = Clip(np.random.default_rng(0).normal(size=(9, 1, 20, 3)).astype(np.float32), KINECT20, label=0)
    Store.write(tmp_path / "bare", ((f"c{i}", bare) for i in range(4)), name="bare", classes=("a",))
    for verb in (
        (*tune, tmp_path / "o", "--data", tmp_path / "bare"),
        ("train", "masa", "--data", tmp_path / "bare", "--out", tmp_path / "o", *TINY),
        ("evaluate", signed.run, "--data", tmp_path / "bare", "--split", "random", "--out", tmp_path / "o"),
        ("embed", signed.run, tmp_path / "bare", "--out", tmp_path / "o.npz"),
    ):
        assert "kinect20 has no joints of hands; signs need poses with hands" in bad(*verb)
    first = signed.store.clip(0)
    Store.write(tmp_path / "one", [("c", first)], name="one", classes=signed.store.classes)
    assert "1 training clip; batch normalisation needs 2" in bad(*tune, tmp_path / "o", "--data", tmp_path / "one")
    blank = first.with_(label=None, label_name=None)
    Store.write(tmp_path / "blank", ((f"c{i}", blank) for i in range(3)), name="blank", classes=signed.store.classes)
    assert "none of its 3 clips has a label" in bad(*tune, tmp_path / "o", "--data", tmp_path / "blank")
    assert not (tmp_path / "o").exists()


def test_a_pre_trained_run_recognises_nothing_yet(signed):
    with pytest.raises(UserError, match="which names no classes yet; train a classifier on it with `kinema finetune"):
        open_recogniser(signed.run)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", None),
        ("classes", ["a", "b"]),
        ("classes", [*map(str, range(8))]),
        ("classes", [1, 2, 3, 4, 5, 6, 7]),
        ("usual", 0),
        ("usual", "2"),
        ("usual", -1.0),
        ("usual", float("inf")),
        ("usual", float("nan")),
        ("units", []),
        ("units", "pixels"),
        ("units", ["feet"]),
        ("head", {"kind": "plain"}),
        ("head", {"kind": "plain", "width": -1, "classes": 7}),
        ("head", {"kind": "plain", "width": 8, "classes": 10**12}),
        ("head", {"kind": "plain", "width": 8, "classes": None}),
        ("head", {"kind": "plain", "width": 8, "classes": 7, "dropout": "much"}),
        ("head", {"kind": "plain", "width": 10**12, "classes": 7}),
        ("head", {"kind": "plain", "width": 10**30, "classes": 7}),
        ("head", 3),
    ],
)
def test_a_damaged_classifier_is_told(signed, tmp_path, key, value):
    config = json.loads((signed.tuned / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(UserError, match=r"config\.json: .*train it again$") as caught:
        open_recogniser(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture
def tiny(monkeypatch):
    """The released configuration, shrunk, under a name of its own; and a network of it."""

    def preset(skeleton):
        return replace(changed(recipe("masa", "code", skeleton), {}, NETWORK), preset="tiny")

    monkeypatch.setitem(PRESETS["masa"], "tiny", preset)
    torch.manual_seed(11)
    return build_method(preset(KINECT20))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_authors_checkpoint_is_imported_and_embeds(good, signed, tiny, tmp_path, prefix):
    theirs = dict(tiny.state_dict())
    for side in ("encoder_q", "encoder_k"):  # what their file holds and their code does not use
        for part in ("hand", "body"):
            for name in ("conv2.0.weight", "non_local.g.weight", "fcn.0.bias"):
                theirs[f"{side}.embed.st_gcn_{part}.{name}"] = torch.randn(3, 3)
        theirs[f"{side}.embed.pe.pe"] = torch.randn(1, 300, 8)
    theirs["target_decoder.GCN_Tran.norm.gamma"] = torch.ones(24)
    optimiser = torch.optim.AdamW(tiny.parameter_groups(), 1e-4)
    sum(p.sum() for p in tiny.parameters() if p.requires_grad).backward()
    optimiser.step()
    ours = {name: value.clone() for name, value in tiny.state_dict().items()}  # the step has moved what `theirs` refers to
    content = {"epoch": 400, "state_dict": {prefix + k: v for k, v in theirs.items()}, "optimizer": optimiser.state_dict()}
    torch.save(content, tmp_path / "checkpoint_0399.pth.tar")
    imported = ("import-weights", "masa", tmp_path / "checkpoint_0399.pth.tar", "--preset", "tiny", "--skeleton", "sign49")
    assert f"{len(ours)} tensors imported" in good(*imported, "--out", tmp_path / "run")
    held = load_file(tmp_path / "run" / "model.safetensors")
    assert held.keys() == ours.keys()
    assert all(torch.equal(value, held[name]) for name, value in ours.items())
    good("embed", tmp_path / "run", signed.folder / "store", "--out", tmp_path / "f.npz")
    ready = open_run(tmp_path / "run").recipe.prepare(signed.store.clip(3))
    with evaluation_mode(tiny, "32"):
        expected = tiny.tokens(torch.from_numpy(with_confidence(ready))[None])[0, 0, 0, 0].numpy()
    with np.load(tmp_path / "f.npz") as found:
        np.testing.assert_allclose(found["features"][3], expected, atol=1e-5)


def test_a_queue_of_any_length_is_imported(good, tiny, tmp_path):
    state = {**tiny.state_dict(), "queue": torch.nn.functional.normalize(torch.randn(4, 33), dim=0)}
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    good("import-weights", "masa", tmp_path / "x.pth", "--preset", "tiny", "--skeleton", "sign49", "--out", tmp_path / "run")
    run = open_run(tmp_path / "run")
    assert run.recipe.model.queue == 33
    assert torch.equal(run.encoder().queue, state["queue"])


def test_another_network_of_the_authors_is_refused(bad, tiny, tmp_path):
    state = {k: v for k, v in tiny.state_dict().items() if not k.startswith("reg_decoder")}
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    said = bad("import-weights", "masa", tmp_path / "x.pth", "--preset", "tiny", "--skeleton", "sign49", "--out", tmp_path / "run")
    assert "x.pth" in said
    assert "reg_decoder" in said
    assert not (tmp_path / "run").exists()
