import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from cases_mamp_data import run_mamp_data
from safetensors.numpy import load_file

from kinema.data.pieces import Crop

GOLDEN = Path(
    os.environ.get("KINEMA_GOLDEN", Path(__file__).resolve().parents[2].parent / "shared" / "golden")
) / "recognition" / "mamp_data.safetensors"  # fmt: skip


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"needs {GOLDEN.name}")
def test_mamp_data_is_as_published():
    arrays, spec = load_file(GOLDEN), json.loads(GOLDEN.with_suffix(".json").read_text())
    inputs = {k.removeprefix("input."): v for k, v in arrays.items() if k.startswith("input.")}
    expected = {k.removeprefix("output."): v for k, v in arrays.items() if k.startswith("output.")}
    found = run_mamp_data(inputs, spec)
    assert set(found) == set(expected) == set(spec["outputs"])
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5, rtol=0, err_msg=name)
    # the rule gives the recorded lengths from the recorded shares
    lengths = Crop().length(torch.tensor(spec["valid_lengths"]), torch.tensor(inputs["crop_p"]))
    assert lengths.tolist() == inputs["crop_len"].tolist()


def test_other_sizes_work_without_outputs():
    rng = np.random.default_rng(0)
    x = np.zeros((3, 50, 150), np.float32)
    for row, n in zip(x, (50, 1, 30), strict=True):
        row[:n] = rng.normal(size=(n, 150))
    found = run_mamp_data({"x_npz": x}, {"window": 9})
    assert found["eval_joint"].shape == (3, 3, 9, 25, 2)
    assert set(found) == {"eval_joint", "eval_bone", "eval_motion", "eval_bone_motion"}
