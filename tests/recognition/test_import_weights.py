"""The authors' checkpoints: imported without running code, or refused with a reason."""

import argparse
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest
import torch

from kinema.errors import CheckpointError, UserError
from kinema.motion.skeletons import KINECT20, NTU25
from kinema.recognition import import_weights as importing
from kinema.recognition.import_weights import import_weights, read_foreign
from kinema.recognition.predict import embed
from kinema.recognition.presets import PRESETS, recipe
from kinema.recognition.recipes import build_method
from kinema.recognition.run import open_run
from kinema.verbs.train import changed

SIZES = [
    "model.encoder.width=16",
    "model.encoder.depth=2",
    "model.encoder.heads=2",
    "model.decoder_width=16",
    "model.decoder_depth=1",
]


@pytest.fixture
def tiny(monkeypatch):
    """The published preset, shrunk, under a name of its own."""

    def preset(skeleton):
        return changed(recipe("mamp", "paper-ntu60", skeleton), {}, [*SIZES, "model.encoder.frames=16"])

    monkeypatch.setitem(PRESETS["mamp"], "tiny", preset)
    torch.manual_seed(11)
    return build_method(preset(NTU25)).eval()


def published(model, path, state=None, **more):
    """A file as the authors' script writes it."""
    state = dict(model.state_dict()) if state is None else state
    optimizer = torch.optim.AdamW(model.parameters())
    arguments = argparse.Namespace(lr=1e-3, mask_ratio=0.9, output_dir="./out", distributed=False)
    torch.save({"model": state, "optimizer": optimizer.state_dict(), "epoch": 399, "scaler": {}, "args": arguments, **more}, path)
    return path


def walker(frames=30):
    from kinema.motion.clip import Clip

    rng = np.random.default_rng(0)
    positions = rng.normal(size=(1, 1, 25, 3)) * [0.15, 0.6, 0.1] + np.cumsum(rng.normal(size=(frames, 1, 1, 3)) * 0.01, 0)
    ids = np.full((frames, 1), 7)
    return Clip(positions.astype(np.float32), NTU25, body_ids=ids, source="walker")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_imported_run_gives_the_features_of_the_source(tmp_path, tiny, prefix):
    file = published(tiny, tmp_path / "checkpoint-399.pth", {prefix + k: v for k, v in tiny.state_dict().items()})
    count = import_weights("mamp", "tiny", file, tmp_path / "run", NTU25)
    assert count == len(tiny.state_dict())
    run = open_run(tmp_path / "run")
    theirs = run.encoder()
    assert all(torch.equal(theirs.state_dict()[k], v) for k, v in tiny.state_dict().items())
    features = embed(run, [walker()])
    assert features.shape == (1, 16)
    x = torch.randn(2, 16, 2, 25, 3)
    assert torch.equal(theirs.eval().tokens(x), tiny.tokens(x))
    assert str(tmp_path) not in (tmp_path / "run" / "config.json").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-399.pth", "run"]


