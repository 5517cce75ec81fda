"""A clip: people moving for a while. Checked once, here, at the door; the rest of Kinema trusts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..errors import UserError
from ..text import one_line
from ..words import plural
from .names import one_form
from .skeleton import Skeleton

MAX_FRAMES, MAX_PEOPLE = 1_000_000, 64
FARTHEST = 2.0**24
"""Largest coordinate: beyond it float32 no longer holds whole numbers. No picture is so large, and no metre of a room."""
SLOWEST, FASTEST = 1e-3, 1e5
"""Frames per second: one in a quarter of an hour, and more than a sensor gives."""
MAX_LABEL = 99_999
"""Largest class index: a store has a name for every class up to it."""
UNITS = ("metres", "pixels", "normalised")


@dataclass(frozen=True)
class Caption:
    """A sentence and the seconds it speaks of (end None: to the end of the clip)."""

    text: str
    start: float = 0.0
    end: float | None = None

    def __repr__(self) -> str:
        """The sentence, of a long one the beginning, and its time."""
        text = self.text if len(self.text) <= 60 else f"{self.text[:60]}..."
        return f"<Caption: {one_line(text)!r}, {self.start:g} s to {'the end' if self.end is None else f'{self.end:g} s'}>"


@dataclass(frozen=True, eq=False)
class Clip:
    """Positions of people over time.

    Axis letters: `T` frames, `M` people, `J` joints, `C` coordinates (2 or 3). Metres, y up, right-handed, unless `units` says
    otherwise. An absent joint or person is zero; with a `confidence` it also has confidence 0.

    Attributes:
        positions: `(T, M, J, C)` float32, finite and at most `FARTHEST`, T >= 1, M >= 1.
        skeleton: names the `J` joints.
        fps: frames per second, `SLOWEST` to `FASTEST`.
        confidence: `(T, M, J)` float32 in [0, 1], or None.
        units: metres, pixels (y down, as in the image) or normalised.
        body_ids: `(T, M)` int64 tracker ids as the sensor gave them (0 absent), or None.
        rotations: `(T, M, J, 4)` local rotations wxyz, or None. offsets: `(M, J, 3)` rest offsets, or None.
        contacts: `(T, M, K)` bool, planted feet, or None.
        image_size: (width, height) pixels, or None.
        label: class index, 0 to `MAX_LABEL`, and `label_name`, or None. The letters of `label_name`, `subject` and `view` are kept in
            one form (`names`).
        captions: sentences. subject, view: who and from where, as strings. source: where it was read from.
        meta: further facts that a split needs, JSON-safe (camera, setup, replication, ...).
    """

    positions: np.ndarray
    skeleton: Skeleton
    fps: float = 30.0
    confidence: np.ndarray | None = None
    units: str = "metres"
    body_ids: np.ndarray | None = None
    rotations: np.ndarray | None = None
    offsets: np.ndarray | None = None
    contacts: np.ndarray | None = None
    image_size: tuple[int, int] | None = None
    label: int | None = None
    label_name: str | None = None
    captions: tuple[Caption, ...] = ()
    subject: str | None = None
    view: str | None = None
    source: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        def fail(problem: str) -> UserError:
            return UserError(f"{self.source or 'clip'}: {problem}")

        for name in ("label_name", "subject", "view"):  # what is compared with the names of other clips
            value = getattr(self, name)
            if isinstance(value, str):
                object.__setattr__(self, name, one_form(value))
        p = self.positions
        if p.ndim != 4 or p.shape[2] != len(self.skeleton) or p.shape[3] not in (2, 3):
            raise fail(
                f"positions {p.shape}; expected (frames, people, {len(self.skeleton)} joints of {self.skeleton.name}, 2 or 3)"
            )
        if not 1 <= p.shape[0] <= MAX_FRAMES:
            raise fail(f"{p.shape[0]} frames; expected 1 to {MAX_FRAMES}")
        if not 1 <= p.shape[1] <= MAX_PEOPLE:
            raise fail(f"{plural(p.shape[1], 'person', 'people')}; expected 1 to {MAX_PEOPLE}")
        if p.dtype != np.float32:
            raise fail(f"positions are {p.dtype}; expected float32")
        if not np.isfinite(p).all():
            raise fail("positions hold NaN or infinity")
        reach = float(max(p.max(initial=0), -p.min(initial=0)))
        if reach > FARTHEST:
            raise fail(f"a coordinate of {reach:.3g}; expected at most {FARTHEST:.3g}: it is damaged or was scaled wrongly")
        if not SLOWEST <= self.fps <= FASTEST:
            raise fail(f"fps {self.fps}; expected a number from {SLOWEST:g} to {FASTEST:g}")
        if self.units not in UNITS:
            raise fail(f"units {self.units!r}; expected one of {', '.join(UNITS)}")
        if self.label is not None and not 0 <= self.label <= MAX_LABEL:
            raise fail(f"label {self.label}; expected a class from 0 to {MAX_LABEL}, or none")
        t, m, j, _ = p.shape
        shapes = {"confidence": (t, m, j), "body_ids": (t, m), "rotations": (t, m, j, 4), "offsets": (m, j, 3)}
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise fail(f"{name} {value.shape}; expected {shape}")
        if self.confidence is not None and not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise fail("confidence outside 0 to 1")
        for name in ("rotations", "offsets"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise fail(f"{name} hold NaN or infinity")
        if self.contacts is not None and (self.contacts.ndim != 3 or self.contacts.shape[:2] != (t, m)):
            raise fail(f"contacts {self.contacts.shape}; expected ({t}, {m}, feet)")

    def __repr__(self) -> str:
        """What it is, in one line."""
        t, m, j, c = self.positions.shape
        sizes = [plural(t, "frame"), plural(m, "person", "people"), f"{plural(j, 'joint')} of {self.skeleton.name}"]
        facts = [*sizes, plural(c, "coordinate"), f"{self.fps:g} fps", self.units]
        if self.label is not None or self.label_name is not None:
            facts.append("label " + " ".join(str(v) for v in (self.label, self.label_name) if v is not None))
        facts += [f"subject {self.subject}"] if self.subject else []
        facts += [f"from {self.source}"] if self.source else []
        return f"<Clip: {one_line(', '.join(facts))}>"

    @property
    def frames(self) -> int:
        """`T`."""
        return self.positions.shape[0]

    @property
    def people(self) -> int:
        """`M`."""
        return self.positions.shape[1]

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.frames / self.fps

    def somebody(self) -> bool:
        """Whether any joint is there: not at zero and, where confidences are known, with one."""
        there = (self.positions != 0).any(-1)
        return bool((there if self.confidence is None else there & (self.confidence > 0)).any())

    def present(self) -> np.ndarray:
        """`(T, M)` bool: the person has a joint that is not zero in this frame."""
        return (self.positions != 0).any((2, 3))

    def with_(self, **changes: Any) -> Clip:
        """A copy with some fields changed (checked again)."""
        return replace(self, **changes)
