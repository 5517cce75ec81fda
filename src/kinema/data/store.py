"""The store: many clips in two files, opened without reading them.

A store is a folder. `frames.safetensors` holds the numbers of all clips end to end, as any safetensors reader can load them:
`positions` `(rows, J, C)` with one row for each person of each frame, and for every array `<name>.starts` `(N + 1,)`, so that rows
`starts[i]` to `starts[i + 1]` are clip `i`. An array that a clip does not have takes no rows of it. `index.json` says the rest.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, NotRequired

import numpy as np

from ..errors import FormatError, UserError
from ..files import TEMPORARY, atomic_folder, parse_json, read_json
from ..motion.clip import FASTEST, MAX_FRAMES, MAX_LABEL, MAX_PEOPLE, SLOWEST, Caption, Clip
from ..motion.names import one_form
from ..motion.skeleton import Skeleton
from ..schema import Table, shown
from ..text import one_line, plain_json
from ..words import plural
from . import ragged
from .kinds import Kinds
from .publish import put_back
from .ragged import DTYPES, RaggedWriter, map_safetensors
from .work import replacement

SCHEMA = 1
FRAMES, INDEX = "frames.safetensors", "index.json"
MAX_INDEX = 2**30
"""Bytes of the largest index; a clip takes about 200."""
ARRAYS = {"positions": "F32", "confidence": "F32", "body_ids": "I64", "rotations": "F32", "offsets": "F32", "contacts": "BOOL"}
"""Arrays of a clip and how they are stored; all but `positions` are optional."""

_FPS = Annotated[float, SLOWEST, FASTEST]
_SIDE = Annotated[int, 0, 2**31]
_STORE = Table(
    name=str,
    dataset=str | None,
    fps=_FPS,
    classes=list[str],
    skeleton=dict[str, Any],
    clips=list[Any],
    checksum=str,
    read_as=NotRequired[dict[str, Any]],
)
_CLIP = Table(
    id=str,
    frames=Annotated[int, 1, MAX_FRAMES],
    people=Annotated[int, 1, MAX_PEOPLE],
    fps=NotRequired[_FPS],
    label=NotRequired[Annotated[int, 0, MAX_LABEL] | None],
    label_name=NotRequired[str | None],
    subject=NotRequired[str | None],
    view=NotRequired[str | None],
    units=NotRequired[Literal["metres", "pixels", "normalised"]],
    image_size=NotRequired[tuple[_SIDE, _SIDE] | None],
    source=NotRequired[str],
    captions=NotRequired[list[Any]],
    meta=NotRequired[dict[str, Any]],
    more=False,
)
_CAPTION = Table(text=str, start=NotRequired[float], end=NotRequired[float | None], more=False)
_META = Table(splits=NotRequired[list[str]])
"""What the rest of Kinema relies on in what else is known of a clip."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the index says of one clip. `id` is its name, unique in the store; the rest is as in `Clip`."""

    id: str
    frames: int
    people: int
    fps: float
    label: int | None = None
    label_name: str | None = None
    subject: str | None = None
    view: str | None = None
    units: str = "metres"
    image_size: tuple[int, int] | None = None
    source: str = ""
    captions: tuple[Caption, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)

    def to_json(self, fps: float) -> dict[str, Any]:
        """What differs from the defaults; `fps` is the default of the store."""
        value = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) not in (None, "", (), {})}
        value["captions"] = [asdict(c) for c in self.captions]
        return {k: v for k, v in value.items() if v != [] and (k, v) not in (("units", "metres"), ("fps", fps))}

    @classmethod
    def from_json(cls, value: Any, fps: float, origin: object) -> Entry:
        """The entry that `to_json` described. Raises FormatError, naming `origin`, on anything else."""
        known = {"fps": fps, **_CLIP.check(value, origin)}
        if known.get("image_size") is not None:
            known["image_size"] = tuple(known["image_size"])
        if "captions" in known:
            known["captions"] = tuple(Caption(**_CAPTION.check(c, f"{origin}: captions")) for c in known["captions"])
        if "meta" in known:
            _META.check(known["meta"], f"{origin}: meta")
        return cls(**known)


