"""Pictures as an MP4: the one place that encodes video."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from PIL import Image

from ..errors import UserError
from ..files import atomic_file


def write_film(images: Iterable[Image.Image], path: Path, fps: float, otherwise: str) -> str:
    """Writes pictures of one size, one in memory at a time (H.264, yuv420p), atomically and with the same bytes on every machine.

    Args:
        images: a side that is odd loses a line, as yuv420p wants (of a single line it gains one).
        path: the file to make. fps: frames per second. otherwise: advice for whoever FFmpeg refuses, such as ``try a GIF``.

    Returns:
        The codec: ``h264``, or ``mpeg4`` where this machine's FFmpeg has no H.264 encoder.

    Raises:
        UserError: no picture, or FFmpeg refuses to encode.
    """
    import av
    from av.error import FFmpegError
    from av.video.stream import VideoStream

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with atomic_file(Path(path)) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container:
                stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
                assert isinstance(stream, VideoStream)
                stream.options = {"crf": "18"} if codec == "libx264" else {"qscale": "3"}
                stream.codec_context.thread_count = 1
                count = 0
                for count, image in enumerate(images, 1):
                    even = _even(image)
                    if count == 1:
                        (stream.width, stream.height), stream.pix_fmt = even.size, "yuv420p"
                    container.mux(stream.encode(av.VideoFrame.from_image(even)))
                if not count:
                    raise UserError(f"{path}: there is no frame to make a film of")
                container.mux(stream.encode(None))
        except FFmpegError as error:
            raise UserError(f"{path}: FFmpeg could not write this film ({error}); {otherwise}") from error
    return "h264" if codec == "libx264" else codec


def _even(image: Image.Image) -> Image.Image:
    width, height = (max(2, side - side % 2) for side in image.size)
    return image if image.size == (width, height) else image.crop((0, 0, width, height))
