"""`kinema evaluate`, `kinema embed` and `kinema demo`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..data.store import Store, is_store
from ..errors import UserError
from ..motion.clip import Clip
from ..motion.formats.reading import read_clips
from ..recognition.demo import demo as run_demo
from ..recognition.evaluate import Evaluation, Part, measured_data, save_metrics
from ..recognition.evaluate import evaluate as run_protocols
from ..recognition.names import MEANING
from ..recognition.predict import embed as run_embed
from ..recognition.predict import save_features
from ..recognition.report import build_report
from ..recognition.run import open_run
from ..text import say
from ..training.device import device_of
from ..training.made import made
from ..words import plural
from .common import check_folder, check_writable, say_table, tell_unfinished, tell_weights


def evaluate(
    folders: Sequence[Path],
    data: Path,
    split: str,
    out: Path | None,
    wanted: Sequence[str],
    part: Part,
    fuse: Sequence[Path],
    epochs: int | None,
    weights: str,
    accelerator: str,
) -> None:
    """Measures, writes metrics.json and report.html (default: into the first run, apart for each part), prints the table.

    Raises:
        UserError: see `recognition.evaluate.evaluate`.
    """
    if not folders:
        raise UserError("no run folder: name at least one that `kinema train` made")
    last = weights == "last"
    runs, others = [open_run(folder, last=last) for folder in folders], [open_run(folder, last=last) for folder in fuse]
    store = Store.open(data)
    out = out or folders[0] / ("evaluation" if part == "test" else part)
    check_folder(out)
    start, device = time.perf_counter(), str(device_of(accelerator))
    how = made(device)
    for run in (*runs, *others):
        tell_unfinished(run.folder, run.recipe.epochs)
        tell_weights(run)
    if len({run.recipe.precision for run in runs}) > 1:
        say("the runs were trained in different precisions (recipe.precision of their config.json)", to=sys.stderr)
    found = run_protocols(
        runs,
        store,
        split,
        wanted,
        out / "protocols",
        part=part,
        fuse=others,
        epochs=epochs,
        device=device,
        say=say,
    )
    how["seconds"] = round(time.perf_counter() - start, 1)
    save_metrics(found, out / "metrics.json", data=measured_data(store, split), made=how)
    methods = " and ".join(dict.fromkeys(run.recipe.method for run in (runs[0], *others[:1])))
    build_report(
        out / "report.html",
        found,
        runs,
        store.clip(int(found.split.test[0])),
        title=f"{methods} on {found.name}",
        data=measured_data(store, split),
        made=how,
    )
    _print(found)
    say(out / "metrics.json", out / "report.html")


def _print(found: Evaluation) -> None:
    rows: list[tuple[str, str, int]] = []
    for row in found.rows:
        spread = "" if row.spread is None else f" ± {row.spread:.1f}"
        rows.append((MEANING[row.protocol], f"{row.mean:.1f}{spread}", len(row.scores)))
    say_table(("protocol", "accuracy, %", "seeds"), rows, found.name)


def embed(folder: Path, source: Path, out: Path, weights: str, accelerator: str) -> None:
    """Writes features of a store or of files.

    Raises:
        UserError: no run, no clips, another skeleton, or a name that is not an .npz.
    """
    if out.suffix.lower() != ".npz":
        raise UserError(f"--out {out}: expected a name that ends in .npz")
    check_writable(out)
    trained = open_run(folder, last=weights == "last")
    if is_store(source):
        store = Store.open(source)
        clips: list[Clip] = [store.clip(i) for i in range(len(store))]
        names = [entry.id for entry in store.entries]
    else:
        clips = list(read_clips(source))
        names = [clip.source for clip in clips]
    tell_unfinished(folder, trained.recipe.epochs)
    tell_weights(trained)
    features = run_embed(trained, clips, device=str(device_of(accelerator)))
    save_features(out, features, names, [-1 if clip.label is None else clip.label for clip in clips])
    say(f"{out}: features {features.shape} of {plural(len(clips), 'clip')}")


def demo(out: Path) -> None:
    """Runs the demo and prints where its results are."""
    check_folder(out)
    found = run_demo(out, say=say)
    _print(found)
    say(f"report:  {(out / 'report.html').resolve()}", f"metrics: {(out / 'metrics.json').resolve()}")