class Store:
    """Clips on disk, memory-mapped.

    Attributes:
        folder: where it lies. name: of the data. dataset: name in `datasets.DATASETS`, or None.
        skeleton: of all clips. classes: names by label. fps: of most clips. entries: one per clip.
        read_as: the units and axes of the files as the user said them (`motion.conventions`), from which the clips were converted.
        checksum: SHA-256 of everything it holds, as written; `verify` compares.
    """

    def __init__(self, folder: Path, index: dict[str, Any], arrays: dict[str, np.ndarray]):
        path = folder / INDEX
        _STORE.check(index, path)
        self.folder: Path = folder
        self.name: str = index["name"]
        self.checksum: str = index["checksum"]
        self.dataset: str | None = index["dataset"]
        self.skeleton = Skeleton.from_json(index["skeleton"], path)
        self.classes: tuple[str, ...] = tuple(map(one_form, index["classes"]))
        self.fps = float(index["fps"])
        self.read_as: dict[str, Any] = index.get("read_as", {})
        self.entries = [Entry.from_json(e, self.fps, f"{path}: clip {i}") for i, e in enumerate(index["clips"])]
        self._arrays = {k: v for k, v in arrays.items() if k in ARRAYS}
        # a copy: int64 behind an odd number of float32 is unaligned in the file, and these are small
        self._starts = {k: arrays[f"{k}.starts"].copy() for k in self._arrays if f"{k}.starts" in arrays}

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        """What it is, in one line."""
        sizes = f"{plural(len(self), 'clip')}, {plural(len(self.classes), 'class')}"
        facts = f"{sizes}, {self.skeleton.name}, {self.fps:g} fps, in {self.folder}"
        return f"<Store {one_line(self.name)}: {one_line(facts)}>"

    @property
    def labels(self) -> np.ndarray:
        """`(N,)` int64 class of each clip, -1 where it has none."""
        return np.array([-1 if e.label is None else e.label for e in self.entries], dtype=np.int64)

    @classmethod
    def open(cls, folder: Path | str, *, resolved: bool = True) -> Store:
        """Opens a store; its frames are mapped, not read.

        Args:
            folder: of the store.
            resolved: False for what `write` made without `resolve`: its labels may be beyond its classes.

        Raises:
            UserError: there is no store.
            FormatError: the store is damaged, or a later version wrote it.
        """
        folder = Path(folder)
        if not is_store(folder) or not (folder / FRAMES).is_file():
            raise UserError(f"{folder}: no store here ({INDEX} and {FRAMES}); make one with `kinema data build`")
        try:
            index = read_json(folder / INDEX, MAX_INDEX)
            if not isinstance(index, dict) or index.get("kinema_store") != SCHEMA:
                found = index.get("kinema_store") if isinstance(index, dict) else None
                raise FormatError(folder / INDEX, f"kinema_store is {shown(found)}; this version reads {SCHEMA}")
            arrays = map_safetensors(folder / FRAMES)
            store = cls(folder, index, arrays)
            store._check(arrays, resolved)
        except FormatError as error:
            raise FormatError(error.origin, f"{error.problem}; build the store again") from error
        return store

    def _check(self, arrays: dict[str, np.ndarray], resolved: bool) -> None:
        """The index and the arrays fit each other. `FormatError` otherwise."""

        def fail(problem: str) -> FormatError:
            return FormatError(self.folder / FRAMES, f"damaged: {problem}")

        beyond = next((e for e in self.entries if resolved and e.label is not None and e.label >= len(self.classes)), None)
        if beyond is not None:
            raise FormatError(
                self.folder / INDEX, f"damaged: clip {beyond.id} has label {beyond.label}, of {len(self.classes)} classes"
            )
        if len({e.id for e in self.entries}) < len(self.entries):
            raise FormatError(self.folder / INDEX, "damaged: two clips have the same id")
        joints, people = len(self.skeleton), np.array([e.people for e in self.entries], dtype=np.int64)
        rows = people * np.array([e.frames for e in self.entries], dtype=np.int64)
        if len(people) and "positions" not in self._arrays:
            raise fail("no positions")
        inner = {"confidence": (joints,), "body_ids": (), "rotations": (joints, 4), "offsets": (joints, 3)}
        inner |= {"positions": (joints, 2), "contacts": self._arrays["contacts"].shape[1:2] if "contacts" in self._arrays else ()}
        for name, array in self._arrays.items():
            shapes = {inner[name], (joints, 3)} if name == "positions" else {inner[name]}
            if array.shape[1:] not in shapes or array.dtype != DTYPES[ARRAYS[name]]:
                raise fail(f"{name} {array.shape} {array.dtype}; expected (rows, {', '.join(map(str, inner[name]))})")
            starts = self._starts.get(name, np.zeros(0))
            if starts.dtype != DTYPES["I64"] or starts.shape != (len(self) + 1,) or starts[0] != 0 or starts[-1] != len(array):
                raise fail(f"{name}.starts do not cover {name}")
            sizes, expected = np.diff(starts), people if name == "offsets" else rows
            if not ((sizes == expected) | ((sizes == 0) & (name != "positions"))).all():
                raise fail(f"{name} has another number of rows than {INDEX} says")
        stray = [k for k in arrays if k.removesuffix(".starts") not in self._arrays]
        if stray:
            raise fail(f"unknown arrays {', '.join(stray)}")

    def clip(self, i: int) -> Clip:
        """Clip `i`; its arrays are read-only views into the mapped file.

        Raises:
            IndexError: no such clip.
            FormatError: what the file holds is not a clip (NaN, units unknown).
        """
        i = range(len(self))[operator.index(i)]
        entry = self.entries[i]
        outer = (entry.frames, entry.people)
        found = {name: array[self._starts[name][i] : self._starts[name][i + 1]] for name, array in self._arrays.items()}
        label_name = entry.label_name
        if label_name is None and entry.label is not None and entry.label < len(self.classes):  # a part of a build has no classes
            label_name = self.classes[entry.label]
        try:
            return Clip(
                **{k: v if k == "offsets" else v.reshape(*outer, *v.shape[1:]) for k, v in found.items() if len(v)},
                skeleton=self.skeleton,
                fps=entry.fps,
                units=entry.units,
                image_size=entry.image_size,
                label=entry.label,
                label_name=label_name,
                captions=entry.captions,
                subject=entry.subject,
                view=entry.view,
                source=entry.source,
                meta=entry.meta,
            )
        except UserError as error:
            raise FormatError(self.folder, f"clip {entry.id}: {error}") from error

    def frames(self, rows: np.ndarray, frame: int) -> np.ndarray:
        """`(N, M, J, C)` positions of one frame of many clips, as a copy; all of them have it, and the same number of people."""
        people = self.entries[int(rows[0])].people
        first = self._starts["positions"][rows] + frame * people
        return self._arrays["positions"][first[:, None] + np.arange(people)]

    def verify(self, told: Callable[[int], None] = lambda done: None) -> None:
        """Reads everything and compares it with the checksum; `told` is called with the bytes that were read.

        Raises:
            FormatError: something changed since it was written.
        """
        index = _STORE.check(read_json(self.folder / INDEX, MAX_INDEX), self.folder / INDEX)
        written = index.pop("checksum")
        digest = ragged.digest(self.folder / FRAMES, told)
        digest.update(_canonical(index))
        if digest.hexdigest() != written:
            raise FormatError(self.folder, "its checksum does not match; it changed since it was written, build it again")

    @classmethod
    def write(
        cls,
        folder: Path | str,
        clips: Iterable[tuple[str, Clip]],
        *,
        name: str,
        skeleton: Skeleton | None = None,
        classes: Sequence[str] | None = None,
        dataset: str | None = None,
        overwrite: bool = False,
        resolve: bool = True,
        read_as: Mapping[str, object] | None = None,
    ) -> Store:
        """Writes a store, one clip in memory at a time, and opens it. On any error nothing is left behind.

        Args:
            folder: must not exist, or be empty, or be a store with `overwrite`.
            clips: (id, clip); ids are unique, all clips share skeleton, units and number of coordinates.
            name: of the data.
            skeleton: that all clips must have; default: of the first clip.
            classes: names by label. Default: taken from the clips; if a clip has a `label_name` and no label, the classes are the
                sorted names.
            dataset: name in `datasets.DATASETS`.
            overwrite: replace the store that is there.
            resolve: False keeps labels and their names as the clips have them (the parts of a build).
            read_as: the conventions from which the clips were converted, for the index.

        Raises:
            UserError: something is in the way, clips do not fit each other or the classes, or the disk is full.
        """
        folder = Path(folder)
        check_free(folder, overwrite)
        if folder.exists():
            place = folder.resolve()  # of a link, what it leads to
            with replacement(place, place.with_name(f"{TEMPORARY}store-{place.name}")) as fresh:
                more: dict[str, Any] = {"classes": classes, "dataset": dataset, "resolve": resolve, "read_as": read_as}
                cls.write(fresh, clips, name=name, skeleton=skeleton, **more)
            return cls.open(folder, resolved=resolve)
        with atomic_folder(folder) as temporary:
            entries: dict[str, Entry] = {}
            kinds = Kinds()
            with RaggedWriter(temporary / FRAMES, ARRAYS) as writer:
                for identity, clip in kinds.first(clips):  # if there are others nothing is written, but they are counted
                    skeleton = skeleton or clip.skeleton
                    if clip.skeleton != skeleton:
                        raise UserError(f"{identity}: skeleton {clip.skeleton.name!r}; {name} has {skeleton.name!r}")
                    if identity in entries:
                        raise UserError(f"two clips are called {identity!r}; rename one")
                    entries[identity] = _entry(identity, clip)
                    try:
                        writer.add({array: _rows(array, getattr(clip, array)) for array in ARRAYS})
                    except UserError as error:
                        raise UserError(f"{identity}: {error}") from error
                problem = kinds.problem()
                if problem is not None:
                    raise UserError(f"{name}: {problem}")
                digest = writer.finish()
            if skeleton is None:
                raise UserError(f"{folder}: no clips to write, and no skeleton given")
            classes = None if classes is None else [one_form(c) for c in classes]
            resolved, names = list(entries.values()), tuple(classes or ())
            if resolve:
                resolved, names = _resolve(resolved, classes)
            fps = resolved[0].fps if resolved else 30.0
            index: dict[str, Any] = {
                "kinema_store": SCHEMA,
                "name": name,
                "dataset": dataset,
                "fps": fps,
                "classes": list(names),
                "skeleton": skeleton.to_json(),
                "clips": [e.to_json(fps) for e in resolved],
                **({"read_as": dict(read_as)} if read_as else {}),
            }
            digest.update(_canonical(index))
            _write_index(temporary / INDEX, {**index, "checksum": digest.hexdigest()})
        return cls.open(folder, resolved=resolve)


