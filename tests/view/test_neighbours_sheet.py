"""A motion and those most like it: in a grid of bounded size, nothing cut off, and in step."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from bodies import standing
from PIL import Image

from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.skeleton import tree
from kinema.motion.skeletons import COCO17, MEDIAPIPE33, WHOLEBODY133
from kinema.view import neighbours, player
from kinema.view.figure import MAX_SIDE
from kinema.view.neighbours import FRAME, Neighbour, kind_of, most, save_page, save_sheet, sheet

SKELETON = tree("stick4", "hip -\nhead hip\nleft_hand hip\nright_hand hip")
POSE = np.float32([[0, 1, 0], [0, 1.7, 0], [0.5, 1, 0], [-0.5, 1, 0]])


def cells(count, frames=10, **fields):
    track = np.repeat(POSE[None, None], frames, 0)
    track[:, 0, 2, 1] += np.linspace(0, 0.5, frames, dtype=np.float32)
    kinds = ["query", *("same", "other", "unknown") * count]
    return [
        Neighbour(f"{i} · similarity 0.9", "wave", f"clip-{i}", Clip(track, SKELETON, **fields), kinds[i]) for i in range(count)
    ]


def places(image, count):
    """The pixels of each cell, left to right and down."""
    width, height = neighbours._cell()
    across = (image.shape[1] - neighbours.GAP) // (width + neighbours.GAP)
    for i in range(count):
        left, top = (neighbours.GAP + k * (size + neighbours.GAP) for k, size in ((i % across, width), (i // across, height)))
        yield image[top : top + height, left : left + width]


@pytest.mark.parametrize("count", [1, 2, 6, 9])
def test_every_cell_has_its_frame_its_words_and_figures_apart(count):
    image = np.asarray(sheet(cells(count)).convert("RGB")).astype(int)
    assert image.shape[1] >= image.shape[0] * 0.5 or count < 3
    for cell, made in zip(places(image, count), cells(count), strict=True):
        edge = np.array(FRAME[made.kind])
        assert (np.abs(cell[:2] - edge) < 3).all()
        assert (np.abs(cell[-2:] - edge) < 3).all()
        inside = cell[neighbours.EDGE : -neighbours.EDGE, neighbours.EDGE : -neighbours.EDGE].min(-1)
        words, figures = inside[: neighbours.LINES * neighbours.LINE + 8], inside[neighbours.LINES * neighbours.LINE + 8 :]
        for line in range(3):
            assert (words[5 + line * neighbours.LINE : 5 + (line + 1) * neighbours.LINE] < 130).any()
        for figure in np.split(figures[:-22], neighbours.FRAMES, axis=1):
            assert (figure < 170).any()
            assert (figure[:, [0, -1]] > 240).all()  # nobody reaches into the next one


def test_whether_a_class_agrees_is_said_in_words_too():
    assert [kind_of(*pair) for pair in (("a", "a"), ("a", "b"), ("", "b"), ("a", ""))] == ["same", "other", "unknown", "unknown"]
    [_, same, other, unknown] = cells(4)
    assert "same class" in same.lines[1]
    assert "other class" in other.lines[1]
    assert unknown.lines[1] == "wave"


@pytest.mark.parametrize("count", [1, 12, 13, 51, most()])
def test_a_sheet_is_never_too_large(count):
    assert max(sheet(cells(count, frames=1)).size) <= MAX_SIDE


@pytest.mark.parametrize("count", [0, most() + 1])
def test_a_sheet_of_nothing_or_too_much_is_refused(count):
    with pytest.raises(UserError, match=f"of {count} motions: expected 1 to {most()}"):
        sheet(cells(1) * count)


def test_top_50_fits():
    assert most() >= 51


@pytest.mark.parametrize("text", ["word " * 80, "x" * 200, "比耶手势" * 40, "שלום " * 50, "👋🏽" * 60, ""])
def test_any_words_stay_in_their_cell(text):
    [cell] = cells(1)
    image = np.asarray(sheet([Neighbour(text, text, text, cell.clip, "unknown")]).convert("L"))
    [cell] = places(image, 1)
    assert (cell[neighbours.EDGE : 60, -neighbours.EDGE - 4 : -neighbours.EDGE] > 240).all()


def test_the_file_is_a_png_or_nothing(tmp_path, monkeypatch):
    save_sheet(cells(2), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.size) == ("PNG", sheet(cells(2)).size)

    def fail(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(RuntimeError):
        save_sheet(cells(2), tmp_path / "b.png")
    assert [f.name for f in tmp_path.iterdir()] == ["a.png"]


class Page(HTMLParser):
    """Open elements, and what a page would load."""

    def __init__(self, text):
        super().__init__()
        self.open, self.data, self.loads = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "input", "br", "link", "img"):
            self.open.append(tag)
        self.loads += [v for k, v in attrs if k in ("src", "href") and not v.startswith("#")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.startswith('{"frames"'):
            self.data.append(json.loads(data))


def test_a_page_holds_every_motion_under_one_set_of_controls_and_loads_nothing(tmp_path):
    file = tmp_path / "a.html"
    evil = "</script><script>alert(1)</script>"
    motions = [*cells(3), Neighbour(evil, evil, evil, cells(1, frames=4)[0].clip)]
    save_page(motions, ("rank", "clip"), [[1, evil], [2, "b"]], file, evil, "a query")
    text = file.read_text()
    page = Page(text)
    assert page.open == []
    assert page.loads == []
    assert [d["frames"] for d in page.data] == [10, 10, 10, 4]
    assert "<script>alert" not in text
    assert text.count("<canvas") == 4
    assert text.count('type="range"') == text.count('class="motion"') == 1
    assert re.findall(r'<figure class="(\w+)">', text) == ["query", "same", "other", "unknown"]
    assert file.stat().st_size < 70_000


def test_motions_of_every_length_kind_and_skeleton_share_a_page():
    clips = [standing(COCO17, 1), standing(MEDIAPIPE33, 10_000, flat=True), standing(WHOLEBODY133, 30, flat=True), cells(1)[0].clip]
    body = player.grid([player.Moving("same", ("a",), clip) for clip in clips])
    found = [json.loads(text) for text in re.findall(r'class="data">(.*?)</script>', body)]
    assert [value["joints"] for value in found] == [17, 33, 133, 4]
    assert found[0]["frames"] == 1
    assert found[1]["frames"] * 33 * 3 <= player.MAX_GRID // 4 + 33 * 3
    assert len(body) < 4_000_000


def test_joints_that_nobody_saw_are_left_out_of_a_page():
    clip = standing(COCO17, 2, flat=True)
    confidence = np.ones((2, 1, 17), np.float32)
    confidence[:, :, 9] = 0
    body = player.grid([player.Moving("query", ("a",), clip.with_(confidence=confidence))])
    value = json.loads(re.search(r'class="data">(.*?)</script>', body)[1])
    import base64

    raw = np.frombuffer(base64.b64decode(value["tracks"][0]["data"]), "<i2").reshape(2, 17, 3)
    assert (raw[:, 9] == player.ABSENT).all()
    assert (raw[:, 10] != player.ABSENT).all()
