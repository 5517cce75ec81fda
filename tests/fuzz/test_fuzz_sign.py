"""Whatever bytes a pose file holds, its reader returns valid clips or raises FormatError: nothing else, and soon."""

from __future__ import annotations

import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "motion"))
import sign_writers as writers
from test_fuzz_formats import check, damage, fuzzed

from kinema.errors import FormatError
from kinema.motion.formats import FORMATS, fingerspelling, openhands, wholebody
from kinema.motion.formats.members import members


def pose(folder: Path, version: float) -> Path:
    rng = np.random.default_rng(0)
    components = [("POSE_LANDMARKS", "XYZC", ["NOSE", "LEFT_WRIST"]), ("LEFT_HAND_LANDMARKS", "XYZC", writers.MEDIAPIPE_HAND)]
    file = folder / "a.pose"
    file.write_bytes(writers.pose(version, components, rng.uniform(9, 99, (3, 2, 23, 3)), rng.uniform(0.1, 1, (3, 2, 23))))
    return file


WRITERS: dict[str, Callable[[Path], Path]] = {
    "pose 0.0": lambda folder: pose(folder, 0.0),
    "pose 0.1": lambda folder: pose(folder, 0.1),
    "pose 0.2": lambda folder: pose(folder, 0.2),
    "wholebody npy": lambda folder: writers.wholebody(folder, ".npy")[0],
    "wholebody npz": lambda folder: writers.wholebody(folder, ".npz")[0],
    "wholebody pkl": lambda folder: writers.wholebody(folder, ".pkl")[0],
    "openhands": lambda folder: writers.openhands(folder)[0],
}


@pytest.fixture(scope="module", params=WRITERS)
def valid(request: pytest.FixtureRequest):
    with tempfile.TemporaryDirectory() as folder:
        file = WRITERS[request.param](Path(folder))
        reader = FORMATS[request.param.split()[0]]
        (job,) = reader.jobs(Path(folder))
        yield reader.read, job, file, file.read_bytes()


@given(damage())
@fuzzed
def test_pose_readers_survive_any_bytes(valid, change: Callable[[bytes], bytes]):
    read, job, file, content = valid
    check(read, job, file, change(content))
    for claims in (wholebody.claims, openhands.claims):
        assert claims(members(file)[0]) in (True, False)


COUNTS = st.sampled_from([0, 1, 2, 0x7FFF, 0x8000, 0xFFFF]) | st.integers(0, 0xFFFF)
FLOATS = st.floats(width=32) | st.sampled_from([0.0, -1.0, 1e-30, 3e38])


@given(
    st.tuples(COUNTS, COUNTS, COUNTS), st.lists(st.tuples(st.integers(0, 29), COUNTS), max_size=3), st.lists(FLOATS, max_size=24)
)
@fuzzed
def test_a_pose_file_may_claim_any_sizes_and_hold_any_numbers(
    claims: tuple[int, int, int], edits: list[tuple[int, int]], numbers: list[float]
):
    """`claims`: frames (two halves) and people; `edits`: 16-bit numbers of the header; `numbers`: of the body."""
    head = bytearray(writers.header(0.2, (640, 480, 0), [("POSE_LANDMARKS", "XYC", ["NOSE", "LEFT_WRIST"])]))
    for place, value in edits:
        struct.pack_into("<H", head, 4 + 2 * place, value)
    low, high, people = claims
    body = struct.pack(f"<{len(numbers)}f", *numbers)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.pose"
        file.write_bytes(b"")
        (job,) = FORMATS["pose"].jobs(Path(folder))
        check(FORMATS["pose"].read, job, file, bytes(head) + struct.pack("<fHHH", 25, low, high, people) + body)
        # as many as there are, so that the numbers are read
        check(FORMATS["pose"].read, job, file, bytes(head) + struct.pack("<fIH", 25, len(numbers) // 6, 1) + body)


@given(damage())
@fuzzed
def test_the_lexicon_survives_any_bytes(change: Callable[[bytes], bytes]):
    with tempfile.TemporaryDirectory() as folder:
        file = writers.fingerspelling(Path(folder))
        file.write_bytes(change(file.read_bytes()))
        jobs, origin = [], str(file)
        try:
            jobs = fingerspelling.jobs(file)
        except FormatError as error:
            origin = error.origin
        assert origin.startswith(str(file))
        for job in jobs:
            check(fingerspelling.read, job, file, file.read_bytes())
