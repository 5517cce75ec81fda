"""What goes wrong because of the user's input or machine, told in one line.

Floor 0: imports nothing, may be imported by everything. The command line turns a `UserError`
into one clear line and exit code 2, an interruption exits with 130 or 143; anything else is our fault and exits with 1.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Bad input, option or environment. The message names the value, what was expected and what to do."""


class FormatError(UserError):
    """A file that is not what its reader expects.

    Args:
        origin: the file (for a member of an archive: ``archive.zip:member``).
        problem: what was found and what was expected instead.
    """

    def __init__(self, origin: object, problem: str):
        super().__init__(f"{origin}: {problem}")
        self.origin, self.problem = str(origin), problem

    def __reduce__(self):  # two arguments: plain exception pickling would lose one on its way out of a worker process
        return type(self), (self.origin, self.problem)


class CheckpointError(UserError):
    """A checkpoint that is damaged, incomplete or made for another model."""


class Interrupted(KeyboardInterrupt):
    """A signal asked to stop. Like Ctrl-C itself it is no `Exception`, so that nothing that handles errors takes it for one.

    Args:
        number: of the signal: 2, which is Ctrl-C, or 15, SIGTERM.
        kept: what is saved and how to go on, in one line; empty where there is nothing to say.
    """

    def __init__(self, number: int, kept: str = ""):
        super().__init__(kept)
        self.number, self.kept = number, kept

    @property
    def exit_code(self) -> int:
        """As shells count: 130 or 143."""
        return 128 + self.number


@contextmanager
def keeping(kept: Callable[[], str]) -> Iterator[None]:
    """An interruption inside says what is saved: `kept()`, asked when it comes; one that says it already is left as it is."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if isinstance(stop, Interrupted) and stop.kept:
            raise
        raise Interrupted(stop.number if isinstance(stop, Interrupted) else signal.SIGINT, kept()) from stop


def unknown(kind: str, value: object, known: object) -> UserError:
    """The error for a name that is not in a table, with the closest known names first."""
    import difflib

    names = [str(k) for k in known]  # type: ignore[attr-defined]
    close = difflib.get_close_matches(str(value), names, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return UserError(f"unknown {kind} {value!r}: {hint}known: {', '.join(names)}")
