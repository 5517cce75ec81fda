"""Reports: one file, nothing from outside, nothing injected, and the data that went in."""

import base64
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from kinema.errors import UserError
from kinema.motion.skeleton import tree
from kinema.view import plots, report

EVIL = "</script></svg><script>alert(1)</script>\"'&$x_\x00"
SKELETON = tree("stick4", "hip -\nhead hip\nleft_hand hip\nright_hand hip")
RNG = np.random.default_rng(0)


def wave(frames=20, people=1):
    """`(T, M, 4, 3)` a hand that goes up and down."""
    pose = np.float32([[0, 1, 0], [0, 1.7, 0], [0.5, 1, 0], [-0.5, 1, 0]]) + np.float32([0.2, 0.1, 3])
    track = np.repeat(pose[None, None], frames, 0).repeat(people, 1)
    track[:, :, 2, 1] += np.sin(np.arange(frames) / 3)[:, None].astype(np.float32)
    return track


class Page(HTMLParser):
    """Counts elements and collects what could load something."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.handlers, self.scripts, self.words = [], [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.handlers += [k for k, _ in attrs if k.startswith("on")]
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action", "data") and v]
        if tag == "script":
            self.scripts.append(dict(attrs).get("type", "javascript"))

    def handle_data(self, data):
        self.words += data


def everything(name=EVIL):
    matrix = RNG.integers(0, 5, (3, 3))
    classes = [name, "b", "c"]
    track = wave()
    return [
        report.text_section(name, f"first {name}\n\nsecond"),
        report.table_section(
            name, [name, "ours", "paper"], [[name, report.Measured(80.123, 0.56, 3), report.Published(84.9, name)]], name
        ),
        report.curve_section(name, range(50), {name: np.linspace(3, 1, 50)}, name),
        report.table_section(name, [name, name], [[report.Gauge(name, 50.0, 40.0, 60.0, 10.0), name]], name),
        report.facts_section(name, [(name, name)], {name: name, name + "2": [(name, name)]}),
        report.confusion_section(name, matrix, classes),
        report.per_class_section(name, matrix, classes),
        report.scatter_section(name, RNG.normal(size=(30, 2)), RNG.integers(0, 3, 30), classes),
        report.motion_section(name, SKELETON, {name: track, "other": track}, 30, np.ones((20, 4), bool), name),
    ]


@pytest.fixture(scope="module")
def evil():
    return report.render(EVIL, everything(), EVIL, EVIL)


def test_hostile_names_stay_words(evil):
    page = Page(evil)
    assert page.scripts == ["application/json", "javascript"]
    assert not page.handlers
    assert "alert(1)" in page.words
    assert "<script>alert" not in evil
    assert page.tags.count("section") == 9


def test_only_our_own_script_may_run(evil):
    import hashlib

    script = re.findall(r"<script>(.*?)</script>", evil, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in evil
    assert "default-src 'none'" in evil
    assert "script-src 'none'" in report.render("t", [report.text_section("a", "b")])


def test_nothing_comes_from_outside(evil):
    assert not re.findall(r"(?:https?|ftp)://|@import|url\((?!#)", evil)
    assert all(link.startswith(("#", "data:")) for link in Page(evil).links)


def test_the_same_results_give_the_same_bytes(tmp_path):
    for name in ("a.html", "b.html"):
        rng = np.random.default_rng(1)
        sections = [
            report.scatter_section("s", rng.normal(size=(2000, 2)), rng.integers(0, 3, 2000), ["a", "b", "c"]),
            report.motion_section("m", SKELETON, {"x": wave()}, 30),
        ]
        report.write_report(tmp_path / name, "t", sections)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_failed_write_leaves_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    report.write_report(path, "old", [])

    def broken(self, text, **more):
        self.write_bytes(b"half")
        raise RuntimeError("power cut")

    monkeypatch.setattr(type(path), "write_text", broken)
    with pytest.raises(RuntimeError):
        report.write_report(path, "new", [])
    assert "old</bdi></h1>" in path.read_text(encoding="utf-8")
    assert [f.name for f in tmp_path.iterdir()] == ["r.html"]


def test_table_tells_spread_runs_and_what_is_published():
    row = ["linear", 53.9, report.Measured(80.123, 0.56, 3), report.Measured(60.0), report.Published(84.9, "MAMP"), None, 1020]
    body = report.table_section("t", list("abcdefg"), [row]).body
    for words in ("80.1 ± 0.6", "(3 runs)", ">60.0<", "published, MAMP", "–", "1,020"):
        assert words in body
    with pytest.raises(UserError, match="2 cells under 3 columns"):
        report.table_section("t", ["a", "b", "c"], [["x", 1]])


def test_hardest_class_comes_first_and_empty_ones_last():
    body = report.per_class_section("t", np.array([[9, 1, 0], [5, 5, 0], [0, 0, 0]]), ["easy", "hard", "empty"]).body
    assert body.index(">hard<") < body.index(">easy<") < body.index(">empty<")
    assert "easy (50%)" in body


def motion(section):
    value = json.loads(re.search(r'class="data">(.*?)</script>', section.body, re.DOTALL)[1])
    shape = (value["frames"], value["people"], value["joints"], 3)
    arrays = {}
    for track in value["tracks"]:
        raw = np.frombuffer(base64.b64decode(track["data"]), "<i2").reshape(shape)
        arrays[track["name"]] = np.where(raw == -32768, np.nan, raw * value["unit"])
    return value, arrays


def test_player_carries_the_motion_to_a_tenth_of_a_millimetre_per_metre():
    track = wave(people=2)
    track[5:, 1] = 0
    value, arrays = motion(report.motion_section("m", SKELETON, {"x": track}, 30))
    assert np.isnan(arrays["x"][5:, 1]).all()
    np.testing.assert_allclose(arrays["x"][:, 0], track[:, 0], atol=5e-4)
    assert value["sides"] == [0, 0, 1, 2]
    assert value["edges"] == [[1, 0, 0], [2, 0, 1], [3, 0, 2]]
    assert value["fps"] == 30


def test_masks_apply_to_the_named_tracks_only():
    mask = np.zeros((20, 4), bool)
    mask[:, 2] = True
    zeroed = wave() * ~mask[:, None, :, None]
    value, arrays = motion(report.motion_section("m", SKELETON, {"in": wave(), "masked": zeroed}, 30, {"masked": mask}))
    assert "mask" not in value["tracks"][0]
    bits = np.frombuffer(base64.b64decode(value["tracks"][1]["mask"]), np.uint8).reshape(20, 1, 4)
    np.testing.assert_array_equal(bits[:, 0], mask)
    assert np.isnan(arrays["masked"][:, 0, 2]).all()
    assert not np.isnan(arrays["in"]).any()


@pytest.mark.parametrize("frames", [1, 2, 100_000])
def test_short_and_very_long_motions_stay_small_and_in_real_time(frames):
    section = report.motion_section("m", SKELETON, {"x": wave(frames)}, 30)
    value, _ = motion(section)
    assert len(section.body) < 800_000
    assert value["frames"] / value["fps"] == pytest.approx(frames / 30, rel=0.01)
    assert ("one frame in" in section.body) == (frames > 50_000)


def test_player_accepts_pixels_and_nobody():
    value, arrays = motion(report.motion_section("m", SKELETON, {"x": wave()[..., :2] * 100}, 30, units="pixels"))
    assert value["flat"]
    assert arrays["x"][0, 0, 1, 1] < arrays["x"][0, 0, 0, 1]  # image coordinates run down
    value, arrays = motion(report.motion_section("m", SKELETON, {"x": np.zeros((3, 1, 4, 3))}, 30))
    assert np.isnan(arrays["x"]).all()
    assert value["radius"] > 0


@pytest.mark.parametrize(
    ("tracks", "mask", "word"),
    [
        ({}, None, "at least one"),
        ({"a": wave(3), "b": wave(4)}, None, "one shape"),
        ({"a": wave(3)[:, :, :2]}, None, "4 joints"),
        ({"a": wave(3) * np.nan}, None, "NaN"),
        ({"a": wave(3)}, np.ones((2, 4), bool), "mask"),
        ({"a": wave(3)}, {"z": np.ones((3, 4), bool)}, "tracks are"),
    ],
)
def test_bad_motion_is_told(tracks, mask, word):
    with pytest.raises(UserError, match=word):
        report.motion_section("m", SKELETON, tracks, 30, mask)


def test_plots_are_valid_svg_with_their_words():
    drawings = [
        plots.curve([0, 1, 2], {"loss": [3, float("nan"), 1], "$x": [1, 2, 3]}, "a & b"),
        plots.confusion(np.eye(2), ["<one>", "_two"], "t"),
        plots.scatter(np.zeros((2, 2)), [0, 1], ["<one>", "_two"]),
    ]
    for drawing, words in zip(drawings, (("$x", "a & b"), ("<one>", "_two"), ("<one>", "_two")), strict=True):
        text = "".join(ET.fromstring(drawing).itertext())
        assert all(w in text for w in words)


def test_ids_of_different_plots_on_a_page_do_not_clash():
    a, b = plots.curve([0, 1], {"a": [1, 2]}), plots.curve([0, 1], {"b": [1, 3]})
    ids = [set(re.findall(r'\bid="([^"]+)"', s)) for s in (a, b)]
    assert not ids[0] & ids[1]
    assert all(set(re.findall(r"url\(#([^)]+)\)", s)) <= own for s, own in zip((a, b), ids, strict=True))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: plots.curve([], {"a": []}), "no values"),
        (lambda: plots.curve([1, 2], {"a": [1]}), "1 values for 2 steps"),
        (lambda: plots.confusion(np.eye(3), ["a"]), "for 1 classes"),
        (lambda: plots.confusion(-np.eye(2), ["a", "b"]), "negative"),
        (lambda: plots.scatter(np.zeros((2, 2)), [0, 2], ["a", "b"]), "0 to 1"),
        (lambda: plots.scatter(np.zeros((2, 3)), [0, 1], ["a", "b"]), r"\(N, 2\)"),
    ],
)
def test_bad_plots_are_told(call, word):
    with pytest.raises(UserError, match=word):
        call()
