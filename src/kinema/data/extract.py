"""From a video to a clip: a pose estimator looks at its frames, one after the other.

An `Extractor` is anything that gives the landmarks of frames; `Holistic` is MediaPipe's, the extra ``pose``. Whoever is not found in a
frame is absent there, which is data and no error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Protocol

import numpy as np

from ..errors import FormatError, UserError
from ..motion.clip import MAX_FRAMES, Clip
from ..motion.keypoints import HOLISTIC75, MEDIAPIPE33
from ..motion.skeleton import Skeleton
from ..words import plural
from .video import DEFAULT_FPS, FASTEST, SLOWEST, Frame, Video

WANTED = "0.10.21"
"""The last MediaPipe whose wheel brings the models along; newer ones have no `solutions` and download."""
INSTALL = "`make pose-env` in Kinema's folder (by hand: pip install -e '.[pose]' -c constraints-pose.txt)"
_HANDS = ("left_hand", "right_hand")


class Extractor(Protocol):
    """What finds people in images: MediaPipe, rtmlib, a network of your own."""

    @property
    def skeleton(self) -> Skeleton:
        """Names the `J` joints that it finds."""
        ...

    def landmarks(self, frames: Iterable[Frame]) -> Iterator[np.ndarray]:
        """For every frame, in order and before it takes the next, `(M, J, 3)` numbers: x and y in pixels (y down), confidence.

        `M` may change from frame to frame and is 0 where nobody was found; a joint of confidence 0 is absent. A person keeps their
        place in the clip only if the extractor keeps it.
        """
        ...


class Holistic:
    """MediaPipe Holistic: one person, body 33 and hands 21 each (`HOLISTIC75`); its face is left out.

    The confidence of a body joint is what MediaPipe calls visibility (whether the camera sees it); joints of a hand that was found
    have 1. Frames are understood to follow one another: a person is tracked, and followed smoothly.

    Attributes:
        version: of MediaPipe.

    Raises:
        UserError: MediaPipe is not installed, cannot be imported, or is too new.
    """

    skeleton = HOLISTIC75

    def __init__(self) -> None:
        self._network, self.version = _mediapipe()

    def landmarks(self, frames: Iterable[Frame]) -> Iterator[np.ndarray]:
        """For every frame `(1, 75, 3)`, or `(0, 75, 3)` where neither body nor hand was found."""
        # complexity 1 is the only one whose models are in the wheel
        with self._network(static_image_mode=False, model_complexity=1) as network:
            for frame in frames:
                yield _found(network.process(frame.image), frame.image.shape[1], frame.image.shape[0])


def _mediapipe() -> tuple[Any, str]:
    """The class of MediaPipe's network, and the version."""
    try:
        import mediapipe  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        if error.name == "mediapipe":
            raise UserError(f"poses are found by MediaPipe {WANTED}, which is not installed here; run {INSTALL}") from None
        raise _unusable(error) from error
    except (ImportError, AttributeError) as error:  # a system library, or another NumPy than it was built for
        raise _unusable(error) from error
    version = str(getattr(mediapipe, "__version__", "of unknown version"))
    if not hasattr(mediapipe, "solutions"):
        raise UserError(f"MediaPipe {version} comes without its models (no mediapipe.solutions); {WANTED} is wanted; run {INSTALL}")
    return mediapipe.solutions.holistic.Holistic, version


def _unusable(error: Exception) -> UserError:
    """Installed, but it cannot be imported."""
    try:
        version = metadata.version("mediapipe")
    except metadata.PackageNotFoundError:
        version = "of unknown version"
    return UserError(f"MediaPipe {version} cannot be imported ({error}); {WANTED} is wanted: {INSTALL}; docs/pose.md says more")


def _found(result: Any, width: int, height: int) -> np.ndarray:
    """`(1, 75, 3)` pixels and confidence of what MediaPipe gives for an image, or `(0, 75, 3)`."""
    body, left, right = result.pose_landmarks, result.left_hand_landmarks, result.right_hand_landmarks
    if body is None and left is None and right is None:
        return np.zeros((0, len(HOLISTIC75), 3), np.float32)
    points = np.zeros((len(HOLISTIC75), 3), np.float32)
    hand = (len(HOLISTIC75) - len(MEDIAPIPE33)) // 2
    for start, part in zip((0, len(MEDIAPIPE33), len(MEDIAPIPE33) + hand), (body, left, right), strict=True):
        for joint, mark in enumerate(part.landmark if part is not None else (), start):
            points[joint] = mark.x * width, mark.y * height, mark.visibility if part is body else 1.0
    return points[None]


