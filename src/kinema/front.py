"""What every verb of the command line is entered by: their register, how words are parsed, and what a failure says and exits with."""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import io
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import tyro

from . import __version__
from .errors import Interrupted, UserError, unknown
from .text import one_line, say
from .training.made import asked

VERBS = (
    "data",
    "show",
    "pose",
    "train",
    "finetune",
    "evaluate",
    "embed",
    "retrieve",
    "recognize",
    "import-weights",
    "demo",
    "papers",
    "doctor",
)
"""The public verbs; a test freezes them."""
DATA_VERBS = ("list", "build", "stage", "check")
PARAMETERS: dict[str, list[str]] = {}
"""Options of every verb, as they are typed."""

app = tyro.extras.SubcommandApp()
data_app = tyro.extras.SubcommandApp()
app.command(data_app, name="data", help="List known data sets, build and check stores.")


def verb(name: str, of: tyro.extras.SubcommandApp = app) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a verb. Parsing only binds its options, so that what the parser complains of is known before anything runs."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def bound(*args: Any, **options: Any) -> Callable[[], None]:
            return functools.partial(function, *args, **options)

        of.command(name=name)(bound)
        PARAMETERS[f"data {name}" if of is data_app else name] = [
            f"--{parameter.name.replace('_', '-')}"
            for parameter in inspect.signature(function).parameters.values()
            if "Positional" not in str(parameter.annotation)
        ]
        return function

    return register


def _unboxed(text: str) -> str:
    """What the parser printed in a box (drawn with letters where the terminal knows no others), without its title, as one line."""
    lines: list[str] = []
    for number, line in enumerate(text.splitlines()):
        words = line.strip("╭╮╰╯│├┤─- ")
        if number and words:  # the first line is the title
            lines.append(line.strip("│ "))
    return " ".join(" ".join(lines).split())


def _explain(arguments: Sequence[str], said: str) -> UserError:
    """The parser's complaint; names that it does not know are told with the closest ones."""
    words = [a for a in arguments if not a.startswith("-")]
    if words and words[0] not in VERBS:
        return unknown("verb", words[0], VERBS)
    if words[:1] == ["data"] and len(words) > 1 and words[1] not in DATA_VERBS:
        return unknown("verb of kinema data", words[1], DATA_VERBS)
    name = " ".join(words[: 2 if words[:1] == ["data"] else 1])
    stray = re.search(r"Unrecognized options: (--[^\s,=]+)", said)
    if stray and name in PARAMETERS:
        return unknown(f"option of kinema {name}", stray[1], PARAMETERS[name])
    mistaken = re.search(
        r"Error parsing (--\S+): no type matching (?:\{None\}\|)?(\S+) could be instantiated from \['?(.*?)'?\]", said
    )
    if mistaken:
        return UserError(f"{mistaken[1]} {mistaken[3]}: expected {mistaken[2]}; see kinema {name} --help")
    return UserError(said or "the command line was not understood; see kinema --help")


def version() -> None:
    """Prints the version."""
    say(f"kinema {__version__}")


def parse(arguments: Sequence[str]) -> Callable[[], None]:
    """The verb with its options, ready to be called.

    Raises:
        UserError: an unknown verb, flag or value. SystemExit: help was asked for and printed.
    """
    if list(arguments) == ["--version"]:
        return version
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return app.cli(prog="kinema", args=list(arguments) or ["--help"])
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise _explain(arguments, _unboxed(complaint.getvalue())) from None


def _machine(error: Exception) -> str | None:
    """What the machine refused, in one line; None if `error` is no such thing."""
    if isinstance(error, OSError):
        if error.errno is None:
            return None
        place = f"{error.filename}: " if error.filename is not None else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        advice = "free some space and run again" if full else "look at the path, its permissions and the disk"
        return f"{place}{error.strerror}; {advice}"
    if isinstance(error, UnicodeEncodeError):
        around = error.object[max(0, error.start - 30) : error.end + 30]
        return f"a name holds bytes that are no text (within {around!a}); rename the file"
    starved = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    if starved:
        return "not enough memory; use fewer or shorter clips, a smaller --batch-size, or a machine with more"
    return None


def _complain(text: str) -> None:
    """One line on standard error."""
    say(f"kinema: {one_line(text)}", to=sys.stderr)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Inside, SIGTERM stops as Ctrl-C does: what is open is closed, half-written files are removed, and what is kept is told."""
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers only there
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = signal.signal(signal.SIGTERM, stop)
    if os.environ.get("LOCAL_RANK", "0") != "0" and "TORCHELASTIC_RUN_ID" not in os.environ:
        # a process that another one of ours has started: that one hears a terminal's Ctrl-C too, and tells it when training has begun
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb. Returns 0 when done, 2 for a user's mistake or a machine's refusal, 1 for ours, 130 or 143 when interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a letter is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    try:
        with _terminable(), asked(arguments):
            parse(arguments)()
        if sys.stdout is not None:
            sys.stdout.flush()
    except UserError as error:
        _complain(str(error))
        return 2
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, Interrupted) else Interrupted(signal.SIGINT)
        _complain("interrupted" + (f"; {stop.kept}" if stop.kept else ""))
        return stop.exit_code
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        _give_up_output()
        return 0
    except Exception as error:
        refused = _machine(error)
        if refused is not None:
            _give_up_output()
            _complain(refused)
            return 2
        say(*traceback.format_exc().rstrip().split("\n"), to=sys.stderr)
        _complain("this is our fault, not yours; please report it with the lines above")
        return 1
    return 0


def _give_up_output() -> None:
    """If standard output takes nothing any more, nothing may be tried there again, not even by Python at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
