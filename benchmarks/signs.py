"""Sign language, measured: ``python benchmarks/signs.py --data stores/fingerspelling --splits fold0 fold1 fold2 fold3 --out runs/signs``.

Each arm is `kinema train` for each split and seed, with a few values set, and `kinema evaluate` of it. Everything that is finished is
skipped when the command is said again, so it may be interrupted. Prints a table: mean over splits, then mean ± sample standard deviation over
seeds, and each seed.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from arms import cell, measured, trained

ARMS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    # arm: what is said of it, method, preset, values set
    "masa": ("MASA", "masa", "small", ()),
    "any-mask": ("MASA, any frame hidden, not those that move", "masa", "small", ('model.motion.candidate="any"',)),
    "position": ("MASA, positions predicted, not motion", "masa", "small", ('model.motion.target="position"',)),
    "no-align": ("MASA, no alignment", "masa", "small", ("model.align=0",)),
    "mamp": ("MAMP", "mamp", "signs", ()),
    "cmd": ("CMD", "cmd", "signs", ()),
}
FROZEN = ("linear", "knn")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a store")
    parser.add_argument("--splits", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["masa"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--protocols", nargs="+", default=FROZEN)
    parser.add_argument("--set", nargs="+", default=[], metavar="PATH=VALUE", help="for all arms")
    parser.add_argument("--epochs", type=float, help="of pre-training, instead of the preset's")
    parser.add_argument("--head-epochs", type=int, help="of every trained classifier, instead of the preset's")
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    parser.add_argument("--accelerator", default="auto")
    arguments = parser.parse_args()
    rows: list[tuple[str, dict[str, list[float]]]] = []
    for arm in arguments.arms:
        title, method, preset, settings = ARMS[arm]
        found: list[dict[str, list[float]]] = []
        for split in arguments.splits:
            shared = ["--data", str(arguments.data), "--split", split, "--accelerator", arguments.accelerator]
            options = [*shared, "--preset", preset]
            if arguments.epochs is not None:
                options += ["--epochs", str(arguments.epochs)]
            for setting in (*settings, *arguments.set):
                options += ["--set", setting]
            runs = [trained(method, arguments.out / f"{arm}-{split}-{s}", [*options, "--seed", str(s)]) for s in arguments.seeds]
            more = [] if arguments.head_epochs is None else ["--epochs", str(arguments.head_epochs)]
            # classifiers are kept there, and are of one length
            length = "" if arguments.head_epochs is None else f"-{arguments.head_epochs}"
            place = arguments.out / f"{arm}-{split}-{arguments.part}{length}"
            found.append(measured(runs, arguments.protocols, place, [*shared, "--part", arguments.part, *more]))
        # raw positions have one number, whatever the seed
        means = {p: [statistics.mean(v) for v in zip(*(f[p] for f in found), strict=True)] for p in arguments.protocols}
        rows.append((title, means))
    print(f"\n{arguments.part}, mean of {', '.join(arguments.splits)}:\n")
    print(f"| | {' | '.join(arguments.protocols)} |\n|{'---|' * (1 + len(arguments.protocols))}")
    for title, means in rows:
        print(f"| {title} | {' | '.join(cell(means[p]) for p in arguments.protocols)} |")


if __name__ == "__main__":
    main()