def _entry(identity: str, clip: Clip) -> Entry:
    """What the index says of a clip. `UserError` if JSON cannot hold it."""
    entry = Entry(
        id=identity,
        frames=clip.frames,
        people=clip.people,
        fps=float(clip.fps),
        label=None if clip.label is None else int(clip.label),
        label_name=clip.label_name,
        subject=clip.subject,
        view=clip.view,
        units=clip.units,
        image_size=clip.image_size,
        source=relative_source(clip.source) or identity,
        captions=clip.captions,
        meta=dict(clip.meta),
    )
    try:
        text = json.dumps(entry.to_json(0.0), allow_nan=False, ensure_ascii=False)
        parse_json(text.encode(), identity)
    except UnicodeEncodeError as error:
        raise UserError(f"{identity}: its name, or what is known of it, holds bytes that are no text; rename the file") from error
    except (TypeError, ValueError, RecursionError, FormatError) as error:
        raise UserError(f"{identity}: meta or captions cannot be written as JSON ({error})") from error
    return entry


def _rows(name: str, array: np.ndarray | None) -> np.ndarray | None:
    """Frames and people of an array in one axis; rest offsets have only people."""
    return array if array is None or name == "offsets" else array.reshape(-1, *array.shape[2:])


def _resolve(entries: list[Entry], classes: Sequence[str] | None) -> tuple[list[Entry], tuple[str, ...]]:
    """Entries with labels that fit the classes, and the classes (from the entries when None). `label_name` is then implied."""
    if classes is None:
        named = {e.label_name for e in entries if e.label_name is not None}
        if any(e.label is None and e.label_name is not None for e in entries):
            classes = sorted(named)
            entries = [replace(e, label=None) if e.label_name is not None else e for e in entries]
        else:
            names: dict[int, str] = {}
            for e in entries:
                # a clip that has no name for its class does not contradict one that has
                if e.label is not None and e.label_name and names.setdefault(e.label, e.label_name) != e.label_name:
                    raise UserError(f"{e.id}: label {e.label} is called {e.label_name!r}; clips before call it {names[e.label]!r}")
            most = max((e.label for e in entries if e.label is not None), default=-1)
            classes = [names.get(i, str(i)) for i in range(most + 1)]
    place = {c: i for i, c in enumerate(classes)}
    resolved: list[Entry] = []
    for e in entries:
        label = e.label if e.label is not None or e.label_name is None else place.get(e.label_name, -1)
        if label is not None and not 0 <= label < len(classes):
            what = e.label_name if e.label is None else e.label
            raise UserError(f"{e.id}: label {what!r}; the data has {plural(len(classes), 'class')}: {', '.join(classes[:8])}, ...")
        resolved.append(replace(e, label=label, label_name=None))
    return resolved, tuple(classes)


