"""What MASA does to the keypoints of a signer before it learns: each hand is cut out by a square box, the left one mirrored.

Keypoints are pixels of an image, y down, each with a confidence, of any skeleton that names hands and arms as `SIGN49` does. Every constant
is the published one; `SignPreparation` has a constructor for each data set, for they differ. What is not published: a clip without a hand
keeps all its frames (the published code breaks), and a box without width is no box (it divides by zero).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..errors import UserError
from ..motion.clip import Clip
from ..motion.convert import convert
from ..motion.skeleton import Skeleton
from ..motion.skeletons import HAND21, SIGN49

CANVAS = 256
"""Side of a cut-out hand, and of the image for the body: the unit in which motion is measured."""
HAND, BODY = 21, 7
"""Joints of a hand: wrist, then thumb to little finger, each base to tip; of the body: nose, left and right shoulder, elbow, wrist."""
ORDER = [
    *range(HAND, 2 * HAND),
    *range(HAND),
    *(SIGN49.index(n) for n in ("nose", *(f"{side}_{j}" for side in ("left", "right") for j in ("shoulder", "elbow", "wrist")))),
]
"""Which joints of `SIGN49` are those of the right hand, the left hand and the body."""
PLACES = np.argsort(ORDER)
"""Where among right hand, left hand and body each joint of `SIGN49` is."""


@dataclass(frozen=True)
class SignPreparation:
    """How a clip's keypoints become the parts that MASA sees. Pixels are those of the image.

    Attributes:
        confident: a hand's joint below this is taken as not there (the paper says 0.4).
        arm: confidence that shoulder, elbow and wrist need to stand in for a hand that is not seen.
        bottom: a wrist within so many pixels of the image's lower edge stands in for none; None: wherever it is.
        visible: confidence of a joint that counts for the box, and least: how many joints make one.
        margin: side of the box over the larger side of what is visible.
        drop_last: leave out the last frame. longest: clips of more frames are thinned to every second, third, ... frame.
    """

    people: ClassVar[int] = 1
    """`M` of a prepared clip."""

    confident: float = 0.5
    arm: float = 0.8
    bottom: float | None = 50.0
    visible: float = 0.1
    least: int = 10
    margin: float = 2.2
    drop_last: bool = False
    longest: int = 150

    def __post_init__(self) -> None:
        for name in ("confident", "arm", "visible"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}: expected a confidence from 0 to 1")
        if not 1 <= self.least <= HAND or self.longest < 1 or not self.margin > 0:
            raise ValueError(
                f"margin {self.margin}, least {self.least}, longest {self.longest}: "
                f"expected margin > 0, 1 <= least <= {HAND} and longest >= 1"
            )

    @classmethod
    def wlasl(cls) -> SignPreparation:
        """As published for WLASL."""
        return cls(drop_last=True)

    @classmethod
    def msasl(cls) -> SignPreparation:
        """As published for MSASL."""
        return cls()

    @classmethod
    def nmfs(cls) -> SignPreparation:
        """As published for NMFs-CSL."""
        return cls(arm=0.5)

    @classmethod
    def slr500(cls) -> SignPreparation:
        """As published for SLR500, whose code intends `confident` 0.4 but runs with 0.5."""
        return cls(arm=0.5, bottom=None, drop_last=True)

    def of(self, dataset: str | None) -> SignPreparation:
        """As published for a data set of `data.datasets`, but for `confident`; itself for one of which nothing is published."""
        published = {"wlasl": self.wlasl, "msasl": self.msasl, "nmfs-csl": self.nmfs, "slr500": self.slr500}
        known = next((make for name, make in published.items() if (dataset or "").startswith(name)), None)
        return self if known is None else replace(known(), confident=self.confident)


@dataclass(frozen=True, eq=False)
class SignParts:
    """What MASA sees of a clip: hands within their boxes, the body within the image, both 0 to 1; the left hand is mirrored.

    A joint that is not there is zero with confidence 0; a right hand's joint outside its box may exceed 1.

    Attributes:
        right, left: `(T, 21, 2)` float32. body: `(T, 7, 2)` float32.
        right_confidence, left_confidence: `(T, 21)` float32. body_confidence: `(T, 7)` float32.
        frames: `(T,)` int64 places of these frames in the clip.
    """

    right: np.ndarray
    left: np.ndarray
    body: np.ndarray
    right_confidence: np.ndarray
    left_confidence: np.ndarray
    body_confidence: np.ndarray
    frames: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def coordinates(self) -> np.ndarray:
        """`(T, 49, 2)` float32, the joints as `SIGN49` has them."""
        return np.concatenate([self.right, self.left, self.body], 1)[:, PLACES]

    @property
    def confidence(self) -> np.ndarray:
        """`(T, 49)` float32, the joints as `SIGN49` has them."""
        return np.concatenate([self.right_confidence, self.left_confidence, self.body_confidence], 1)[:, PLACES]


def check_signer(skeleton: Skeleton, origin: object) -> None:
    """Raises UserError unless a skeleton has a hand, so that a signer can be seen in it."""
    if skeleton.joints != HAND21.joints and not set(SIGN49.joints[: 2 * HAND]) & set(skeleton.joints):
        raise UserError(
            f"{origin}: {skeleton.name} has no joints of hands; signs need poses with hands (sign49, wholebody133, holistic75, openpose137, "
            "or `kinema pose` of a video)"
        )


def shows_limbs(prepared: Clip) -> bool:
    """Whether a prepared clip has a joint of a hand or an arm: of a nose alone nothing can be told."""
    limbs = [joint for joint, name in enumerate(SIGN49.joints) if name != "nose"]
    return bool(prepared.confidence is not None and (prepared.confidence[..., limbs] > 0).any())


def shows_hands(prepared: Clip) -> bool:
    """Whether a prepared clip has a joint of a hand."""
    return bool(prepared.confidence is not None and (prepared.confidence[..., : 2 * HAND] > 0).any())


def prepare_clip(clip: Clip, preparation: SignPreparation) -> Clip:
    """The parts of a clip's first person as a clip: `(T', 1, 49, 2)` of `SIGN49`, normalised, with confidences.

    Where nobody is, joints are absent, zero with confidence 0 (ask `Clip.somebody`): one such clip must not stop a training on all others.

    Raises:
        UserError: see `prepare_sign`.
    """
    parts = prepare_sign(clip, preparation)
    return Clip(
        parts.coordinates[:, None],
        SIGN49,
        clip.fps,
        parts.confidence[:, None].clip(0, 1),
        units="normalised",
        label=clip.label,
        label_name=clip.label_name,
        subject=clip.subject,
        source=clip.source,
    )


def prepare_sign(clip: Clip, preparation: SignPreparation, person: int = 0) -> SignParts:
    """The parts of one person of a clip.

    Raises:
        UserError: the clip has none of the joints, is not in pixels, has no image size or no such person.
    """
    origin = clip.source or "clip"
    size = clip.image_size
    if clip.units != "pixels" or size is None:
        raise UserError(
            f"{origin}: {clip.units}, image size {size}; boxes of hands need pixels and the size of their image: make the poses with "
            "`kinema pose` of the video, build the store again with sizes.json beside them (docs/data.md), or say "
            "`kinema recognize --image-size`"
        )
    if not 0 <= person < clip.people:
        raise UserError(f"{origin}: no person {person} among {clip.people}; the first is 0")
    clip = convert(clip, SIGN49)
    xy = clip.positions[:, person, :, :2]
    confidence = (xy != 0).any(2).astype(np.float32) if clip.confidence is None else clip.confidence[:, person]
    return sign_parts(np.concatenate([xy, confidence[..., None]], 2), size, preparation)


def sign_parts(keypoints: np.ndarray, size: tuple[int, int], preparation: SignPreparation) -> SignParts:
    """The parts from keypoints `(T, 49, 3)` of `SIGN49`: x, y in pixels and confidence; `size`: width, height of the image.

    Frames without either hand are left out, as published, unless there is no hand in all of the clip.
    """
    chosen = frames_of(len(keypoints), preparation)
    right, left, body = np.split(keypoints[chosen][:, ORDER].astype(np.float32), [HAND, 2 * HAND], 1)
    right_box, left_box = (
        hand_boxes(hand, body[:, arm], size, preparation) for hand, arm in ((right, [4, 5, 6]), (left, [1, 2, 3]))
    )
    found = has_box(right_box) | has_box(left_box)
    kept = found if found.any() else np.ones_like(found)
    (right, right_confidence), (left, left_confidence) = (
        cut_out(hand[kept], box[kept], preparation.confident, mirror)
        for hand, box, mirror in ((right, right_box, False), (left, left_box, True))
    )
    scaled = body[kept, :, :2] / np.array(size, np.float32)
    return SignParts(right, left, scaled, right_confidence, left_confidence, body[kept, :, 2], chosen[kept])


def frames_of(length: int, preparation: SignPreparation) -> np.ndarray:
    """`(T',)` int64 frames of a clip of `length` that are looked at. A clip's only frame is never dropped."""
    last = max(length - 1, 1) if preparation.drop_last else length
    step = 1 if last <= preparation.longest else max(2, -(-last // preparation.longest))
    return np.arange(0, last, step)


def has_box(boxes: np.ndarray) -> np.ndarray:
    """`(T,)` bool: which of `(T, 4)` boxes are there."""
    return boxes[:, 1] > boxes[:, 0]


def hand_boxes(hand: np.ndarray, arm: np.ndarray, size: tuple[int, int], preparation: SignPreparation) -> np.ndarray:
    """`(T, 4)` int64 left, right, top, bottom of the square around a hand, all zero where there is none.

    Args:
        hand: `(T, 21, 3)` x, y, confidence. arm: `(T, 3, 3)` the same of its shoulder, elbow and wrist.
        size: width, height of the image.
    """
    seen = hand[..., 2] > preparation.visible
    enough = seen.sum(1) >= preparation.least
    boxes = np.where(enough[:, None], _around_joints(hand[..., :2], seen, size, preparation.margin), 0)
    usable = ~enough & (arm[..., 2] >= preparation.arm).all(1)
    if preparation.bottom is not None:
        usable &= arm[:, 2, 1] < size[1] - preparation.bottom
    return np.where(usable[:, None], _beyond_wrist(arm[..., :2].astype(np.float64), size), boxes)


def _around_joints(xy: np.ndarray, seen: np.ndarray, size: tuple[int, int], margin: float) -> np.ndarray:
    """`(T, 4)` boxes around the joints `(T, 21, 2)` that are seen `(T, 21)`; of no meaning where none is."""
    shown = np.where(seen[..., None], xy, np.nan).astype(np.float64)
    shown[~seen.any(1)] = 0
    low, high = np.nanmin(shown, 1), np.nanmax(shown, 1)
    side = np.round(margin * (high - low).max(1))  # half to even, as Python's round
    short = min(size)
    whole = side >= short - 1
    side = np.where(whole, short - 1, side)
    ends: list[np.ndarray] = []
    for axis, extent in enumerate(size):
        start = np.round(np.maximum(0, (low[:, axis] + high[:, axis]) / 2 - side / 2))
        start = np.where(start + side > extent - 1, extent - 1 - side, start)
        start = np.where(whole & (extent == short), 0, start)
        ends += [start, start + side]
    return np.trunc(np.stack(ends, 1)).astype(np.int64)


def _beyond_wrist(arm: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`(T, 4)` boxes where a hand should be, a third of the forearm beyond the wrist; `arm`: `(T, 3, 2)` shoulder, elbow, wrist."""
    shoulder, elbow, wrist = arm.transpose(1, 0, 2)
    centre = wrist + 0.33 * (wrist - elbow)
    side = 1.1 * np.maximum(np.linalg.norm(wrist - elbow, axis=1), 0.9 * np.linalg.norm(elbow - shoulder, axis=1))
    corner = np.maximum(centre - side[:, None] / 2, 0)
    # what sticks out on the right or below is cut off, and the square shrinks to the smaller side
    side = np.where(corner + side[:, None] > np.array(size), np.array(size) - corner, side[:, None]).min(1)
    corner, side = corner.astype(np.int64), np.maximum(side, 0).astype(np.int64)
    x, y = corner.T
    return np.stack([x, x + side, y, y + side], 1) * (side > 0)[:, None]


def cut_out(hand: np.ndarray, boxes: np.ndarray, confident: float, mirror: bool) -> tuple[np.ndarray, np.ndarray]:
    """A hand `(T, 21, 3)` within its boxes `(T, 4)` -> coordinates `(T, 21, 2)` of the box's side, confidence `(T, 21)`; float32.

    A joint that is not confident, and a coordinate left of or above the box, is zero; without a box all are. `mirror` turns a left hand
    into a right one: coordinates at the far edge, among them those of joints that are not there, become zero again.
    """
    there = has_box(boxes)
    confidence = np.where((hand[..., 2] < confident) | ~there[:, None], 0, hand[..., 2]).astype(np.float32)
    xy = np.where((hand[..., 2] < confident)[..., None], 0, hand[..., :2])
    left, right, top, bottom = boxes.T
    corner, side = np.stack([left, top], 1)[:, None], np.stack([right - left, bottom - top], 1)[:, None]
    pixels = np.maximum((xy - corner) / np.maximum(side, 1) * CANVAS, 0).astype(np.float32)
    if mirror:
        pixels[..., 0] = CANVAS - pixels[..., 0]
        pixels[pixels >= CANVAS - 1] = 0
    pixels[~there] = 0
    return pixels / CANVAS, confidence
