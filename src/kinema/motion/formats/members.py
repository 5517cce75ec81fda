"""Files inside a folder, a zip or alone, read one at a time and never unpacked to disk."""

from __future__ import annotations

import functools
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import FormatError, UserError
from ...words import plural
from ..names import one_form

MAX_FILE = 512 * 2**20
"""Largest file read into memory, bytes."""
MAX_RATIO = 200
"""Largest expansion of a compressed member; real text skeletons stay below 20."""
MAX_MEMBERS = 500_000
_JUNK = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", "lost+found"})
"""Files and folders that systems leave beside a user's; also `_APPLE`."""
_APPLE = "._"
"""How the names of macOS's own side files begin."""


@dataclass(frozen=True)
class Member:
    """One readable file. Small and picklable, so that it can be sent to a worker process.

    Attributes:
        source: the folder, the zip, or the file itself.
        name: the path inside the source with ``/``, its letters in one form (see `names`); for a single file, its file name.
        size: bytes.
        stored: the path as the disk or the zip spells it, by which it is opened; empty where that is `name`.
    """

    source: str
    name: str
    size: int
    stored: str = ""

    @property
    def origin(self) -> str:
        """How messages name it: ``archive.zip:inner/path`` or the path."""
        path = Path(self.source)
        if path.is_dir():
            return str(path / (self.stored or self.name))
        return f"{path}:{self.name}" if path.suffix.lower() == ".zip" else str(path)

    @property
    def file(self) -> str:
        """File name without folders."""
        return self.name.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """File name without folders and last suffix."""
        return Path(self.name).stem

    @property
    def path(self) -> Path:
        """The file on the disk: of a member of a zip, the zip."""
        path = Path(self.source)
        return path / (self.stored or self.name) if path.is_dir() else path

    def changed(self) -> int:
        """When the file (of a member of a zip: the zip) was last written, in nanoseconds.

        Raises:
            FormatError: it is gone.
        """
        try:
            try:
                return os.stat(f"{self.source}/{self.stored or self.name}").st_mtime_ns
            except NotADirectoryError:
                return os.stat(self.source).st_mtime_ns
        except OSError as error:
            raise FormatError(self.origin, f"cannot be read ({error.strerror})") from error

    def read(self, limit: int = MAX_FILE) -> bytes:
        """The whole file.

        Raises:
            FormatError: larger than `limit` bytes, or a damaged archive member.
        """
        if self.size > limit:
            raise FormatError(self.origin, f"{self.size} bytes; at most {limit} are read from one such file")
        content = self.head(limit + 1)
        if len(content) > limit:
            raise FormatError(self.origin, f"expands beyond {limit} bytes")
        return content

    def head(self, size: int) -> bytes:
        """The first `size` bytes, or all where there are fewer.

        Raises:
            FormatError: it cannot be read.
        """
        archive = Path(self.source).suffix.lower() == ".zip" and not Path(self.source).is_dir()
        try:
            if archive:
                with _archive(self.source).open(self.stored or self.name) as stream:
                    return stream.read(size)
            with open(self.path, "rb") as stream:
                # Python makes room for all that it is asked for
                return stream.read(min(size, os.fstat(stream.fileno()).st_size))
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, KeyError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise FormatError(self.origin, f"cannot be read ({reason})") from error


@functools.lru_cache(maxsize=4)
def _archive(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise FormatError(path, f"not a readable zip archive ({error})") from error


def single(path: Path) -> Member:
    """A file by itself, whatever its name."""
    return Member(str(path), one_form(path.name), path.stat().st_size)


def members(source: Path | str) -> list[Member]:
    """Every file of a folder (recursively), of a zip, or the file itself, sorted by name. What systems leave there is left out.

    Raises:
        UserError: `source` does not exist, a folder cannot be listed, or two files have one name in two forms of its letters.
        FormatError: a zip that is damaged, holds names that leave it, or members that expand too much.
    """
    source = Path(source)
    if source.is_dir():
        return _sorted(source, _walk(source))
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if not source.is_file():
        raise UserError(f"{source}: neither a file nor a folder; give one of them")
    if source.suffix.lower() == ".zip":
        return _sorted(source, _entries(source))
    return [single(source)]


def _sorted(source: Path, found: Iterable[Member]) -> list[Member]:
    result: dict[str, Member] = {}
    for member in found:
        other = result.setdefault(member.name, member)
        if other is not member:
            spellings = " and ".join(dict.fromkeys(ascii(m.stored or m.name) for m in (other, member)))
            what = "is there twice" if " and " not in spellings else "are one name with its letters in two forms of Unicode"
            raise UserError(f"{source}: {spellings} {what}; rename or remove one of the two files")
    return sorted(result.values(), key=lambda member: member.name)


def _is_junk(name: str) -> bool:
    return name in _JUNK or name.startswith(_APPLE)


def _walk(source: Path) -> Iterator[Member]:
    """The files under a folder. Links to files are followed; links to folders are not, for they may lead anywhere, also in circles."""
    root = str(source)
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder) if folder else root) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if _is_junk(entry.name):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    elif _is_file(entry):
                        name = one_form(path)
                        yield Member(root, name, entry.stat().st_size, "" if name == path else path)
        except OSError as error:
            place = source / folder
            raise UserError(
                f"{place}: the folder cannot be listed ({error.strerror}); make it readable, or leave it out"
            ) from error


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads in a circle
        return False


def _entries(source: Path) -> Iterator[Member]:
    """The files in a zip."""
    entries = [i for i in _archive(str(source)).infolist() if not i.is_dir()]
    if len(entries) > MAX_MEMBERS:
        raise FormatError(source, f"{plural(len(entries), 'member')}; at most {MAX_MEMBERS} are accepted")
    for entry in entries:
        path = _spelled(entry).replace("\\", "/")
        parts = path.split("/")
        if ".." in parts or path.startswith("/") or ":" in parts[0]:
            raise FormatError(source, f"member {entry.filename!r} points outside the archive; repack it")
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1) + 2**16:
            raise FormatError(source, f"member {entry.filename!r} expands {entry.file_size // max(entry.compress_size, 1)}-fold")
        if not any(map(_is_junk, parts)):
            name = one_form(path)
            yield Member(str(source), name, entry.file_size, "" if name == entry.filename else entry.filename)


def _spelled(entry: zipfile.ZipInfo) -> str:
    """The name of a member. macOS writes UTF-8 without saying so, and zipfile then takes it for the code page of DOS."""
    if entry.flag_bits & 0x800 or entry.filename.isascii():
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename
