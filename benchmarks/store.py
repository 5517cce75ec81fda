"""What the packed store costs: building it, opening it, and streaming batches of the size of the MAMP paper out of it.

    python benchmarks/store.py --files 300 --clips 5000

Writes synthetic one-body `.skeleton` files (100 frames, as NTU RGB+D stores them) into a temporary folder, measures each part in a
process of its own, and prints a Markdown table. Nothing is left behind.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FRAMES, STEPS = 100, 200


def skeleton_text(rng: np.random.Generator) -> str:
    """One person for `FRAMES` frames in the layout of NTU RGB+D."""
    walk = rng.normal(0, 0.01, (FRAMES, 25, 12)).cumsum(0) + rng.normal(0, 0.5, (25, 12))
    lines = [str(FRAMES)]
    for frame in walk:
        lines += ["1", "72057594037931101 0 1 1 1 1 0 0.02 -0.1 2", "25"]
        lines += [" ".join(f"{v:.7f}" for v in joint[:11]) + " 2" for joint in frame]
    return "\n".join(lines) + "\n"


def names(count: int) -> list[str]:
    """Names of samples that no list of missing ones holds and no two share."""
    return [f"S{i // 6000 % 32 + 1:03}C001P{i // 60 % 100 + 1:03}R003A{i % 60 + 1:03}" for i in range(count)]


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_build(raw: Path, out: Path) -> dict[str, float]:
    """Builds with one worker: files per second of processor time (parsing and packing), and of the clock."""
    from kinema.data.build import build

    begun = time.process_time()
    summary = build(raw, out, format="ntu", workers=1)
    return {"rate": summary.files / (time.process_time() - begun), "clock": summary.files / summary.seconds}


def measure_open(folder: Path) -> dict[str, float]:
    """Seconds and growth of memory of `Store.open`, and of reading one clip then."""
    from kinema.data.store import Store

    before, begun = resident(), time.perf_counter()
    store = Store.open(folder)
    opened = time.perf_counter() - begun
    growth = resident() - before
    begun = time.perf_counter()
    store.clip(len(store) // 2)
    return {"seconds": opened, "growth": growth, "clip": time.perf_counter() - begun}


def measure_stream(folder: Path) -> dict[str, float]:
    """Peak memory and speed of training batches: 120 frames, 2 people, 25 joints, 32 clips, rotated."""
    import torch

    from kinema.data.augment import Rotate
    from kinema.data.batches import ResidentClips
    from kinema.data.pieces import Crop
    from kinema.data.store import Store
    from kinema.training.method import Step

    torch.set_num_threads(1)
    store, before = Store.open(folder), resident()

    class Clips:
        def __len__(self) -> int:
            return len(store)

        def __getitem__(self, i: int):
            if i >= len(store):
                raise IndexError
            return store.clip(i)

    begun = time.perf_counter()
    source = ResidentClips(Clips(), frames=120, people=2, batch_size=32, crop=Crop(), augment=(Rotate(0.3),))
    loaded = time.perf_counter() - begun
    begun = time.process_time()
    for index in range(STEPS):
        source.batch(Step(index, epoch=index // source.steps_per_epoch, step_in_epoch=index % source.steps_per_epoch))
    seconds = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"load": loaded, "peak": peak, "before": before, "frames": source._flat.nbytes, "batch": seconds / STEPS}


def pack(small: Path, large: Path, clips: int) -> int:
    """A larger store of the same clips under other names; its size in bytes."""
    from kinema.data.store import FRAMES as FILE
    from kinema.data.store import Store

    store = Store.open(small)
    Store.write(large, ((f"{i:06}", store.clip(i % len(store))) for i in range(clips)), name="synthetic")
    return (large / FILE).stat().st_size


def alone(part: str, *folders: Path) -> dict[str, float]:
    """Runs one measurement in a fresh process."""
    command = [sys.executable, __file__, part, *map(str, folders)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


def environment() -> str:
    """Date, machine, versions and commit in one line."""
    import torch

    from kinema import __version__

    folder = Path(__file__).resolve().parent
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=folder, capture_output=True, text=True, check=False)
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")), cpu)
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}, kinema {__version__}"
    return f"{datetime.date.today()}, {cpu} ({os.cpu_count()} cores), {versions}, commit {git.stdout.strip() or 'unknown'}"


def main() -> None:
    """Measures everything and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=300, help="raw files that are parsed")
    parser.add_argument("--clips", type=int, default=5000, help="clips of the packed store that is opened and streamed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        raw, small, large = (Path(temporary) / n for n in ("raw", "small", "large"))
        raw.mkdir()
        rng = np.random.default_rng(0)
        for name in names(arguments.files):
            (raw / f"{name}.skeleton").write_text(skeleton_text(rng))
        text = sum(f.stat().st_size for f in raw.iterdir())
        built = alone("build", raw, small)
        packed = pack(small, large, arguments.clips)
        opened, streamed = alone("open", large), alone("stream", large)
    mb = 1e-6
    rows = [
        (
            "build, files/s and core",
            f"{built['rate']:.0f}",
            f"{arguments.files} files, {FRAMES} frames each, {text * mb:.0f} MB of text",
        ),
        ("build, files/s by the clock", f"{built['clock']:.0f}", "one worker; other work on the machine counts here"),
        ("open, milliseconds", f"{opened['seconds'] * 1e3:.1f}", f"{arguments.clips} clips, {packed * mb:.0f} MB"),
        ("open, growth of memory, MB", f"{opened['growth'] * mb:.1f}", "the index; no frame is read"),
        ("read one clip, milliseconds", f"{opened['clip'] * 1e3:.2f}", "checked on the way"),
        ("load for training, seconds", f"{streamed['load']:.2f}", f"{streamed['frames'] * mb:.0f} MB of frames for two people"),
        (
            "one batch, milliseconds",
            f"{streamed['batch'] * 1e3:.2f}",
            "32 clips, 120 frames x 2 people x 25 joints, rotated, 1 thread",
        ),
        (
            "peak memory, MB",
            f"{streamed['peak'] * mb:.0f}",
            f"{streamed['before'] * mb:.0f} MB of it before loading, {packed * mb:.0f} MB pages of the mapped file",
        ),
    ]
    print(f"{environment()}\n\n| what | value | of |\n|---|---:|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    parts = {"build": measure_build, "open": measure_open, "stream": measure_stream}
    if len(sys.argv) > 1 and sys.argv[1] in parts:
        print(json.dumps(parts[sys.argv[1]](*map(Path, sys.argv[2:]))))
    else:
        main()
