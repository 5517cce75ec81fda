"""MAMP's data loading through Kinema, from the layout of its published arrays."""

from typing import Any

import numpy as np
import torch

from kinema.data.augment import bone, crop_resize, motion, rotation, transform
from kinema.data.batches import ClipBatch, ResidentClips
from kinema.data.pieces import Crop
from kinema.motion.clip import Clip
from kinema.motion.skeletons import NTU25


def published(positions: torch.Tensor) -> np.ndarray:
    """`(B, T, M, J, C)` -> the published `(N, C, T, V, M)`."""
    return positions.permute(0, 4, 1, 3, 2).numpy()


def run_mamp_data(inputs: dict[str, np.ndarray], spec: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every output of the reference file from its inputs.

    Args:
        inputs: `x_npz` `(N, Tmax, 150)` zero-padded; `crop_len`, `crop_start` `(N,)` (and `crop_p`): recorded draws;
            `rot_angles` `(3,)`.
        spec: `window` and `train_window`, frames after resizing.
    """
    x = np.asarray(inputs["x_npz"], np.float32)
    lengths = [int((row.sum(-1) != 0).sum()) for row in x]
    clips = [Clip(np.ascontiguousarray(row[:n].reshape(n, 2, 25, 3)), NTU25) for row, n in zip(x, lengths, strict=True)]

    source = ResidentClips(clips, frames=int(spec["window"]), people=2, batch_size=1, crop=Crop())
    batches: list[ClipBatch] = list(source.ordered(3))
    joints = torch.cat([b.positions for b in batches])
    bones = bone(joints, NTU25.bone_pairs())
    outputs = {
        "eval_joint": published(joints),
        "eval_bone": published(bones),
        "eval_motion": published(motion(joints)),
        "eval_bone_motion": published(motion(bones)),
    }
    if "crop_start" in inputs:
        starts, pieces = (torch.from_numpy(np.asarray(inputs[k], np.int64)) for k in ("crop_start", "crop_len"))
        flat = torch.from_numpy(np.concatenate([c.positions for c in clips]))
        first = torch.from_numpy(np.cumsum([0, *lengths[:-1]]))
        train = crop_resize(flat, first + starts, pieces, int(spec.get("train_window", spec["window"])))
        outputs["train_crop"] = published(train)
        if "rot_angles" in inputs:
            matrix = rotation(torch.from_numpy(np.asarray(inputs["rot_angles"], np.float32))[None])
            outputs["rot_matrix"] = matrix[0].numpy()
            outputs["rot_first"] = published(transform(train[:1], matrix))[0]
    return outputs
