"""Files inside a folder, a zip or alone, read one at a time and never unpacked to disk."""

from __future__ import annotations

import functools
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from ...errors import FormatError, UserError

MAX_FILE = 512 * 2**20
"""Largest file read into memory, bytes."""
MAX_RATIO = 200
"""Largest expansion of a compressed member; real text skeletons stay below 20."""
MAX_MEMBERS = 500_000


@dataclass(frozen=True)
class Member:
    """One readable file. Small and picklable, so that it can be sent to a worker process.

    `name` is the path inside the source with ``/``; for a single file, its file name.
    """

    source: str
    name: str
    size: int

    @property
    def origin(self) -> str:
        """How messages name it: ``archive.zip:inner/path`` or the path."""
        path = Path(self.source)
        if path.is_dir():
            return str(path / self.name)
        return f"{path}:{self.name}" if path.suffix.lower() == ".zip" else str(path)

    @property
    def stem(self) -> str:
        """File name without folders and last suffix."""
        return Path(self.name).stem

    def read(self, limit: int = MAX_FILE) -> bytes:
        """The whole file.

        Raises:
            FormatError: larger than `limit` bytes, or a damaged archive member.
        """
        if self.size > limit:
            raise FormatError(self.origin, f"{self.size} bytes; at most {limit} are read from one such file")
        path = Path(self.source)
        try:
            if path.is_dir():
                return (path / self.name).read_bytes()
            if path.suffix.lower() != ".zip":
                return path.read_bytes()
            with _archive(self.source).open(self.name) as stream:
                content = stream.read(limit + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, OSError) as error:
            raise FormatError(self.origin, f"cannot be read ({error})") from error
        if len(content) > limit:
            raise FormatError(self.origin, f"expands beyond {limit} bytes")
        return content


@functools.lru_cache(maxsize=4)
def _archive(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise FormatError(path, f"not a readable zip archive ({error})") from error


def members(source: Path | str) -> list[Member]:
    """Every file of a folder (recursively), of a zip, or the file itself, sorted by name.

    Raises:
        UserError: `source` does not exist.
        FormatError: a zip that is damaged, holds names that leave it, or members that expand too much.
    """
    source = Path(source)
    if source.is_dir():
        files = (f for f in sorted(source.rglob("*")) if f.is_file())
        return [Member(str(source), f.relative_to(source).as_posix(), f.stat().st_size) for f in files]
    if not source.exists():
        raise UserError(f"{source}: no such file or folder")
    if source.suffix.lower() != ".zip":
        return [Member(str(source), source.name, source.stat().st_size)]
    entries = [i for i in _archive(str(source)).infolist() if not i.is_dir()]
    if len(entries) > MAX_MEMBERS:
        raise FormatError(source, f"{len(entries)} members; at most {MAX_MEMBERS} are accepted")
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        if ".." in parts or entry.filename.startswith(("/", "\\")) or ":" in parts[0]:
            raise FormatError(source, f"member {entry.filename!r} points outside the archive; repack it")
        if entry.file_size > MAX_RATIO * max(entry.compress_size, 1) + 2**16:
            raise FormatError(source, f"member {entry.filename!r} expands {entry.file_size // max(entry.compress_size, 1)}-fold")
    return sorted((Member(str(source), e.filename, e.file_size) for e in entries), key=lambda m: m.name)