@dataclass(frozen=True)
class Pace:
    """Which frames of a video become those of a clip.

    Attributes:
        fps: frames of the clip a second.
        resampled: whether they are taken at even times from uneven or other ones.
        total: how many they are, about.
    """

    fps: float
    resampled: bool
    total: int


def pace(video: Video, fps: float | None = None) -> Pace:
    """Every frame, if the video's are evenly spaced; otherwise, or where `fps` asks for it, those nearest to even times.

    Raises:
        UserError: a rate that cannot be had. FormatError: more frames than a clip may have, or a rate of its own that no video has.
    """
    times = video.times()
    own = video.fps or DEFAULT_FPS
    if fps is None and not SLOWEST <= own <= FASTEST:
        problem = f"says that it has {own:g} frames a second; expected {SLOWEST} to {FASTEST}: its header is damaged, or give --fps"
        raise FormatError(video.path, problem)
    if fps is None and not video.variable:
        found = Pace(own, False, len(times))
    else:
        rate = own if fps is None else fps
        video.resampled(rate)  # complains of impossible rates
        found = Pace(rate, True, max(1, math.ceil((times[-1] + 1 / max(own, SLOWEST)) * rate)))
    if found.total > MAX_FRAMES:
        raise FormatError(
            video.path, f"{plural(found.total, 'frame')}; a clip has at most {MAX_FRAMES}: cut the video, or take fewer a second"
        )
    return found


def frames(video: Video, chosen: Pace) -> Iterator[Frame]:
    """The frames that `pace` has chosen; as often as you like."""
    return video.resampled(chosen.fps) if chosen.resampled else iter(video)


def extract(video: Video, extractor: Extractor, chosen: Pace | None = None, progress: Callable[[int], None] | None = None) -> Clip:
    """The people of a video: `(T, M, J, 2)` in pixels of its images, with confidence.

    One frame is in memory at a time, besides what the extractor keeps. `M` is the largest number of people in a frame, at least 1.

    Args:
        video: opened in its full size, since scaled images give landmarks of their own size.
        extractor: finds the people.
        chosen: which frames; default: `pace(video)`.
        progress: called after each frame with the number of those that are done.

    Raises:
        UserError: more people than a clip may have, or the video was closed.
        FormatError: damage in a strict video, or too many frames.
        ValueError: the extractor does not give what `Extractor` says.
    """
    chosen = chosen or pace(video)
    rows: list[np.ndarray] = []
    taken = 0

    def counted() -> Iterator[Frame]:
        nonlocal taken
        for frame in frames(video, chosen):
            if taken == MAX_FRAMES:
                raise FormatError(video.path, f"more than {MAX_FRAMES} frames, the most of a clip; cut the video")
            taken += 1
            yield frame

    for points in extractor.landmarks(counted()):
        if points.ndim != 3 or points.shape[1:] != (len(extractor.skeleton), 3):
            raise ValueError(f"the extractor gave {points.shape}; expected (people, {len(extractor.skeleton)}, 3)")
        rows.append(points.astype(np.float32))
        if len(rows) != taken:
            raise ValueError(f"the extractor gave {len(rows)} results for {taken} frames; expected one for each, before the next")
        if progress is not None:
            progress(taken)
    if len(rows) != taken:
        raise ValueError(f"the extractor gave {len(rows)} results for {taken} frames; expected one for each")
    return _clip(rows, extractor.skeleton, video, chosen.fps)


def _clip(rows: list[np.ndarray], skeleton: Skeleton, video: Video, fps: float) -> Clip:
    """The clip of the landmarks `(M, J, 3)` of every frame."""
    people = max(1, *(len(points) for points in rows))
    numbers = np.zeros((len(rows), people, len(skeleton), 3), np.float32)
    for frame, points in enumerate(rows):
        numbers[frame, : len(points)] = points
    confidence = numbers[..., 2].clip(0, 1)
    positions = np.where(confidence[..., None] > 0, numbers[..., :2], np.float32(0))
    height, width = video.size
    return Clip(positions, skeleton, fps, confidence, units="pixels", image_size=(width, height), source=str(video.path))


def found(clip: Clip) -> dict[str, int]:
    """In how many frames someone's body, and each hand that the skeleton has, was found."""
    seen = (clip.positions != 0).any(-1) if clip.confidence is None else clip.confidence > 0
    joints = clip.skeleton.joints
    hands = {side: [joints.index(j) for j in clip.skeleton.parts[side]] for side in _HANDS if side in clip.skeleton.parts}
    in_hands = {joint for hand in hands.values() for joint in hand}
    parts = {"body": [j for j in range(len(joints)) if j not in in_hands], **hands}
    return {name: int(seen[:, :, part].any((1, 2)).sum()) for name, part in parts.items() if part}
