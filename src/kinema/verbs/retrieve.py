"""`kinema retrieve`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..data.store import Store, relative_source
from ..errors import UserError, keeping
from ..motion.clip import Clip
from ..recognition.retrieve import Neighbour, same
from ..recognition.retrieve import retrieve as run_retrieve
from ..recognition.run import check_fits, open_run
from ..recognition.vocabulary import labels_of
from ..text import one_line, say, say_json
from ..training.device import device_of
from ..view.neighbours import Neighbour as Drawn
from ..view.neighbours import kind_of, most, save_page, save_sheet
from ..words import plural
from .common import check_writable, clip_for, say_table, tell_unfinished, tell_weights

DRAWINGS = (".png", ".html")


def retrieve(
    file: Path,
    data: Path,
    run: Path,
    number: int,
    top: int,
    stream: str | None,
    out: Path,
    as_json: bool,
    weights: str,
    accelerator: str,
) -> None:
    """Finds, prints and draws the motions most like one.

    Raises:
        UserError: nothing readable, data that does not fit the run, or an option that makes no sense; see `recognition.retrieve`.
    """
    kind = out.suffix.lower()
    if kind not in DRAWINGS:
        raise UserError(f"--out {out}: expected a name that ends in {' or '.join(DRAWINGS)}")
    if top < 1:
        raise UserError(f"--top {top}: expected 1 or more")
    check_writable(out)
    device = str(device_of(accelerator))
    trained, store = open_run(run, last=weights == "last"), Store.open(data)
    check_fits(trained, store)
    query, _ = clip_for(file, number, trained.skeleton)
    tell_unfinished(run, trained.recipe.epochs)
    tell_weights(trained)
    # what a program reads stands alone on standard output
    tell = functools.partial(say, to=sys.stderr if as_json else sys.stdout)
    own = same(query, store)
    left_out = [store.entries[row].id for row in own]
    # its class in the words of the store: a number of its own file would be beside theirs and mean something else
    known = labels_of([(query.label, query.label_name)], store.classes)
    label = int(known.numbers[0])
    query = query.with_(label=None if label < 0 else label, label_name=known.names[0] or None)
    asked = {"top": top, "stream": stream, "device": device, "own": own}
    with keeping(lambda: "features that were computed whole are kept for the next question"):
        found = run_retrieve(trained, query, store, **asked, say=tell, quiet=False)
    if left_out:
        tell(f"the query is in the store ({_line(', '.join(left_out))}) and left out")
    if len(found) < top:
        tell(f"--top {top}: only {plural(len(found), 'clip')} to compare with; all are given")
    shown = found[: most() - 1]
    if len(shown) < len(found):
        tell(f"the picture shows the {len(shown)} most similar of {len(found)}")
    own = _line(_class(query.label, query.label_name))
    cells = [Drawn("query", own, _line(relative_source(query.source)), query, "query")]
    for rank, n in enumerate(shown, 1):
        label = _line(_class(n.label, n.class_name))
        title = f"{rank} · similarity {n.similarity:.3f}"
        cells.append(Drawn(title, label, _line(n.id), store.clip(n.row), kind_of(own, label)))
    if kind == ".png":
        save_sheet(cells, out)
    else:
        table = [[rank, n.similarity, _line(_class(n.label, n.class_name)), _line(n.id)] for rank, n in enumerate(found, 1)]
        by = f"by {trained.recipe.method} {trained.recipe.preset}" + (f", stream {stream}" if stream else "")
        title = f"Motions of {_line(store.name)} most like one"
        subtitle = f"{_line('query', own, cells[0].name)}; {by}"
        searched = f"{store.name}, {plural(len(store), 'clip')}, checksum {store.checksum[:12]}"
        footer = _line(f"kinema {__version__}", f"run {trained.folder.name}", searched)
        save_page(cells, HEADS, table, out, title, subtitle, footer)
    if as_json:
        say_json(_to_json(query, number, trained.folder, store, stream, left_out, found, out))
    else:
        _print(query, store, found)
        say(f"drawn to {out}")


HEADS = ("rank", "similarity", "class", "clip")


def _class(label: int | None, name: str | None) -> str:
    return name or ("" if label is None else f"class {label}")


def _line(*facts: object) -> str:
    """What is known, in one printable line."""
    return " · ".join(one_line(f) for f in facts if f not in (None, ""))


def _print(query: Clip, store: Store, found: Sequence[Neighbour]) -> None:
    title = _line(f"most like {relative_source(query.source) or 'the clip'}", _class(query.label, query.label_name))
    rows = [(rank, f"{n.similarity:.3f}", _class(n.label, n.class_name), n.id) for rank, n in enumerate(found, 1)]
    say_table(HEADS, rows, title, right=HEADS[:2])


def _to_json(
    query: Clip,
    number: int,
    run: Path,
    store: Store,
    stream: str | None,
    left_out: Sequence[str],
    found: Sequence[Neighbour],
    out: Path,
) -> dict[str, object]:
    return {
        "query": {"source": query.source, "clip": number, "label": query.label, "class_name": query.label_name},
        "run": str(run),
        "store": store.name,
        "clips": len(store),
        "stream": stream,
        "left_out": list(left_out),
        "neighbours": [{"rank": rank, **n.to_json()} for rank, n in enumerate(found, 1)],
        "picture": str(out),
    }
