"""Labels over time as a picture."""

import numpy as np
import pytest
from bodies import standing
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from PIL import Image

from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.skeletons import KINECT20, MEDIAPIPE33, NTU25, SIGN49, SMPL22
from kinema.view.figure import LEFT, RIGHT
from kinema.view.plots import COLOURS
from kinema.view.timeline import DPI, MAX_CLASSES, STRIP, TALL, WIDTH, Span, _draw_figures, _draw_rows, _rows, draw

FIRST, SECOND = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in COLOURS[:2])


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def pixels(image, colour):
    """How many pixels are of a colour, and their columns."""
    found = np.argwhere((np.abs(image - colour) <= 3).all(-1))
    return len(found), found[:, 1]


def two(first=0.9, second=0.8):
    return [Span(0, 1, [("one", first), ("other", 0.05)]), Span(1, 2, [("other", second), ("one", 0.1)])]


def test_each_class_is_strong_where_it_is_the_likeliest(tmp_path):
    draw(two(), tmp_path / "a.png", title="t")
    image = picture(tmp_path / "a.png")
    assert image.shape[1] == WIDTH * DPI
    first, second = (pixels(image, colour) for colour in (FIRST, SECOND))
    assert np.median(first[1]) < np.median(second[1])
    draw(two(first=0.45), tmp_path / "b.png", title="t")
    assert pixels(picture(tmp_path / "b.png"), FIRST)[0] < 0.7 * first[0]


def test_figures_stand_above(tmp_path):
    rng = np.random.default_rng(0)
    for skeleton, people, frames in ((KINECT20, 1, 30), (NTU25, 2, 1)):
        clip = Clip(rng.standard_normal((frames, people, len(skeleton), 3)).astype(np.float32), skeleton, fps=15)
        draw(two(), tmp_path / "a.png", clip)
        draw(two(), tmp_path / "b.png")
        assert len(picture(tmp_path / "a.png")) > len(picture(tmp_path / "b.png")) + DPI
    nobody = Clip(np.zeros((5, 1, 20, 3), np.float32), KINECT20)
    draw([Span(0, 2, [])], tmp_path / "c.png", nobody)


def test_at_most_eight_classes_those_that_win_first():
    names = [f"class {i}" for i in range(20)]
    spans = [Span(i, i + 1, [(names[k], 0.5), *((n, 0.02) for n in names if n != names[k])]) for i, k in enumerate([7, 3, 7, 12])]
    rows = _rows(spans)
    assert len(rows) == MAX_CLASSES
    assert rows[:3] == ["class 7", "class 3", "class 12"]
    assert _rows([Span(0, 1, [])]) == []


def test_names_and_titles_are_only_text(tmp_path):
    evil = ["_hidden", "$x", "a\x1b[31m\nb", "比耶", "y" * 300]
    draw([Span(i, i + 1, [(name, 0.5)]) for i, name in enumerate(evil)], tmp_path / "a.png", title="$\\frac{" + "z" * 500)
    assert picture(tmp_path / "a.png").shape[1] == WIDTH * DPI


def drawn(spans):
    """Axes with the rows of these spans, as large as in the picture."""
    axes = Figure((WIDTH, 3), dpi=DPI).add_subplot()
    _draw_rows(axes, spans, _rows(spans))
    return axes


@pytest.mark.parametrize("confidences", [[0.3, 0.28, 0.33], [0.2, 1.0, 0.4], [1.0], [0.02, 0.03], list(np.linspace(0, 1, 40))])
def test_a_number_stands_over_its_bar_and_across_no_edge(confidences):
    spans = [Span(i, i + 1, [("one", p), ("other", 0.01)]) for i, p in enumerate(confidences)]
    axes = drawn(spans)
    numbers = [t for t in axes.texts if "%" in t.get_text()]
    assert numbers
    for text in numbers:
        box = text.get_window_extent().transformed(axes.transData.inverted())
        row = int(text.get_position()[1] // 1)
        base = row
        name = _rows(spans)[len(_rows(spans)) - 1 - row]
        told = [dict(s.labels)[name] for s in spans if s.start < box.x1 and s.end > box.x0]
        assert box.y0 >= base + TALL * max(told)
        assert box.y1 <= base + 1.02  # and under the next row
        assert axes.get_xlim()[0] <= box.x0 <= box.x1 <= axes.get_xlim()[1]


def test_numbers_do_not_touch():
    spans = [Span(i, i + 1, [(f"c{i % 2}", 0.5), (f"c{1 - i % 2}", 0.4)]) for i in range(60)]
    boxes = [t.get_window_extent() for t in drawn(spans).texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


@pytest.mark.parametrize("skeleton", [NTU25, MEDIAPIPE33, SIGN49, SMPL22], ids=lambda s: s.name)
def test_every_figure_has_a_head_within_the_picture(skeleton):
    axes = Figure((WIDTH, STRIP), dpi=DPI).add_subplot()
    _draw_figures(axes, standing(skeleton, 20), 0, 2)
    heads = [c for c in axes.collections if isinstance(c, EllipseCollection)]
    assert len(heads) == 8
    top = axes.get_ylim()[1]
    for head in heads:
        assert head.get_offsets()[0, 1] + head._heights[0] / STRIP <= top + 0.02


def test_no_class_has_the_colour_of_a_side_of_the_body():
    for colour in COLOURS:
        rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert min(np.abs(rgb - np.array(limb)).max() for limb in (*LEFT, *RIGHT)) > 40


def test_many_spans(tmp_path):
    spans = [Span(i, i + 1, [(f"c{i % 3}", 0.5)]) for i in range(3000)]
    draw(spans, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size < 500_000


@pytest.mark.parametrize(
    "spans",
    [
        [],
        [Span(1, 1, [])],
        [Span(0, 2, []), Span(1, 3, [])],
        [Span(0, 1, []), Span(2, 3, [])],
        [Span(0, 1, [("a", 1.5)])],
        [Span(0, 1, [("a", float("nan"))])],
    ],
)
def test_what_cannot_be_drawn(spans, tmp_path):
    with pytest.raises(UserError, match="a timeline"):
        draw(spans, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
