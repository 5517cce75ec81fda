"""`kinema recognize`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..data.extract import Holistic, extract, pace
from ..data.video import Video
from ..errors import FormatError, UserError, unknown
from ..files import parse_json
from ..motion.clip import FASTEST, SLOWEST, UNITS, Clip
from ..motion.keypoints import HOLISTIC75
from ..motion.prepare import take_people
from ..motion.skeleton import Skeleton
from ..motion.skeletons import SKELETONS
from ..recognition.classifier import Recogniser, open_recogniser
from ..recognition.masa_prepare import shows_hands
from ..recognition.recognize import Label, Recognition, Stream, is_cut, labels_to_json
from ..recognition.recognize import recognize as run_recognize
from ..text import one_line, say, say_json
from ..training.device import device_of
from ..training.progress import counting
from ..view.timeline import Span, draw
from ..words import plural
from .common import check_writable, checked_number, clip_for, say_table, tell_unfinished
from .quiet import quiet

VIDEOS = tuple(
    ".mp4 .m4v .mov .3gp .mkv .webm .avi .ts .mts .m2ts .mpg .mpeg .vob .flv .wmv .asf .ogv .ogg .gif .apng .ivf .nut .mxf".split()
)
"""Names of videos end so; everything else is a motion file."""
MAX_LINE = 2**24
"""Letters of the longest line that is read from standard input."""
HEADER = ("skeleton", "fps", "image_size", "units")
POSE = ("positions", "confidence")


def recognize(
    file: Path | None,
    run: Path,
    number: int,
    top: int,
    window: float | None,
    hop: float | None,
    person: int | None,
    image_size: str | None,
    out: Path | None,
    as_json: bool,
    live: bool,
    accelerator: str,
) -> None:
    """Prints the labels of a motion file, a video or (`live`) of poses on standard input; draws them over time.

    Raises:
        UserError: nothing readable, a run that is no classifier, nobody to be seen, or options that make no sense.
    """
    if top < 1:
        raise UserError(f"--top {top}: expected 1 or more")
    if person is not None and person < 0:
        raise UserError(f"--person {person}: expected 0 or more")
    if out is not None and out.suffix.lower() != ".png":
        raise UserError(f"--out {out}: expected a name that ends in .png")
    if live:
        if file is not None or out is not None or number or image_size is not None:
            raise UserError(
                "--live reads poses from standard input and prints JSON: leave out the file, --clip, --out and --image-size"
            )
        recogniser = open_recogniser(run, str(device_of(accelerator)))
        tell_unfinished(run, recogniser.recipe.supervision.epochs)
        _live(recogniser, top, window, hop, person)
        return
    if file is None:
        raise UserError("no file: name a motion file or a video, or read poses from standard input with --live")
    if out is not None:
        _check_picture(out)
    recogniser = open_recogniser(run, str(device_of(accelerator)))
    unasked = Path(f"{file.stem or 'clip'}-labels.png")

    def check(seconds: float) -> None:
        if out is None and not as_json and is_cut(recogniser, seconds, window, hop):
            _check_picture(unasked)

    if file.suffix.lower() in VIDEOS and not file.is_dir():
        checked_number(number, 1, file)
        clip = _film(file, recogniser, sys.stderr if as_json else sys.stdout, check)
    else:
        clip, clips = clip_for(file, number, recogniser.skeleton, recogniser.units[0] if recogniser.units else None)
        if clips != 1:
            unasked = Path(f"{file.stem or 'clip'}-{number}-labels.png")
        check(clip.seconds)
    if image_size is not None:
        clip = _sized(clip, _width_and_height(image_size), file)
    if person is not None:
        if person >= clip.people:
            raise UserError(f"--person {person}: {file} has {plural(clip.people, 'person', 'people')}, from 0 to {clip.people - 1}")
        clip = take_people(clip, [person])
    tell_unfinished(run, recogniser.recipe.supervision.epochs)
    if recogniser.recipe.signs:
        prepared = recogniser.prepare(clip)
        if prepared is not None and not shows_hands(prepared):
            seen = f"no hand is seen in any of its {plural(clip.frames, 'frame')}"
            say(f"{file}: {seen}; what follows rests on the arms", to=sys.stderr)
    with counting(clip.frames, "frame") as step:
        found = run_recognize(recogniser, clip, top=top, window=window, hop=hop, progress=step)
    if out is None and len(found.pieces) > 1 and not as_json:
        out = unasked
    if out is not None:
        spans = [Span(s.start, s.end, [(label.name, label.confidence) for label in s.labels]) for s in found.spans()]
        title = f"{file.name} · {recogniser.recipe.method} {recogniser.recipe.preset}"
        draw(spans, out, clip, title)
    if as_json:
        told = {"run": str(run), "file": str(file), "clip": number, "person": person, **found.to_json()}
        say_json(told | {"picture": None if out is None else str(out)})
    else:
        _print(found)
        if out is not None:
            say(f"drawn to {out}")


def _width_and_height(text: str) -> tuple[int, int]:
    """Of ``640x480``. Raises UserError."""
    found = re.fullmatch(r"([1-9]\d{0,8})\s*[x×]\s*([1-9]\d{0,8})", text.strip())
    if found is None:
        raise UserError(f"--image-size {text}: expected width x height in pixels, for instance 640x480")
    return int(found[1]), int(found[2])


def _sized(clip: Clip, size: tuple[int, int], file: Path) -> Clip:
    """A clip with the size of its image, which it did not know."""
    if clip.units != "pixels":
        raise UserError(f"--image-size: {file} is in {clip.units}, not in pixels; leave it out")
    if clip.image_size not in (None, size):
        raise UserError(f"--image-size: {file} says {clip.image_size[0]} x {clip.image_size[1]} itself; leave it out")
    return clip.with_(image_size=size)


def _check_picture(path: Path) -> None:
    """Raises UserError if no picture can be written there."""
    if path.is_dir():
        raise UserError(f"{path}: a folder is in the way of the picture; choose another --out")
    check_writable(path)


def _film(file: Path, recogniser: Recogniser, told: TextIO, check: Callable[[float], None]) -> Clip:
    """The person of a video, found by MediaPipe. What can be refused before the long work is; `check` is told about its seconds."""
    with Video.open(file) as video:
        chosen = pace(video)
        check(chosen.total / chosen.fps)
        recogniser.prepare(_made_up(video))
        with quiet():
            extractor = Holistic()
            with counting(chosen.total, "frame") as step:
                clip = extract(video, extractor, chosen, step)
    say(f"{plural(clip.frames, 'frame')} looked at by MediaPipe {extractor.version}", to=told)
    return clip


def _made_up(video: Video) -> Clip:
    """A pose such as those that will be found: a run that cannot take it cannot take them."""
    height, width = video.size
    places = np.linspace(0.3, 0.7, len(HOLISTIC75))[:, None] * np.array([width, height])
    positions = np.tile(places.astype(np.float32), (8, 1, 1, 1))
    sure = np.ones(positions.shape[:3], np.float32)
    return Clip(positions, HOLISTIC75, 25, sure, units="pixels", image_size=(width, height), source=str(video.path))


def _percent(label: Label) -> str:
    return f"{100 * label.confidence:.0f} %"


def _print(found: Recognition) -> None:
    """A table of one piece; of several, a line for each time in which the first label stays the same, and the whole in a line."""
    seconds = found.frames / found.fps
    if len(found.pieces) == 1:
        say(f"{one_line(Path(found.source).name or 'clip')}, {seconds:.1f} s")
        rows = [(label.name, _percent(label)) for label in found.labels]
        say_table(("class", "confidence"), rows, right=("confidence",))
        return
    merged = found.merged()
    times = [f"{span.start:.1f}-{span.end:.1f} s" for span in merged]
    names = [one_line(span.labels[0].name) if span.labels else "(nobody)" for span in merged]
    for time, name, span in zip(times, names, merged, strict=True):
        sure = f"  {_percent(span.labels[0]):>5}" if span.labels else ""
        say(f"{time:>{max(map(len, times))}}  {name:<{max(map(len, names))}}{sure}".rstrip())
    say("on the whole: " + ", ".join(f"{one_line(label.name)} {_percent(label)}" for label in found.labels))


# standard input


def _live(recogniser: Recogniser, top: int, window: float | None, hop: float | None, person: int | None) -> None:
    """Reads a header and a pose a line, and prints a line whenever the stream has an answer."""
    line = 1
    try:
        given = _json_line(HEADER, "fps")
        if given is None:
            raise UserError('nothing comes in; the first line is a JSON object such as {"fps": 30}, see docs/recognize.md')
        stream = _stream(recogniser, given, top, window, hop)
        while True:
            line += 1
            given = _json_line(POSE, "positions")
            if given is None:
                break
            positions, confidence = given["positions"], given.get("confidence")
            if person is not None:
                positions, confidence = _only(positions, person), _only(confidence, person)
            labels = stream.push(positions, confidence)
            if labels is not None:
                told = {"frames": stream.frames, "seconds": round(stream.frames / stream.fps, 6)}
                say_json(told | {"labels": labels_to_json(labels)}, indent=None)
    except UserError as error:
        raise UserError(f"standard input, line {line}: {error}") from error
    if stream.frames < stream.first:
        came = plural(stream.frames, "pose")
        say(f"the input ended after {came}; the first answer comes after {stream.first}", to=sys.stderr)


def _json_line(known: Sequence[str], needed: str) -> dict[str, Any] | None:
    """The JSON object of the next line; None at the end of the input.

    Raises:
        UserError: anything else.
    """
    try:
        text = sys.stdin.readline(MAX_LINE + 1)
        if not text:
            return None
        if len(text) > MAX_LINE:
            raise UserError(f"longer than {MAX_LINE} letters; expected one JSON object a line")
    except ValueError as error:  # no text
        raise UserError(f"no JSON object ({error}); expected one a line, with {' and '.join(known)}") from error
    try:
        value = parse_json(text, "")
    except FormatError as error:
        raise UserError(f"no JSON object ({error.problem}); expected one a line, with {' and '.join(known)}") from error
    if not isinstance(value, dict) or needed not in value or set(value) - set(known):
        raise UserError(f"expected a JSON object with {needed}, and no other keys than {', '.join(known)}")
    return value


def _stream(recogniser: Recogniser, header: dict[str, Any], top: int, window: float | None, hop: float | None) -> Stream:
    """The stream that a header describes.

    Raises:
        UserError: a value that is not what its name says.
    """
    skeleton, fps, size, units = (header.get(key) for key in HEADER)
    if skeleton is None:
        skeleton = recogniser.skeleton
    elif isinstance(skeleton, str):
        if skeleton not in SKELETONS:
            raise unknown("skeleton", skeleton, SKELETONS)
        skeleton = SKELETONS[skeleton]
    else:
        skeleton = Skeleton.from_json(skeleton)
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not SLOWEST <= fps <= FASTEST:
        raise UserError(f"fps {fps!r}; expected a number from {SLOWEST:g} to {FASTEST:g}")
    if size is not None and not (isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)):
        raise UserError(f"image_size {size!r}; expected [width, height] in pixels")
    return Stream(
        recogniser,
        skeleton=skeleton,
        fps=float(fps),
        image_size=None if size is None else (size[0], size[1]),
        units=UNITS[0] if units is None else str(units),
        window=window,
        hop=hop,
        top=top,
    )


def _only(people: Any, person: int) -> Any:
    """One of a list of people, as a list; of none where there is no such person. What is no list is judged by the stream."""
    return people[person : person + 1] if isinstance(people, list) else people
