"""Pictures and films of clips: the right size, the right side up, the right colours, and never half a file."""

import hashlib

import av
import numpy as np
import pytest
from PIL import Image

from kinema.errors import UserError
from kinema.motion.clip import Caption, Clip
from kinema.motion.skeleton import tree
from kinema.view import figure
from kinema.view.describe import describe
from kinema.view.scene import front, look, nice, turn, visible

SKELETON = tree(
    "stick9",
    """
    hip -
    head hip
    left_shoulder hip
    left_hand left_shoulder
    right_shoulder hip
    right_hand right_shoulder
    left_foot hip
    right_foot hip
    nose head
    """,
)
# facing +z, y up, right-handed: the left side is at +x
POSE = np.float32(
    [
        [0, 1, 0],
        [0, 1.7, 0],
        [0.2, 1.5, 0],
        [0.6, 1.5, 0],
        [-0.2, 1.5, 0],
        [-0.6, 1.5, 0],
        [0.15, 0, 0],
        [-0.15, 0, 0],
        [0, 1.65, 0.1],
    ]
)


def person(frames=6, people=1, yaw=0.0, **fields):
    """A person who raises a hand bit by bit, turned by `yaw` about the vertical axis."""
    pose = np.repeat(POSE[None, None], frames, 0).repeat(people, 1)
    pose[:, :, 3, 1] += np.linspace(0, 0.4, frames, dtype=np.float32)[:, None]
    pose[..., 0] += 1.5 * np.arange(people, dtype=np.float32)[None, :, None]
    c, s = np.cos(yaw), np.sin(yaw)
    pose = pose @ np.float32([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    return Clip(pose.astype(np.float32) + np.float32([0.3, 0.2, 3]), SKELETON, **fields)


def coloured(image, family):
    """Pixel columns and rows of the blue (`left`) or orange (`right`) strokes."""
    rgb = np.asarray(image.convert("RGB")).astype(int)
    difference = rgb[..., 2] - rgb[..., 0]
    rows, columns = np.nonzero(difference > 60 if family == "left" else difference < -60)
    return columns, rows


@pytest.mark.parametrize("yaw", [0.0, 1.0, 2.5, -2.0, np.pi])
def test_a_person_is_seen_from_the_front_whichever_way_they_face(yaw):
    image = figure.draw_frame(person(yaw=yaw), 0)
    left, right = coloured(image, "left")[0], coloured(image, "right")[0]
    assert len(left) > 50
    assert len(right) > 50
    assert left.mean() > right.mean() + 50  # who faces us has the left hand on our right


def test_people_stand_upright_in_metres_and_in_pixels():
    for clip in (person(), person().with_(positions=person().positions[..., :2] * np.float32([100, -100]) + 500, units="pixels")):
        scene = look(clip)
        assert scene.points[0, 0, SKELETON.index("head"), 1] > scene.points[0, 0, SKELETON.index("left_foot"), 1]
        dark = np.argwhere(np.asarray(figure.draw_frame(clip, 0).convert("L")) < 130)
        assert len(dark) > 100


def test_pixels_are_shown_as_the_camera_saw_them():
    flat = person().positions[..., :2] * np.float32([-100, -100]) + 500  # facing the camera: the left hand has larger x if mirrored
    image = figure.draw_frame(person().with_(positions=flat, units="pixels"), 0)
    assert coloured(image, "left")[0].mean() < coloured(image, "right")[0].mean()


@pytest.mark.parametrize("size", [(480, 480), (200, 90), (64, 301)])
def test_frame_has_the_asked_size_and_something_on_it(size):
    image = figure.draw_frame(person(), 2, size)
    assert image.size == size
    assert image.mode == "RGB"
    assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 10


def test_strip_has_a_cell_for_each_frame_and_none_twice():
    assert figure.strip(person(40), 8, (100, 150)).width == 800
    assert figure.strip(person(3), 8, (100, 150)).width == 300
    assert figure.strip(person(1), 8, (100, 150)).width == 100


def test_strip_fills_its_cells():
    image = np.asarray(figure.strip(person(40), 4, (100, 150)).convert("L"))[26:]
    for i in range(4):
        cell = image[:, 100 * i : 100 * (i + 1)]
        rows = np.flatnonzero((cell < 160).any(1))
        assert rows.max() - rows.min() > 75  # at least half the height
        assert (cell[:, [0, -1]] > 240).all()  # and nobody cut off


def test_hidden_joints_and_absent_people_are_not_drawn():
    clip = person(4)
    confidence = np.ones(clip.positions.shape[:3], np.float32)
    for name in ("left_shoulder", "left_hand", "left_foot"):
        confidence[..., SKELETON.index(name)] = 0
    assert len(coloured(figure.draw_frame(clip.with_(confidence=confidence), 0), "left")[0]) == 0

    two = person(4, people=2)
    positions = two.positions.copy()
    positions[:, 1] = 0
    alone = two.with_(positions=positions)
    assert not visible(alone.positions)[:, 1].any()
    np.testing.assert_array_equal(look(alone).points[:, 0], look(clip).points[:, 0])


def test_nobody_at_all_is_an_empty_picture():
    clip = Clip(np.zeros((3, 2, 9, 3), np.float32), SKELETON)
    assert figure.draw_frame(clip, 1).size == (480, 480)
    assert figure.strip(clip).height > 0
    assert "nobody" in describe(clip)


def test_a_joint_at_zero_is_absent_unless_the_clip_is_centred():
    raw = person(2).positions.copy()
    raw[0, 0, 3] = 0
    assert not visible(raw)[0, 0, 3]
    assert visible(raw)[1].all()
    assert visible(raw - raw[:, :, :1])[1].all()  # the hip is at zero, and there


def test_a_far_traveller_is_followed():
    clip = person(60)
    steps = np.arange(60, dtype=np.float32)[:, None, None, None] * np.float32([0.5, 0, 0])
    far = clip.with_(positions=clip.positions + steps)
    assert look(far).travels
    assert not look(clip).travels
    dark = np.argwhere(np.asarray(figure.draw_frame(far, 50).convert("RGB")).max(-1) < 120)
    assert dark[:, 0].max() - dark[:, 0].min() > 240


def test_one_joint_thrown_far_off_does_not_shrink_everybody():
    clip = person(60)
    positions = clip.positions.copy()
    positions[30, 0, 3] = 1e7
    scene = look(clip.with_(positions=positions))
    assert scene.right - scene.left < 3
    figure.draw_frame(clip.with_(positions=positions), 30)


def test_front_of_two_people_shows_them_side_by_side():
    positions = person(2, people=2).positions
    shown = visible(positions)
    apart = turn(positions, front(positions, shown, SKELETON)).mean((0, 2))
    assert abs(apart[1, 0] - apart[0, 0]) == pytest.approx(1.5, abs=1e-3)
    assert abs(apart[1, 2] - apart[0, 2]) < 1e-3


@pytest.mark.parametrize(("span", "length"), [(1.0, 1.0), (0.99, 0.5), (0.0234, 0.02), (470, 200)])
def test_scale_bars_have_round_lengths(span, length):
    assert nice(span) == pytest.approx(length)


def test_png_opens_and_is_the_same_every_time(tmp_path):
    for name in ("a.png", "b.png"):
        figure.save_png(person(label_name="wave <b>", subject="3"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert Image.open(tmp_path / "a.png").size == figure.strip(person()).size


def test_gif_has_every_frame_and_lasts_as_long_as_the_clip(tmp_path):
    clip = person(20, fps=25.0)
    figure.save_gif(clip, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 20
        total = 0
        for i in range(gif.n_frames):
            gif.seek(i)
            total += gif.info["duration"]
    assert total == pytest.approx(1000 * clip.seconds, abs=20)


@pytest.mark.parametrize("frames", [1, 300])
def test_gif_of_one_or_very_many_frames(tmp_path, frames):
    figure.save_gif(person(frames, fps=30.0), tmp_path / "a.gif", size=(64, 64))
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == min(frames, 150)


@pytest.mark.parametrize("size", [(96, 96), (97, 65)])
def test_mp4_has_every_frame(tmp_path, size):
    codec = figure.save_mp4(person(12, fps=29.97), tmp_path / "a.mp4", size=size)
    assert codec in ("h264", "mpeg4")
    with av.open(str(tmp_path / "a.mp4")) as film:
        stream = film.streams.video[0]
        frames = [f.to_ndarray(format="rgb24") for f in film.decode(stream)]
        assert stream.codec_context.name == codec
        assert float(stream.average_rate) == pytest.approx(29.97, rel=1e-3)
    assert len(frames) == 12
    assert frames[0].shape[:2] == (size[1] // 2 * 2, size[0] // 2 * 2)
    assert frames[0].std() > 5


def test_without_an_h264_encoder_the_film_says_what_it_is(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    assert figure.save_mp4(person(3), tmp_path / "a.mp4", size=(64, 64)) == "mpeg4"
    assert "no H.264" in caplog.text


def test_a_failing_writer_leaves_the_old_file(tmp_path, monkeypatch):
    target = tmp_path / "a.gif"
    figure.save_gif(person(3), target, size=(32, 32))
    before = hashlib.sha256(target.read_bytes()).digest()

    def broken(self, path, *rest, **more):
        open(path, "wb").write(b"half")
        raise RuntimeError("power cut")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(RuntimeError):
        figure.save_gif(person(4), target, size=(32, 32))
    assert hashlib.sha256(target.read_bytes()).digest() == before
    assert [f.name for f in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda c, p: figure.draw_frame(c, 6), "frames 0 to 5"),
        (lambda c, p: figure.draw_frame(c, 0, (5, 100)), "size"),
        (lambda c, p: figure.strip(c, 0), "1 or more"),
        (lambda c, p: figure.save_gif(c, p / "a.gif", fps=0), "fps"),
        (lambda c, p: figure.save_mp4(c, p / "a.mp4", fps=float("nan")), "fps"),
    ],
)
def test_bad_requests_are_told(tmp_path, call, word):
    with pytest.raises(UserError, match=word):
        call(person(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_describe_tells_what_is_there():
    clip = person(30, people=2, label=2, label_name="wave", subject="7", captions=(Caption("a person\nwaves", 0, 0.5),))
    positions = clip.positions.copy()
    positions[:10, 1] = 0
    positions[:, 0, 3] = 0
    text = describe(clip.with_(positions=positions))
    facts = dict(line.split("  ", 1) for line in text.splitlines())
    facts = {k.strip(): v.strip() for k, v in facts.items()}
    assert facts["label"] == "2 wave"
    assert facts["subject"] == "7"
    assert facts["frames"].startswith("30 (1.00 s at 30")
    assert facts["people"].startswith("1 to 2")
    assert "(stick9), 3-D" in facts["joints"]
    assert facts["dropped"].startswith(f"{30 / 450:.1%}")
    assert "left_hand" in facts["dropped"]
    assert facts["caption"] == "a person waves [0 s to 0.5 s]"
    assert "view" not in facts
