"""Letters for pictures: a font that has those of a text, of any script that this machine can write."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache

from PIL import ImageFont

_LATIN = frozenset(map(chr, range(0x250))) | set("–—‘’“”…·•±×")
"""What the font has that comes with Pillow."""


def font(text: str, pixels: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font to write `text` in, so many pixels high. Letters that no font of this machine has become boxes."""
    size = max(8.0, pixels)
    if _LATIN.issuperset(text):
        return ImageFont.load_default(size)
    return ImageFont.truetype(_covering(frozenset(text)), size)


def families(texts: Iterable[str]) -> list[str]:
    """Names of fonts for matplotlib to look in, one after the other, that have the letters of all texts."""
    from matplotlib.font_manager import FontProperties, get_font

    wanted = {frozenset(text) for text in texts if not _LATIN.issuperset(text)}
    found = [
        str(get_font(path).family_name) for path in dict.fromkeys(_covering(letters) for letters in sorted(wanted, key=sorted))
    ]
    return list(dict.fromkeys([*map(str, FontProperties(family="DejaVu Sans").get_family()), *found, "sans-serif"]))


@lru_cache(maxsize=256)
def _covering(letters: frozenset[str]) -> str:
    """The file of DejaVu Sans, which comes with matplotlib, or of an installed font that lacks fewer of the letters."""
    from matplotlib.font_manager import findfont, fontManager

    wanted = frozenset(ord(c) for c in letters if not c.isspace())
    best = findfont("DejaVu Sans")
    missing = len(wanted - _charmap(best))
    for entry in fontManager.ttflist if missing else ():
        lacking = len(wanted - _charmap(entry.fname))
        if lacking < missing and entry.style == "normal":
            best, missing = entry.fname, lacking
    return best


@cache
def _charmap(path: str) -> frozenset[int]:
    """The letters of a font; none of one that cannot be read, or not be drawn at any size."""
    from matplotlib.ft2font import FT2Font

    try:
        found = FT2Font(path)
        ImageFont.truetype(path, 12).getlength("0")
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(found.get_charmap())
