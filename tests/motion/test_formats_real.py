"""The real data sets, where they are: counts of everything, contents of a few files."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from kinema.motion.clip import Clip
from kinema.motion.formats import FORMATS, guess, msr_action3d

DATA = Path(os.environ.get("KINEMA_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))
FILES = {
    "nw-ucla": "nw_ucla.zip",
    "utd-mhad": "utd_mhad_skeleton.zip",
    "msr-action3d": "msr_action3d.zip",
    "utkinect": "utkinect.zip",
    "sbu": "sbu_interaction.zip",
}


def source(name: str) -> Path:
    path = DATA / FILES[name]
    if not path.exists():
        pytest.skip(f"needs {FILES[name]}")
    return path


def sample(name: str, count: int) -> list[Clip]:
    jobs = FORMATS[name].jobs(source(name))
    return [c for job in jobs[:: max(1, len(jobs) // count)] for c in FORMATS[name].read(job)]


@pytest.mark.parametrize("name", FILES)
def test_the_format_is_guessed(name: str):
    assert guess(source(name)) == name


def test_counts():
    counts = {}
    for name in FILES:
        if (DATA / FILES[name]).exists():
            names = [j.name for j in FORMATS[name].jobs(source(name))]
            assert len(set(names)) == len(names)
            counts[name] = names
    if not counts:
        pytest.skip("needs the data folder")
    if names := counts.get("nw-ucla"):
        assert Counter(n[-1] for n in names) == {"1": 516, "2": 504, "3": 464}
    if names := counts.get("utd-mhad"):
        assert Counter(int(n.split("_")[1][1:]) % 2 for n in names) == {1: 431, 0: 430}
    if names := counts.get("msr-action3d"):
        kept = [n for n in names if n not in msr_action3d.EXCLUDED]
        assert (len(names), len(kept)) == (567, 557)
        assert Counter(int(n[5:7]) % 2 for n in kept) == {1: 284, 0: 273}
    if names := counts.get("sbu"):
        assert Counter(n.split("/")[1] for n in names) == dict(
            zip((f"{i:02}" for i in range(1, 9)), (42, 43, 40, 41, 18, 21, 39, 38), strict=True)
        )


def test_utkinect_has_199_clips():
    jobs = FORMATS["utkinect"].jobs(source("utkinect"))
    assert len(jobs) == 20
    assert sum(len(j.context) for j in jobs) == 199
    assert [j.name for j in jobs if len(j.context) == 9] == ["s10_e02"]


@pytest.mark.parametrize(("name", "count"), [("nw-ucla", 25), ("utd-mhad", 25), ("msr-action3d", 20), ("utkinect", 2), ("sbu", 20)])
def test_people_are_upright_of_human_size_and_face_the_right_way(name: str, count: int):
    clips = sample(name, count)
    heights, facing = [], []
    for clip in clips:
        p, at = clip.positions[clip.present().all(1)], clip.skeleton.index
        if len(p) == 0:
            continue
        heights.append(np.median(p[..., at("head"), 1] - p[..., at("left_foot"), 1]))
        side = p[..., at("right_shoulder"), :] - p[..., at("left_shoulder"), :]
        ahead = np.cross([0.0, 1.0, 0.0], side)
        towards = p[:, ::-1, at("neck")] - p[:, :, at("neck")] if clip.people == 2 else -p[..., at("right_shoulder"), :]
        facing.append((ahead * towards)[..., [0, 2]].sum(-1).mean())
    assert 1.1 < np.median(heights) < 1.8
    assert np.mean(np.array(facing) > 0) > 0.85  # the camera, or one another