def relative_source(source: str) -> str:
    """A source that names no place on this machine: relative paths as they are, of others the last component."""
    windows = PureWindowsPath(source)
    if source.startswith("/") or windows.drive or windows.root or ".." in windows.parts:
        return PurePosixPath(windows.name.rsplit(":", 1)[-1]).name
    return source


def _canonical(index: dict[str, Any]) -> bytes:
    return json.dumps(index, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _write_index(path: Path, index: dict[str, Any]) -> None:
    """One line a clip: small, and readable in a terminal."""

    def line(value: Any) -> str:
        return plain_json(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False))

    head = [f"{json.dumps(k)}:{line(v)}" for k, v in index.items() if k != "clips"]
    clips = ",\n".join(line(c) for c in index["clips"])
    path.write_text("{\n" + ",\n".join(head) + ',\n"clips":[\n' + clips + "\n]}\n", encoding="utf-8")


def is_store(folder: Path) -> bool:
    """Whether there is a store (or half of one). One that an interrupted replacement has left without its name gets it back first."""
    put_back(folder)
    return (folder / INDEX).is_file()


def check_free(folder: Path, overwrite: bool) -> None:
    """Raises `UserError` unless `folder` may be written: it does not exist, is empty, or is a store and `overwrite` is set."""
    put_back(folder)
    if not folder.exists() and not folder.is_symlink():
        return
    held = {p.name for p in folder.iterdir()} if folder.is_dir() else {folder.name}
    if folder.is_dir() and not held:
        return
    if not folder.is_dir() or held != {FRAMES, INDEX}:
        raise UserError(f"{folder}: exists and is not a store; it is left alone. Choose another --out")
    if not overwrite:
        raise UserError(f"{folder}: there is a store already; give --overwrite to replace it, or choose another --out")
