"""Plots of connections: numbers where they belong, a scale around zero, and mistakes told."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from kinema.errors import UserError
from kinema.view.hyper import connection_heatmap, depth_curves


def words(path):
    """All text of an SVG, in the order it was drawn."""
    root = ET.fromstring(path.read_text(encoding="utf-8"))
    return ["".join(e.itertext()).strip() for e in root.iter() if e.tag.endswith("}text")]


MATRIX = np.tril(np.array([[1.0, 9, 9, 9], [-0.5, 0.25, 9, 9], [0, 1.5, -0.004, 9], [12.4, 4, 4, 4]]))


def test_the_matrix_is_written_into_its_cells(tmp_path):
    connection_heatmap(MATRIX, tmp_path / "m.svg", "who <reads> whom", ["attention 0", "MLP 0", "$x$"])
    said = words(tmp_path / "m.svg")
    for text in ("1.00", "-.50", ".25", "0", "1.50", "12", "4.00", "embedding", "output", "who <reads> whom", "$x$"):
        assert text in said, text
    assert "9.00" not in said, "nothing above the diagonal"
    assert said.count("attention 0") == 2


def test_zero_is_white_and_signs_have_colours(tmp_path):
    matrix = np.tril(np.ones((20, 20)))
    matrix[5], matrix[12] = 0, -1  # whole rows, which the triangle cuts
    connection_heatmap(np.tril(matrix), tmp_path / "m.png")
    pixels = np.asarray(Image.open(tmp_path / "m.png").convert("RGB")).astype(int)
    red = (pixels[..., 0] - pixels[..., 2]) > 60
    blue = (pixels[..., 2] - pixels[..., 0]) > 60
    assert red.sum() > 8 * blue.sum() > 0


@pytest.mark.parametrize("size", [2, 70])
def test_any_depth(tmp_path, size):
    connection_heatmap(np.tril(np.random.default_rng(0).normal(size=(size, size))), tmp_path / "m.png")
    width, height = Image.open(tmp_path / "m.png").size
    assert 200 < width < 4000
    assert 200 < height < 4000


def test_all_zero_and_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        connection_heatmap(np.zeros((4, 4)), tmp_path / name)
    for kind in ("png", "svg"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


@pytest.mark.parametrize("log", [False, True])
def test_curves_have_names_and_bands(tmp_path, log):
    line = np.linspace(0.2, 30, 11)
    curves = {"prenorm": line, "dynamic-4": (line, line / 2, line * 2), "_x": np.stack([line, line, line])}
    depth_curves(curves, tmp_path / "c.svg", "gain", title="mixing", first=1, log=log)
    said = words(tmp_path / "c.svg")
    assert {"prenorm", "dynamic-4", "gain", "branch", "mixing"} <= set(said)
    assert not any("mathdefault" in text for text in said)
    assert ("0.5" in said) == log
    depth_curves({"one": [1.0]}, tmp_path / "one.png", "y")
    assert Image.open(tmp_path / "one.png").size[0] > 300


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda p: connection_heatmap(np.zeros((3, 4)), p / "m.png"), r"connection matrix \(3, 4\): expected \(K \+ 1, K \+ 1\)"),
        (lambda p: connection_heatmap(np.zeros(()), p / "m.png"), r"connection matrix \(\)"),
        (lambda p: connection_heatmap(np.full((3, 3), np.nan), p / "m.png"), "finite"),
        (lambda p: connection_heatmap(np.eye(3), p / "m.png", branches=["a"]), "1 names for 2 branches"),
        (lambda p: connection_heatmap(np.eye(3), p / "m.jpg"), r"m\.jpg: expected a name that ends in \.png or \.svg"),
        (lambda p: depth_curves({}, p / "c.png", "y"), "at least one named series"),
        (lambda p: depth_curves({"a": np.zeros((2, 4))}, p / "c.png", "y"), r"'a' of shape \(2, 4\)"),
        (lambda p: depth_curves({"a": []}, p / "c.png", "y"), r"'a' of shape \(0,\)"),
        (lambda p: depth_curves({"a": 3.0}, p / "c.png", "y"), r"'a' of shape \(\)"),
        (lambda p: depth_curves({"a": ([1], [1, 2], [1])}, p / "c.png", "y"), "'a': .*as long as"),
        (lambda p: depth_curves({"a": [1.0, np.inf]}, p / "c.png", "y"), "'a': expected finite values"),
        (lambda p: depth_curves({"a": [1.0, 0.0]}, p / "c.png", "y", log=True), "above 0 on a logarithmic axis"),
    ],
)
def test_mistakes_are_told(tmp_path, draw, said):
    with pytest.raises(UserError, match=said):
        draw(tmp_path)
    assert not list(tmp_path.iterdir())
