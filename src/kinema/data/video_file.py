"""A video file, opened so that it can neither reach other files nor surprise us, and decoded from where it stands.

FFmpeg opens more than videos: addresses, playlists and lists of files, which a hostile file can use to read others. Here Python
opens the one file; only containers that hold their pictures themselves are let in, and any request for a further file is refused.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from ..errors import FormatError, UserError

CONTAINERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "gif", "apng", "ivf", "nut", "mxf")
"""FFmpeg's names of what is read. All keep their pictures inside the one file."""
MAX_PIXELS = 2**26
"""Pixels of the largest frame, 8192 x 8192: a small file can claim any size, and memory would be taken for it."""
THREADS = 4
"""Threads of a decoder, where a frame is coded in independent slices; one for every core would be hundreds in a large machine."""
_PICTURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"RIFF": "WebP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
_LISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]", b"v=0")
_READS = "MP4, MOV, MKV, WebM, AVI, MPEG, FLV, WMV, OGG or GIF"
_REENCODE = "convert it first, for example: ffmpeg -i IN -c:v libx264 OUT.mp4"


class Damaged(Exception):
    """What follows in the file cannot be decoded, or is missing. Inside this room only: users meet a `FormatError`.

    Args:
        tick: when the first lost picture would have been shown; infinite if it is after all that were read.
    """

    def __init__(self, tick: float = math.inf):
        super().__init__()
        self.tick = tick


class VideoFile:
    """One open file and its decoder, at one place of the video.

    Args:
        path: a local file.

    Attributes:
        base: seconds of one tick of the video's clock.
        fps: frames a second on average, as the file has it, or `None`.
        duration: seconds of video: of this stream if the file says so, otherwise of the whole file, or `None`.
        frames: the number of frames in the header, or `None`; also if that contradicts the duration.
        indexed: whether the container says of each picture when it is shown (MP4, MOV, MKV, WebM); others leave some to be guessed.
        one_packet_a_frame: whether a packet is a picture, by the rules of container and codec; interlaced ones can be in two.

    Raises:
        UserError: no such file, a folder, an address, or no permission to read.
        FormatError: empty, no video, sound alone, one picture, a playlist, or a codec that cannot be decoded.
    """

    def __init__(self, path: Path):
        self.path = path
        _check(path)
        try:
            self._file = path.open("rb")
        except PermissionError as error:
            raise UserError(f"{path}: no permission to read this video; change its permissions") from error
        try:
            self.container = self._open()
            self.stream = self._choose()
            self.stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            self.stream.codec_context.thread_count = THREADS
            self._state()
        except BaseException:
            self._file.close()
            raise
        self.closed = False
        self._promised: list[int] = []  # ticks of pictures whose packets went into the decoder, a heap

    def _open(self) -> InputContainer:
        head = self._file.read(16)
        self._file.seek(0)

        def refuse(url: str, *_: Any) -> NoReturn:
            raise FormatError(
                self.path, f"refers to another file ({url}), which is not followed; give a video that holds its frames"
            )

        try:
            return av.open(
                self._file,
                "r",
                options={"max_pixels": str(MAX_PIXELS)},
                container_options={"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file", "enable_drefs": "0"},
                metadata_errors="replace",  # titles in some old encoding are no reason to refuse a video
                io_open=refuse,
            )
        except (FFmpegError, ValueError) as error:
            raise FormatError(self.path, _why_not(head)) from error

    def _choose(self) -> VideoStream:
        pictures = [s for s in self.container.streams.video if not s.disposition & s.disposition.attached_pic]
        if not pictures:
            if self.container.streams.audio:
                raise FormatError(self.path, "sound without a picture; expected a video")
            raise FormatError(self.path, f"no video in it: its header is damaged or cut off; expected {_READS}")
        best = self.container.streams.best("video")
        stream = best if best in pictures else pictures[0]
        assert isinstance(stream, VideoStream)
        if stream.codec_context is None:
            problem = f"its video codec cannot be decoded here (protected, or unknown to this FFmpeg); {_REENCODE}"
            raise FormatError(self.path, problem)
        if stream.width * stream.height > MAX_PIXELS:
            problem = (
                f"frames of {stream.width}x{stream.height} pixels; at most {MAX_PIXELS} pixels are read, so scale it down first"
            )
            raise FormatError(self.path, problem)
        return stream

    def _state(self) -> None:
        """Reads what the header says, once: after closing, PyAV would read freed memory."""
        stream, container = self.stream, self.container
        context = stream.codec_context
        self.base = Fraction(stream.time_base or Fraction(1, 1000))
        self.fps = float(stream.average_rate) if stream.average_rate else None
        self.indexed = container.format.name.startswith(("mov", "matroska"))
        exact = ("h264", "hevc", "vvc", "av1", "vp9", "mjpeg", "prores", "ffv1")
        progressive = context.field_order in (0, 1)  # not known to be in two fields
        self.one_packet_a_frame = self.indexed and progressive and context.codec.canonical_name in exact
        own = float(stream.duration * self.base) if stream.duration else _clock(stream.metadata.get("DURATION", ""))
        whole = container.duration / av.time_base if container.duration else None
        self.duration = whole if own is None else own
        self.frames: int | None = stream.frames or None
        if self.frames and self.fps and self.duration and abs(self.frames / self.fps - self.duration) > 1.5 / self.fps:
            self.frames = None  # as in a trimmed recording, which counts what it does not show
        # headers that are written when the recording is complete can be held against what is there
        alone = own is not None or len(container.streams) == 1
        believed = alone and (self.indexed or container.format.name == "flv")
        self._promised_end = self.duration if believed else None

    def cut_short(self, end: float) -> bool:
        """Whether a video that ended after `end` seconds ended well before what its header promised; half a second is forgiven."""
        return self._promised_end is not None and end < 0.99 * self._promised_end - 0.5

    def seek(self, tick: int) -> None:
        """Goes to the key frame at or before `tick`, as far as the container's index is right.

        Raises:
            Damaged: it cannot.
        """
        try:
            self.container.seek(tick, stream=self.stream)
        except FFmpegError as error:
            raise Damaged from error

    def packets(self) -> Iterator[Packet]:
        """The compressed packets from here; of a stream without an index, from a key frame on: it may be cut out of a longer one.

        Raises:
            Damaged: the file cannot be read any further, or a packet is incomplete.
            UserError: the video was closed meanwhile.
        """
        demuxed, begun = self.container.demux(self.stream), self.indexed
        while True:
            if self.closed:
                raise UserError(f"{self.path}: this video is closed; open it again")
            try:
                packet = next(demuxed, None)
            except FFmpegError as error:
                raise Damaged from error
            if packet is None:
                return
            begun = begun or packet.is_keyframe
            if begun and packet.is_corrupt:
                raise Damaged(-math.inf if packet.pts is None else packet.pts)
            if begun:
                yield packet

    def pictures(self, sought: bool = False) -> Iterator[VideoFrame]:
        """The decoded pictures from here in the order they are shown, beginning after `seek` (`sought`) with a key frame.

        Raises:
            Damaged: what follows cannot be decoded whole; what comes before it was given.
            UserError: the video was closed meanwhile.
        """
        keyed, given = False, False
        for picture in self._decoded():
            keyed = keyed or picture.key_frame
            # before the first key frame, pictures may lean on ones that were never decoded and look wrong, with or without a warning
            skip = not keyed and (sought or (picture.is_corrupt and not self.indexed))
            # decoders drop what they cannot make sense of, and say nothing
            lost = self._missing(picture.pts) and (given or not sought)
            if (picture.is_corrupt and not skip) or lost:
                raise Damaged
            if not skip:
                given = True
                yield picture
        if self._promised and (given or not sought):
            raise Damaged

    def _missing(self, tick: int | None) -> bool:
        """Whether a picture that was to be shown before `tick` has not come out of the decoder."""
        if tick is None:
            return False
        missing = False
        while self._promised and self._promised[0] <= tick:
            missing = heapq.heappop(self._promised) < tick or missing
        return missing

    def _decoded(self) -> Iterator[VideoFrame]:
        """What the decoder gives; at damage also what it still holds from before."""
        at: float = math.inf
        first: int | None = None
        self._promised = []
        counts = self.one_packet_a_frame
        try:
            for packet in self.packets():
                at = -math.inf if packet.pts is None else packet.pts
                first = packet.pts if first is None else first
                if counts and packet.pts is not None and first is not None and packet.pts >= first and not packet.is_discard:
                    heapq.heappush(self._promised, packet.pts)
                yield from packet.decode()
            return
        except FFmpegError as error:
            cause: Exception = error
        except Damaged as error:
            cause, at = error, error.tick
        try:
            waiting = self.stream.codec_context.decode(None)
        except FFmpegError:
            waiting = []
        for picture in waiting:
            # the decoder may be ahead: pictures shown after the lost one would hide the gap
            if picture.pts is None or picture.pts >= at:
                break
            yield picture
        raise Damaged(at) from cause

    def close(self) -> None:
        """Closes the file; whoever still iterates over it is told."""
        self.closed = True
        self.container.close()
        self._file.close()


