"""From a video to poses: what an extractor finds is what the file holds, whoever is not found is absent, and mistakes are told in one line."""

import os
import subprocess
import sys
import types
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from kinema.data.extract import Holistic, Pace, extract, found, pace
from kinema.data.video import Video
from kinema.errors import FormatError, UserError
from kinema.motion.clip import Clip
from kinema.motion.formats import read_file
from kinema.motion.keypoints import COCO17, HOLISTIC75
from kinema.verbs import pose as verb
from kinema.view.overlay import draw_over, save_film, save_sheet

SIGN = Path(os.environ.get("KINEMA_MEDIA", Path(__file__).resolve().parents[3] / "shared" / "media")) / "sign"
LEFT, RIGHT = slice(33, 54), slice(54, 75)


def film(path, n=6, size=(48, 64), ticks=None):
    """A grey video whose frame `i` has the brightness `20 i`; `ticks` are milliseconds."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        (stream.height, stream.width), stream.pix_fmt = size, "yuv420p"
        stream.codec_context.thread_count = 1
        if ticks:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 20 * i, np.uint8), "rgb24")
            frame.pts, frame.time_base = (ticks[i], Fraction(1, 1000)) if ticks else (i, Fraction(1, 10))
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def video(tmp_path):
    return film(tmp_path / "grey.mp4")


class Fake:
    """Finds a body in every frame but the third, the left hand in the first frame only; joint `j` of frame `i` lies at (i, j)."""

    skeleton = HOLISTIC75
    version = "0"

    def landmarks(self, frames):
        for i, frame in enumerate(frames):
            points = np.zeros((0 if i == 2 else 1, 75, 3))
            points[..., 0], points[..., 1], points[:, :33, 2] = i + 1, np.arange(75), 0.5
            points[:, LEFT, 2] = i == 0
            self.brightness = [*getattr(self, "brightness", []), int(frame.image.mean().round())]
            yield points


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(verb, "Holistic", Fake)


# the library


def test_a_clip_has_what_the_extractor_found(video):
    with Video.open(video) as opened:
        done = []
        extractor = Fake()
        clip = extract(opened, extractor, progress=done.append)
    assert (clip.positions.shape, clip.fps, clip.units, clip.image_size) == ((6, 1, 75, 2), 10, "pixels", (64, 48))
    assert done == [1, 2, 3, 4, 5, 6]
    assert np.abs(np.array(extractor.brightness) - 20 * np.arange(6)).max() <= 2
    np.testing.assert_array_equal(clip.positions[4, 0, :33], [(5, j) for j in range(33)])
    assert clip.present()[:, 0].tolist() == [True, True, False, True, True, True]
    assert not clip.positions[1:, :, LEFT].any()  # whatever was said of an absent joint, it is zero
    assert not clip.positions[:, :, RIGHT].any()
    assert found(clip) == {"body": 5, "left_hand": 1, "right_hand": 0}


def test_people_may_come_and_go(video):
    class Crowd:
        skeleton = COCO17

        def landmarks(self, frames):
            for i, _ in enumerate(frames):
                yield np.ones((i % 3, 17, 3), np.float32)

    with Video.open(video) as opened:
        clip = extract(opened, Crowd())
    assert clip.present().sum(1).tolist() == [0, 1, 2, 0, 1, 2]
    assert found(clip) == {"body": 4}


def test_frames_are_streamed(video):
    class Hasty(Fake):
        def landmarks(self, frames):
            yield from super().landmarks(list(frames))

    class Lazy(Fake):
        def landmarks(self, frames):
            yield from list(super().landmarks(frames))[:-1]

    class Wrong(Fake):
        def landmarks(self, frames):
            yield from (points[0] for points in super().landmarks(frames))

    for extractor, problem in (
        (Hasty(), "before the next"),
        (Lazy(), "results for 6 frames"),
        (Wrong(), "expected \\(people, 75, 3\\)"),
    ):
        with Video.open(video) as opened, pytest.raises(ValueError, match=problem):
            extract(opened, extractor)


def test_uneven_frames_are_taken_at_even_times(tmp_path):
    uneven = film(tmp_path / "uneven.mkv", ticks=[0, 100, 200, 800, 900, 1000])
    with Video.open(uneven) as opened:
        chosen = pace(opened)
        extractor = Fake()
        clip = extract(opened, extractor, chosen)
        assert chosen.resampled
        assert abs(clip.frames - chosen.total) <= 1
        assert clip.seconds == pytest.approx(1.1, abs=0.21)
        assert (np.diff(extractor.brightness) >= -1).all()
        assert pace(opened, 20).fps == 20
        for rate in (0, -1, float("inf"), float("nan"), 1e9):
            with pytest.raises(UserError, match="cannot be resampled"):
                pace(opened, rate)


def test_a_rate_of_ones_own(video):
    with Video.open(video) as opened:
        clip = extract(opened, Fake(), pace(opened, 5))
        assert (clip.frames, clip.fps) == (3, 5)


def test_damage_comes_through(video):
    whole = film(video.with_name("whole.mp4"), 12).read_bytes()
    cut = video.with_name("cut.mp4")
    cut.write_bytes(whole[: len(whole) - 60])
    with pytest.raises(FormatError, match="damaged or cut off after"), Video.open(cut) as opened:
        extract(opened, Fake())


# the overlay


def dot(units="pixels", **more):
    """Two frames of 64 x 48 pixels with the nose at (32, 24), sure in the first frame and absent in the second."""
    positions, confidence = np.zeros((2, 1, 17, 2), np.float32), np.zeros((2, 1, 17), np.float32)
    positions[0, 0, 0], confidence[0, 0, 0] = (32, 24), 1
    return Clip(positions, COCO17, 10, confidence, units=units, image_size=(64, 48), **more)


@pytest.mark.parametrize("scale", [1, 3])
def test_joints_are_drawn_where_they_are(scale):
    image = np.full((48 * scale, 64 * scale, 3), 255, np.uint8)
    drawn = np.asarray(draw_over(image, dot(), 0))
    rows, columns = np.nonzero(np.any(drawn != image, axis=-1))
    assert abs(rows.mean() - 24 * scale) < 1
    assert abs(columns.mean() - 32 * scale) < 1
    assert np.array_equal(np.asarray(draw_over(image, dot(), 1)), image)


def test_only_pixels_are_drawn():
    with pytest.raises(UserError, match="2-D poses in pixels"):
        draw_over(np.zeros((8, 8, 3), np.uint8), dot("normalised"), 0)
    with pytest.raises(UserError, match="no frame 2"):
        draw_over(np.zeros((8, 8, 3), np.uint8), dot(), 2)


def test_films_and_sheets(tmp_path):
    images = [np.full((49, 65, 3), 200, np.uint8)] * 2
    assert save_film(images, dot(), tmp_path / "x.mp4") in ("h264", "mpeg4")
    with Video.open(tmp_path / "x.mp4") as written:
        assert (written.size, len(list(written)), written.fps) == ((48, 64), 2, 10)
    save_sheet(images, dot(), tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").size == (130, 49)
    with pytest.raises(UserError, match="fewer frames"):
        save_sheet(images[:1], dot(), tmp_path / "y.png")
    with pytest.raises(UserError, match="no frame"):
        save_film([], dot(), tmp_path / "y.mp4")
    assert not list(tmp_path.glob("*y.*"))


# the command line


@pytest.mark.parametrize("overlay", [None, "o.png", "o.mp4"])
def test_the_verb(fake, good, video, tmp_path, overlay):
    words = ("--overlay", tmp_path / overlay) if overlay else ()
    said = good("pose", video, "--out", tmp_path / "x.pose", *words)
    assert "6 frames, 0.60 s at 10 a second, 64 x 48 pixels" in said
    assert "found in frames: body 5, left hand 1, right hand 0" in said
    (clip,) = read_file(tmp_path / "x.pose")
    assert (clip.positions.shape, clip.fps, clip.image_size, clip.skeleton) == ((6, 1, 75, 2), 10, (64, 48), HOLISTIC75)
    assert found(clip) == {"body": 5, "left_hand": 1, "right_hand": 0}
    assert overlay is None or (tmp_path / overlay).stat().st_size > 500
    assert not list(tmp_path.glob(".kinema-tmp-*"))


def test_nobody_is_data(fake, good, video, tmp_path, monkeypatch):
    monkeypatch.setattr(Fake, "landmarks", lambda self, frames: (np.zeros((0, 75, 3)) for _ in frames))
    assert "nobody was found" in good("pose", video, "--out", tmp_path / "x.pose", "--overlay", tmp_path / "x.png")
    (clip,) = read_file(tmp_path / "x.pose")
    assert clip.frames == 6
    assert not clip.present().any()


def test_mistakes(fake, bad, video, tmp_path):
    before = video.read_bytes()
    assert "no such file" in bad("pose", tmp_path / "no.mp4")
    assert "ends in .pose" in bad("pose", video, "--out", tmp_path / "x.npz")
    assert "ends in .mp4 or .png" in bad("pose", video, "--out", tmp_path / "x.pose", "--overlay", tmp_path / "x.gif")
    assert "the video itself" in bad("pose", video, "--out", tmp_path / "x.pose", "--overlay", video)
    assert "cannot be resampled" in bad("pose", video, "--out", tmp_path / "x.pose", "--fps", "0")
    (tmp_path / "text.mp4").write_text("no video")
    assert "text.mp4" in bad("pose", tmp_path / "text.mp4", "--out", tmp_path / "x.pose")
    assert video.read_bytes() == before
    assert not (tmp_path / "x.pose").exists()


def test_without_the_extra(bad, video, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    said = bad("pose", video, "--out", tmp_path / "x.pose")
    assert "MediaPipe 0.10.21, which is not installed here; run `make pose-env`" in said


def test_a_mediapipe_without_models(bad, video, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", types.SimpleNamespace(__version__="1.2.2"))
    said = bad("pose", video, "--out", tmp_path / "x.pose")
    assert "MediaPipe 1.2.2 comes without its models" in said
    assert "0.10.21 is wanted" in said


def test_a_mediapipe_that_cannot_be_imported(bad, video, tmp_path, monkeypatch):
    (tmp_path / "mediapipe.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mediapipe", raising=False)
    assert "cannot be imported (libGL.so.1" in bad("pose", video, "--out", tmp_path / "x.pose")


def test_native_chatter_is_held_back_unless_something_breaks(capfd):
    def talk(error):
        with pytest.raises(type(error)) if error else verb.quiet(), verb.quiet():
            os.write(2, b"I0000 created a delegate\n")
            print("progress", file=sys.__stderr__)
            if error:
                raise error
        os.write(2, b"after\n")
        return capfd.readouterr().err

    assert "delegate" not in talk(None)
    assert "delegate" not in talk(UserError("one line"))
    assert "delegate" in talk(RuntimeError("broken graph"))


def test_nothing_heavy_is_imported_for_it():
    script = "import sys, kinema.verbs.pose; sys.exit(bool({'torch', 'mediapipe', 'lightning_fabric', 'cv2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


# MediaPipe itself, where it is installed: the environment of constraints-pose.txt

try:
    Holistic()
    missing = False
except UserError:
    missing = True
real = pytest.mark.skipif(missing, reason="needs MediaPipe 0.10.21 (docs/pose.md)")


@real
@pytest.mark.parametrize(
    ("name", "counts"), [("autsl_signer0_sample1000", (43, 36, 43)), ("walking_signer", (58, 0, 20))], ids=["autsl", "walking"]
)
def test_mediapipe_finds_what_it_finds_elsewhere(name, counts, good, tmp_path):
    file = SIGN / f"{name}.mp4"
    if not file.exists():
        pytest.skip(f"needs {file.name}")
    good("pose", file, "--out", tmp_path / "x.pose")
    (clip,) = read_file(tmp_path / "x.pose")
    assert tuple(found(clip).values()) == counts
    hands = clip.confidence[..., 33:]
    assert set(np.unique(hands)) <= {0, 1}


@real
def test_mediapipe_finds_nobody_in_grey(video):
    with Video.open(video) as opened:
        clip = extract(opened, Holistic(), Pace(10, False, 6))
    assert not clip.present().any()
