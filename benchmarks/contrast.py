"""What CMD's and I2MD's parts bring: ``python benchmarks/contrast.py cmd --data stores/nw-ucla --split view --out runs/contrast``.

Each arm is `kinema train` with a few values set, once for each seed; then `kinema evaluate` measures all seeds of an arm on the validation
part of the training clips, and with ``--test`` on the test clips too. Everything that is finished is skipped when the command is said again,
so it may be interrupted. Prints a table: mean ± sample standard deviation over seeds, and each seed.

`cmd`: no distillation; motion and bone as fixed teachers of joint (they are those of the first arm, same seed); the same one-way, learning
together; all six directions with one temperature for teacher and student; the method. `i2md`: CMD; each part alone beside the cluster
branch; all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arms import cell, measured, trained

ONE_WAY = 'model.directions=[["motion","joint"],["bone","joint"]]'
ARMS: dict[str, dict[str, tuple[str, tuple[str, ...], str | None]]] = {
    # arm: what is said of it, values set, arm whose runs it begins from
    "cmd": {
        "none": ("no distillation", ("model.directions=[]",), None),
        "fixed": ("fixed teachers of joint", (ONE_WAY, 'model.frozen=["motion","bone"]'), "none"),
        "one-way": ("one-way, to joint", (ONE_WAY,), None),
        "symmetric": ("one temperature (0.1)", ("model.teacher=0.1",), None),
        "full": ("CMD", (), None),
    },
    "i2md": {
        "branch": ("cluster branch alone", ("model.aggregated=0", "model.intra=0"), None),
        "aggregation": ("+ aggregation", ("model.intra=0",), None),
        "mutual": ("+ mutual distillation", ("model.aggregated=0",), None),
        "all": ("I2MD: all", (), None),
    },
}
PROTOCOLS = ("linear", "linear-3s", "knn", "knn-3s")


def train(arguments: argparse.Namespace, arm: str, seed: int) -> Path:
    """One run, unless it is finished."""
    _, settings, begin = ARMS[arguments.method][arm]
    options = ["--data", str(arguments.data), "--split", arguments.split, "--seed", str(seed)]
    options += ["--accelerator", arguments.accelerator]
    if begin is not None:
        options += ["--init", str(train(arguments, begin, seed))]
    for setting in (*settings, *arguments.set):
        options += ["--set", setting]
    return trained(arguments.method, arguments.out / f"{arguments.method}-{arm}-{seed}", options)


def measure(arguments: argparse.Namespace, arm: str, folders: list[Path], part: str) -> dict[str, list[float]]:
    """Percent of each protocol and seed."""
    options = ["--data", str(arguments.data), "--split", arguments.split, "--part", part, "--accelerator", arguments.accelerator]
    return measured(folders, PROTOCOLS, arguments.out / f"{arguments.method}-{arm}-{part}", options)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=ARMS)
    parser.add_argument("--data", type=Path, required=True, help="a store")
    parser.add_argument("--split", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", help="default: all of the method")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="PATH=VALUE", help="for all arms")
    parser.add_argument("--test", action="store_true", help="measure on the test clips too")
    parser.add_argument("--accelerator", default="auto")
    arguments = parser.parse_args()
    arms = arguments.arms or list(ARMS[arguments.method])
    if unknown := set(arms) - set(ARMS[arguments.method]):
        parser.error(f"unknown arms {sorted(unknown)}; known: {', '.join(ARMS[arguments.method])}")
    parts = ["validation", "test"] if arguments.test else ["validation"]
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for arm in arms:
        folders = [train(arguments, arm, seed) for seed in arguments.seeds]
        found[arm] = {part: measure(arguments, arm, folders, part) for part in parts}
    for part in parts:
        print(f"\n{part}:\n\n| {arguments.method} | {' | '.join(PROTOCOLS)} |\n|{'---|' * (1 + len(PROTOCOLS))}")
        for arm in arms:
            cells = " | ".join(cell(found[arm][part][name]) for name in PROTOCOLS)
            print(f"| {ARMS[arguments.method][arm][0]} | {cells} |")


if __name__ == "__main__":
    main()
