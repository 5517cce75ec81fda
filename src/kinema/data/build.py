"""Building a store out of a data set's files: in parallel, resumable, and the same bytes however it was run.

The files are read in chunks of about `CHUNK` jobs; jobs of one file are never parted, so that it is read once. A finished chunk is a
small store of its own in a work folder beside the result, so that a build that was stopped continues where it was; the last step joins
the chunks in order and renames the result to its place.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from ..errors import FormatError, UserError, unknown
from ..files import read_json, write_json
from ..machine import cores
from ..motion import formats
from ..motion.clip import Clip
from ..motion.conventions import Conventions
from ..motion.formats.jobs import Job, JobList, Skipped, in_order
from ..motion.names import one_form
from ..motion.skeleton import Skeleton
from ..motion.skeletons import SKELETONS
from ..schema import fits
from ..words import plural
from .datasets import Dataset
from .datasets import dataset as find_dataset
from .door import Door, Reader, door
from .doubts import doubts
from .kinds import Kinds
from .publish import publish, remove_replaced
from .store import Store, check_free
from .work import work_folder

CHUNK = 64
"""Jobs of one chunk, or as many more as one file has. Part of what is built, so never taken from the number of workers."""
VERSION = 4
"""Raised when the chunks of an older build can no longer be continued."""
Progress = Callable[[str, int, int | None], None]
"""Called with what is counted (rows, files, clips), how many are done, and how many there are (None: nobody knows)."""


@dataclass(frozen=True)
class BuildSummary:
    """What a build did.

    Attributes:
        store: where it is. clips: in it. files: read for it; where a table lists clips, its rows.
        skipped: (name, reason) of each bad file or row, and of each bad clip of a good one, in the order of the source.
        left_out: files that the data set's protocol does not use.
        resumed: files that an earlier, interrupted build had read.
        seconds: of this run.
        remarks: what the data set's list names and the source does not have, and how a table was read, a line each.
        doubts: what the clips seem to be that they should not (`doubts`), a line each.
    """

    store: Path
    clips: int
    files: int
    skipped: tuple[tuple[str, str], ...]
    left_out: int
    resumed: int
    seconds: float
    remarks: tuple[str, ...] = ()
    noun: str = "file"
    doubts: tuple[str, ...] = ()

    def lines(self, most: int = 10) -> list[str]:
        """The summary for a person, naming at most `most` of what was bad."""
        rate = (self.files - self.resumed) / max(self.seconds, 1e-9)
        files, clips = plural(self.files, self.noun), plural(self.clips, "clip")
        result = [f"{self.store}: {clips} from {files} in {self.seconds:.1f} s ({rate:.0f} {self.noun}s/s)"]
        if self.resumed:
            result.append(f"{plural(self.resumed, self.noun)} had been read before")
        if self.left_out:
            result.append(f"{plural(self.left_out, self.noun)} not part of the protocol, left out")
        result += self.remarks
        if self.skipped:
            result.append(f"{plural(self.clips, 'clip')}, {len(self.skipped)} skipped:")
            result += [f"  {name}: {reason}" for name, reason in self.skipped[:most]]
        if len(self.skipped) > most:
            result.append(f"  and {len(self.skipped) - most} more")
        return result


def build(
    source: Path | str,
    out: Path | str,
    *,
    dataset: str | None = None,
    format: str | formats.Format | None = None,
    workers: int | None = None,
    strict: bool = False,
    index: Path | None = None,
    skeleton: Skeleton | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    conventions: Conventions = Conventions(),  # noqa: B008, it is frozen
) -> BuildSummary:
    """Reads all clips of `source` into a store.

    Args:
        source: folder, zip or file.
        out: the store. Until it is complete, what was read lies beside it in ``.<name>.building``; the same command continues.
        dataset: name in `DATASETS`; gives format, classes, and which files belong.
        format: name in `motion.formats.FORMATS`, or a module of one's own with `jobs` and `read`; default: guessed from the files.
        workers: processes; default: one per core. 1 reads in this process.
        strict: stop at the first bad file or clip instead of skipping it.
        index: of the format ``user``: the table of clips.
        skeleton: of the format ``user`` the joints of the arrays; of any other the skeleton that every clip is converted to by the names
            of joints (`motion.convert`).
        overwrite: replace a store that is there.
        progress: called while it works, for who wants to show how far it is.
        conventions: units and axes of files that do not say them (`door.SILENT`, `door.POSES`).

    Raises:
        UserError: no clips, clips of several kinds (which are named), unknown names, bad options, a disk that is full, or with `strict` the
            first bad file or clip.
    """
    begun, source, out, told = time.monotonic(), Path(source), Path(out), progress or _silent
    check_free(out, overwrite)
    known = find_dataset(dataset) if dataset is not None else None
    if index is not None and known is None and format is None:
        format = "user"
    label, module = _format(source, known, format)
    found = _jobs(module, label, source, index, skeleton, told)
    kept = [job for job in found if known is None or known.keep(job.name)]
    read, jobs = door(module, label, known, kept, conventions, skeleton)
    listed = found if isinstance(found, JobList) else None
    if not jobs:
        raise UserError(f"{source}: no files of {known.title if known else f'format {label}'}; is it the right folder or zip?")
    parts = _parts(jobs)
    noun = "row" if module is formats.user else "file"
    place = out.resolve()  # of a link, what it leads to
    work = place.with_name(f".{place.name}.building")
    with work_folder(work, _fingerprint(label, known, jobs, read)):
        remove_replaced(place)
        missing = [i for i in range(len(parts)) if not _finished(work, i)]
        resumed = len(jobs) - sum(len(parts[i]) for i in missing)
        _read_all(parts, missing, work, read, workers or cores(), strict, lambda done: told(noun, done, len(jobs)), resumed)
        skipped = [bad for i in range(len(parts)) for bad in _bad(work, i)]
        if skipped and strict:
            raise FormatError(*skipped[0])
        if skipped and not any(_part(work, i).exists() for i in range(len(parts))):
            none = f"none of {len(jobs)} {noun}s could be read; the first" if len(jobs) > 1 else f"its one {noun} could not be read"
            raise UserError(f"{source}: {none}: {skipped[0][0]}: {skipped[0][1]}")
        mixed = _kinds(work, len(parts)).problem()
        if mixed is not None:
            raise UserError(f"{source}: {mixed}")
        shutil.rmtree(work / "store", ignore_errors=True)
        store = Store.write(
            work / "store",
            _joined(work, len(parts), told),
            name=known.name if known else source.resolve().stem or label,
            skeleton=SKELETONS[known.skeleton] if known and known.skeleton else None,
            classes=listed.classes if listed else known.classes if known else None,
            dataset=known.name if known else None,
            read_as=conventions.to_json(),
        )
        clips, doubted = len(store), tuple(doubts(store))
        publish(work / "store", place)
    shutil.rmtree(work)
    seconds = time.monotonic() - begun
    remarks = listed.remarks if listed else ()
    return BuildSummary(out, clips, len(jobs), tuple(skipped), len(found) - len(jobs), resumed, seconds, remarks, noun, doubted)


def _silent(what: str, done: int, total: int | None) -> None:
    """Tells nobody."""


def _parts(jobs: Sequence[Job]) -> list[list[Job]]:
    """The chunks: `CHUNK` jobs each, and more where the last one's file has more."""
    parts: list[list[Job]] = []
    for job in jobs:
        if parts and (len(parts[-1]) < CHUNK or job.member == parts[-1][-1].member):
            parts[-1].append(job)
        else:
            parts.append([job])
    return parts


