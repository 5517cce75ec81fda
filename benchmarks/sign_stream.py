"""How fast poses become labels while they come in: ``python benchmarks/sign_stream.py --run RUN FILE [FILE ...]``.

Pushes every pose of motion files into a `Stream` of a classifier, one after the other, as a camera would, and prints how many it takes a
second, and how long one answer takes. Finding the pose in an image is not in it: that is measured by `kinema pose`.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from timing import clock, header, milliseconds

from kinema.motion.clip import Clip
from kinema.recognition.classifier import Recogniser, open_recogniser
from kinema.recognition.recognize import Stream
from kinema.verbs.common import clip_for


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="motion files; of each the first clip")
    parser.add_argument("--run", type=Path, required=True, help="the run folder of a classifier")
    parser.add_argument("--window", type=float, help="seconds that an answer looks back; default: the run's usual")
    parser.add_argument("--hop", type=float, help="seconds between two answers; default: 1/8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    found = parser.parse_args(arguments)
    if found.threads < 1 or found.rounds < 1:
        parser.error("expected 1 or more threads and rounds")
    return found


def stream_of(recogniser: Recogniser, clip: Clip, options: argparse.Namespace) -> Stream:
    """A stream of such poses as those of the clip."""
    size = clip.image_size
    return Stream(
        recogniser,
        skeleton=clip.skeleton,
        fps=clip.fps,
        image_size=size,
        units=clip.units,
        window=options.window,
        hop=options.hop,
    )


def push(stream: Stream, clip: Clip) -> tuple[list[float], list[float]]:
    """Seconds of each pose with an answer, and of each without."""
    answered: list[float] = []
    silent: list[float] = []
    for frame in range(clip.frames):
        sure = None if clip.confidence is None else clip.confidence[frame]
        said: list[object] = []
        seconds = clock(lambda frame=frame, sure=sure, said=said: said.append(stream.push(clip.positions[frame], sure)), False)
        (silent if said[0] is None else answered).append(seconds)
    return answered, silent


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    options = read(arguments)
    torch.set_num_threads(options.threads)
    recogniser = open_recogniser(options.run)
    clips = [clip_for(file, 0, recogniser.skeleton)[0] for file in options.files]
    method = f"{recogniser.recipe.method} {recogniser.recipe.preset}, {len(recogniser.classes)} classes"
    print(header(False, f"{method}, {options.rounds} rounds"))
    print(
        "\n| file | poses | poses/s, median (min-max) | x real time | answers | ms an answer, median (min-max) | ms a pose without one |"
    )
    print("|---|---|---|---|---|---|---|")
    for file, clip in zip(options.files, clips, strict=True):
        push(stream_of(recogniser, clip, options), clip)  # warm up
        rates: list[float] = []
        answered: list[float] = []
        silent: list[float] = []
        for _ in range(options.rounds):
            told, quiet = push(stream_of(recogniser, clip, options), clip)
            rates.append(clip.frames / (sum(told) + sum(quiet)))
            answered, silent = answered + told, silent + quiet
        middle = statistics.median(rates)
        answer = milliseconds(answered, 1) if answered else "-"
        plain = f"{1e3 * statistics.median(silent):.2f}" if silent else "-"
        print(
            f"| {file.name} | {clip.frames} | {middle:.0f} ({min(rates):.0f}-{max(rates):.0f}) | {middle / clip.fps:.1f} "
            f"| {len(answered) // options.rounds} | {answer} | {plain} |"
        )


if __name__ == "__main__":
    main()
