"""From a motion to labels: of a whole clip, of its pieces over time, or of a stream of poses while it comes in.

A confidence is the softmax of the classifier. It is not calibrated: 90 % does not mean that nine of ten such answers are right.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from typing import Any

import numpy as np

from ..errors import UserError
from ..motion.clip import Clip
from ..motion.prepare import take_frames
from ..motion.skeleton import Skeleton
from ..words import plural
from .classifier import Recogniser

BATCH = 64
"""Windows that the classifier sees at once."""
LONG = 2.0
"""A clip that lasts more than this many times as long as usual is cut into windows."""
OVERLAP = 4
"""Windows begin every 1/4 of a window."""
STREAM_HOP = 1 / 8
"""Seconds between two answers of a stream."""


@dataclass(frozen=True)
class Label:
    """A class and how sure the classifier is of it, 0 to 1."""

    name: str
    confidence: float


@dataclass(frozen=True)
class Piece:
    """What one window was taken for.

    Attributes:
        start, end: seconds from the beginning of the clip.
        labels: the likeliest classes, best first; empty where nobody is there.
    """

    start: float
    end: float
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Recognition:
    """What a clip was taken for.

    Attributes:
        source: where it was read from. fps: its frames a second. frames: how many it has.
        labels: of the whole clip (mean of the windows with somebody in them), best first.
        pieces: its windows in order; they overlap. A single one if the clip was not cut.
    """

    source: str
    fps: float
    frames: int
    labels: tuple[Label, ...]
    pieces: tuple[Piece, ...]

    def spans(self) -> tuple[Piece, ...]:
        """The pieces without overlap: what lies nearest to the middle of a window is told by it, up to the ends of the clip."""
        middles = [(piece.start + piece.end) / 2 for piece in self.pieces]
        cuts = [0.0, *((a + b) / 2 for a, b in pairwise(middles)), self.frames / self.fps]
        return tuple(Piece(a, b, piece.labels) for piece, (a, b) in zip(self.pieces, pairwise(cuts), strict=True))

    def merged(self) -> tuple[Piece, ...]:
        """The spans, neighbours of the same first label made one; that label alone, with the mean of its confidences over time."""
        found: list[Piece] = []
        for name, group in groupby(self.spans(), lambda span: span.labels[0].name if span.labels else None):
            spans = list(group)
            start, end = spans[0].start, spans[-1].end
            if name is None:
                found.append(Piece(start, end, ()))
            else:
                mean = sum(s.labels[0].confidence * (s.end - s.start) for s in spans) / (end - start)
                found.append(Piece(start, end, (Label(name, mean),)))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """JSON-safe; seconds and confidences to six decimals. `spans` are those of `merged`."""
        return {
            "source": self.source,
            "fps": self.fps,
            "frames": self.frames,
            "seconds": round(self.frames / self.fps, 6),
            "labels": labels_to_json(self.labels),
            "spans": [_to_json(piece) for piece in self.merged()],
            "pieces": [_to_json(piece) for piece in self.pieces],
        }


def labels_to_json(labels: Sequence[Label]) -> list[dict[str, Any]]:
    """JSON-safe, confidences to six decimals."""
    return [asdict(label) | {"confidence": round(label.confidence, 6)} for label in labels]


def _to_json(piece: Piece) -> dict[str, Any]:
    return {"start": round(piece.start, 6), "end": round(piece.end, 6), "labels": labels_to_json(piece.labels)}


def recognize(
    recogniser: Recogniser,
    clip: Clip,
    *,
    top: int = 5,
    window: float | None = None,
    hop: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Recognition:
    """The labels of a clip, and of its windows if it is long or if they are asked for.

    Args:
        recogniser: a trained classifier. clip: as it was read.
        top: how many labels to give.
        window: seconds of a window; default: the whole clip, or what is usual for the recogniser if the clip lasts more than twice that.
        hop: seconds from one window to the next; default: a quarter of the window. The last window ends with the clip.
        progress: called with the number of frames that are done.

    Raises:
        UserError: nobody is in the clip, numbers that make no sense, or a clip that the recogniser cannot take.
    """
    if top < 1:
        raise UserError(f"top {top}: expected 1 or more")
    cut = is_cut(recogniser, clip.seconds, window, hop)
    starts, size = [0], clip.frames
    if cut:
        size, step = _frames_of(recogniser, clip.fps, window, hop)
        starts, size = _starts(clip.frames, size, step), min(size, clip.frames)
    pieces: list[Piece] = []
    total, counted = np.zeros(len(recogniser.classes)), 0
    for first in range(0, len(starts), BATCH):
        some = starts[first : first + BATCH]
        prepared = {start: recogniser.prepare(take_frames(clip, slice(start, start + size))) for start in some}
        windows = {start: window for start, window in prepared.items() if window is not None}
        rows = recogniser.probabilities(list(windows.values())) if windows else np.zeros((0, len(total)), np.float32)
        told = dict(zip(windows, rows, strict=True))
        pieces += [
            Piece(start / clip.fps, (start + size) / clip.fps, _labels(recogniser, told[start], top) if start in told else ())
            for start in some
        ]
        total, counted = total + rows.sum(0, dtype=np.float64), counted + len(rows)
        if progress is not None:
            progress(some[-1] + size)
    if not counted:
        raise UserError(f"{clip.source or 'clip'}: nobody is in any of its {plural(clip.frames, 'frame')}")
    return Recognition(clip.source, clip.fps, clip.frames, _labels(recogniser, total / counted, top), tuple(pieces))


def is_cut(recogniser: Recogniser, seconds: float, window: float | None, hop: float | None) -> bool:
    """Whether a clip that lasts so long is looked at in windows."""
    return window is not None or hop is not None or seconds > LONG * recogniser.usual


def _frames_of(
    recogniser: Recogniser, fps: float, window: float | None, hop: float | None, usual_hop: float | None = None
) -> tuple[int, int]:
    """Frames of a window and from one to the next, each at least one."""
    window = recogniser.usual if window is None else window
    if not 0 < window < math.inf:
        raise UserError(f"window of {window:g} s: expected a number above 0")
    if hop is None:
        hop = min(window, usual_hop or window / OVERLAP)
    if not 0 < hop <= window:
        raise UserError(
            f"hop of {hop:g} s: expected a number above 0 and at most the window, {window:g} s, or parts would be skipped"
        )
    size, step = max(1, round(window * fps)), max(1, round(hop * fps))
    return size, min(step, size)


def _starts(frames: int, size: int, step: int) -> list[int]:
    """First frames of the windows."""
    last = max(0, frames - size)
    starts = list(range(0, last + 1, step))
    return starts if starts[-1] == last else [*starts, last]


def _labels(recogniser: Recogniser, probabilities: np.ndarray, top: int) -> tuple[Label, ...]:
    """The likeliest classes of `(K,)` probabilities, best first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(Label(recogniser.classes[k], float(probabilities[k])) for k in order)