def test_bare_tables_and_half_precision_are_read(tmp_path, tiny):
    for name, content in {
        "bare": tiny.state_dict(),
        "state": {"state_dict": tiny.state_dict()},
        "half": {"model": {k: v.half() for k, v in tiny.state_dict().items()}},
    }.items():
        torch.save(content, tmp_path / f"{name}.pth")
        import_weights("mamp", "tiny", tmp_path / f"{name}.pth", tmp_path / name, NTU25)
        weight = open_run(tmp_path / name).encoder().state_dict()["norm.weight"]
        assert weight.dtype == torch.float32
    torch.save(tiny.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert read_foreign(tmp_path / "old.pth").keys() == tiny.state_dict().keys()


class Runs:
    """Unpickles by calling."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def hostile(tmp_path):
    mark = tmp_path / "it-ran"
    return {
        "os.system": (Runs(os.system, f"touch {mark}"), "system"),
        "eval": (Runs(eval, f"open({str(mark)!r}, 'w')"), "eval"),
        "path": (pathlib.PurePosixPath("out"), "pathlib"),
        "numpy": (np.float64(0.5), "numpy"),
        "open": (Runs(open, str(mark), "w"), "open"),
    }


@pytest.mark.parametrize("kind", ["os.system", "eval", "path", "numpy", "open"])
@pytest.mark.parametrize("new", [True, False])
def test_what_is_more_than_weights_is_refused_and_nothing_runs(tmp_path, tiny, kind, new):
    content, named = hostile(tmp_path)[kind]
    torch.save({"model": tiny.state_dict(), "best": content}, tmp_path / "x.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(CheckpointError, match=rf"x\.pth: refused, it asks for \S*{named}") as caught:
        import_weights("mamp", "tiny", tmp_path / "x.pth", tmp_path / "run", NTU25)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pth"]


def test_a_plain_pickle_is_refused(tmp_path):
    (tmp_path / "x.pth").write_bytes(pickle.dumps({"model": Runs(os.system, f"touch {tmp_path / 'it-ran'}")}))
    with pytest.raises(CheckpointError):
        read_foreign(tmp_path / "x.pth")
    assert not (tmp_path / "it-ran").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("new", [True, False])
def test_a_file_cut_short_is_refused(tmp_path, tiny, share, new):
    file = tmp_path / "x.pth"
    torch.save({"model": tiny.state_dict()}, file, _use_new_zipfile_serialization=new)
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"x\.pth: not a readable PyTorch checkpoint") as caught:
        import_weights("mamp", "tiny", file, tmp_path / "run", NTU25)
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pth"]


def without(state):
    state.pop("norm.weight")
    state.pop("blocks.0.attn.qkv.bias")
    return state


def extra(state):
    return {**state, "blocks.9.attn.qkv.weight": torch.zeros(3)}


def misshapen(state):
    return {**state, "pos_embed": torch.zeros(1, 1, 24, 16)}


def not_finite(state):
    state["norm.bias"] = torch.full((16,), float("nan"))
    return state


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without, r"2 missing: blocks\.0\.attn\.qkv\.bias, norm\.weight"),
        (extra, r"1 not known here: blocks\.9\.attn\.qkv\.weight"),
        (misshapen, r"1 misshapen: pos_embed is float32\[1, 1, 24, 16\], expected float32\[1, 1, 25, 16\]"),
        (not_finite, r"not finite.*norm\.bias"),
        (lambda s: {**s, "head.fc.weight": torch.zeros(2)}, r"a fine-tuned or probed classifier \(it has head\.\*\)"),
        (lambda s: {}, "holds no table of weights"),
        (lambda s: {**s, "epoch": 3}, "holds no table of weights"),
        (lambda s: {3: torch.zeros(1)}, "holds no table of weights"),
        (lambda s: {**s, "norm.weight": torch.zeros(1).expand(2**40)}, "its weights: not plain tensors of at most"),
        (lambda s: {**s, "norm.weight": torch.zeros(16).to_sparse()}, "norm.weight: not plain tensors"),
    ],
)
def test_tensors_that_are_not_those_of_the_preset_are_named(tmp_path, tiny, spoil, message):
    file = published(tiny, tmp_path / "x.pth", spoil(dict(tiny.state_dict())))
    with pytest.raises(CheckpointError, match=message) as caught:
        import_weights("mamp", "tiny", file, tmp_path / "run", NTU25)
    assert str(caught.value).startswith(f"{file}: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pth"]


def test_a_checkpoint_of_another_preset_is_told(tmp_path, tiny):
    file = published(tiny, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"missing: .* and \d+ more"):
        import_weights("mamp", "paper-ntu60", file, tmp_path / "run", NTU25)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "MAX_BYTES", 2**20)
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(2**22))
    with pytest.raises(CheckpointError, match="unpacks to 4194304 bytes"):
        read_foreign(tmp_path / "x.pth")
    (tmp_path / "y.pth").write_bytes(bytes(2**20 + 1))
    with pytest.raises(CheckpointError, match="1048577 bytes"):
        read_foreign(tmp_path / "y.pth")


def test_other_mistakes(tmp_path, tiny):
    file = published(tiny, tmp_path / "x.pth")
    with pytest.raises(UserError, match="no such file"):
        import_weights("mamp", "tiny", tmp_path / "y.pth", tmp_path / "run", NTU25)
    with pytest.raises(UserError, match="made for the 25 joints"):
        import_weights("mamp", "tiny", file, tmp_path / "run", KINECT20)
    with pytest.raises(UserError, match="unknown preset"):
        import_weights("mamp", "tinny", file, tmp_path / "run", NTU25)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious").write_text("x")
    with pytest.raises(UserError, match="exists already"):
        import_weights("mamp", "tiny", file, tmp_path / "run", NTU25)
    assert (tmp_path / "run" / "precious").read_text() == "x"


def test_cmds_checkpoint_is_imported_and_every_stream_works(tmp_path, monkeypatch):
    """As MoCo's scripts write it: {'epoch', 'state_dict', 'optimizer'}, names with or without DataParallel's prefix."""
    sizes = ["model.network.hidden=6", "model.network.layers=2", "model.dim=5", "model.queue=9", "model.neighbours=4"]
    monkeypatch.setitem(PRESETS["cmd"], "tiny", lambda skeleton: changed(recipe("cmd", "paper-ntu", skeleton), {}, sizes))
    torch.manual_seed(3)
    model = build_method(recipe("cmd", "tiny", NTU25)).eval()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"epoch": 451, "state_dict": state, "optimizer": {"state": {}, "param_groups": []}}, tmp_path / "checkpoint.pth.tar")
    assert import_weights("cmd", "tiny", tmp_path / "checkpoint.pth.tar", tmp_path / "run", NTU25) == len(state)
    run = open_run(tmp_path / "run")
    x = torch.randn(2, 64, 2, 25, 3)
    for name in model.streams:
        assert torch.equal(run.encoder().eval().stream(name).tokens(x), model.stream(name).tokens(x))
    assert embed(run, [walker()]).shape == (1, 12)
    names = set(model.state_dict())
    assert {
        "encoder_q.encoder.gru.weight_ih_l0",
        "encoder_k_bone.encoder.gru.bias_hh_l1_reverse",
        "encoder_q_motion.fc.2.weight",
    } <= names
    assert {"queue", "queue_motion", "queue_ptr_bone", "encoder_q.input_norm.running_var"} <= names


def test_cmds_checkpoint_with_linear_heads_is_imported_as_such(tmp_path, monkeypatch):
    sizes = ["model.network.hidden=6", "model.network.layers=2", "model.dim=5", "model.queue=9", "model.neighbours=4"]
    monkeypatch.setitem(PRESETS["cmd"], "tiny", lambda skeleton: changed(recipe("cmd", "paper-ntu", skeleton), {}, sizes))
    torch.manual_seed(3)
    model = build_method(changed(recipe("cmd", "tiny", NTU25), {}, ["model.mlp=false"]))
    assert {"encoder_q.fc.weight", "encoder_k_motion.fc.bias"} <= model.state_dict().keys()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "x.pth")
    import_weights("cmd", "tiny", tmp_path / "x.pth", tmp_path / "run", NTU25)
    run = open_run(tmp_path / "run")
    assert not run.recipe.model.mlp
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in run.encoder().state_dict().items())


def test_a_method_without_public_code_has_nothing_to_import(tmp_path):
    with pytest.raises(UserError, match="i2md: its authors have published no checkpoint"):
        import_weights("i2md", "paper-ntu", tmp_path / "x.pth", tmp_path / "run", NTU25)