def _format(source: Path, known: Dataset | None, format: str | formats.Format | None) -> tuple[str, formats.Format]:
    """Name and module of the format."""
    if known is not None and format is not None:
        raise UserError(f"data set {known.name} has its own format ({known.format}); leave --format out")
    if format is not None and not isinstance(format, str):
        return getattr(format, "__name__", type(format).__name__), format
    name = known.format if known is not None else format or formats.guess(source)
    if name not in formats.FORMATS:
        raise unknown("format", name, formats.FORMATS)
    return name, formats.FORMATS[name]


def _jobs(
    module: formats.Format, label: str, source: Path, index: Path | None, skeleton: Skeleton | None, told: Progress
) -> Sequence[Job]:
    if module is formats.user:
        return formats.user.jobs(source, index, skeleton, lambda row: told("line", row, None))
    if index is not None:
        raise UserError(f"--index belongs to the format user; {label} knows its own")
    return module.jobs(source)


def _fingerprint(label: str, known: Dataset | None, jobs: Sequence[Job], read: Door) -> str:
    """A hash of everything that the chunks depend on: the format, and each file's name, size, time and context."""
    digest = hashlib.sha256(repr((VERSION, CHUNK, label, known.name if known else None, read.conventions, read.skeleton)).encode())
    times: dict[str, int] = {}
    for job in jobs:
        member = job.member
        place = f"{member.source}\0{member.name}"
        if place not in times:
            times[place] = member.changed()
        context = [_words(part) if isinstance(part, Skeleton) else repr(part) for part in job.context]
        digest.update(repr((job.name, member.name, member.size, times[place], context, job.units)).encode())
    return digest.hexdigest()


@lru_cache(maxsize=8)
def _words(skeleton: Skeleton) -> str:
    """A skeleton in words, which all jobs of a table share."""
    return repr(skeleton)


