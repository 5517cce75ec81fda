"""The report of an evaluation: one HTML file with table, moving figure, curve, t-SNE, confusion, and how all of it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import FormatError, UserError
from ..motion.clip import Clip
from ..text import warn
from ..training import log
from ..view.report import (
    Cell,
    Gauge,
    Measured,
    Section,
    confusion_section,
    curve_section,
    motion_section,
    per_class_section,
    scatter_section,
    table_section,
    write_report,
)
from ..words import plural
from .evaluate import Evaluation
from .names import MEANING
from .origin import origin_section
from .predict import picture
from .run import Trained


def read_log(folder: Path) -> list[dict[str, float]]:
    """The records of a run's `log.jsonl` that have a loss; others tell of evaluations. A log that cannot be read is left out, with a line."""
    try:
        return [record for record in log.read(Path(folder)) if record.get("loss") is not None]
    except FormatError as error:
        warn(f"{error}; the report is without it")
        return []


def curves(runs: Sequence[Trained]) -> Section | None:
    """The loss of every run over its steps, or None where no run has a log."""
    logs = {f"seed {r.seed}": read_log(r.folder) for r in runs}
    logs = {name: log for name, log in logs.items() if log}
    if not logs:
        return None
    shortest = min(logs.values(), key=len)
    steps = [line["step"] for line in shortest]
    values = {name: [line["loss"] for line in log[: len(steps)]] for name, log in logs.items()}
    return curve_section("Pre-training loss", steps, values)


def tsne(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """`(N, D)` -> `(N, 2)`, scikit-learn's t-SNE of the first 50 principal components."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    reduced = PCA(min(50, *features.shape), random_state=seed).fit_transform(features)
    return TSNE(perplexity=min(30, max(2, (len(features) - 1) / 3)), init="pca", random_state=seed).fit_transform(reduced)


def wilson(percent: float, clips: int) -> tuple[float, float]:
    """The 95 % interval (Wilson's) of a share of so many clips, in per cent."""
    z, p = 1.96, percent / 100
    middle, half = p + z * z / (2 * clips), z * (p * (1 - p) / clips + z * z / (4 * clips * clips)) ** 0.5
    scale = 100 / (1 + z * z / clips)
    return max(0.0, scale * (middle - half)), min(100.0, scale * (middle + half))


def chance(truth: np.ndarray) -> float | None:
    """Accuracy, per cent, of always predicting the most frequent class of `truth` (N,); None where there is one class only."""
    counts = np.bincount(truth)
    return None if (counts > 0).sum() < 2 else 100 * float(counts.max() / counts.sum())


def table(found: Evaluation) -> Section:
    """Every protocol as a bar with its mean, spread and time, and the majority-class baseline."""
    floor, clips = chance(found.truth), len(found.truth)
    rows: list[list[Cell]] = []
    for row in found.rows:
        ends = wilson(row.mean, clips) if row.spread is None else (row.mean - row.spread, row.mean + row.spread)
        bar = Gauge(MEANING[row.protocol], row.mean, *ends, floor)
        runs, seconds = len(row.scores), float(np.mean([s.seconds for s in row.scores]))
        rows.append([bar, Measured(row.mean, row.spread), runs, f"{seconds:.1f}"])
    split = found.split
    if found.part == "test":
        use = (
            f"{plural(len(split.train), 'training clip')}, of which {len(split.validation)} choose hyper-parameters where there are any; "
            f"{plural(len(split.test), 'test clip')}, used once"
        )
    else:
        use = (
            f"{plural(len(split.train), 'training clip')} to fit, {plural(len(split.validation), 'validation clip')} to choose "
            "hyper-parameters and to be scored; "
            "test clips are not touched. These figures are for choosing between recipes, not for reporting"
        )
    several, single = (any((r.spread is None) == alone for r in found.rows) for alone in (False, True))
    whiskers = ["the standard deviation over seeds"] * several
    whiskers += [f"{'of a single run ' * several}the 95 % interval that {plural(clips, 'scored clip')} leave open"] * single
    note = f"{use}. Whiskers: {', '.join(whiskers)}."
    if floor is not None:
        rows.append([Gauge("majority-class baseline", floor), f"{floor:.1f}", None, None])
        note += f" Dashed: the accuracy of always predicting the most frequent class, {floor:.1f} %."
    return table_section("Results", ["protocol", "accuracy, %", "runs", "seconds a run"], rows, note, numbers=(1, 3))


def build_report(
    path: Path,
    found: Evaluation,
    runs: Sequence[Trained],
    example: Clip | None,
    title: str = "Kinema report",
    *,
    data: Mapping[str, Any],
    made: Mapping[str, Any],
) -> None:
    """Writes the report of an evaluation of `runs`; `example` (as it was read) becomes the moving figure.

    Args:
        data, made: what was measured on, and how; see `origin.origin_section`.

    Raises:
        UserError: it cannot be written.
    """
    sections: list[Section] = [table(found)]
    if example is not None:
        sections.append(_figure(runs[0], example))
    loss = curves(runs)
    if loss is not None:
        sections.append(loss)
    # of clips that are all the same to the network there is no picture
    if found.features is not None and len(found.features) > 4 and np.ptp(found.features, axis=0).any():
        rows = np.linspace(0, len(found.features) - 1, min(1500, len(found.features))).round().astype(int)
        points = tsne(found.features[rows])
        sections.append(
            scatter_section(f"t-SNE of frozen features, {found.part} clips", points, found.truth[rows].tolist(), found.classes)
        )
    best = found.row("finetune") or found.row("linear") or found.rows[0]
    matrix = best.scores[0].confusion(len(found.classes))
    which = f"{MEANING[best.protocol]}, seed {runs[0].seed}"
    sections.append(confusion_section("Confusion", matrix, found.classes, f"{which}."))
    sections.append(per_class_section("Classes", matrix, found.classes, f"{which}. The hardest first."))
    sections.append(origin_section(found, runs, data, made))
    recipe = runs[0].recipe
    footer = f"kinema {__version__} · {date.today().isoformat()} · {recipe.method} {recipe.preset} · {plural(len(runs), 'run')}"
    write_report(path, title, sections, subtitle=found.name, footer=footer)


def _figure(trained: Trained, clip: Clip) -> Section:
    try:
        shown = picture(trained, clip)
    except UserError as error:
        return table_section("What the model fills in", ["note"], [[str(error)]])
    tracks = {"input": shown.original, "masked input": shown.original, "reconstruction": shown.reconstruction}
    share = 100 * float(shown.hidden.mean())
    note = (
        f"{clip.label_name or clip.source}. {share:.0f} % of joint positions are hidden (hollow). The model predicts motion; it is drawn "
        "added up from the last position that was seen, on the scale of the true patch."
    )
    return motion_section(
        "What the model fills in",
        clip.skeleton,
        tracks,
        shown.fps,
        {"masked input": shown.hidden, "reconstruction": shown.hidden},
        note,
        clip.units,
    )
