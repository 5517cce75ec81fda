"""Tables and plots of finished runs: ``python benchmarks/hyper/table.py FOLDER [--baseline prenorm] [--plots FOLDER]``.

Prints Markdown; draws ``loss.png``, ``cosine.png`` and ``gradient.png``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from paired import interval, mean_sd, reached
from plots import draw
from runs import results

from kinema.errors import UserError

Runs = dict[str, dict[int, dict[str, Any]]]
"""Arm -> seed -> result."""

ORDER = ("postnorm", "prenorm", "static", "dynamic", "manifold", "fraction")


def by_arm(found: Iterable[dict[str, Any]]) -> Runs:
    """Sorted as they are shown.

    Raises:
        UserError: results of different settings, which cannot be compared.
    """
    found = list(found)
    if any(r["settings"] != found[0]["settings"] for r in found):
        raise UserError("these runs were made with different settings; keep one setting a folder")

    def place(arm: str) -> tuple[int, int]:
        kind, _, n = arm.rpartition("-")
        return next((i for i, k in enumerate(ORDER) if (kind or arm).startswith(k)), len(ORDER)), int(n) if n.isdecimal() else 0

    runs: Runs = {arm: {} for arm in sorted({r["arm"] for r in found}, key=place)}
    for r in found:
        runs[r["arm"]][r["seed"]] = r
    return runs


def signed(value: float, digits: int) -> str:
    """With its sign, minus as a minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def compared(runs: Runs, baseline: str) -> list[str]:
    """The main table, a row an arm."""
    base = runs[baseline]
    any_run = next(r for arm in runs.values() for r in arm.values())
    name, unit = next(n for arm in runs.values() for r in arm.values() if r["score"] for n in r["score"]), any_run["unit"]
    digits = 2 if "%" in name else 4
    lines = [
        f"| arm | seeds | {name}: mean ± sd | − {baseline}: mean [95 %] | each seed | {unit} to {baseline}'s final loss, % of its | "
        f"ms/step | x {baseline} (processor) | weights added |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, seeds in runs.items():
        good = {s: r["score"][name] for s, r in seeds.items() if r["score"]}
        lost = ", ".join(f"seed {s} diverged by step {r['diverged']}" for s, r in seeds.items() if not r["score"])
        pairs = {s: v - base[s]["score"][name] for s, v in good.items() if s in base and base[s]["score"]}
        cells = [arm, str(len(seeds)), "–", "", "", "", "", "", f"{next(iter(seeds.values()))['added']:,}"]
        if good:
            mean, sd = mean_sd(list(good.values()))
            cells[2] = f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if sd is not None else "")
        if pairs and arm != baseline:
            between = interval(list(pairs.values()))
            cells[3] = signed(statistics.fmean(pairs.values()), digits)
            cells[3] += f" [{signed(between[0], digits)}, {signed(between[1], digits)}]" if between else " [one seed]"
            cells[4] = ", ".join(signed(v, digits) for v in pairs.values())
            cells[5] = shares({s: seeds[s] for s in pairs}, base)
        cells[2] += f" ({lost})" if lost else ""
        cells[6] = f"{statistics.median(r['ms'] for r in seeds.values()):.0f}"
        ratios = [r["processor_ms"] / base[s]["processor_ms"] for s, r in seeds.items() if s in base]
        cells[7] = f"{statistics.median(ratios):.2f}" if ratios else ""
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def shares(seeds: dict[int, dict[str, Any]], base: dict[int, dict[str, Any]]) -> str:
    """How much of the baseline's data each seed needed for the last validation loss of the baseline's curve."""
    found = []
    for s, r in seeds.items():
        curve = base[s]["curve"]["validation"]
        step = reached(r["curve"]["validation"], curve[-1][1])
        found.append(None if step is None else 100 * step / curve[-1][0])
    known = [f for f in found if f is not None]
    each = ", ".join("not reached" if f is None else f"{f:.0f}" for f in found)
    return f"{statistics.fmean(known):.0f} ({each})" if len(known) == len(found) and len(found) > 1 else each


