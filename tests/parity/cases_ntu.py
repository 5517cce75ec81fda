"""NTU RGB+D on reference vectors: raw text through both published pipelines; published layouts exist only here."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from kinema.motion.clip import Clip
from kinema.motion.formats import ntu
from kinema.motion.ntu_pipelines import CMD_FRAMES, cmd_bodies, cmd_prenormalise, mamp_denoise, mamp_npz_arrays

Arrays = dict[str, np.ndarray]


def read_texts(inputs: Arrays, order: list[str]) -> list[Clip]:
    """The clips of ``skeleton.NAME`` texts, read from files as a user's are."""
    with tempfile.TemporaryDirectory() as folder:
        for name in order:
            (Path(folder) / f"{name}.skeleton").write_bytes(inputs[f"skeleton.{name}"].tobytes())
        jobs = {job.name: job for job in ntu.jobs(Path(folder))}
        return [clip for name in order for clip in ntu.read(jobs[name])]


def run_ntu_raw(inputs: Arrays, spec: dict) -> Arrays:
    """Both pipelines on every text, in the order that the JSON lists them."""
    order = spec["order"]
    clips = read_texts(inputs, order)
    out: Arrays = {"cmd_num_frame": np.array([clip.frames for clip in clips], np.int64)}
    for split in ("XSub", "XView"):
        out |= {f"{split}.{key}": value for key, value in mamp_npz_arrays(clips, split).items()}
    longest = max(clip.frames for clip in clips)
    padded = np.zeros((len(clips), 3, max(CMD_FRAMES, longest), 25, 2), np.float32)
    for i, (name, clip) in enumerate(zip(order, clips, strict=True)):
        out[f"denoised.{name}"] = mamp_denoise(clip)
        out[f"cmd_xyz.{name}"] = cmd_bodies(clip)
        padded[i, :, : clip.frames] = out[f"cmd_xyz.{name}"]
    out["cmd_prenorm"] = cmd_prenormalise(padded, CMD_FRAMES)[:, :, : longest + 6]
    return out


def run_cmd_prenorm(inputs: Arrays, spec: dict) -> Arrays:
    """CMD's pre-normalisation without padding."""
    return {"y": cmd_prenormalise(inputs["x"])}
