"""Captions: grammatical sentences about styled actions, in several phrasings.

Lower case without a full stop, as text-to-motion corpora write them.
"""

from __future__ import annotations

from collections.abc import Sequence

from .table import ACTIONS
from .take import Style

SLOW, FAST = 0.88, 1.15
SMALL, LARGE = 0.87, 1.13
"""Where a speed or an amplitude becomes worth a word."""

_ORDER = {"left": "right", "right": "left"}


def pace(style: Style) -> str:
    """``slow``, ``normal`` or ``fast``."""
    return "slow" if style.speed < SLOW else "fast" if style.speed > FAST else "normal"


def size(style: Style) -> str:
    """``small``, ``normal`` or ``large``."""
    return "small" if style.amplitude < SMALL else "large" if style.amplitude > LARGE else "normal"


def _adverb(style: Style) -> str:
    return {"slow": "slowly", "normal": "", "fast": "quickly"}[pace(style)]


def _manner(name: str, style: Style) -> str:
    """What is left to say: the size of the movement, the bend of a path."""
    if ACTIONS[name].kind == "locomotion":
        if name in ("walk", "run", "walk_backwards") and abs(style.curve) > 12:
            # a style is written for the working side and mirrored with it
            left = (style.curve > 0) == (style.side == "left")
            return f"curving to the {'left' if left else 'right'}"
        return ""
    if ACTIONS[name].kind not in ("gesture", "exercise"):
        return ""  # nobody says that a person sits down with big movements
    return {"small": "with small movements", "normal": "", "large": "with big movements"}[size(style)]


def _rest(name: str, style: Style) -> str:
    words = ACTIONS[name].words
    chosen = words.objects[min(int(style.variant * len(words.objects)), len(words.objects) - 1)] if words.objects else ""
    return words.rest.format(side=style.side, other=_ORDER[style.side], object=chosen)


def _join(*words: str) -> str:
    return " ".join(w for w in words if w)


def clause(name: str, style: Style, form: str = "third", adverb_first: bool = False) -> str:
    """The predicate of a sentence: "waves with the left hand slowly".

    Args:
        name, style: the action. form: ``third`` (waves), ``gerund`` (waving) or ``plain`` (wave).
        adverb_first: "slowly waves" instead.
    """
    words = ACTIONS[name].words
    verb = {"third": words.third, "gerund": words.gerund, "plain": words.plain}[form]
    adverb, manner = _adverb(style), _manner(name, style)
    if adverb_first:
        return _join(adverb, verb, _rest(name, style), manner)
    return _join(verb, _rest(name, style), adverb, manner)


def captions(name: str, style: Style) -> tuple[str, ...]:
    """At least three phrasings of one action."""
    words = ACTIONS[name].words
    lines = [
        f"a person {clause(name, style)}",
        f"someone is {clause(name, style, 'gerund')}",
        f"the figure {clause(name, style, adverb_first=True)}",
        f"we see a person {clause(name, style, 'gerund', adverb_first=True)}",
    ]
    if words.together:
        adverb, manner = _adverb(style), _manner(name, style)
        lines += [
            f"two people {_join(words.together, adverb, manner)}",
            f"two people are {_join(words.together_gerund, adverb, manner)}",
        ]
    return tuple(lines)


def sequence_captions(parts: Sequence[tuple[str, Style]]) -> tuple[str, ...]:
    """Three phrasings of several actions in a row."""
    third = [clause(*p) for p in parts]
    early = [clause(*p, adverb_first=True) for p in parts]
    plain = [clause(*p, form="plain") for p in parts]
    last = "and finally" if len(parts) > 2 else "and then"
    middle = "".join(f", then {x}" for x in early[1:-1])
    return (
        "a person " + ", then ".join(third),
        f"someone {early[0]}{middle} {last} {early[-1]}",
        f"the person starts to {plain[0]}; after that they {', then '.join(plain[1:])}",
    )
