"""The text of the experiments: the sources of the running Python's standard library, as bytes."""

from __future__ import annotations

import hashlib
import platform
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema.errors import UserError
from kinema.files import atomic_file
from kinema.training.method import generator


@dataclass(frozen=True)
class Text:
    """Two memory-mapped arrays of bytes, and what they are made of.

    Attributes:
        train, validation: `(bytes,)` uint8; files end in a zero byte. origin: which Python. digest: of both arrays, hexadecimal.
    """

    train: np.ndarray
    validation: np.ndarray
    origin: str
    digest: str

    def batch(self, seed: int, step: int, rows: int, context: int) -> Tensor:
        """Windows of the training bytes, `(rows, context + 1)` int64: the same for every arm of a seed."""
        starts = torch.randint(len(self.train) - context, (rows,), generator=generator(seed, "batch", step))
        return _windows(self.train, starts.tolist(), context)

    def fixed(self, rows: int, context: int) -> Tensor:
        """Windows spread evenly over the validation bytes, `(rows, context + 1)` int64: the same for every run."""
        return _windows(self.validation, np.linspace(0, len(self.validation) - context - 1, rows).astype(int).tolist(), context)


def _windows(data: np.ndarray, starts: list[int], context: int) -> Tensor:
    return torch.from_numpy(np.stack([data[s : s + context + 1] for s in starts]).astype(np.int64))


def held_out(path: str) -> bool:
    """Whether a file, by its path relative to the library, is for validation: a tenth of them, by a fixed hash."""
    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "little") % 10 == 0


def read(cache: Path, library: Path | None = None) -> Text:
    """The text, gathered into `cache` once (30 MB). Installed packages are left out.

    Raises:
        UserError: no sources there (some Pythons ship without), or too few for a split.
    """
    library = library or Path(sysconfig.get_path("stdlib"))
    names = {True: cache / "validation.bin", False: cache / "train.bin"}
    if not all(file.exists() for file in names.values()):
        parts: dict[bool, list[bytes]] = {True: [], False: []}
        for file in sorted(library.rglob("*.py"), key=lambda f: f.relative_to(library).as_posix()):
            path = file.relative_to(library)
            if not {"site-packages", "dist-packages"} & set(path.parts):
                parts[held_out(path.as_posix())].append(file.read_bytes() + b"\0")
        for held, file in names.items():
            if not parts[held]:
                raise UserError(f"{library}: expected the .py files of the standard library, enough for a split of 90 / 10")
            with atomic_file(file) as temporary:
                temporary.write_bytes(b"".join(parts[held]))
    train, validation = (np.memmap(names[held], dtype=np.uint8, mode="r") for held in (False, True))
    digest = hashlib.blake2b(digest_size=8)
    for array in (train, validation):
        digest.update(array)
    return Text(train, validation, f"standard library of Python {platform.python_version()}", digest.hexdigest())
