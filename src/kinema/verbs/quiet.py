"""Native libraries write what they like to standard error, past Python; here it is held back, so that a progress bar stays legible."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

from ..errors import UserError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While inside, what is written to file descriptor 2 and what Python warns of is not shown; `sys.stderr` still is.

    After an unexpected error it is shown all the same, since it may say why.
    """
    sys.stderr.flush()
    try:
        screen = os.dup(2)
    except OSError:  # closed: there is nothing to keep legible
        yield
        return
    python, ours = sys.stderr, None
    with tempfile.TemporaryFile() as held:
        try:
            if isinstance(python, io.TextIOWrapper) and python.fileno() == 2:
                ours = os.fdopen(os.dup(screen), "w", encoding=python.encoding, errors=python.errors, buffering=1)
                sys.stderr = ours
            os.dup2(held.fileno(), 2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception as error:
            if not isinstance(error, UserError):
                held.seek(0)
                os.write(screen, held.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)
            if ours is not None:
                sys.stderr = python
                ours.close()
