"""Small valid files of the sign-language formats."""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path

import numpy as np

MEDIAPIPE_HAND = [
    "WRIST",
    *(f"THUMB_{x}" for x in ("CMC", "MCP", "IP", "TIP")),
    *(f"{f}_FINGER_{x}" for f in ("INDEX", "MIDDLE", "RING") for x in ("MCP", "PIP", "DIP", "TIP")),
    *(f"PINKY_{x}" for x in ("MCP", "PIP", "DIP", "TIP")),
]
COCO_HAND = [f"hand_{i}" for i in range(21)]


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<H", len(raw)) + raw


def header(version: float, size: tuple[int, int, int], components: list[tuple[str, str, list[str]]]) -> bytes:
    out = struct.pack("<fHHHH", version, *size, len(components))
    for name, letters, points in components:
        out += text(name) + text(letters) + struct.pack("<HHH", len(points), 1, 1) + b"".join(map(text, points))
        out += struct.pack("<HHHHH", 0, 0, 255, 0, 0)
    return out


def pose(
    version: float, components: list[tuple[str, str, list[str]]], data: np.ndarray, score: np.ndarray, fps: float = 25
) -> bytes:
    """`data` (T, M, points, C), `score` (T, M, points)."""
    start = header(version, (640, 480, 0), components)
    frames, people = score.shape[:2]
    if version == 0:
        body = struct.pack("<HH", int(fps), frames)
        for t in range(frames):
            here = [m for m in range(people) if score[t, m].any()]
            body += struct.pack("<H", len(here))
            for m in here:
                body += struct.pack("<h", -1) + np.concatenate([data[t, m], score[t, m, :, None]], 1).astype("<f4").tobytes()
        return start + body
    if version == 0.1:
        counts = struct.pack("<HHH", int(fps), frames & 0xFFFF, people)
    else:
        counts = struct.pack("<fIH", fps, frames, people)
    return start + counts + data.astype("<f4").tobytes() + score.astype("<f4").tobytes()


def wholebody(folder: Path, suffix: str = ".pkl", frames: int = 4, **more: object) -> tuple[Path, np.ndarray]:
    points = np.random.default_rng(0).uniform(0.1, 1, (frames, 133, 3)).astype(np.float32) * [300, 300, 1]
    points = points.astype(np.float32)
    file = folder / f"clip{suffix}"
    content = {"keypoints": points, "img_list": [f"img_{i:05}.jpg" for i in range(1, frames + 1)]} | more
    if suffix == ".npy":
        np.save(file, points)
    elif suffix == ".npz":
        np.savez_compressed(file, keypoints=points, **more)  # type: ignore[arg-type]
    else:
        file.write_bytes(pickle.dumps(content))
    return file, points


def openhands(folder: Path, frames: int = 4, coordinates: int = 3, **more: object) -> tuple[Path, np.ndarray]:
    points = np.random.default_rng(0).uniform(0.1, 0.9, (frames, 75, coordinates))
    file = folder / "video.pkl"
    file.write_bytes(pickle.dumps({"keypoints": points, "confidences": np.full((frames, 75), 0.9)} | more))
    return file, points


def fingerspelling(folder: Path, **more: object) -> Path:
    rng = np.random.default_rng(0)
    length = np.array([2, 3, 1])
    confidence = rng.uniform(0.2, 1, (6, 49)).astype(np.float32)
    confidence[:, :21] = 0
    arrays: dict[str, object] = {
        "xy": (rng.uniform(50, 400, (6, 49, 2)) * (confidence > 0)[..., None]).astype(np.float32),
        "confidence": confidence,
        "length": length,
        "letter": np.array(["A", "CH", "B"]),
        "language": np.array(["ase", "ssp", "gsg"]),
        "fps": np.array([25, 30, 25], np.float32),
        "size": np.full((3, 2), 500),
        "name": np.array(["ase/x.pose", "ssp/y.pose", "gsg/z.pose"]),
    }
    content = io.BytesIO()
    np.savez_compressed(content, **(arrays | more))  # type: ignore[arg-type]
    file = folder / "fingerspelling_lexicon.npz"
    file.write_bytes(content.getvalue())
    return file
