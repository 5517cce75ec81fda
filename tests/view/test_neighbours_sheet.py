"""Contact sheets and pages of motions: of bounded size, nothing cut off, nothing over anything else."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from kinema.errors import UserError
from kinema.motion.clip import Clip
from kinema.motion.skeleton import tree
from kinema.view import neighbours
from kinema.view.figure import MAX_SIDE
from kinema.view.neighbours import Row, most, save_page, save_sheet, sheet

SKELETON = tree("stick4", "hip -\nhead hip\nleft_hand hip\nright_hand hip")
POSE = np.float32([[0, 1, 0], [0, 1.7, 0], [0.5, 1, 0], [-0.5, 1, 0]])


def rows(count, frames=10):
    track = np.repeat(POSE[None, None], frames, 0)
    track[:, 0, 2, 1] += np.linspace(0, 0.5, frames, dtype=np.float32)
    return [Row(f"{i} · similarity 0.9 · wave", Clip(track, SKELETON)) for i in range(count)]


def test_every_row_is_there_one_under_the_other():
    image = np.asarray(sheet(rows(6)).convert("L"))
    down = neighbours.CELL[1] + 26 + neighbours.GAP
    assert image.shape == (6 * down + neighbours.GAP, neighbours.FRAMES * neighbours.CELL[0] + 2 * neighbours.GAP)
    for i in range(6):
        block = image[
            neighbours.GAP + i * down : neighbours.GAP + (i + 1) * down - neighbours.GAP, neighbours.GAP : -neighbours.GAP
        ]
        caption, figures = block[3:24], block[30:-20]
        assert (caption < 130).any()
        for cell in np.split(figures, neighbours.FRAMES, axis=1):
            assert (cell < 170).any()
            assert (cell[:, [0, -1]] > 240).all()  # nobody reaches into the next cell
        gap = image[neighbours.GAP + (i + 1) * down - neighbours.GAP :][: neighbours.GAP]
        assert (gap > 240).all()


def test_the_first_is_marked():
    image = np.asarray(sheet(rows(3))).astype(int)
    margin = image[:, : neighbours.GAP]
    blue = np.flatnonzero((margin[..., 2] - margin[..., 0] > 60).any(1))
    assert blue.min() == neighbours.GAP
    assert blue.max() < image.shape[0] / 3 + neighbours.GAP


@pytest.mark.parametrize("count", [1, 12, 13, 51, most()])
def test_a_sheet_is_never_too_large(count):
    image = sheet(rows(count, frames=1))
    assert max(image.size) <= MAX_SIDE
    if count > 12:
        assert image.width > image.height / 2  # many rows go on beside the first ones


@pytest.mark.parametrize("count", [0, most() + 1])
def test_a_sheet_of_nothing_or_too_much_is_refused(count):
    with pytest.raises(UserError, match=f"of {count} motions: expected 1 to {most()}"):
        sheet(rows(1) * count)


def test_top_50_fits():
    assert most() >= 51


def test_a_long_caption_is_cut_to_its_row():
    [row] = rows(1)
    image = np.asarray(sheet([Row("word " * 200, row.clip), row]).convert("L"))
    assert (image[: neighbours.GAP + 26, -neighbours.GAP :] > 240).all()


def test_the_file_is_a_png_or_nothing(tmp_path, monkeypatch):
    save_sheet(rows(2), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.size) == ("PNG", sheet(rows(2)).size)

    def fail(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(RuntimeError):
        save_sheet(rows(2), tmp_path / "b.png")
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


def test_a_page_holds_every_motion_and_loads_nothing(tmp_path):
    file = tmp_path / "a.html"
    evil = "</script><script>alert(1)</script>"
    motions = [*rows(3), Row(evil, rows(1, frames=4)[0].clip.with_(label_name=evil))]
    save_page(motions, ("rank", "clip"), [[1, evil], [2, "b"]], file, evil, "a query")
    text = file.read_text()
    page = Page(text)
    assert page.open == []
    assert page.loads == []
    assert [d["frames"] for d in page.data] == [10, 10, 10, 4]
    assert "<script>alert" not in text
    assert len(re.findall(r"<section", text)) == 5
    assert file.stat().st_size < 60_000
