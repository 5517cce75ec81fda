"""`kinema evaluate` and `kinema demo`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..data.store import Store
from ..errors import UserError, keeping
from ..recognition.demo import demo as run_demo
from ..recognition.evaluate import Evaluation, Part, measured_data, save_metrics
from ..recognition.evaluate import evaluate as run_protocols
from ..recognition.names import MEANING
from ..recognition.report import build_report
from ..recognition.run import open_run
from ..text import say
from ..training.device import device_of
from ..training.made import made
from .common import check_file, check_folder, say_table, tell_unfinished, tell_weights


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
    metrics, report, protocols = out / "metrics.json", out / "report.html", out / "protocols"
    check_folder(out)
    check_folder(protocols)
    check_file(metrics)
    check_file(report)
    start, device = time.perf_counter(), str(device_of(accelerator))
    how, measured = made(device), measured_data(store, split)
    for run in (*runs, *others):
        tell_unfinished(run.folder, run.recipe.epochs)
        tell_weights(run)
    if len({run.recipe.precision for run in runs}) > 1:
        say("the runs were trained in different precisions (recipe.precision of their config.json)", to=sys.stderr)
    done: list[str] = []

    def save(found: Evaluation) -> None:
        how["seconds"] = round(time.perf_counter() - start, 1)
        save_metrics(found, metrics, data=measured, made=how)
        done[:] = [row.protocol for row in found.rows]

    def kept() -> str:
        held = f"{metrics} has {', '.join(done)}" if done else "no protocol is finished"
        return f"{held}; the same command goes on from there"

    with keeping(kept):
        found = run_protocols(
            runs,
            store,
            split,
            wanted,
            protocols,
            part=part,
            fuse=others,
            epochs=epochs,
            device=device,
            say=say,
            after=save,
            quiet=False,
        )
        methods = " and ".join(dict.fromkeys(run.recipe.method for run in (runs[0], *others[:1])))
        example = store.clip(int(found.split.test[0]))
        build_report(report, found, runs, example, title=f"{methods} on {found.name}", data=measured, made=how)
    _print(found)
    say(metrics, report)


def _print(found: Evaluation) -> None:
    rows: list[tuple[str, str, int]] = []
    for row in found.rows:
        spread = "" if row.spread is None else f" ± {row.spread:.1f}"
        rows.append((MEANING[row.protocol], f"{row.mean:.1f}{spread}", len(row.scores)))
    say_table(("protocol", "accuracy, %", "seeds"), rows, found.name)


def demo(out: Path) -> None:
    """Runs the demo and prints where its results are."""
    check_folder(out)
    with keeping(lambda: f"what is done is kept in {out}; the same command goes on from there"):
        found = run_demo(out, say=say, quiet=False)
    _print(found)
    say(f"report:  {(out / 'report.html').resolve()}", f"metrics: {(out / 'metrics.json').resolve()}")
