"""A format for tests: JSON files ``{"frames": 5, "label": 0, ...}`` whose numbers follow from the file's name."""

import json
import time
import zlib

import numpy as np

from kinema.errors import FormatError
from kinema.motion.clip import Clip
from kinema.motion.formats.jobs import Job
from kinema.motion.formats.members import members
from kinema.motion.skeleton import tree

SKELETON = tree("stick", "root -\nleft_hand root\nright_hand root\nhead root")


def clip(seed=0, frames=5, people=1, coordinates=3, **fields):
    rng = np.random.default_rng(seed)
    return Clip(rng.normal(size=(frames, people, 4, coordinates)).astype(np.float32), SKELETON, **fields)


def jobs(source):
    return [Job(m.name.removesuffix(".json"), m) for m in members(source) if m.name.endswith(".json")]


def read(job):
    content = json.loads(job.member.read())
    time.sleep(content.pop("sleep", 0))
    if "bad" in content:
        raise FormatError(job.member.origin, content["bad"])
    copies = content.pop("copies", 1)
    seed = zlib.crc32(job.name.encode())
    return [clip(seed + k, source=job.member.origin, **content) for k in range(copies)]


def folder(path, count, **more):
    path.mkdir()
    for i in range(count):
        content = {
            "frames": 3 + i % 5,
            "people": 1 + i % 2,
            "label": i % 3,
            "label_name": "abc"[i % 3],
            "subject": str(i % 6),
            **more,
        }
        (path / f"clip{i:03}.json").write_text(json.dumps(content))
    return path
