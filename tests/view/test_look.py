"""How a report looks: in light and dark, on narrow screens, with any label; every picture with its words inside."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from bodies import standing

from kinema.motion.skeletons import COCO17, HAND21, NTU25, SKELETONS
from kinema.view import plots, report
from kinema.view.figure import LEFT, MIDDLE, RIGHT, draw_frame
from kinema.view.scene import look

LABELS = [
    "x" * 200,
    "",
    "שלום עולם",
    "👋🏽 wave 😀",
    "word " * 40,
    "比耶手势中文标签很长很长很长很长很长很长",
    "_hidden",
    "$\\frac{a}$",
    "<b>",
    "ok",
]
RNG = np.random.default_rng(0)
SHOWN = [s for s in SKELETONS.values() if s is not HAND21]


def drawings(classes):
    k = len(classes)
    labels = np.arange(max(3 * k, 8)) % k
    return [
        plots.curve(range(30), {name or "-": RNG.random(30) for name in classes[:5]}, classes[0], xlabel=classes[0] or "step"),
        plots.scatter(RNG.normal(size=(len(labels), 2)), labels, classes, classes[-1]),
        plots.confusion(RNG.integers(0, 9, (k, k)), classes, classes[0]),
    ]


def letters(text, size):
    """At least as wide as a browser draws it, in the widest usual font of pages."""
    return size * sum(1.05 if plots.wide(c) == 2 else 0.62 for c in text)


@pytest.mark.parametrize("classes", [LABELS, ["one"], [f"c{i}" for i in range(40)]], ids=["any", "one", "forty"])
def test_all_words_of_a_plot_are_inside_it(classes):
    for svg in drawings(classes):
        root = ET.fromstring(svg)
        _, _, width, height = map(float, root.get("viewBox").split())
        texts = root.findall(".//{*}text")
        assert texts
        for text in texts:
            style = text.get("style")
            size = float(re.search(r"([\d.]+)px", style)[1])
            moved = re.search(r"translate\(([-\d.]+) ([-\d.]+)\)", text.get("transform", ""))
            x, y = map(float, moved.groups() if moved else (text.get("x"), text.get("y")))
            turned = "rotate(-90" in (text.get("transform") or "")
            anchor = re.search(r"text-anchor: (\w+)", style)
            long = 0.93 * letters("".join(text.itertext()), size)
            before = long * {"end": 1.0, "middle": 0.5}.get(anchor[1] if anchor else "start", 0.0)
            if turned:
                assert y + before <= height + 1
                assert y + before - long >= -1
            else:
                assert x - before >= -1
                assert x - before + long <= width + 1
                assert 0 <= y <= height + 1


def test_a_plot_has_no_colour_of_its_own_and_no_background():
    for svg in drawings(["a", "b", "c"]):
        bare = re.sub(r"var\(--[a-z0-9]+, #[0-9a-f]{6}\)", "", re.sub(r'xlink:href="data:[^"]*"', "", svg))
        assert set(re.findall(r"#[0-9a-f]{6}\b", bare)) <= {"#000000", plots.ON_SHADE}
        assert "fill: #ffffff" not in svg
        for name in re.findall(r"var\(--([a-z0-9]+)", svg):
            assert f"--{name}:" in STYLE


STYLE = (report.Path(report.__file__).with_name("report.css")).read_text(encoding="utf-8")


def schemes():
    """The variables of the light and of the dark page."""
    light, dark = re.search(r":root \{(.*?)\n\}", STYLE, re.DOTALL)[1], re.search(r"dark\) \{(.*?)\n  \}", STYLE, re.DOTALL)[1]
    return [dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in (light, dark)]


def test_light_and_dark_define_the_same_colours_and_nothing_else_has_one():
    light, dark = schemes()
    assert set(light) == set(dark)
    rest = STYLE[STYLE.index("* {") :]
    assert not re.findall(r"#[0-9a-f]{3,6}\b|: (?:white|black)\b", rest)
    assert set(re.findall(r"var\(--(\w+)\)", STYLE)) <= set(light)
    assert [light[f"c{i}"] for i in range(8)] == list(plots.COLOURS)


def luminance(colour):
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_and_marks_stand_out(scheme):
    own = schemes()[scheme]
    for ground in ("paper", "card"):
        for words in ("ink", "soft", "accent", "good", "bad"):
            assert contrast(own[words], own[ground]) >= 4.5, (words, ground)
        for mark in (*(f"c{i}" for i in range(8)), "left", "right", "mid"):
            assert contrast(own[mark], own[ground]) >= 3, (mark, ground)
    assert contrast(plots.SHADE, plots.ON_SHADE) >= 4.5


def test_bars_run_from_0_to_100_and_no_further():
    rows = [[report.Gauge("a", 100.0, 95, 130, 50), 1.0], [report.Gauge("b", 0.0, -5, 3), 1.0], [report.Gauge("c", None), None]]
    body = report.table_section("t", ["protocol", "accuracy, %"], rows).body
    for left, width in re.findall(r"left:([\d.]+)%;width:([\d.]+)%", body):
        assert 0 <= float(left) <= float(left) + float(width) <= 100
    assert all(0 <= float(w) <= 100 for w in re.findall(r"width:([\d.]+)%", body))
    assert re.findall(r"<i>([\d]+)(?:&nbsp;%)?</i>", body) == ["0", "50", "100"]
    assert 'aria-label="100.0 %, chance 50.0 %, from 95.0 to 100.0 %"' in body


def test_a_long_name_is_cut_in_its_cell_and_whole_when_pointed_at():
    name = "a" + "x" * 200 + "z"
    body = report.table_section("t", ["class", "n"], [[report.Gauge(name, 1.0), name]]).body
    shown = re.findall(r"<bdi[^>]*>([^<]+)</bdi>", body)
    assert len(shown) == 2
    assert all(len(s) <= report.MAX_LETTERS and s[0] == "a" and s[-1] == "z" for s in shown)
    assert body.count(f'title="{name}"') == 2


def test_halves_stand_in_pairs():
    half, whole = report.Section("h", "", half=True), report.Section("w", "")
    for sections, pairs in (([whole, half, whole], 0), ([half, half, half], 1), ([half, whole, half, half], 1)):
        assert report.render("t", sections).count("class=half") == 2 * pairs


@pytest.mark.parametrize("count", [1, 3, 40, 41, 120])
def test_any_number_of_classes(count):
    classes = [f"class number {i}" for i in range(count)]
    matrix = RNG.integers(0, 9, (count, count)) + 20 * np.eye(count, dtype=int)
    shown, listed = report.confusion_section("c", matrix, classes).body, report.per_class_section("p", matrix, classes).body
    assert ("<svg" in shown) == (count <= 40)
    assert all(f">{name}<" in listed for name in classes)
    assert listed.split("<details>")[0].count("<tr>") <= 21
    labels = np.arange(300) % count
    picture = plots.scatter(RNG.normal(size=(300, 2)), labels, classes)
    assert picture.count("class number") <= 16
    assert (f"{count - 8} other classes" in picture) == (count > 16)
    assert "<svg" not in report.confusion_section("c", 5 * np.eye(60), [f"{i}" for i in range(60)]).body


@pytest.mark.parametrize("skeleton", SHOWN, ids=lambda s: s.name)
@pytest.mark.parametrize("flat", [False, True], ids=["3-D", "2-D"])
def test_a_standing_person_is_whole_in_the_picture(skeleton, flat):
    clip = standing(skeleton, 4, flat)
    image = np.asarray(draw_frame(clip, 0, (300, 300)).convert("RGB")).astype(int)
    grey = image.max(-1) < 200
    assert (np.ptp(image, axis=-1) > 60).any()
    assert not grey[:4].any()
    scene = look(clip)
    tall = np.ptp(clip.positions[0, 0, :, 1])
    assert scene.top - scene.bottom >= 0.95 * tall  # no foot is taken for one that was thrown off
    assert 0.03 * tall < scene.head < 0.25 * tall


@pytest.mark.parametrize("name", ["coco17", "mediapipe33", "holistic75", "wholebody133"])
def test_a_line_runs_across_the_shoulders_and_none_down_from_the_nose(name):
    skeleton = SKELETONS[name]
    clip = standing(skeleton, 1, True)
    scene, size = look(clip), 400
    image = np.asarray(draw_frame(clip, 0, (size, size)).convert("L")).astype(int)
    joints = {n: scene.points[0, 0, skeleton.index(n)] for n in ("left_shoulder", "right_shoulder", "nose")}
    scale = min(0.86 * size / (scene.right - scene.left), 0.8 * size / (scene.top - scene.bottom))

    def ink(point):
        x = size / 2 + (point[0] - (scene.left + scene.right) / 2) * scale
        y = size - 0.11 * size - (point[1] - scene.bottom) * scale
        return image[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].min() < 190

    left, right, nose = joints["left_shoulder"], joints["right_shoulder"], joints["nose"]
    assert all(ink(left + t * (right - left)) for t in (0.2, 0.4, 0.6, 0.8))
    assert not ink(left + 0.35 * (nose - left))
    assert not ink(right + 0.35 * (nose - right))


def test_without_ears_or_nose_the_head_is_left_out():
    clip = standing(COCO17, 1)
    confidence = np.ones((1, 1, 17), np.float32)
    confidence[..., :5] = 0
    seen, hidden = (np.asarray(draw_frame(c, 0).convert("L")) for c in (clip, clip.with_(confidence=confidence)))
    assert seen.shape == hidden.shape == (480, 480)
    assert look(clip.with_(confidence=confidence)).head > 0

    def widest(pixels):
        """How wide the highest part of the figure is."""
        ink = pixels < 200
        top = int(ink.any(1).argmax())
        return int(np.ptp(np.flatnonzero(ink[top : top + 20].any(0))))

    assert widest(seen) < 60, "a head is above all else"
    assert widest(hidden) > 150, "nothing is above the shoulders and the hands beside them"


def test_a_player_knows_the_body():
    clip = standing(COCO17, 3)
    body = report.motion_section("m", COCO17, {"x": clip.positions}, 30).body
    value = report.html.unescape(body)
    assert f'"middles":[[{COCO17.index("left_shoulder")},{COCO17.index("right_shoulder")}]]' in value
    assert f"[{COCO17.index('nose')},17,0]" in value
    assert '"head":[0,3,4]' in value
    assert '"head":[3]' in report.motion_section("m", NTU25, {"x": standing(NTU25).positions}, 30).body


def test_colours_of_limbs_are_those_of_the_page():
    light = schemes()[0]
    for name, colour in (("left", LEFT[0]), ("right", RIGHT[0]), ("mid", MIDDLE[0])):
        assert light[name] == "#{:02x}{:02x}{:02x}".format(*colour)
