"""What an action is: a name, a writer of takes, and the words that describe it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

KINDS = ("locomotion", "gesture", "exercise", "everyday", "pair")


@dataclass(frozen=True)
class Words:
    """An action in English. ``{side}`` is the working side, ``{other}`` the other, ``{object}`` is chosen by the variant.

    Attributes:
        third: "waves". gerund: "waving". plain: "wave". rest: what follows the verb, "with the {side} hand".
        objects: the choices for ``{object}``. together: the plain form of what two people do together, "shake hands".
    """

    third: str
    gerund: str
    plain: str
    rest: str = ""
    objects: tuple[str, ...] = ()
    together: str = ""
    together_gerund: str = ""


@dataclass(frozen=True)
class Action:
    """One row of the table of actions.

    Attributes:
        name: the class name, with underscores. kind: one of `KINDS`.
        write: fills the takes of the people (one, or two who face each other) and sets their `seconds`.
        words: for captions.
        settle: seconds that changing between this action and another takes at least.
        crop: seconds that a clip of this action alone may start late (a walk already under way).
    """

    name: str
    kind: str
    write: Callable[..., None]
    words: Words
    settle: float = 0.45
    crop: float = 0.0

    @property
    def people(self) -> int:
        """1 or 2."""
        return 2 if self.kind == "pair" else 1
