"""What messages count is called one or several."""

from __future__ import annotations

import pytest

from kinema.words import plural


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (1, ("file",), "1 file"),
        (0, ("file",), "0 files"),
        (2, ("bad file",), "2 bad files"),
        (1, ("class",), "1 class"),
        (3, ("class",), "3 classes"),
        (2, ("entry",), "2 entries"),
        (2, ("day",), "2 days"),
        (1, ("person", "people"), "1 person"),
        (2, ("person", "people"), "2 people"),
    ],
)
def test_one_and_several(count: int, words: tuple[str, ...], said: str):
    assert plural(count, *words) == said
