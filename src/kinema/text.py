"""Words that came out of a file or a path, made safe to show, and the one way in which Kinema prints.

Floor 0. A name may hold what drives a terminal, turns the order of letters round or shows as nothing at all. Here such characters
become escapes that can be read (``\\x1b``, ``\\u202e``); letters of every script, accents and emoji stay as they are.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any, TextIO

JOINERS = "\u200c\u200d"
"""Between letters of Persian or of Indian scripts, and between the parts of an emoji, they change only how these are drawn."""
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0\U000e0000-\U000e0fff]")
"""What Python calls printable and yet shows as nothing: fillers, and selectors in which words can be hidden."""
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
"""Blanks that Python does not call printable."""


def plain(value: object) -> str:
    """Text in which nothing but what can be seen is left as it is; everything else, line breaks too, is shown as an escape."""
    text = str(value)
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _stays(text, i) else ascii(c)[1:-1] for i, c in enumerate(text))


def one_line(value: object) -> str:
    """As `plain`, with every run of blanks and line breaks made one blank."""
    return plain(" ".join(str(value).split()))


def plain_json(text: str) -> str:
    """JSON with the same value, in which `plain` would find nothing to change but the line breaks between its parts."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c == "\n" or _stays(text, i) else json.dumps(c)[1:-1] for i, c in enumerate(text))


def say(*lines: object, to: TextIO | None = None) -> None:
    """Prints lines that may hold anything, each as `plain` has it. To standard output, unless `to` is given."""
    print(*map(plain, lines), sep="\n", file=to, flush=True)


def say_json(value: Any, *, indent: int | None = 1) -> None:
    """Prints a value as JSON, for a program: with `indent` None in one line."""
    say(*json.dumps(value, indent=indent, allow_nan=False).split("\n"))


def warn(line: object) -> None:
    """Prints a line to standard error that begins with ``warning:``."""
    say(f"warning: {line}", to=sys.stderr)


def _stays(text: str, i: int) -> bool:
    """Whether character `i` may be shown as it is."""
    c = text[i]
    if c in JOINERS:
        return 0 < i < len(text) - 1 and _letter(text[i - 1]) and _letter(text[i + 1])
    return (c.isprintable() and not _UNSEEN.match(c)) or _SPACES.match(c) is not None


def _letter(c: str) -> bool:
    """Whether a joiner beside `c` may mean something: no letter of English, nothing that is itself not seen."""
    return not c.isascii() and c.isprintable() and not _UNSEEN.match(c)