def other_scores(runs: Runs) -> list[str]:
    """What was measured at the end beside the main figure."""
    names = next(list(r["score"])[1:] for arm in runs.values() for r in arm.values() if r["score"])
    if not names:
        return []
    lines = ["| arm | " + " | ".join(f"{n}: mean ± sd" for n in names) + " |", "|---|" + "---|" * len(names)]
    for arm, seeds in runs.items():
        cells = []
        for n in names:
            values = [r["score"][n] for r in seeds.values() if r["score"]]
            mean, sd = mean_sd(values) if values else (None, None)
            cells.append("–" if mean is None else f"{mean:.4g}" + (f" ± {sd:.2g}" if sd is not None else ""))
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    return ["", *lines]


def mechanism(runs: Runs) -> list[str]:
    """The inside at the end of training, medians over seeds."""
    lines = [
        "| arm | cosine of successive inputs: median of the middle branches | last branch | gradient arriving, first / last branch | "
        "weight gradient, first / last | amax gain, forward | backward |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, seeds in runs.items():
        ends = [r["probes"][-1] for r in seeds.values() if r["score"]]
        if not ends:
            continue
        middle = statistics.median(statistics.median(p[1] for p in e["cosine"]) for e in ends)
        last = statistics.median(e["cosine"][-1][1] for e in ends)
        ratios = [statistics.median(ratio(e[what][0], e[what][-1]) for e in ends) for what in ("arriving", "weights")]
        gains = ["", ""]
        if ends[0]["gain"]:
            gains = [f"{statistics.median(e['gain'][way] for e in ends):.2f}" for way in ("forward", "backward")]
        cells = [arm, f"{middle:.4f}", f"{last:.4f}", *(f"{r:.3g}" for r in ratios), *gains]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def ratio(a: float, b: float) -> float:
    """`a / b`, infinite where `b` is nothing."""
    return a / b if b else float("inf")


def report(folder: Path, baseline: str, plots: Path) -> str:
    """Markdown; draws the plots.

    Raises:
        UserError: no runs, runs that cannot be compared, or no such baseline.
    """
    runs = by_arm(results(folder))
    if baseline not in runs:
        raise UserError(f"--baseline {baseline!r}: no such arm here; expected one of {', '.join(runs)}")
    if not any(r["score"] for r in runs[baseline].values()):
        raise UserError(f"--baseline {baseline!r}: all its runs diverged; choose another")
    some = next(iter(runs[baseline].values()))
    plan = some["settings"]["plan"]
    machines = sorted(
        {
            f"{r['machine']}, {r['threads']} thread(s), torch {r['torch']}, commit {r['commit']}"
            for a in runs.values()
            for r in a.values()
        }
    )
    seeds = max(len(s) for s in runs.values())
    lines = [
        f"{plan['steps']} steps, {plan['steps'] * some['per_step']:,} {some['unit']}, {some['parameters'] - some['added']:,} weights without "
        f"connections · {'; '.join(machines)}",
        "",
        *compared(runs, baseline),
        *other_scores(runs),
        "",
        *mechanism(runs),
        "",
        *notes(some, baseline, seeds),
    ]
    drawn = draw(runs, baseline, plots)
    return "\n".join([*lines, "", "Plots: " + ", ".join(str(p) for p in drawn)])


def notes(some: dict[str, Any], baseline: str, seeds: int) -> list[str]:
    """How the tables are to be read."""
    return [
        "Differences are paired by seed (same first weights, batches and settings); "
        + ("one seed has no interval." if seeds == 1 else f"intervals are Student's t over {seeds} seeds")
        + (", which is wide: read the single differences too." if 1 < seeds < 6 else "." if seeds > 1 else ""),
        f"\"{some['unit']} to {baseline}'s final loss\": where an arm's validation curve falls for good below the last point of {baseline}'s. "
        f"There the arm's learning rate is not yet at the end of its decay, from which {baseline}'s figure has profited: an upper bound.",
        f"ms/step is by the clock ({some['machine']}); the ratio is of processor time, pair by pair. Neither counts validation.",
        "Amax gain: largest row and column sums of |product of the carry matrices|, means over tokens. "
        "Gradient arriving: at a branch's output.",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--baseline", default="prenorm")
    parser.add_argument("--plots", type=Path, help="folder of the plots; otherwise that of the runs")
    options = parser.parse_args(arguments)
    try:
        print(report(options.folder, options.baseline, options.plots or options.folder))
    except UserError as error:
        raise SystemExit(f"table.py: {error}") from error


if __name__ == "__main__":
    main()