def _check(path: Path) -> None:
    """That `path` is a local file with something in it."""
    text = str(path)
    if not path.exists():
        if text.startswith(("concat:", "pipe:", "data:")) or ":/" in text:
            raise UserError(f"{text}: no such file; only local files are read, so download it first")
        raise UserError(f"{text}: no such file; check the name")
    if path.is_dir():
        raise UserError(f"{text}: a folder; expected a video file")
    if not path.is_file():
        raise UserError(f"{text}: not a regular file; expected a video file")
    if path.stat().st_size == 0:
        raise FormatError(text, "empty (0 bytes); expected a video, so record or copy it again")


def _why_not(head: bytes) -> str:
    """What a file that FFmpeg refused seems to be, from its first 16 bytes."""
    for magic, name in _PICTURES.items():
        if head.startswith(magic) and (name != "WebP" or head[8:12] == b"WEBP"):
            return f"one picture ({name}), not a video; expected {_READS}"
    if head.startswith(_LISTS):
        return "a playlist that names other files, which is not followed; give the video itself"
    if head[4:8] == b"ftyp":
        return "its index is missing or damaged: the recording was cut off before it was finished; expected a whole MP4"
    return f"not a video that can be read, or its header is damaged; expected {_READS}; if it is one, {_REENCODE}"


def _clock(text: str) -> float | None:
    """Seconds of ``HH:MM:SS.fraction``, as Matroska writes durations."""
    parts = text.split(":")
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
