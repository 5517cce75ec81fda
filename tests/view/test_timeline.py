"""Labels over time as a picture."""

import numpy as np
import pytest
from PIL import Image

from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.skeletons import KINECT20, NTU25
from kinema.view.timeline import DPI, MAX_CLASSES, WIDTH, Span, _rows, draw

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


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
    blue, orange = (pixels(image, colour) for colour in (BLUE, ORANGE))
    assert np.median(blue[1]) < np.median(orange[1])
    draw(two(first=0.45), tmp_path / "b.png", title="t")
    assert pixels(picture(tmp_path / "b.png"), BLUE)[0] < 0.7 * blue[0]


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
