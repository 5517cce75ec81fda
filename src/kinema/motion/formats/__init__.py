"""One file a format. Each reads folders, zips and single files into clips."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ...errors import FormatError, UserError
from ..clip import Clip
from ..names import one_form
from . import (
    dotpose,
    fingerspelling,
    msasl,
    msr_action3d,
    npz,
    ntu,
    nw_ucla,
    openhands,
    pku,
    pyskl,
    sbu,
    sign_table,
    user,
    utd_mhad,
    utkinect,
    wholebody,
    wlasl,
)
from .jobs import ClipList, Job, Skipped, in_order
from .members import Member, members
from .rows import SPREADSHEETS


class Format(Protocol):
    """What the module of a format offers."""

    NAME: re.Pattern[str]
    """File names by which it is known."""

    def jobs(self, source: Path) -> list[Job]:
        """The files to read; cheap."""
        ...

    def read(self, job: Job) -> list[Clip]:
        """The clips of one file, or FormatError. Of a file of many a `ClipList`, which tells those that cannot be read."""
        ...


FORMATS: dict[str, Format] = {
    "ntu": ntu,
    "pku": pku,
    "nw-ucla": nw_ucla,
    "utd-mhad": utd_mhad,
    "msr-action3d": msr_action3d,
    "utkinect": utkinect,
    "sbu": sbu,
    # the largest first: where the lists of several are there, that is the guess
    **{f"wlasl{n}": wlasl.WLASL(n) for n in wlasl.SIZES},
    **{f"msasl{n}": msasl.MSASL(n) for n in msasl.SIZES},
    "nmfs-csl": sign_table.SignTable(sign_table.nmfs_csl_size),
    "slr500": sign_table.SignTable(sign_table.slr500_size),
    "pose": dotpose,
    "fingerspelling": fingerspelling,
    "openhands": openhands,
    "wholebody": wholebody,
    "pyskl": pyskl,
    "npz": npz,
    "user": user,
}
"""Every format by name."""

CLAIMS: dict[str, Callable[[Member], bool]] = {"openhands": openhands.claims, "wholebody": wholebody.claims}
"""Formats whose files share their suffix with others: whether a file is one of theirs, by its content."""
LOOKED_INTO = 5
"""Files whose content is looked into for a guess, evenly spaced."""


def guess(source: Path) -> str:
    """The format of a folder, a zip or a single file, by the names of the files in it (and the content of a few, see `CLAIMS`).

    Raises:
        UserError: no format has files with such names, or `source` does not exist.
    """
    found = members(source)
    files = {m.file: m for m in found}
    names = set(files)
    for name in ("user", *FORMATS):  # a table of clips says more than the files that it lists
        fitting = list(filter(FORMATS[name].NAME.fullmatch, files))
        if fitting and (name not in CLAIMS or _most(CLAIMS[name], [files[f] for f in fitting])):
            return name
    alone = names == {source.name}
    if alone and source.suffix.lower() in SPREADSHEETS:
        raise UserError(f"{source}: a spreadsheet; save it as CSV, called {user.INDEX}, beside the files that it lists")
    if not alone and any(name.lower().endswith((*user.SUFFIXES, *SPREADSHEETS)) for name in names):
        raise UserError(f"{source}: no known format, and no {user.INDEX} for files of your own; {user.no_table(found)}")
    example = f"it holds files such as {min(names)}" if names else "it is empty"
    if alone:
        example = "by its name"
    raise UserError(
        f"{source}: no known format ({example}); known are {', '.join(FORMATS)}: docs/formats.md tells how their files are named, "
        "`kinema data build --format` takes a name, and `kinema pose` makes poses of a video"
    )


def _most(claims: Callable[[Member], bool], files: Sequence[Member]) -> bool:
    """Whether half of the files, or more, are of a format, by the content of `LOOKED_INTO` of them: the first may be a stray one."""
    few = files[:: -(-len(files) // LOOKED_INTO)]
    return 2 * sum(map(claims, few)) >= len(few)


def claimed(file: Path) -> bool:
    """Whether a bare file of numbers says by its content which format it is."""
    member = members(file)[0]
    return any(FORMATS[name].NAME.fullmatch(Path(file).name) and claims(member) for name, claims in CLAIMS.items())


def read_file(path: Path) -> ClipList:
    """The clips of one file, and which of it are not readable. A file within a zip is named as messages name it:
    ``archive.zip:inner/path``.

    Raises:
        UserError: no such file, a whole folder or zip, or no known format.
        FormatError: a damaged file, or none of its clips can be read.
    """
    path = Path(path)
    archive, colon, inner = str(path).rpartition(".zip:")
    if colon and not path.exists():
        source = Path(archive + ".zip")
        format = FORMATS[guess(source)]
        found = [job for job in format.jobs(source) if job.member.name == one_form(inner)]
        if not found:
            raise UserError(f"{source}: no readable file {inner!r} in it")
        return ClipList(in_order(format.read(found[0])))
    if path.is_dir() or path.suffix.lower() == ".zip":
        raise UserError(f"{path}: a whole folder or zip; name one file (within a zip: archive.zip:inner/path)")
    format = FORMATS[guess(path)]
    jobs = format.jobs(path)
    return ClipList(in_order(format.read(jobs[0]))) if len(jobs) == 1 else ClipList.some(readings(format, jobs), str(path))


def readings(format: Format, jobs: Iterable[Job]) -> Iterator[Clip | Skipped]:
    """What each job reads, one after another; a job of which nothing can be read is one `Skipped`."""
    for job in jobs:
        try:
            yield from in_order(format.read(job))
        except UserError as error:
            yield Skipped(job.name, error.problem if isinstance(error, FormatError) else str(error))
