"""Small valid files of every format, from arrays, and ways to break them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.io

from kinema.motion.clip import Clip
from kinema.motion.formats import npz as npz_format
from kinema.motion.formats import sbu as sbu_format
from kinema.motion.formats import utd_mhad as utd_format
from kinema.motion.skeletons import KINECT20, MSR20, SBU15

SKELETON = {"nw-ucla": KINECT20, "utd-mhad": KINECT20, "msr-action3d": MSR20, "utkinect": KINECT20, "sbu": SBU15, "npz": SBU15}
PEOPLE = {"sbu": 2}


def people(format: str, frames: int = 6, seed: int = 0) -> np.ndarray:
    """`(T, M, J, 3)` float32 that survives six decimals."""
    rng = np.random.default_rng(seed)
    shape = (frames, PEOPLE.get(format, 1), len(SKELETON[format]), 3)
    return np.round(rng.uniform(0.25, 2.0, shape), 4).astype(np.float32)


def _lines(rows: np.ndarray, separator: str) -> str:
    return "".join(separator.join(f"{n:.6f}" for n in row) + "\n" for row in rows)


def _flat(p: np.ndarray) -> np.ndarray:
    return p.reshape(len(p), int(np.prod(p.shape[1:])))


def nw_ucla(folder: Path, p: np.ndarray, name: str = "a08_s02_e03_v01", **more: object) -> Path:
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"file_name": name, "skeletons": p[:, 0].astype(float).round(6).tolist(), **more}))
    return file


def utd_mhad(folder: Path, p: np.ndarray, name: str = "a3_s1_t2", variable: str = "d_skel", compress: bool = True) -> Path:
    stored = [KINECT20.index(j) for j in utd_format.STORED if KINECT20.index(j) < p.shape[2]]
    content = io.BytesIO()
    scipy.io.savemat(content, {variable: p[:, 0, stored].transpose(1, 2, 0).astype(np.float64)}, do_compression=compress)
    file = folder / f"{name}_skeleton.mat"
    file.write_bytes(content.getvalue())
    return file


def msr_action3d(folder: Path, p: np.ndarray, name: str = "a06_s01_e02", confidence: float = 0.5) -> Path:
    file = folder / f"{name}_skeleton3D.txt"
    rows = p.reshape(-1, 3)
    file.write_text(_lines(np.concatenate([rows, np.full((len(rows), 1), confidence)], axis=1), " "))
    return file


def utkinect(folder: Path, p: np.ndarray, name: str = "s01_e01", repeat: bool = True, labels: str | None = None) -> Path:
    """Frames are numbered 10, 12, ...; every row is there twice, the second time moved, as a reader must ignore it."""
    numbers = 10 + 2.0 * np.arange(len(p))[:, None]
    rows = np.concatenate([numbers, _flat(p)], axis=1)
    moved = rows + np.concatenate([np.zeros(1), np.full(rows.shape[1] - 1, 0.01)])
    both = np.stack([rows, moved], axis=1).reshape(-1, rows.shape[1]) if repeat else rows
    last = int(10 + 2 * max(len(p) - 1, 0))
    file = folder / f"joints_{name}.txt"
    file.write_text("".join(f"{int(r[0])}  " + " ".join(f"{n:.6f}" for n in r[1:]) + " \n" for r in both))
    (folder / "actionLabel.txt").write_text(labels or f"{name}\nwalk: 10 {last - 2}\npush: {last} {last} \ncarry:  NaN NaN\n")
    return file


def sbu(folder: Path, p: np.ndarray, place: str = "s01s02/03/001") -> Path:
    file = folder / place / "skeleton_pos.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    raw = (p - sbu_format.SHIFT) / sbu_format.SCALE
    file.write_text(_lines(np.concatenate([np.arange(len(p))[:, None], _flat(raw)], axis=1), ","))
    return file


def npz(folder: Path, p: np.ndarray, **more: object) -> Path:
    file = folder / "one.npz"
    if p.shape[2] == 15 and len(p) and np.isfinite(p).all():
        npz_format.write(Clip(p, SBU15, fps=25.0, label=2, label_name="wave", **more), file)  # type: ignore[arg-type]
    else:  # what `write` refuses to make
        strings = {"skeleton": json.dumps(SBU15.to_json()), "facts": "{}"}
        np.savez_compressed(file, positions=p, fps=25.0, **strings)  # type: ignore[arg-type]
    return file


WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "nw-ucla": nw_ucla,
    "utd-mhad": utd_mhad,
    "msr-action3d": msr_action3d,
    "utkinect": utkinect,
    "sbu": sbu,
    "npz": npz,
}


def _with_nan(p: np.ndarray) -> np.ndarray:
    p = p.copy()
    p[len(p) // 2, 0, 3, 1] = np.nan
    return p


BROKEN_ARRAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "wrong joint count": lambda p: p[:, :, :-1],
    "NaN": _with_nan,
    "zero frames": lambda p: p[:0],
}
BROKEN_BYTES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda b: b[: len(b) * 3 // 5],
    "empty": lambda b: b"",
    "binary": lambda b: np.random.default_rng(0).bytes(len(b)),
    "text": lambda b: b"<!DOCTYPE html><html>404 Not Found</html>\n",
}


def broken(format: str, folder: Path, variant: str) -> Path:
    """A damaged file."""
    p = people(format)
    if variant in BROKEN_ARRAYS:
        return WRITERS[format](folder, BROKEN_ARRAYS[variant](p))
    file = WRITERS[format](folder, p)
    file.write_bytes(BROKEN_BYTES[variant](file.read_bytes()))
    return file
