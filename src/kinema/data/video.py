"""A video as RGB frames with their times, decoded only when asked for, a few in memory at once.

A frame's number is its place in the order of showing, counted from the start. `Video.read` jumps to the nearest key frame before
what it is asked for, and gives exactly the frames that decoding from the start gives.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from ..errors import FormatError, UserError
from .video_file import Damaged, VideoFile
from .video_index import Broken, Shot, Shots

DEFAULT_FPS = 25
"""Frames a second where a file gives neither times nor a rate."""
SLOWEST, FASTEST = 0.001, 1000
"""Frames a second that a video can be resampled to."""
MAX_SIDE = 8192
"""Largest height or width that frames can be scaled to, pixels."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a video.

    Attributes:
        index: its place in the video, from 0.
        time: when it is shown, seconds after the first frame.
        image: ``(H, W, 3)`` uint8 RGB, upright, its own memory.
    """

    index: int
    time: float
    image: np.ndarray


class Video:
    """A video file. Made by `Video.open`; a context manager; iterating over it gives every `Frame`, as often as you like.

    One `Video` is for one thread; open the file once more in another.

    Attributes:
        path: the file.
        size: ``(H, W)`` of the images given, after rotation and scaling.
        fps: frames a second on average, or `None` if unknown.
        frames: how many frames the file says it has, or `None`; `times` counts them.
        duration: seconds, or `None` if unknown.
        strict: whether damage is an error.
        damaged: seconds after the first frame at which the last whole frame before damage is shown; `None` as long as no
            reading has met damage.
    """

    def __init__(self, path: Path, size: tuple[int, int] | None, longest: int | None, strict: bool):
        self.path, self.strict = path, strict
        self.damaged: float | None = None
        self._files: set[VideoFile] = set()
        self._closed = False
        self._reformatter = VideoReformatter()
        self._ahead: Iterator[Shot] = iter(())  # what `read` decodes from, and where it stands
        self._here: Shot | None = None
        file = self._file()
        try:
            self.fps, self.frames, self.duration = file.fps, file.frames, file.duration
            try:
                first = next(file.pictures(), None)
            except Damaged:
                first = None
            if first is None:
                raise FormatError(path, "its first frame cannot be decoded: empty, damaged or protected; record or copy it again")
            self._turn = _orientation(path, first)
            shown = (first.width, first.height) if self._turn[0] else (first.height, first.width)
            self.size = _target(shown, size, longest)
            # a damaged header can claim any rate
            step = 1 / Fraction(min(max(self.fps or DEFAULT_FPS, SLOWEST), FASTEST)).limit_denominator(1001)
            self._shots = Shots(self._file, self._drop, file.base, step, file.indexed, file.one_packet_a_frame)
        finally:
            self._drop(file)

    @classmethod
    def open(
        cls, path: str | Path, *, size: tuple[int, int] | None = None, longest: int | None = None, strict: bool = True
    ) -> Video:
        """Opens a local video file and decodes its first frame.

        Args:
            path: the file; addresses and playlists are refused.
            size: ``(H, W)`` that images are scaled to, whatever their shape.
            longest: images whose longer side has more pixels are scaled down to it, keeping their shape.
            strict: at damage, `True` gives the frames before it and then raises; `False` stops there and sets `damaged`.

        Raises:
            UserError: no such file, a folder, no permission, or sizes that make no sense.
            FormatError: empty, no video, sound alone, one picture, a playlist, too large, turned by an odd angle, a codec that
                cannot be decoded, or damage before the first frame.
        """
        if size is not None and longest is not None:
            raise UserError("a video is scaled by size or by longest, not by both; leave one out")
        for side in (*(size or ()), *(() if longest is None else (longest,))):
            if not 1 <= side <= MAX_SIDE:
                raise UserError(f"a video cannot be scaled to {side} pixels: expected 1 to {MAX_SIDE}")
        return cls(Path(path), size, longest, strict)

    def __enter__(self) -> Video:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file. Reading from it afterwards is a `UserError`."""
        self._closed = True
        self._here, self._ahead = None, iter(())
        for file in list(self._files):
            self._drop(file)

    def __iter__(self) -> Iterator[Frame]:
        return self.span()

    def span(self, start: int = 0, stop: int | None = None, every: int = 1) -> Iterator[Frame]:
        """Frames `start`, `start + every`, ... before `stop` (`None`: to the end), one at a time; as with slices, none may be left.

        Raises:
            UserError: a negative place, or `every` below 1; while iterating: the video was closed.
            FormatError: while iterating over a strict video: damage, after all frames before it.
        """
        if start < 0 or every < 1 or (stop is not None and stop < 0):
            raise UserError(f"{self.path}: frames {start} to {stop}, every {every}: expected places from 0 and every from 1")
        return self._span(start, stop, every)

    def _span(self, start: int, stop: int | None, every: int) -> Iterator[Frame]:
        for shot in self._given(self._shots.start_at(start)):
            if stop is not None and shot.index >= stop:
                return
            if (shot.index - start) % every == 0:
                yield self._frame(shot)

    def read(self, indices: Iterable[int]) -> list[Frame]:
        """The frames at `indices`, in their order, repeats included.

        Raises:
            UserError: an index that the video does not have, or it was closed.
            FormatError: damage at or shortly before one of them; also if not `strict`, since there is no frame to give.
        """
        return [self._frame(self._at(index)) for index in indices]

    def resampled(self, fps: float) -> Iterator[Frame]:
        """At 0, 1/fps, 2/fps, ... seconds the frame whose time is nearest (the earlier of two), up to the end of the last frame.

        Frames keep their own `index` and `time`: at a higher rate they repeat, at a lower one some are left out.

        Raises:
            UserError: a rate outside `SLOWEST` to `FASTEST`; while iterating: the video was closed.
            FormatError: while iterating over a strict video: damage, after all frames before it.
        """
        if not SLOWEST <= fps <= FASTEST:
            raise UserError(f"{self.path}: cannot be resampled to {fps} frames a second; expected {SLOWEST} to {FASTEST}")
        return self._resampled(Fraction(fps).limit_denominator(1_000_000))

    def _resampled(self, fps: Fraction) -> Iterator[Frame]:
        held, ticks = None, 0
        for shot in self._given(self._shots.start_at(0)):
            while held is not None and ticks / fps <= (held.time + shot.time) / 2:
                yield self._frame(held)
                ticks += 1
            held = shot
        if held is not None:
            end = held.time + self._shots.lasts(held)
            while ticks / fps < end:
                yield self._frame(held)
                ticks += 1

    def times(self) -> np.ndarray:
        """Seconds of every frame after the first, ``(frames,)`` float64, as far as the file goes.

        Reads the whole file the first time; MP4, MOV, MKV and WebM mostly without decoding it, so that damage inside their frames
        shows only when these are decoded.
        """
        line = self._shots.timeline()
        if line.broken:
            self.damaged = float(line.times[-1])
        return np.array([float(time) for time in line.times])

    @property
    def variable(self) -> bool:
        """Whether frames are unevenly spaced: some step is more than a tenth off the usual one. Reads the file as `times` does."""
        steps = np.diff(self.times())
        usual = float(np.median(steps)) if len(steps) else 0.0
        # clocks of whole milliseconds make steps of 16 and 17 out of even ones
        return bool((np.abs(steps - usual) > max(0.1 * usual, 1.01 * float(self._shots.base))).any())

    def _file(self) -> VideoFile:
        if self._closed:
            raise UserError(f"{self.path}: this video is closed; open it again")
        file = VideoFile(self.path)
        self._files.add(file)
        return file

    def _drop(self, file: VideoFile) -> None:
        self._files.discard(file)
        file.close()

    def _frame(self, shot: Shot) -> Frame:
        """Scaled, RGB and upright."""
        transposed, flip_rows, flip_columns = self._turn
        height, width = self.size[::-1] if transposed else self.size
        try:
            rgb = self._reformatter.reformat(shot.picture, width, height, "rgb24", interpolation="AREA").to_ndarray()
        except (FFmpegError, ValueError) as error:
            problem = f"frame {shot.index} cannot be turned into RGB ({shot.picture.format.name}); convert the video to yuv420p"
            raise FormatError(self.path, problem) from error
        if transposed:
            rgb = rgb.swapaxes(0, 1)
        rgb = rgb[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
        # a copy: the array may be a window into the decoder's memory
        return Frame(shot.index, float(shot.time), np.array(rgb, order="C"))

    def _given(self, shots: Iterator[Shot]) -> Iterator[Shot]:
        """`shots` up to damage, which is then an error or noted."""
        try:
            yield from shots
        except Broken as error:
            self.damaged = float(error.seconds)
            if self.strict:
                raise self._refusal(error) from error

    def _refusal(self, error: Broken) -> FormatError:
        again = "record or copy it again (in Python, strict=False gives what comes before)"
        return FormatError(self.path, f"damaged or cut off after {float(error.seconds):.2f} s; {again}")

    def _at(self, index: int) -> Shot:
        """Picture `index`, from where the last `_at` left the decoder unless a key frame is nearer."""
        line = self._shots.timeline()
        if index < 0 or (index >= len(line.times) and not line.broken):
            raise UserError(f"{self.path}: no frame {index}; it has frames 0 to {len(line.times) - 1}")
        if index >= len(line.times):
            self.damaged = float(line.times[-1])
            raise self._refusal(Broken(line.times[-1]))
        here, self._here = self._here, None
        if here is None or index < here.index or line.key_between(here.index, index):
            self._ahead, here = self._shots.start_at(index), None
        try:
            while here is None or here.index < index:
                here = next(self._ahead, None)
                if here is None and self._shots.timeline() is line:  # the file was changed while it was read
                    raise Broken(line.times[-1])
                if here is None:  # decoding gave fewer pictures than the packets promised, which changed the timeline
                    return self._at(index)
        except Broken as error:
            self.damaged = float(error.seconds)
            raise self._refusal(error) from error
        self._here = here
        return here


def _orientation(path: Path, picture: VideoFrame) -> tuple[bool, bool, bool]:
    """How a picture is turned upright: whether rows and columns change places, then whether rows, and columns, are reversed."""
    try:
        data = picture.side_data.get("DISPLAYMATRIX")
        a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20]) if data else (1, 0, 0, 0, 1)  # x' = a x + c y, y' = b x + d y
    except ValueError:  # beside the matrix there is side data of a kind that this PyAV has no name for
        a, b = {0: (1, 0), 90: (0, -1), -90: (0, 1)}.get(picture.rotation, (-1, 0) if abs(picture.rotation) == 180 else (1, 1))
        c, d = -b, a
    if (a or d) and (b or c):
        raise FormatError(path, "turned by an angle other than a quarter; turn it upright first: ffmpeg -i IN OUT.mp4")
    if b or c:
        return True, b < 0, c < 0
    return False, d < 0, a < 0


def _target(shown: tuple[int, int], size: tuple[int, int] | None, longest: int | None) -> tuple[int, int]:
    """``(H, W)`` of the images for frames of `shown` ``(H, W)``."""
    if size is not None:
        return size
    shrink = min(1.0, longest / max(shown)) if longest is not None else 1.0
    height, width = (max(1, round(side * shrink)) for side in shown)
    return height, width