def _ignore_interrupt() -> None:
    """Ctrl-C is the parent's to handle: chunks that are being read are finished first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _part(work: Path, i: int) -> Path:
    return work / f"part-{i:06}"


def _bad_list(work: Path, i: int) -> Path:
    """Written last: a chunk is finished when it exists."""
    return work / f"part-{i:06}.bad.json"


def _kind_list(work: Path, i: int) -> Path:
    return work / f"part-{i:06}.kinds.json"


def _kinds(work: Path, parts: int) -> Kinds:
    """The kinds of clip in all parts."""
    kinds = Kinds()
    for i in range(parts):
        kinds.join(Kinds.read(_kind_list(work, i)))
    return kinds


def _bad(work: Path, i: int) -> list[tuple[str, str]]:
    """The bad files of a chunk, with reasons. Raises FormatError where there is no list of them, or a damaged one."""
    listed = read_json(_bad_list(work, i))
    if not fits(listed, list[tuple[str, str]]):
        raise FormatError(_bad_list(work, i), "not the bad files of a part; remove it and build again")
    return [(name, reason) for name, reason in listed]


def _finished(work: Path, i: int) -> bool:
    """Whether a chunk has been read, and nothing of it is damaged."""
    try:
        _bad(work, i)
        if _part(work, i).exists():
            Store.open(_part(work, i), resolved=False)
        Kinds.read(_kind_list(work, i))
    except UserError:
        return False
    return True


def _read_all(
    parts: Sequence[Sequence[Job]],
    missing: Sequence[int],
    work: Path,
    read: Reader,
    workers: int,
    strict: bool,
    told: Callable[[int], None],
    done: int,
) -> None:
    """Reads the missing chunks, here or in other processes."""

    def step(more: int) -> None:
        nonlocal done
        done += more
        told(done)

    if min(workers, len(missing)) <= 1:
        for i in missing:
            _read_chunk(parts[i], work, i, read, strict, step)
        return
    # spawned: a forked copy of a process that has started threads (torch, rich) may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(missing)), mp_context=context, initializer=_ignore_interrupt) as pool:
        waiting: dict[Future[None], int] = {pool.submit(_read_chunk, parts[i], work, i, read, strict): i for i in missing}
        try:
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    future.result()
                    step(len(parts[waiting.pop(future)]))
        except BrokenProcessPool as error:
            raise UserError("a reading process was killed (out of memory?); run again with fewer workers to continue") from error
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _read_chunk(
    jobs: Sequence[Job], work: Path, i: int, read: Reader, strict: bool, step: Callable[[int], None] | None = None
) -> None:
    """Reads some files into part `i`, a store (where they hold any clip), and the list of the bad ones."""
    bad: list[tuple[str, str]] = []
    clips = _clips(jobs, read, strict, bad, step)
    shutil.rmtree(_part(work, i), ignore_errors=True)
    kinds = Kinds()
    alike = kinds.first(clips)  # those of other kinds are counted alone: they end the build, when it knows how many there are
    first = next(alike, None)
    if first is not None:
        Store.write(_part(work, i), chain([first], alike), name="part", resolve=False)
    kinds.write(_kind_list(work, i))
    write_json(_bad_list(work, i), bad)


def _clips(
    jobs: Iterable[Job], read: Reader, strict: bool, bad: list[tuple[str, str]], step: Callable[[int], None] | None
) -> Iterator[tuple[str, Clip]]:
    """The clips of some files with their ids, those of one file in memory at a time; puts into `bad` what cannot be read."""
    for job in jobs:
        if step is not None:
            step(1)
        try:
            found = in_order(read(job))
        except UserError as error:
            if strict:
                raise
            bad.append((job.name, error.problem if isinstance(error, FormatError) else str(error)))
            continue
        except Exception as error:
            error.add_note(f"while reading {job.member.origin}")
            raise
        name = one_form(job.name)
        for place, item in enumerate(found, 1):
            own = name if len(found) == 1 else f"{name}#{place}"
            if isinstance(item, Clip) and item.somebody():
                # the file's name in the source, not a place on this machine
                yield own, item.with_(source=name)
                continue
            # a clip without anybody says nothing to any method, and would stop the training on all others
            problem = item.reason if isinstance(item, Skipped) else f"nobody is in any of its {plural(item.frames, 'frame')}"
            if isinstance(item, Skipped):
                own = f"{own} ({item.name})"
            if strict:
                raise FormatError(job.member.origin, problem if len(found) == 1 else f"{own}: {problem}")
            bad.append((own, problem))


def _joined(work: Path, parts: int, told: Progress) -> Iterator[tuple[str, Clip]]:
    """All clips of all parts in order."""
    count = 0
    for i in range(parts):
        if _part(work, i).exists():
            store = Store.open(_part(work, i), resolved=False)
            for k, entry in enumerate(store.entries):
                count += 1
                told("clip", count, None)
                yield entry.id, store.clip(k)
