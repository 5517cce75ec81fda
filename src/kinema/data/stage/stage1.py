"""The stage, version 1: what is yielded for an index is frozen. A later stage is a new file beside this one.

clip(17)                 one labelled action, 30 to 90 frames, as a sensor saw it
clip(17, sensor=False)   the same, exact
sequence(17)             two or three actions in a row, with a caption for each
split("subject")         (train, test) indices of the `SIZE` clips
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import UserError, unknown
from ...motion.clip import Caption, Clip
from ...motion.skeletons import SMPL22
from . import captions as words
from .body import SUBJECTS, body
from .compose import FPS, Performance, Person, Timeline, playable, rest_posture
from .parts import parts
from .sensor import sensor as see
from .streams import stream
from .table import ACTIONS
from .take import CHANNEL, CHANNELS, Style

STAGE1_SEED = 20261
CLASSES: tuple[str, ...] = (
    *("walk", "run", "walk_backwards", "sidestep", "turn_around", "jump", "march"),
    *("wave", "point", "clap", "bow", "salute", "cross_arms"),
    *("squat", "jumping_jack", "lunge", "press_forward", "kick", "punch", "arm_circles", "side_bend"),
    *("sit_down", "stand_up", "pick_up", "drink", "throw", "phone_call"),
    *("shake_hands", "high_five", "push", "hug", "give"),
)
SIZE = 4800
"""Clips of the world that `split` speaks of; every class has 150."""
VIEWS = ("left", "front", "right")
MIN_FRAMES, MAX_FRAMES = 30, 90

_VIEW_DEGREES = {"left": -45.0, "front": 0.0, "right": 45.0}
# what an arm that has nothing to do may do: hang (most often), rest on the hip, be folded up, be held behind, hold a thing
_HABITS = (
    None,
    None,
    None,
    None,
    (-25.0, 38.0, 45.0, 95.0),
    (25.0, 2.0, 45.0, 95.0),
    (-28.0, 6.0, 40.0, 55.0),
    (15.0, 6.0, 20.0, 75.0),
)
_SWAY = np.zeros(len(CHANNELS))
for _name, _size in {
    **{"shift_x": 0.016, "shift_z": 0.010, "pitch": 1.2, "roll": 1.2, "yaw": 3.0, "bend": 2.5, "side": 2.5, "turn": 4.5},
    **{"nod": 5.0, "tilt": 3.5, "look": 11.0},
    **{f"{s}_{a}": v for s in ("left", "right") for a, v in (("flex", 6.0), ("abd", 3.0), ("twist", 6.0), ("elbow", 4.0))},
}.items():
    _SWAY[CHANNEL[_name]] = _size


@dataclass(frozen=True)
class Draw:
    """Everything about clip `index` that is decided before any movement is computed; cheap, so splits can ask for all of them."""

    index: int
    label: int
    subject: int
    partner: int
    view: str
    facing: float
    style: Style

    @property
    def action(self) -> str:
        """The class name."""
        return CLASSES[self.label]

    @property
    def cell(self) -> str:
        """The combination of style that a split may hold out: pace and side."""
        return f"{words.pace(self.style)}-{self.style.side}"


def draw(index: int, *, seed: int = STAGE1_SEED) -> Draw:
    """The decisions of clip `index`.

    Raises:
        UserError: a negative index.
    """
    if index < 0:
        raise UserError(f"stage-1 index {index}; expected 0 or more")
    rng = stream(seed, index, "draw")
    u = rng.random(4)
    subject = (index // len(CLASSES)) % SUBJECTS
    # the partner is of the same half, so that a split by subjects never shows a test body in training
    partner = (subject + 2 * (1 + int(u[0] * (SUBJECTS // 2 - 1)))) % SUBJECTS
    return Draw(index, index % len(CLASSES), subject, partner, VIEWS[int(u[1] * 3)], _FACING * (2 * u[2] - 1), _style(rng))


_FACING = 60.0  # degrees to either side that a person may stand away from the camera's idea of forward


def _style(rng: np.random.Generator) -> Style:
    u = [float(x) for x in rng.random(8)]
    return Style(
        side="left" if u[0] < 0.5 else "right",
        speed=0.72 * (1.38 / 0.72) ** u[1],
        amplitude=0.76 + 0.48 * u[2],
        curve=0.0 if u[3] < 0.4 else (u[3] - 0.7) / 0.3 * 35.0,
        repeats=1 + int(u[4] * 3),
        variant=u[5],
        slump=10 * u[6] - 4,
        stagger=0.24 * (u[7] - 0.5),
    )


def _person(subject: int, style: Style, frames: int, rng: np.random.Generator, seed: int) -> Person:
    who = body(subject, seed)
    habits = [_HABITS[int(x * len(_HABITS))] for x in rng.random(2)]
    rest = rest_posture(who, style.slump, habits)
    rest[CHANNEL["left_flex"] :] += np.tile([8.0, 4.0, 8.0, 8.0], 2) * (2 * rng.random(8) - 1)
    rest[[CHANNEL["look"], CHANNEL["turn"]]] += np.array([22.0, 8.0]) * (2 * rng.random(2) - 1)
    t = np.arange(frames)[:, None] / FPS
    rate, phase, size = (
        2 * np.pi * (0.12 + 0.45 * rng.random((2, len(CHANNELS)))),
        2 * np.pi * rng.random((2, len(CHANNELS))),
        rng.random(),
    )
    sway = (np.sin(rate[0] * t + phase[0]) + 0.6 * np.sin(rate[1] * 1.7 * t + phase[1])) * _SWAY * (0.4 + 1.0 * size)
    return Person(who, rest, style.stagger, sway)


def _clip(shown: Performance, people: list[Person], **known: Any) -> Clip:
    return Clip(
        positions=shown.positions.astype(np.float32),
        skeleton=SMPL22,
        fps=FPS,
        rotations=shown.rotations.astype(np.float32),
        offsets=np.stack([p.body.offsets for p in people]).astype(np.float32),
        contacts=shown.contacts,
        **known,
    )


def _place(rng: np.random.Generator) -> np.ndarray:
    return 1.2 * rng.random(2) - 0.6


def perform(index: int, *, seed: int = STAGE1_SEED) -> tuple[Performance, list[Person]]:
    """What `clip` shows, before it becomes a clip: exact, and with the channels.

    Raises:
        UserError: a negative index.
    """
    return _perform(draw(index, seed=seed), seed)


def _perform(d: Draw, seed: int) -> tuple[Performance, list[Person]]:
    rng = stream(seed, d.index, "clip")
    action = ACTIONS[d.action]
    people = [_person(s, d.style, 180, rng, seed) for s in (d.subject, d.partner)[: action.people]]
    lead, tail, late, cut = (float(x) for x in rng.random(4))
    timeline = Timeline(180, people, 0.8 * lead)
    timeline.add(d.action, d.style)
    first = round(FPS * action.crop * late) if action.crop else 0
    wanted = round(FPS * (timeline.end + 0.4 * tail - 0.5 * action.crop * cut)) - first
    frames = min(max(wanted, MIN_FRAMES), MAX_FRAMES, 180 - first)
    heading = math.radians(d.facing + _VIEW_DEGREES[d.view])
    return timeline.perform(slice(first, first + frames), heading, _place(rng)), people


def clip(index: int, *, seed: int = STAGE1_SEED, sensor: bool = True) -> Clip:
    """One labelled action: a pure function of `(seed, index)`.

    Args:
        index: from 0; the world of the splits has `SIZE`, more may be asked for. seed: another world.
        sensor: noise and lost joints (and a `confidence`); without it the clip keeps the stage's invariants.

    Returns:
        A clip of `MIN_FRAMES` to `MAX_FRAMES` frames at 20 fps, with rotations, offsets, contacts, label, captions, subject, view
        and in `meta` the style, the partner, the facing and the list of actions.

    Raises:
        UserError: a negative index.
    """
    d = draw(index, seed=seed)
    shown, people = _perform(d, seed)
    made = _clip(
        shown,
        people,
        label=d.label,
        label_name=d.action,
        captions=tuple(Caption(text) for text in words.captions(d.action, d.style)),
        subject=people[0].body.name,
        view=d.view,
        source=f"stage-1/{index:06d}",
        meta={
            "style": asdict(d.style),
            "cell": d.cell,
            "facing": d.facing,
            "partner": people[1].body.name if len(people) == 2 else None,
            "actions": _actions(shown),
        },
    )
    return see(made, stream(seed, index, "sensor")) if sensor else made


def _actions(shown: Performance) -> list[dict[str, Any]]:
    end = len(shown.positions) / FPS
    return [{"action": p.action, "start": max(0.0, round(p.start, 3)), "end": min(end, round(p.end, 3))} for p in shown.parts]


def sequence(index: int, *, seed: int = STAGE1_SEED, sensor: bool = True) -> Clip:
    """Two or three actions in a row: a pure function of `(seed, index)`.

    Returns:
        A clip with three captions of the whole ("..., then ...") and after them one for each action with its seconds.
        No label; `meta["actions"]` lists the actions with their styles.

    Raises:
        UserError: a negative index.
    """
    if index < 0:
        raise UserError(f"stage-1 index {index}; expected 0 or more")
    rng = stream(seed, index, "sequence")
    count = 2 + int(rng.random() * 2)
    while True:
        names = [CLASSES[int(x * len(CLASSES))] for x in rng.random(count)]
        if len(set(names)) == count and playable(names):
            break
    return compose(names, [_style(rng) for _ in names], index, seed=seed, sensor=sensor)


@dataclass(frozen=True)
class _Cast:
    """Who plays a sequence, seen from where."""

    subject: int
    partner: int
    view: str
    facing: float
    lead: float


def _cast(index: int, seed: int) -> _Cast:
    u = [float(x) for x in stream(seed, index, "cast").random(5)]
    subject = int(u[0] * SUBJECTS)
    partner = (subject + 2 * (1 + int(u[1] * (SUBJECTS // 2 - 1)))) % SUBJECTS
    return _Cast(subject, partner, VIEWS[int(u[2] * 3)], _FACING * (2 * u[3] - 1), 0.3 * u[4])


def perform_sequence(
    names: Sequence[str], styles: Sequence[Style], index: int, *, seed: int = STAGE1_SEED
) -> tuple[Performance, list[Person]]:
    """What `compose` shows, before it becomes a clip. Raises as `compose` does."""
    for name in names:
        if name not in ACTIONS:
            raise unknown("action", name, ACTIONS)
    if not playable(names):
        raise UserError(
            f"actions {', '.join(names)}: two people who met must not walk before they meet again; choose another order"
        )
    cast, rng = _cast(index, seed), stream(seed, index, "composed")
    two = any(ACTIONS[name].people == 2 for name in names)
    most = 170 * len(names)
    people = [_person(s, styles[0], most, rng, seed) for s in ((cast.subject, cast.partner) if two else (cast.subject,))]
    timeline = Timeline(most, people, cast.lead)
    for name, style in zip(names, styles, strict=True):
        timeline.add(name, style)
    frames = min(round(FPS * (timeline.end + 0.3)), most)
    return timeline.perform(slice(0, frames), math.radians(cast.facing + _VIEW_DEGREES[cast.view]), _place(rng)), people


def compose(names: Sequence[str], styles: Sequence[Style], index: int, *, seed: int = STAGE1_SEED, sensor: bool = True) -> Clip:
    """The sequence of these actions in these styles; bodies, view and small movements come from `(seed, index)`.

    Raises:
        UserError: an unknown action, or an order that cannot be played (see `compose.playable`).
    """
    shown, people = perform_sequence(names, styles, index, seed=seed)
    cast = _cast(index, seed)
    whole = [Caption(text) for text in words.sequence_captions(list(zip(names, styles, strict=True)))]
    done = _actions(shown)
    each = [
        Caption(words.captions(name, style)[0], a["start"], a["end"]) for name, style, a in zip(names, styles, done, strict=True)
    ]
    made = _clip(
        shown,
        people,
        captions=(*whole, *each),
        subject=people[0].body.name,
        view=cast.view,
        source=f"stage-1/sequence-{index:06d}",
        meta={
            "facing": cast.facing,
            "partner": people[1].body.name if len(people) == 2 else None,
            "actions": [{**a, "style": asdict(style)} for a, style in zip(done, styles, strict=True)],
        },
    )
    return see(made, stream(seed, index, "sequence sensor")) if sensor else made


def _held_out_cell(label: int) -> str:
    """The style combination of a class that the split ``style`` tests on and never trains on."""
    return f"{('slow', 'fast', 'normal')[label % 3]}-{('left', 'right')[label // 3 % 2]}"


SPLITS: dict[str, Callable[[Draw], bool]] = {
    "subject": lambda d: d.subject % 2 == 1,
    "view": lambda d: d.view == "right",
    "style": lambda d: d.cell == _held_out_cell(d.label),
}
"""For each split, which clips are its test clips: odd subjects; the right view; for each class one combination of pace and side."""


@lru_cache(maxsize=16)
def split(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(train, test) indices of a split of the `SIZE` clips of the world of `STAGE1_SEED`, ascending, int64, read-only.

    Raises:
        UserError: no split of this name.
    """
    return parts(name, SPLITS, draw, SIZE)
