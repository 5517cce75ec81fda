"""Videos as frames: the right ones, upright, in time, however they are asked for; and what is not a video is said in one line."""

import os
import struct
import subprocess
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from video_writers import sound

from kinema.data.video import Video
from kinema.errors import FormatError, UserError

MEDIA = Path(os.environ.get("KINEMA_MEDIA", Path(__file__).resolve().parents[3] / "shared" / "media"))
FOLDER = None


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory):
    global FOLDER  # hypothesis calls a test often, so what it needs is made once and found by name
    FOLDER = tmp_path_factory.mktemp("videos")
    return FOLDER


@cache
def scenes(n, size):
    """`n` images `(H, W, 3)`: noise that moves, and a red bar whose length tells the frame."""
    noise = np.random.default_rng(0).integers(60, 200, (*size, 3), np.uint8)
    images = [np.roll(noise, 3 * i, 1) for i in range(n)]
    for i, image in enumerate(images):
        image[: size[0] // 4, : (i + 1) * size[1] // n] = (255, 0, 0)
    return images


def write(path, images, codec="libx264", fps=30, pixels="yuv420p", gop=12, between=2, options=None, ticks=None, base=None, **muxer):
    """Encodes `images` at `ticks` of `base` seconds, by default evenly."""
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        context = stream.codec_context
        context.gop_size, context.thread_count = gop, 1
        if between:
            context.max_b_frames = between
        if base:
            context.time_base = base
        for i, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, "rgb24" if image.shape[2] == 3 else "rgba")
            frame.pts, frame.time_base = (ticks[i], base) if ticks else (i, Fraction(1, fps))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def patched(path, name, box, at, content):
    """A copy of an MP4 with `content` written `at` bytes after the name of a box."""
    data = bytearray(path.read_bytes())
    at += data.index(box) + 4
    data[at : at + len(content)] = content
    copy = path.with_name(name)
    copy.write_bytes(data)
    return copy


