"""The pictures of a video by number: which number is shown when, and decoding from any of them.

A picture's number is its place in the order of showing. Seeking only leads to key frames, and containers err about where those
are, so after a seek every decoded picture is checked against the known times. Where they disagree, decoded pictures are believed.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice, pairwise

from av.video.frame import VideoFrame

from .video_file import Damaged, VideoFile

_TRIES = 3  # key frames to try before decoding from the start: an index can be wrong, some streams refresh without key frames


@dataclass(frozen=True)
class Shot:
    """A decoded picture, not yet RGB.

    Attributes:
        index: its number, from 0.
        time: when it is shown, seconds after the first.
        picture: as the decoder gave it.
    """

    index: int
    time: Fraction
    picture: VideoFrame


class Broken(Exception):
    """Damage in the video; `seconds` after the first frame is the last whole one that was met before it."""

    def __init__(self, seconds: Fraction):
        super().__init__()
        self.seconds = seconds


class _Mismatch(Exception):
    """Decoding gave other pictures than the timeline has."""


@dataclass(frozen=True)
class Timeline:
    """When each picture is shown.

    Attributes:
        times: seconds of each after the first, rising.
        ticks: the same on the file's own clock, or empty if pictures cannot be sought by it.
        keys: ticks of key frames, rising.
        counted: whether packets were counted, not decoded pictures.
        broken: whether damage follows the last one.
    """

    times: list[Fraction]
    ticks: list[int]
    keys: list[int]
    counted: bool
    broken: bool

    def key_between(self, here: int, there: int) -> bool:
        """Whether a key frame lies after picture `here` and not after `there`."""
        if not self.ticks:
            return False
        return bisect_right(self.keys, self.ticks[there]) > bisect_right(self.keys, self.ticks[here])


class _Seconds:
    """Turns ticks (`None` where the file has none) into seconds after the first picture, always rising."""

    def __init__(self, base: Fraction, step: Fraction):
        self.base, self.step = base, step
        self.zero: int | None = None
        self.last: Fraction | None = None

    def __call__(self, tick: int | None) -> Fraction:
        time = follows = Fraction(0) if self.last is None else self.last + self.step
        if tick is not None:
            if self.zero is None:
                self.zero = tick - round(follows / self.base)
            time = (tick - self.zero) * self.base
            if self.last is not None and time <= self.last:
                time = follows
        self.last = time
        return time


class Shots:
    """The numbered pictures of one video file.

    Args:
        reopen: gives the file, at its start; whoever called it gives it back through `drop`.
        drop: closes such a file.
        base: seconds of a tick.
        step: seconds between pictures where the file has no times.
        seekable: whether the times after a seek can be trusted.
        count_packets: whether a picture is known by its packet, without decoding it.
    """

    def __init__(
        self,
        reopen: Callable[[], VideoFile],
        drop: Callable[[VideoFile], None],
        base: Fraction,
        step: Fraction,
        seekable: bool,
        count_packets: bool,
    ):
        self._reopen, self._drop = reopen, drop
        self.base, self.step = base, step
        self._seekable, self._count_packets = seekable, count_packets
        self._known: Timeline | None = None

    def timeline(self) -> Timeline:
        """The whole timeline; reads the file the first time, and decodes it too where packets cannot be counted."""
        if self._known is None:
            self._known = (self._count() if self._count_packets else None) or self._measure()
        return self._known

    def start_at(self, index: int) -> Iterator[Shot]:
        """Picture `index` and those after it, if there are any.

        Raises:
            Broken: damage, after all pictures before it.
            UserError: the video was closed meanwhile.
        """
        while True:
            try:
                for shot in self._walk(index):
                    index = shot.index + 1
                    yield shot
                return
            except _Mismatch:
                self._distrust()

    def lasts(self, shot: Shot) -> Fraction:
        """Seconds for which a picture is shown, as far as the file says so, otherwise the usual step."""
        return shot.picture.duration * self.base or self.step

    def _walk(self, index: int) -> Iterator[Shot]:
        if index > 0:
            file = self._reopen()
            try:
                if (yield from self._from_key(file, index)):
                    return
            finally:
                self._drop(file)
        file = self._reopen()
        try:
            yield from islice(self._from_start(file), index, None)
        finally:
            self._drop(file)

    def _from_start(self, file: VideoFile) -> Iterator[Shot]:
        seconds, shot = _Seconds(self.base, self.step), None
        try:
            for index, picture in enumerate(file.pictures()):
                shot = Shot(index, seconds(picture.pts), picture)
                yield shot
            if shot is not None and file.cut_short(float(shot.time + self.lasts(shot))):
                raise Damaged
        except Damaged as error:
            raise Broken(shot.time if shot else Fraction(0)) from error

    def _from_key(self, file: VideoFile, index: int) -> Iterator[Shot]:
        """Yields from `index` on, decoded from a key frame, and returns true; or yields nothing and returns false."""
        line = self.timeline()
        if index >= len(line.times) and not line.broken:
            return True
        if index >= len(line.ticks) or (found := _land(file, line, index)) is None:
            return False
        first, pictures = found
        place = bisect_left(line.ticks, first.pts or 0)
        try:
            for place, picture in enumerate(chain([first], pictures), place):  # noqa: B020 - goes on from there
                if place >= len(line.ticks) or picture.pts != line.ticks[place]:
                    raise _Mismatch
                if place >= index:
                    yield Shot(place, line.times[place], picture)
            if line.broken:
                raise Damaged
        except Damaged as error:
            raise Broken(line.times[place]) from error
        if place + 1 < len(line.ticks):
            raise _Mismatch
        return True

    def _count(self) -> Timeline | None:
        """From the packets alone; `None` if they do not have a time each."""
        ticks: list[int] = []
        keys: list[int] = []
        first, broken = None, False
        file = self._reopen()
        try:
            for packet in file.packets():
                if packet.size == 0:
                    continue  # ends the stream
                if packet.pts is None:
                    return None
                first = packet.pts if first is None else first
                # pictures before the first key frame cannot be decoded; those trimmed off by an edit are decoded but not shown
                if packet.is_discard or packet.pts < first:
                    continue
                ticks.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
        except Damaged as error:
            broken = True
            ticks = [tick for tick in ticks if tick < error.tick]
        finally:
            self._drop(file)
        ticks.sort()
        if not ticks or any(a == b for a, b in pairwise(ticks)):
            return None
        times = [(tick - ticks[0]) * self.base for tick in ticks]
        return Timeline(times, ticks, sorted(keys), True, broken or file.cut_short(float(times[-1] + self.step)))

    def _measure(self) -> Timeline:
        """By decoding everything."""
        times: list[Fraction] = []
        ticks: list[int | None] = []
        keys: list[int] = []
        broken = False
        file = self._reopen()
        try:
            for shot in self._from_start(file):
                times.append(shot.time)
                ticks.append(shot.picture.pts)
                if shot.picture.key_frame and shot.picture.pts is not None:
                    keys.append(shot.picture.pts)
        except Broken:
            broken = True
        finally:
            self._drop(file)
        known = [tick for tick in ticks if tick is not None]
        sought = self._seekable and len(known) == len(ticks) and all(a < b for a, b in pairwise(known))
        return Timeline(times, known if sought else [], keys if sought else [], False, broken)

    def _distrust(self) -> None:
        """After a mismatch: decode instead of counting, then never seek."""
        line = self.timeline()
        self._known = self._measure() if line.counted else Timeline(line.times, [], [], False, line.broken)


def _land(file: VideoFile, line: Timeline, index: int) -> tuple[VideoFrame, Iterator[VideoFrame]] | None:
    """The first picture decoded from a key frame at or before picture `index`, and those after it."""
    tick = line.ticks[index]
    nearest = bisect_right(line.keys, tick)
    for key in reversed(line.keys[max(0, nearest - _TRIES) : nearest]):
        try:
            file.seek(key)
            pictures = file.pictures(sought=True)
            first = next(pictures, None)
        except Damaged:
            continue
        if first is not None and first.pts is not None and line.ticks[0] <= first.pts <= tick:
            return first, pictures
    return None
