"""Whatever bytes a video file holds, reading it gives frames and rising times or raises UserError: nothing else, and soon."""

from __future__ import annotations

import struct
import sys
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent))
from test_fuzz_formats import damage, fuzzed

from kinema.data.extract import frames, pace
from kinema.data.video import Video
from kinema.errors import UserError

KINDS = {"a.mp4": ("libx264", {"movflags": "faststart"}), "a.mkv": ("libx264", {}), "a.avi": ("mpeg4", {}), "a.ts": ("libx264", {})}


def film(path: Path, codec: str, muxer: dict[str, str]) -> bytes:
    """Six pictures with two key frames and pictures out of order; 1 to 5 kB."""
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = 16, 32, "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.thread_count, stream.codec_context.max_b_frames = 3, 1, 1
        for i in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), 40 * i, np.uint8), "rgb24")
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.fixture(scope="module", params=KINDS)
def valid(request: pytest.FixtureRequest):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / request.param
        yield file, film(file, *KINDS[request.param])


def survives(file: Path, content: bytes, strict: bool) -> None:
    """Opens, counts, seeks and decodes."""
    file.write_bytes(content)
    said = str(file)
    try:
        with Video.open(file, strict=strict) as video:
            assert all(1 <= side <= 8192 for side in video.size)
            times = video.times()
            assert np.isfinite(times).all()
            assert (np.diff(times) > 0).all()
            assert times[0] == 0
            chosen = pace(video)
            for frame in islice(frames(video, chosen), 20):
                assert frame.image.shape == (*video.size, 3)
            for frame in video.read([min(4, len(times) - 1), 0, min(2, len(times) - 1)]):
                assert frame.image.dtype == np.uint8
    except UserError as error:
        said = str(error)
    assert said.startswith(str(file))
    assert "\n" not in said


@given(damage(), st.booleans())
@fuzzed
def test_videos_survive_any_bytes(valid: tuple[Path, bytes], change: Callable[[bytes], bytes], strict: bool):
    file, content = valid
    survives(file, change(content), strict)


BOXES = [b"mvhd", b"tkhd", b"elst", b"mdhd", b"stsd", b"avc1", b"avcC", b"stts", b"stss", b"ctts", b"stsc", b"stsz", b"stco"]
NUMBERS = st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF0000]) | st.integers(0, 2**32 - 1)


@given(st.lists(st.tuples(st.sampled_from(BOXES), st.integers(0, 12), NUMBERS), min_size=1, max_size=3), st.booleans())
@fuzzed
def test_the_index_of_an_mp4_may_claim_anything(edits: list[tuple[bytes, int, int]], strict: bool):
    """Numbers of the index: sizes, counts, times, places, the matrix."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.mp4"
        content = bytearray(film(file, *KINDS["a.mp4"]))
        for box, word, number in edits:
            at = content.find(box) + 4 * word
            if box in content and at + 4 <= len(content):
                struct.pack_into(">I", content, at, number)
        survives(file, bytes(content), strict)