UNEVEN = [0, 33, 66, 180, 200, 400, 433, 466, 1000, 1033, 1066, 1100, 1500, 1533, 1566, 1600]
KINDS = {
    "h264.mp4": {"between": 3},
    "one-key.mp4": {"gop": 1000, "between": 3},
    "open-gop.mkv": {"between": 3, "options": {"x264-params": "open-gop=1:b-adapt=0:scenecut=0"}},
    "refresh.mkv": {"gop": 15, "options": {"x264-params": "intra-refresh=1:scenecut=0"}},
    "hevc.mkv": {"codec": "libx265", "options": {"x265-params": "log-level=error:open-gop=1:bframes=3:keyint=12:scenecut=0"}},
    "vp9.webm": {"codec": "libvpx-vp9", "between": 0, "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}},
    "mpeg4.mp4": {"codec": "mpeg4"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "h264.ts": {"between": 3},
    "mpeg2.mpg": {"codec": "mpeg2video", "fps": 25},
    "prores.mov": {"codec": "prores", "pixels": "yuv422p10le", "between": 0},
    "uneven.mkv": {"ticks": UNEVEN, "base": Fraction(1, 1000), "gop": 5},
    "h264.flv": {},
}


@cache
def made(name):
    """A video of some kind, and the frames that decoding it from the start gives."""
    if name == "trimmed.mp4":
        whole, _ = made("h264.mp4")
        duration, start = struct.unpack(">Ii", patched(whole, name, b"elst", 0, b"").read_bytes().split(b"elst")[1][8:16])
        path = patched(whole, name, b"elst", 8, struct.pack(">Ii", duration // 2, start + 7 * 512))
    elif name == "cut.ts":
        data = made("h264.ts")[0].read_bytes()
        path = FOLDER / name
        path.write_bytes(data[len(data) // 188 // 3 * 188 :])
    else:
        kind = KINDS[name]
        if kind.get("codec", "libx264") not in av.codecs_available:
            pytest.skip(f"needs {kind.get('codec', 'libx264')}")
        path = write(FOLDER / name, scenes(len(kind.get("ticks", range(36))), (48, 64)), **kind)
    with Video.open(path) as video:
        return path, list(video)


def same(some, others):
    return len(some) == len(others) and all(
        a.index == b.index and a.time == b.time and np.array_equal(a.image, b.image) for a, b in zip(some, others, strict=True)
    )


@pytest.mark.parametrize("name", KINDS)
def test_all_frames_in_order_with_their_times(name):
    path, frames = made(name)
    count = len(KINDS[name].get("ticks", range(36)))
    assert [f.index for f in frames] == list(range(count))
    fps = KINDS[name].get("fps", 30)
    expected = np.array(KINDS[name].get("ticks", np.arange(count) * 1000 / fps)) / 1000
    assert np.abs([f.time for f in frames] - expected).max() < 0.0011
    bars = [(f.image[4, :, 0].astype(int) - f.image[4, :, 1] > 90).sum() for f in frames]
    assert np.abs(np.array(bars) - (np.arange(count) + 1) * 64 / count).max() < 5, "each frame shows its own picture"
    with Video.open(path) as video:
        assert same(list(video), frames), "a second time"
        assert video.size == (48, 64) == frames[0].image.shape[:2]
        assert frames[0].image.dtype == np.uint8
        assert frames[0].image.flags.c_contiguous
        assert frames[0].image.flags.writeable
        assert video.frames in (None, count)
        assert np.array_equal(video.times(), [f.time for f in frames])
        assert video.variable == (name == "uneven.mkv")
        assert video.damaged is None
        if name != "uneven.mkv":
            assert video.fps == pytest.approx(fps)
            assert video.duration == pytest.approx(count / fps, abs=0.1)


@pytest.mark.parametrize("name", [*KINDS, "trimmed.mp4", "cut.ts"])
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_any_frame_is_the_one_that_decoding_from_the_start_gives(name, data):
    path, frames = made(name)
    place = st.integers(0, len(frames) - 1)
    indices = data.draw(st.lists(place, min_size=1, max_size=5))
    start, stop, every = data.draw(place), data.draw(st.none() | place), data.draw(st.integers(1, 9))
    with Video.open(path) as video:
        assert same(video.read(indices), [frames[i] for i in indices])
        assert same(list(video.span(start, stop, every)), frames[slice(start, stop, every)])


def test_a_trimmed_recording_shows_only_what_was_kept():
    _, whole = made("h264.mp4")
    path, kept = made("trimmed.mp4")
    assert len(kept) == 18
    assert all(np.array_equal(a.image, b.image) for a, b in zip(kept, whole[7:], strict=False))
    with Video.open(path) as video:
        assert (video.frames, kept[0].time) == (None, 0)


@settings(max_examples=12, deadline=None)
@given(fps=st.floats(0.5, 200), name=st.sampled_from(["uneven.mkv", "h264.mp4"]))
def test_resampling_takes_the_nearest_frame_of_each_tick(fps, name):
    path, frames = made(name)
    times = np.array([f.time for f in frames])
    with Video.open(path, size=(2, 2)) as video:
        chosen = [f.index for f in video.resampled(fps)]
    ticks = np.arange(len(chosen)) / fps
    off = np.abs(times[:, None] - ticks)
    assert (off[chosen, range(len(chosen))] <= off.min(0) + 1e-5).all()
    assert abs(len(chosen) / fps - times[-1]) < 1 / fps + 0.45, "until the end"


def test_resampling_by_whole_factors():
    with Video.open(made("h264.mp4")[0], size=(2, 2)) as video:
        assert [f.index for f in video.resampled(15)] == list(range(0, 36, 2))
        assert [f.index for f in video.resampled(30)] == list(range(36))
        assert [f.index for f in video.resampled(60)] == [i // 2 for i in range(72)]


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1)),
        ((-1, 0, 0, -1), lambda image: np.rot90(image, 2)),
        ((0, -1, 1, 0), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, 1), lambda image: image[:, ::-1]),
        ((0, 1, 1, 0), lambda image: image.swapaxes(0, 1)),
    ],
)
def test_pictures_are_turned_upright(matrix, turned):
    plain, frames = made("h264.mp4")
    a, b, c, d = (65536 * m for m in matrix)
    path = patched(plain, "turned.mp4", b"tkhd", 40, struct.pack(">5i", a, b, 0, c, d))
    expected = turned(frames[20].image)
    with Video.open(path) as video:
        assert video.size == expected.shape[:2]
        assert np.array_equal(video.read([20])[0].image, expected)
    with Video.open(path, longest=32) as video:
        assert video.size == tuple(s // 2 for s in expected.shape[:2]) == video.read([0])[0].image.shape[:2]
    with Video.open(path, size=(10, 20)) as video:
        assert video.read([0])[0].image.shape == (10, 20, 3)


def test_an_odd_angle_is_refused():
    tilted = patched(made("h264.mp4")[0], "tilted.mp4", b"tkhd", 40, struct.pack(">5i", 46341, 46341, 0, -46341, 46341))
    with pytest.raises(FormatError, match=r"tilted\.mp4: turned by an angle other than a quarter"):
        Video.open(tilted)


@pytest.mark.parametrize(
    ("pixels", "codec", "size"),
    [
        ("gray", "ffv1", (17, 33)), ("gray10le", "ffv1", (17, 33)), ("yuv420p10le", "ffv1", (18, 34)), ("yuv444p", "ffv1", (17, 33)),
        ("yuva420p", "ffv1", (17, 33)), ("bgra", "ffv1", (17, 33)), ("rgba", "png", (17, 33)), ("gbrp12le", "ffv1", (17, 33)),
        ("yuvj420p", "mjpeg", (17, 33)), ("yuv410p", "ffv1", (19, 35)),
    ],
)  # fmt: skip
def test_any_pixel_format_becomes_rgb(tmp_path, pixels, codec, size):
    colour = (120, 120, 120) if "gray" in pixels else (200, 100, 40)
    full = (*colour, 128) if pixels in ("bgra", "rgba", "yuva420p") else colour
    image = np.full((*size, len(full)), full, np.uint8)
    path = write(tmp_path / ("x.mov" if codec == "png" else "x.mkv"), [image] * 3, codec, pixels=pixels, between=0)
    with Video.open(path) as video:
        frames = list(video)
        assert video.size == size
    assert len(frames) == 3
    assert frames[1].image.shape == (*size, 3)
    assert np.abs(frames[1].image.astype(int) - colour).max() <= 6


def test_scaling_keeps_the_shape_and_does_not_enlarge():
    path, frames = made("h264.mp4")
    with Video.open(path, longest=32) as video:
        small = video.read([5])[0].image
        assert video.size == (24, 32) == small.shape[:2]
    assert np.abs(frames[5].image.reshape(24, 2, 32, 2, 3).mean((1, 3)) - small).mean() < 9
    assert Video.open(path, longest=999).size == (48, 64)
    for wrong in ({"longest": 0}, {"size": (0, 5)}, {"size": (9000, 5)}, {"size": (5, 5), "longest": 5}):
        with pytest.raises(UserError, match="scaled"):
            Video.open(path, **wrong)


def test_a_gif_keeps_its_uneven_times(tmp_path):
    images = [Image.fromarray(i) for i in scenes(6, (48, 64))]
    images[0].save(tmp_path / "x.gif", save_all=True, append_images=images[1:], duration=[40, 40, 200, 40, 100, 40])
    with Video.open(tmp_path / "x.gif") as video:
        assert np.allclose([f.time for f in video], [0, 0.04, 0.08, 0.28, 0.32, 0.42])
        assert video.variable


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_4k_stays_in_bounded_memory(tmp_path):
    image = np.zeros((2160, 3840, 3), np.uint8)
    one = write(tmp_path / "one.mkv", [image], "mpeg4", between=0)
    with av.open(str(one)) as source, av.open(str(tmp_path / "4k.mkv"), "w") as film:
        stream = film.add_stream_from_template(source.streams.video[0])
        packet = next(source.demux(video=0))
        for i in range(16):  # together 400 MB as RGB
            again = av.Packet(bytes(packet))
            again.stream, again.time_base, again.is_keyframe = stream, Fraction(1, 30), True
            again.pts = again.dts = i
            film.mux(again)
    script = """if True:
        import re, sys
        from kinema.data.video import Video
        peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
        before = peak()
        shapes = [frame.image.shape for frame in Video.open(sys.argv[1], longest=512)]
        assert shapes == [(288, 512, 3)] * 16, shapes
        print(peak() - before)"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "4k.mkv")], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 150


def cut(name, part, **muxer):
    """A video of 60 frames without its end, and the frames of the whole one."""
    whole = write(FOLDER / f"whole-{name}", scenes(60, (48, 64)), "mpeg4" if name.endswith("avi") else "libx264", **muxer)
    data = whole.read_bytes()
    path = FOLDER / f"cut-{name}"
    path.write_bytes(data[: int(len(data) * part)])
    return path, list(Video.open(whole))


@pytest.mark.parametrize(("name", "muxer"), [("a.mp4", {"movflags": "faststart"}), ("a.mkv", {}), ("a.avi", {}), ("a.flv", {})])
def test_a_video_that_breaks_off_gives_what_came_before(name, muxer):
    path, whole = cut(name, 0.6, **muxer)
    frames = []
    with pytest.raises(FormatError) as refused:
        frames.extend(Video.open(path))
    assert 3 < len(frames) < 50
    assert same(frames, whole[: len(frames)])
    assert f"cut-{name}: damaged or cut off after {frames[-1].time:.2f} s" in str(refused.value)
    assert "\n" not in str(refused.value)
    with Video.open(path, strict=False) as video:
        assert video.damaged is None
        assert same(list(video), frames)
        assert video.damaged == frames[-1].time
        assert same(video.read([2, 0]), [frames[2], frames[0]])
        assert len(list(video.resampled(15))) in ((len(frames) + 1) // 2, len(frames) // 2)
        with pytest.raises(FormatError, match="damaged or cut off after"):
            video.read([59])


@pytest.mark.parametrize("name", ["b.mp4", "b.mov"])
def test_damage_inside_stops_there(name):
    path, whole = cut(name, 1, movflags="faststart")
    data = bytearray(path.read_bytes())
    middle = int(len(data) * 0.6)
    data[middle : middle + 500] = bytes(i * 7 % 251 for i in range(500))
    path.write_bytes(data)
    with Video.open(path, strict=False) as video:
        frames = list(video)
        assert 20 < len(frames) < 50
        assert same(frames[:-1], whole[: len(frames) - 1])
        assert video.damaged == frames[-1].time


def test_frames_that_are_not_there():
    with Video.open(made("h264.mp4")[0]) as video:
        for index in (36, -1, 10**9):
            with pytest.raises(UserError, match=rf"h264\.mp4: no frame {index}; it has frames 0 to 35"):
                video.read([index])
        assert list(video.span(36)) == list(video.span(99, 200)) == list(video.span(9, 9)) == video.read([]) == []
        for wrong in ((-1,), (0, -2), (0, None, 0)):
            with pytest.raises(UserError, match="expected places from 0 and every from 1"):
                video.span(*wrong)
        for fps in (0, -1, float("nan"), float("inf"), 1e6):
            with pytest.raises(UserError, match="cannot be resampled"):
                video.resampled(fps)


def test_a_closed_video_says_so_and_holds_no_file():
    path, frames = made("h264.mp4")
    with Video.open(path) as video:
        one, other = iter(video), video.span(3)
        assert same([next(one), next(other), next(one), next(other)], [frames[i] for i in (0, 3, 1, 4)]), "at the same time"
        video.read([7])
    if Path("/proc/self/fd").exists():
        assert str(path) not in {os.readlink(f) for f in Path("/proc/self/fd").iterdir() if f.is_symlink()}
    for late in (lambda: list(one), lambda: next(other), lambda: video.read([1]), lambda: list(video)):
        with pytest.raises(UserError, match="closed; open it again"):
            late()


SECRET = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("none.mp4", None, "no such file"),
        ("empty.mp4", b"", r"empty \(0 bytes\)"),
        ("text.mp4", b"hello\n" * 200, "not a video that can be read"),
        ("noise.mp4", bytes(i * i % 251 for i in range(5000)), "not a video that can be read|no video in it"),
        ("list.mp4", SECRET, "a playlist that names other files"),
        ("list.m3u8", SECRET, "a playlist that names other files"),
        ("concat.mkv", "ffconcat version 1.0\nfile {}\n", "a playlist that names other files"),
        ("dash.mp4", '<?xml version="1.0"?><MPD><BaseURL>{}</BaseURL></MPD>', "a playlist that names other files"),
        ("rtp.mp4", "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n", "a playlist that names other files"),
    ],
)
def test_what_is_not_a_video(tmp_path, name, content, problem):
    if isinstance(content, str):
        content = content.format(made("h264.ts")[0]).encode()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=problem) as refused:
        Video.open(tmp_path / name)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WebP", "TIFF"])
def test_a_single_picture_is_no_video(tmp_path, kind):
    Image.new("RGB", (64, 48)).save(tmp_path / "x.mp4", kind)
    with pytest.raises(FormatError, match=rf"one picture \({kind}\), not a video"):
        Video.open(tmp_path / "x.mp4")


def test_other_wrong_files(tmp_path):
    whole = made("h264.mp4")[0]
    data = whole.read_bytes()
    sound(tmp_path / "sound.mp4")
    (tmp_path / "unfinished.mp4").write_bytes(data[: data.index(b"moov")])
    (tmp_path / "protected.mp4").write_bytes(data.replace(b"avc1", b"encv"))
    start = data.index(b"mdat") + 4
    (tmp_path / "dead.mp4").write_bytes(data[:start] + bytes(4000) + data[start + 4000 :])
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, problem in {
        "sound.mp4": "sound without a picture",
        "unfinished.mp4": "cut off before it was finished|no video in it",
        "protected.mp4": "its video codec cannot be decoded here",
        "dead.mp4": "its first frame cannot be decoded",
        "pipe.mp4": "not a regular file",
        ".": "a folder",
    }.items():
        with pytest.raises(UserError, match=problem):
            Video.open(tmp_path / name)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x.mp4", "concat:a.ts|b.ts", "rtsp://127.0.0.1/x", "pipe:0"])
def test_addresses_are_not_fetched(address):
    with pytest.raises(UserError, match="only local files are read"):
        Video.open(address)


def test_a_frame_too_large_for_memory(tmp_path):
    plain = made("h264.mp4")[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kinema.data.video_file.MAX_PIXELS", 64 * 48 - 1)
        with pytest.raises(FormatError, match="frames of 64x48 pixels; at most 3071"):
            Video.open(plain)


def test_odd_names_and_titles(tmp_path):
    plain, frames = made("h264.mp4")
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff http:%03d.mp4"))
    path.write_bytes(plain.read_bytes().replace(b"VideoHandler", b"Vid\xe9o\xffandler"))
    with Video.open(path) as video:
        assert same(list(video.span(0, 3)), frames[:3])


@pytest.mark.parametrize(
    ("name", "count", "size", "fps"),
    [
        ("sign/autsl_signer0_sample1000.mp4", 43, (512, 512), 30),
        ("sign/walking_signer.mp4", 58, (720, 540), 29.917),
        ("video/example.mp4", 117, (480, 640), 25),
    ],
)
def test_real_videos(name, count, size, fps):
    path = MEDIA / name
    if not path.exists():
        pytest.skip(f"needs {name}")
    with Video.open(path) as video:
        assert (video.size, video.frames, video.variable) == (size, count, False)
        assert video.fps == pytest.approx(fps, abs=0.001)
    with Video.open(path, longest=64) as video:
        frames = list(video)
        assert [f.index for f in frames] == list(range(count))
        assert video.damaged is None
        assert np.allclose([f.time for f in frames], np.arange(count) / video.fps, atol=0.002)
        assert same(video.read([count - 1, 3]), [frames[-1], frames[3]])
