"""Whatever bytes a file holds, a reader returns valid clips or raises FormatError: nothing else, and soon."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "motion"))
import writers

from kinema.errors import FormatError, UserError
from kinema.motion.clip import Clip
from kinema.motion.formats import FORMATS, user
from kinema.motion.formats.jobs import Job
from kinema.motion.formats.members import Member
from kinema.motion.skeletons import COCO17

fuzzed = settings(max_examples=50, deadline=3000, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
TOKENS = [b"NaN", b"-1", b"1e999", b"99999999999999999999", b"[", b"]", b"{}", b",", b"\n", b"\x00" * 8, b"\xff" * 4, b'"', b"."]


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A few edits: cut, overwrite, insert, repeat; or other bytes altogether."""
    if draw(st.integers(0, 9)) == 0:
        other = draw(st.binary(max_size=300))
        return lambda content: other
    edits = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["flip", "token", "cut", "drop", "repeat"]),
                st.floats(0, 1, exclude_max=True),
                st.integers(1, 255),
                st.sampled_from(TOKENS),
            ),
            min_size=1,
            max_size=4,
        )
    )

    def apply(content: bytes) -> bytes:
        for kind, place, value, token in edits:
            at = int(place * len(content))
            if kind == "flip" and content:
                content = content[:at] + bytes([content[at] ^ value]) + content[at + 1 :]
            elif kind == "token":
                content = content[:at] + token + content[at + len(token) :]
            elif kind == "cut":
                content = content[:at]
            elif kind == "drop":
                content = content[:at] + content[at + value :]
            elif kind == "repeat":
                content = content[:at] + content[at : at + value] * 3 + content[at:]
        return content

    return apply


def check(read: Callable[[Job], list[Clip]], job: Job, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    job = Job(job.name, Member(job.member.source, job.member.name, len(content)), job.context)
    clips: list[Clip] = []
    origin = ""
    try:
        clips = read(job)
    except FormatError as error:
        origin = error.origin
    assert clips or origin.startswith(job.member.origin)
    for clip in clips:
        assert isinstance(clip, Clip)  # a clip checks itself when it is made
        assert 1 <= clip.frames < 1000


@pytest.fixture(scope="module", params=[*writers.WRITERS, "utd-mhad plain"])
def valid(request: pytest.FixtureRequest):
    """Reader, job, file and valid bytes of a format."""
    name, plain, _ = request.param.partition(" plain")
    with tempfile.TemporaryDirectory() as folder:
        more = {"compress": False} if plain else {}
        file = writers.WRITERS[name](Path(folder), writers.people(name, frames=3), **more)
        (job,) = FORMATS[name].jobs(Path(folder))
        yield FORMATS[name].read, job, file, file.read_bytes()


@given(damage())
@fuzzed
def test_readers_survive_any_bytes(valid, change: Callable[[bytes], bytes]):
    read, job, file, content = valid
    check(read, job, file, change(content))


@pytest.fixture(scope="module", params=["npz", "npy", "csv"])
def users(request: pytest.FixtureRequest):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"a.{request.param}"
        p = np.random.default_rng(0).random((3, 17, 3))
        if request.param == "npz":
            np.savez_compressed(file, positions=p)
        elif request.param == "npy":
            np.save(file, p)
        else:
            np.savetxt(file, p.reshape(3, 51), delimiter=",", fmt="%.4f")
        (Path(folder) / "clips.csv").write_text(f"file,label\n{file.name},x\n")
        (job,) = user.jobs(Path(folder), None, COCO17)
        yield user.read, job, file, file.read_bytes()


@given(damage())
@fuzzed
def test_user_arrays_survive_any_bytes(users, change: Callable[[bytes], bytes]):
    check(*users[:3], change(users[3]))


TABLES = {
    "clips.csv": b'file,label,subject,start,end,fps,split,caption\na.npy,x,1,0,2,30,train,"hi, you"\na.npy,y,2,2,,,,\n',
    "skeleton.json": b'{"name": "s", "joints": ["a", "left_b", "right_b"], "parents": [null, "a", 0], "parts": {"p": ["a"]}}',
    "actionLabel.txt": b"s01_e01\nwalk: 10 14\npush: 16 20\ncarry:  NaN NaN\n",
}


@pytest.mark.parametrize("name", TABLES)
@given(change=damage())
@fuzzed
def test_side_files_survive_any_bytes(name: str, change: Callable[[bytes], bytes]):
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        for other, content in TABLES.items():
            (source / other).write_bytes(change(content) if other == name else content)
        np.save(source / "a.npy", np.zeros((4, 3, 3), np.float32))
        (source / "joints_s01_e01.txt").write_text("")
        message = ""
        try:
            FORMATS["utkinect" if name == "actionLabel.txt" else "user"].jobs(source)
        except UserError as error:  # FormatError is one of them
            message = str(error)
        assert "\n" not in message