class Stream:
    """Poses in, labels out, causally: an answer depends on nothing but the last `window` seconds before it.

    Memory does not grow, however long the stream runs.

    Args:
        recogniser: a trained classifier.
        skeleton: names the `J` joints of what comes in. fps: poses a second.
        image_size: (width, height) pixels, if `units` are pixels. units: as of a `Clip`.
        window: seconds that an answer looks back; default: what is usual for the recogniser.
        hop: seconds between two answers; default: 1/8.
        top: how many labels to give.

    Attributes:
        frames: poses taken so far. fps: poses a second.
        window, hop: in frames. first: poses after which the first answer comes, half a window.

    Raises:
        UserError: numbers that make no sense, or a skeleton that cannot become the recogniser's.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        *,
        skeleton: Skeleton,
        fps: float,
        image_size: tuple[int, int] | None = None,
        units: str = "metres",
        window: float | None = None,
        hop: float | None = None,
        top: int = 5,
    ):
        if top < 1:
            raise UserError(f"top {top}: expected 1 or more")
        if recogniser.recipe.signs and (units != "pixels" or image_size is None):
            raise UserError(f"{units}, image size {image_size}: signers are seen in pixels; say units pixels and image_size")
        # an empty clip finds out now what would otherwise be found out at the first pose
        nobody = np.zeros((1, 1, len(skeleton), 2), np.float32)
        self._empty = Clip(nobody, skeleton, fps, units=units, image_size=image_size, source="stream")
        recogniser.prepare(self._empty)
        self.window, self.hop = _frames_of(recogniser, fps, window, hop, STREAM_HOP)
        self.first = -(-self.window // 2)
        self.frames, self.fps = 0, fps
        self._top, self._recogniser = top, recogniser
        self._coordinates: int | None = None  # of the poses; not known before somebody is there
        self._kept: deque[Clip] = deque(maxlen=self.window)

    def push(self, positions: Any, confidence: Any = None) -> tuple[Label, ...] | None:
        """Takes one pose. Labels where an answer is due, best first; empty if nobody was there in the whole window; otherwise None.

        Args:
            positions: `(M, J, C)` numbers; M may change from pose to pose, and be 0.
            confidence: `(M, J)` numbers of 0 to 1, or None: joints that are not zero are there.

        Raises:
            UserError: another shape, values that are no numbers, or a window that the recogniser cannot take. A pose that is refused
                was not taken.
        """
        pose = self._pose(positions, confidence)
        coordinates = self._coordinates
        if pose is not self._empty:
            coordinates = pose.positions.shape[-1]
            self._recogniser.check_coordinates(pose)  # now, not when an answer is due
            if self._coordinates not in (None, coordinates):
                raise UserError(f"positions of {coordinates} coordinates; those before had {self._coordinates}")
        answer = None
        if self.frames + 1 >= self.first and (self.frames + 1 - self.first) % self.hop == 0:
            answer = self._answer([*self._kept, pose][-self.window :])
        self._kept.append(pose)  # nothing has refused it
        self._coordinates, self.frames = coordinates, self.frames + 1
        return answer

    def _answer(self, kept: Sequence[Clip]) -> tuple[Label, ...]:
        """What a window of poses is taken for."""
        clip = self._clip(kept)
        prepared = None if clip is None else self._recogniser.prepare(clip)
        if prepared is None:
            return ()
        return _labels(self._recogniser, self._recogniser.probabilities([prepared])[0], self._top)

    def _pose(self, positions: Any, confidence: Any) -> Clip:
        """One frame, checked as clips are."""
        values = _numbers(positions, "positions")
        if not values.size:
            return self._empty
        if values.ndim != 3:
            raise UserError(f"positions {values.shape}; expected (people, {len(self._empty.skeleton)} joints, 2 or 3)")
        sure = None if confidence is None else _numbers(confidence, "confidence")[None]
        return self._empty.with_(positions=values[None], confidence=sure)

    def _clip(self, kept: Sequence[Clip]) -> Clip | None:
        """The window; None if it holds no pose at all. Poses without a confidence have 1 wherever another one has some."""
        poses = [pose for pose in kept if pose is not self._empty]
        if not poses:
            return None
        people, coordinates = max(pose.people for pose in poses), poses[-1].positions.shape[-1]
        joints = len(self._empty.skeleton)
        positions = np.zeros((len(kept), people, joints, coordinates), np.float32)
        confidence = np.zeros(positions.shape[:3], np.float32)
        for frame, pose in enumerate(kept):
            if pose is not self._empty:
                positions[frame, : pose.people] = pose.positions[0]
                known = (pose.positions[0] != 0).any(-1) if pose.confidence is None else pose.confidence[0]
                confidence[frame, : pose.people] = known
        told = any(pose.confidence is not None for pose in poses)
        return self._empty.with_(positions=positions, confidence=confidence if told else None)


def _numbers(values: Any, what: str) -> np.ndarray:
    """float32, of whatever gives numbers."""
    try:
        array = np.asarray(values)
    except ValueError:
        raise UserError(f"{what} are lists of different lengths; expected numbers in full rows") from None
    if array.size and array.dtype.kind not in "fiu":
        raise UserError(f"{what} hold what is no number; expected numbers")
    with np.errstate(over="ignore"):  # infinity, which the clip refuses
        return array.astype(np.float32)
