"""Bad videos and pose files through the real commands: one clear line, exit code 2, no output left; odd ones simply work."""

import re
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / room) for room in ("motion", "data")]
from sign_writers import header, pose, text
from video_writers import sound

from kinema.data.extract import found
from kinema.motion.formats import read_file
from kinema.motion.keypoints import HOLISTIC75
from kinema.verbs import pose as verb

HEIGHT, WIDTH = 48, 64


def spot(i):
    """A black picture with a white square, which is at the right in picture 0 and sinks by 2 pixels a picture."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[4 + 2 * i : 12 + 2 * i, 48:56] = 255
    return image


def film(path, images, ticks=None, codec="libx264", **muxer):
    """Encodes `images` at 10 a second, or at `ticks` of a millisecond."""
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(codec, rate=10, options={"crf": "1"} if codec == "libx264" else {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size, stream.codec_context.thread_count = 5, 1
        if ticks:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgb24")
            frame.pts, frame.time_base = (ticks[i], Fraction(1, 1000)) if ticks else (i, Fraction(1, 10))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


class Spotter:
    """Stands for MediaPipe: all joints of the body are where the picture is bright."""

    skeleton = HOLISTIC75
    version = "0"

    def landmarks(self, frames):
        for frame in frames:
            rows, columns = np.nonzero(frame.image[..., 0] > 128)
            points = np.zeros((int(len(rows) > 0), 75, 3), np.float32)
            if len(rows):
                points[:, :33] = columns.mean() + 0.5, rows.mean() + 0.5, 1
            yield points


@pytest.fixture
def spotter(monkeypatch):
    monkeypatch.setattr(verb, "Holistic", Spotter)


def spots(file):
    """Where the spot was found in each frame of a .pose file, (x, y)."""
    (clip,) = read_file(file)
    return clip, clip.positions[:, 0, 0]


# videos


def truncated(data):
    return data[: int(len(data) * 0.9)]


def index_lost(data):
    """As a camera leaves it whose battery died: frames without an index."""
    at = data.index(b"moov") - 4
    return data[:at] + data[at + int.from_bytes(data[at : at + 4], "big") :]


def flipped(data):
    """Damage of the first picture's bytes."""
    at = data.index(b"mdat") + 8
    return data[:at] + bytes(255 - b for b in data[at : at + 2000]) + data[at + 2000 :]


def dark(data):
    """Lengths of the pictures that reach beyond the file."""
    at = data.index(b"stsz") + 16
    return data[:at] + b"\x7f\xff\xff\xff" * 4 + data[at + 16 :]


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (truncated, r"damaged or cut off after \d\.\d\d s; record or copy it again"),
        (index_lost, "its index is missing or damaged: the recording was cut off before it was finished"),
        (flipped, "its first frame cannot be decoded: empty, damaged or protected"),
        (dark, "its first frame cannot be decoded|damaged or cut off after"),
        (lambda data: data[:40], "no video in it: its header is damaged or cut off; expected MP4"),
        (lambda data: b"", r"empty \(0 bytes\); expected a video"),
        (lambda data: bytes(1000), "not a video that can be read, or its header is damaged"),
        (lambda data: b"#EXTM3U\nhttp://127.0.0.1/x.ts\n", "a playlist that names other files, which is not followed"),
    ],
)
def test_a_broken_video_is_named_and_leaves_nothing(spotter, bad, tmp_path, spoil, line):
    video = film(tmp_path / "a.mp4", [spot(i) for i in range(14)], movflags="faststart")
    video.write_bytes(spoil(video.read_bytes()))
    before = video.read_bytes()
    said = bad("pose", video, "--out", tmp_path / "a.pose", "--overlay", tmp_path / "o.png")
    assert re.search(line, said), said
    assert str(video) in said
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert video.read_bytes() == before


def test_sound_alone(spotter, bad, tmp_path):
    sound(tmp_path / "a.m4a")
    assert "sound without a picture; expected a video" in bad("pose", tmp_path / "a.m4a", "--out", tmp_path / "a.pose")
    assert [p.name for p in tmp_path.iterdir()] == ["a.m4a"]


def test_rates_that_no_video_has(spotter, bad, good, tmp_path):
    video = film(tmp_path / "a.avi", [spot(i) for i in range(3)], codec="mpeg4")
    data = bytearray(video.read_bytes())
    for rate, said in (
        ((2**31 - 1, 1), r"says that it has 4\.65661e-10 frames a second; expected 0\.001 to 1000"),
        ((1, 2**31 - 1), r"2\.14748e\+09 frames a second; expected 0\.001 to 1000"),
    ):
        at = data.index(b"strh") + 8 + 20  # scale and rate
        data[at : at + 8] = struct.pack("<II", *rate)
        video.write_bytes(data)
        assert re.search(said, bad("pose", video, "--out", tmp_path / "a.pose"))
    assert not (tmp_path / "a.pose").exists()


