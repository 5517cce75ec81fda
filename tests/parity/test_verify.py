"""The reference vectors hold, and the harness also works on files that bring no answers."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
import verify  # the script beside this file

GOLDEN = Path(os.environ.get("KINEMA_GOLDEN", HERE.parents[1].parent / "shared" / "golden"))
NAMES = ("mamp_pretrain", "mamp_classifier", "mamp_data", "ntu_raw", "cmd_prenorm")
FILES = [GOLDEN / "recognition" / f"{name}.safetensors" for name in NAMES]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_reference_vectors(path: Path, tmp_path: Path) -> None:
    if not path.exists():
        pytest.skip(f"needs {path.name}")
    assert verify.verify(path, tmp_path), "an output differs from the reference"
    # without its answers the same file gives the same dump
    tensors = load_file(path)
    bare = tmp_path / "elsewhere"
    bare.mkdir()
    save_file({k: v for k, v in tensors.items() if not k.startswith("output.")}, bare / path.name)
    shutil.copy(path.with_suffix(".json"), bare)
    assert verify.verify(bare / path.name, tmp_path / "again")
    first, second = load_file(tmp_path / path.name), load_file(tmp_path / "again" / path.name)
    assert first.keys() == second.keys() >= {k for k in tensors if k.startswith("output.")}
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)


def pretrain_file(folder: Path, seed: int) -> Path:
    """A reference file of another size, without answers: weights by the authors' names."""
    import torch

    from kinema.recognition.encoder import TransformerConfig
    from kinema.recognition.mamp import MAMP, MAMPConfig

    torch.manual_seed(seed)
    constructor = {
        "dim_in": 3, "dim_feat": 16, "decoder_dim_feat": 24, "depth": 3, "decoder_depth": 2, "num_heads": 2, "mlp_ratio": 3,
        "num_frames": 12, "num_joints": 5, "patch_size": 1, "t_patch_size": 3, "qkv_bias": True, "norm_skes_loss": False,
    }  # fmt: skip
    size = TransformerConfig(width=16, depth=3, heads=2, mlp_ratio=3, frames=12, joints=5, frame_patch=3)
    model = MAMP(MAMPConfig(size, decoder_width=24, decoder_depth=2))
    tensors = {f"weight.{k}": v.numpy() for k, v in model.state_dict().items()}
    generator = np.random.default_rng(seed)
    tensors["input.x"] = generator.standard_normal((3, 3, 12, 5, 1)).astype(np.float32)
    tensors["input.u"] = generator.random((3, 20), np.float32)
    call = {"mask_ratio": 0.7, "motion_stride": 2, "motion_aware_tau": 0.5}
    path = folder / "mamp_pretrain.safetensors"
    save_file(tensors, path)
    path.with_suffix(".json").write_text(json.dumps({"constructor": constructor, "call": call, "seed": seed, "outputs": {}}))
    return path


def contrast_file(folder: Path, mlp: bool) -> Path:
    """A reference file of CMD's step, without answers."""
    import torch

    from kinema.motion.skeletons import NTU25
    from kinema.recognition.cmd import CMD, CMDConfig
    from kinema.recognition.sequence import GRUConfig

    torch.manual_seed(2)
    constructor = {
        "en_input_size": 150, "en_hidden_size": 5, "en_num_layers": 2, "dim": 4, "K": 12, "m": 0.99, "T": 0.1,
        "teacher_T": 0.05, "student_T": 0.2, "cmd_weight": 0.5, "topk": 6, "mlp": mlp,
    }  # fmt: skip
    sizes = {"network": GRUConfig(5, 2), "dim": 4, "mlp": mlp, "queue": 12, "neighbours": 6, "frames": 9}
    model = CMD(CMDConfig(NTU25.bone_pairs(), **sizes))
    tensors = {f"weight.{k}": v.numpy() for k, v in model.state_dict().items()}
    generator = np.random.default_rng(1)
    tensors |= {f"input.{k}": generator.standard_normal((3, 3, 9, 25, 2)).astype(np.float32) for k in ("x_q", "x_k")}
    path = folder / "cmd_moco.safetensors"
    save_file(tensors, path)
    path.with_suffix(".json").write_text(json.dumps({"constructor": constructor, "seed": 1}))
    return path


@pytest.mark.parametrize("mlp", [True, False])
def test_both_kinds_of_contrastive_heads_run(tmp_path: Path, mlp: bool) -> None:
    path = contrast_file(tmp_path, mlp)
    assert verify.main_with([str(path), "--dump", str(tmp_path / "dump")]) == 0
    dumped, given = load_file(tmp_path / "dump" / path.name), load_file(path)
    assert ("output.grad.encoder_q.fc.weight" in dumped) == (not mlp)
    for side, suffix in (("q", ""), ("k", "_bone")):
        feature, fc = dumped[f"output.enc.encoder_{side}{suffix}"], f"weight.encoder_{side}{suffix}.fc."
        assert feature.shape == (3, 4)
        assert (f"{fc}weight" in given) == (not mlp)


def test_an_argument_that_is_not_known_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = contrast_file(tmp_path, True)
    spec = json.loads(path.with_suffix(".json").read_text())
    spec["constructor"]["bidirectional"] = True
    path.with_suffix(".json").write_text(json.dumps(spec))
    assert verify.main_with([str(path)]) == 1
    assert "arguments that this case does not know: bidirectional" in capsys.readouterr().out


def test_other_sizes_without_answers(tmp_path: Path) -> None:
    path = pretrain_file(tmp_path, 5)
    assert verify.main_with([str(path), "--dump", str(tmp_path / "dump")]) == 0
    dumped = load_file(tmp_path / "dump" / path.name)
    assert dumped["output.pred"].shape == (3, 20, 9)
    assert dumped["output.mask"].sum() == 3 * 14  # int(20 * 0.3) = 6 kept
    assert np.isfinite(dumped["output.loss"])


def test_a_wrong_answer_is_noticed(tmp_path: Path) -> None:
    path = pretrain_file(tmp_path, 6)
    verify.main_with([str(path), "--dump", str(tmp_path / "dump")])
    tensors = load_file(path) | load_file(tmp_path / "dump" / path.name)
    save_file(tensors, path)
    assert verify.main_with([str(path)]) == 0
    tensors["output.pred"] = tensors["output.pred"] + np.float32(1e-4)
    save_file(tensors, path)
    assert verify.main_with([str(path)]) == 1
    tensors.pop("output.pred")
    save_file({**tensors, "output.unheard_of": np.zeros(2, np.float32)}, path)
    assert verify.main_with([str(path)]) == 1
