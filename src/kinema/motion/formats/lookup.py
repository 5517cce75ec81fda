"""The files that a table names, found among those that are there."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from ..names import one_form
from .members import Member


class Lookup:
    """Members of a source by what a table calls them: from the table's folder, from the source, or by a path on this machine.

    Blanks around, ``\\``, ``./`` and ``..`` are understood, and letters in either form of Unicode.

    Args:
        source: folder, zip or file. files: what is in it. base: the folder in it from which the names count, ending in ``/``, or empty.
    """

    def __init__(self, source: Path, files: Sequence[Member], base: str):
        self.source, self.base = source, base
        self._files = {member.name: member for member in files}
        self._root = one_form(source.absolute().as_posix()).rstrip("/") + "/"

    def find(self, text: str) -> Member | None:
        """The file of a name, or None."""
        return next((found for name in self._candidates(text) if (found := self._files.get(name)) is not None), None)

    def _candidates(self, text: str) -> Iterator[str]:
        name = one_form(text.replace("\\", "/"))
        if "./" in name or "//" in name:
            near = posixpath.normpath(self._root + self.base + name)  # ../ may leave the source and come back
            if near.startswith(self._root):
                yield near[len(self._root) :]
            name = posixpath.normpath(name)
        yield self.base + name
        yield name
        if name.startswith(self._root):
            yield name[len(self._root) :]
        if name.startswith(f"{self.source.name}/"):
            yield name[len(self.source.name) + 1 :]
        if "\\" in text:  # on the disk of other systems than Windows it is a letter like others
            yield self.base + one_form(text)

    def id(self, name: str) -> str:
        """The name of a member as seen from the table's folder, where it lies there: the same however the source was packed."""
        return name.removeprefix(self.base)

    @cached_property
    def _by_letters(self) -> dict[str, str]:
        return {name.casefold(): name for name in self._files}

    @cached_property
    def _by_file(self) -> dict[str, str]:
        return {member.file.casefold(): member.name for member in self._files.values()}

    def why(self, text: str) -> str:
        """What a person should know of a name that was not found; may be empty."""
        name = one_form(text.replace("\\", "/"))
        place = self.source / self.base / name
        if posixpath.normpath(self.base + name).startswith("../"):
            return f"that lies outside of {self.source}, the source"
        if place.is_dir():
            return "that is a folder"
        if place.is_symlink() and not place.exists():
            return "that is a link to nothing"
        if self.source.is_dir() and place.is_file():
            return "it lies behind a link to a folder, which is not followed: copy the folder, or give it as the source"
        other = self._by_letters.get((self.base + name).casefold()) or self._by_letters.get(name.casefold())
        if other is not None:
            return f"there is {other!r}, with other letter case"
        alike = self._by_file.get(posixpath.basename(name).casefold())
        if alike is not None:
            return f"there is {alike!r}"
        if posixpath.isabs(name) or name[1:2] == ":":
            return "write paths as they are from the table's folder"
        return ""