def test_a_video_is_no_motion_file(bad, tmp_path):
    video = film(tmp_path / "a.mp4", [spot(0)] * 2)
    said = bad("show", video, "--out", tmp_path / "a.png")
    assert str(video) in said
    assert not (tmp_path / "a.png").exists()


def test_a_video_without_a_person(spotter, good, tmp_path):
    film(tmp_path / "a.mp4", [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 4)
    said = good("pose", tmp_path / "a.mp4", "--out", tmp_path / "a.pose")
    assert "nobody was found in any frame; the file says so: every joint is absent" in said
    clip, _ = spots(tmp_path / "a.pose")
    assert (clip.frames, found(clip)) == (4, {"body": 0, "left_hand": 0, "right_hand": 0})
    assert "nobody in any frame" in good("show", tmp_path / "a.pose", "--out", tmp_path / "a.png")


@pytest.mark.parametrize(
    ("matrix", "size", "place"),
    [
        ((1, 0, 0, 1), (WIDTH, HEIGHT), lambda x, y: (x, y)),
        ((0, 1, -1, 0), (HEIGHT, WIDTH), lambda x, y: (HEIGHT - y, x)),
        ((-1, 0, 0, -1), (WIDTH, HEIGHT), lambda x, y: (WIDTH - x, HEIGHT - y)),
        ((0, -1, 1, 0), (HEIGHT, WIDTH), lambda x, y: (y, WIDTH - x)),
    ],
    ids=["0", "90", "180", "270"],
)
def test_poses_are_those_of_the_upright_picture(spotter, good, tmp_path, matrix, size, place):
    video = film(tmp_path / "a.mp4", [spot(i) for i in range(6)])
    data = bytearray(video.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (65536 * m for m in matrix)
    data[at : at + 20] = struct.pack(">5i", a, b, 0, c, d)
    video.write_bytes(data)
    said = good("pose", video, "--out", tmp_path / "a.pose", "--overlay", tmp_path / "o.mp4")
    assert f"{size[0]} x {size[1]} pixels" in said
    clip, seen = spots(tmp_path / "a.pose")
    assert clip.image_size == size
    np.testing.assert_allclose(seen, [place(52, 8 + 2 * i) for i in range(6)], atol=0.51)
    with av.open(str(tmp_path / "o.mp4")) as drawn:
        assert (drawn.streams.video[0].width, drawn.streams.video[0].height) == size


def test_uneven_frames_are_put_where_they_belong_in_time(spotter, good, tmp_path):
    ticks = [0, 100, 200, 800, 900, 1000]
    video = film(tmp_path / "a.mkv", [spot(i) for i in range(6)], ticks)
    said = good("pose", video, "--out", tmp_path / "a.pose", "--fps", 10)
    assert "11 frames" in said or "12 frames" in said
    _, seen = spots(tmp_path / "a.pose")
    nearest = [0, 1, 2, 2, 2, 2, 3, 3, 3, 4, 5]  # the earlier of two
    np.testing.assert_allclose(seen[:11, 1], [8 + 2 * i for i in nearest], atol=0.51)
    assert "unevenly spaced: taken at" in good("pose", video, "--out", tmp_path / "b.pose")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("count", [12, pytest.param(60, marks=pytest.mark.slow)])
def test_4k_is_read_in_bounded_memory(tmp_path, count):
    one = film(tmp_path / "one.mkv", [np.zeros((2160, 3840, 3), np.uint8)], codec="mpeg4")
    with av.open(str(one)) as source, av.open(str(tmp_path / "4k.mkv"), "w") as whole:
        stream = whole.add_stream_from_template(source.streams.video[0])
        packet = next(source.demux(video=0))
        for i in range(count):  # 25 MB each as RGB
            again = av.Packet(bytes(packet))
            again.stream, again.time_base, again.is_keyframe = stream, Fraction(1, 30), True
            again.pts = again.dts = i
            whole.mux(again)
    script = """if True:
        import re, sys
        import numpy as np
        from kinema.data.extract import extract
        from kinema.data.video import Video
        from kinema.motion.keypoints import COCO17
        class Nobody:
            skeleton = COCO17
            def landmarks(self, frames):
                for frame in frames:
                    assert frame.image.shape == (2160, 3840, 3)
                    yield np.zeros((0, 17, 3), np.float32)
        peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
        before = peak()
        with Video.open(sys.argv[1]) as video:
            assert extract(video, Nobody()).frames == int(sys.argv[2])
        print(peak() - before)"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "4k.mkv"), str(count)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 250, "megabytes; ten RGB frames"


# .pose files

BODY = [("POSE_LANDMARKS", "XYC", ["NOSE", "LEFT_WRIST"])]
NEW, OLD, OLDEST = (header(version, (640, 480, 0), BODY) for version in (0.2, 0.1, 0.0))


def one(*numbers, fps=25.0):
    """One frame of one person."""
    return NEW + struct.pack("<fIH", fps, 1, 1) + struct.pack("<6f", *numbers)


def claims(points=1, limbs=0, colours=0, components=1, letters="XYC", body=b""):
    """A header whose first component says that it has so many points, limbs and colours, and then gives `body`."""
    counts = struct.pack("<HHH", points, limbs, colours)
    return struct.pack("<fHHHH", 0.2, 640, 480, 0, components) + text("POSE_LANDMARKS") + text(letters) + counts + body


HOSTILE = {
    "empty": (b"", "0 bytes, no .pose file"),
    "text": (b"this is no pose file\n" * 9, "not a .pose file of version 0.0, 0.1 or 0.2"),
    "a version close to 0": (struct.pack("<f", 0.0002) + NEW[4:] + bytes(40), "not a .pose file of version 0.0, 0.1 or 0.2"),
    "a zip": (b"PK\3\4" + bytes(100), "not a .pose file of version 0.0, 0.1 or 0.2"),
    "another layout": (
        pose(0.2, [("SMPL", "XYC", ["a", "b"])], np.ones((2, 1, 2, 2)), np.ones((2, 1, 2))),
        r"unknown layout with the components SMPL \(2\); known are MediaPipe Holistic: ",
    ),
    "a layout that drives terminals": (
        pose(0.2, [("A\x1b[2J\nkinema: all is well", "XYC", ["a"])], np.ones((2, 1, 1, 2)), np.ones((2, 1, 1))),
        r"components A\\x1b\[2J\\nkinema: all is well \(1\)",
    ),
    "half a header": (NEW[: len(NEW) // 2], "cut off within its header"),
    "only a header": (NEW, "cut off after the header"),
    "2^31 frames": (
        NEW + struct.pack("<fIH", 25, 2**31, 1),
        "promises 2147483648 frames of 1 person, 51539607552 bytes, and 0 follow",
    ),
    "-1 frames": (NEW + struct.pack("<fiH", 25, -1, 1), "promises 4294967295 frames"),
    "-1 frames of 0.1": (OLD + struct.pack("<HhH", 25, -1, 1), "promises 65535 frames"),
    "-1 frames of 0.0": (OLDEST + struct.pack("<Hh", 25, -1), "its frames do not fill the file"),
    "-1 people": (NEW + struct.pack("<fIh", 25, 1, -1), "promises 1 frame of 65535 people"),
    "everything at once": (NEW + struct.pack("<fIH", 25, 2**32 - 1, 65535), "promises 4294967295 frames of 65535 people"),
    "points that are not there": (claims(65535), "cut off within its header"),
    "2^31 points": (
        claims(65535, body=b"\0\0" * 65535) + struct.pack("<fIH", 25, 2**15, 1),
        r"promises 32768 frames .* and 0 follow",
    ),
    "limbs that are not there": (claims(1, 65535, 65535, body=text("NOSE")), "cut off within its header"),
    "components that are not there": (claims(0, components=65535), "cut off within its header"),
    "60,000 coordinates": (
        claims(1, letters="XY" + "Z" * 60_000 + "C", body=text("NOSE")) + struct.pack("<fIH", 25, 2**31, 1),
        "and 0 follow",
    ),
    "no rate": (one(20, 20, 30, 30, 1, 1, fps=0.0), "fps 0.0; expected a number from 0.001 to 100000"),
    "a negative rate": (one(20, 20, 30, 30, 1, 1, fps=-25.0), "fps -25.0; expected"),
    "an infinite rate": (one(20, 20, 30, 30, 1, 1, fps=float("inf")), "fps inf; expected"),
    "NaN": (one(20, float("nan"), 30, 30, 1, 1), "NaN or infinity in frame 0"),
    "NaN for sure": (one(20, 20, 30, 30, float("nan"), 1), "NaN or infinity in frame 0"),
    "a frame in a thousand years": (one(20, 20, 30, 30, 1, 1, fps=1e-30), "expected a number from 0.001 to 100000"),
    "beyond every picture": (one(3e38, 20, -3e38, 30, 1, 1), r"a coordinate of 3e\+38; expected at most 1.68e\+07: it is damaged"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("words", [("show",), ("data", "build")], ids=["show", "build"])
def test_a_hostile_pose_file_is_named_and_leaves_nothing(bad, tmp_path, kind, words):
    content, line = HOSTILE[kind]
    file = tmp_path / "a.pose"
    file.write_bytes(content)
    more = ("--workers", 1) if words[0] == "data" else ()
    said = bad(*words, file, "--out", tmp_path / ("a.png" if words[0] == "show" else "s"), *more)
    assert re.search(line, said), said
    assert str(file) in said
    assert {p.name for p in tmp_path.iterdir()} - {".s.building"} == {"a.pose"}
