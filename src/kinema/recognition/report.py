"""The report of an evaluation: one HTML file with curve, table, confusion, t-SNE and a moving figure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import FormatError, UserError
from ..motion.clip import Clip
from ..text import warn
from ..training import log
from ..view.plots import Bar
from ..view.report import (
    Cell,
    Measured,
    Section,
    bars_section,
    confusion_section,
    curve_section,
    motion_section,
    per_class_section,
    scatter_section,
    table_section,
    write_report,
)
from .evaluate import Evaluation
from .names import MEANING
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


def table(found: Evaluation) -> Section:
    """Every protocol with its mean, spread and time."""
    rows: list[list[Cell]] = [
        [MEANING[r.protocol], Measured(r.mean, r.spread, len(r.scores)), float(np.mean([s.seconds for s in r.scores]))]
        for r in found.rows
    ]
    split = found.split
    if found.part == "test":
        use = (
            f"{len(split.train)} training clips, of which {len(split.validation)} choose hyper-parameters where there are any; "
            f"{len(split.test)} test clips, used once"
        )
    else:
        use = (
            f"{len(split.train)} clips fit, {len(split.validation)} validation clips choose hyper-parameters and are scored; "
            "test clips are not touched. These figures are for choosing between recipes, not for reporting"
        )
    note = f"{found.name}: {use}. Spread: standard deviation over seeds."
    return table_section("Protocols", ["protocol", "accuracy, %", "seconds a run"], rows, note)


def build_report(
    path: Path, found: Evaluation, runs: Sequence[Trained], example: Clip | None, title: str = "Kinema report"
) -> None:
    """Writes the report of an evaluation of `runs`; `example` (as it was read) becomes the moving figure.

    Raises:
        UserError: it cannot be written.
    """
    sections: list[Section] = [table(found)]
    sections.append(bars_section("At a glance", [Bar(MEANING[r.protocol], found.name, r.mean, r.spread) for r in found.rows]))
    best = found.row("finetune") or found.row("linear") or found.rows[0]
    matrix = best.scores[0].confusion(len(found.classes))
    sections.append(confusion_section(f"Confusion: {MEANING[best.protocol]}, seed {runs[0].seed}", matrix, found.classes))
    sections.append(per_class_section("Classes", matrix, found.classes))
    if found.features is not None and len(found.features) > 4:
        rows = np.linspace(0, len(found.features) - 1, min(1500, len(found.features))).round().astype(int)
        points = tsne(found.features[rows])
        sections.append(
            scatter_section(f"t-SNE of frozen features, {found.part} clips", points, found.truth[rows].tolist(), found.classes)
        )
    loss = curves(runs)
    if loss is not None:
        sections.insert(1, loss)
    if example is not None:
        sections.append(_figure(runs[0], example))
    recipe = runs[0].recipe
    footer = f"kinema {__version__} · {date.today().isoformat()} · {recipe.method} {recipe.preset} · {len(runs)} run(s)"
    if found.fused:
        footer += f" · fused with {', '.join(Path(folder).name for folder in found.fused)}"
    write_report(path, title, [s for s in sections if s], subtitle=found.name, footer=footer)


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
