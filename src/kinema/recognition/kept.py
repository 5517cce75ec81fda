"""Scores that an evaluation has and keeps, so that one that was interrupted, said again, measures only what is missing.

A file a protocol and run. It answers for exactly what it was made of: the code, the libraries, the device, the clips as they were
prepared, the split, the run's recipe, seed and weights, and the options. Any other question is measured anew.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, NotRequired

import numpy as np

import kinema

from ..errors import UserError
from ..files import read_json, write_json
from ..schema import Table
from ..training.precision import for_inference
from .names import FUSED, MEASURES
from .protocols import SHARES, Score, Task, digest, percent
from .recipes import to_json
from .run import Trained

_KEPT = Table(key=str, predictions=list[int], seconds=Annotated[float, 0, 1e12], details=dict[str, Any])
_DETAILS = Table(**dict.fromkeys(SHARES, NotRequired[Annotated[float, 0, 100]]))
LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn")


@functools.cache
def code_digest() -> str:
    """A hash of Kinema's own source: between two releases the version alone says little."""
    found = hashlib.sha256()
    for file in sorted(Path(kinema.__file__).parent.rglob("*.py")):
        found.update(file.name.encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


class KeptScores:
    """Scores in a folder.

    Args:
        folder: where they are kept. task: what is measured. part: which clips are scored. device: of the networks.
        epochs: of every trained classifier, None: as the recipes say. weights: a hash of the trained weights of each run, by its folder.
    """

    def __init__(self, folder: Path, task: Task, part: str, device: str, epochs: int | None, weights: Mapping[Path, str]):
        self._folder, self._task, self._part, self._epochs, self._weights = folder, task, part, epochs, weights
        split, arrays = task.split, [array for clip in task.clips for array in (clip.positions, clip.confidence)]
        self._common = {
            "kinema": [kinema.__version__, code_digest()],
            "libraries": {name: metadata.version(name) for name in LIBRARIES},
            "device": device,
            "split": [split.name, *(digest(rows) for rows in (split.train, split.test, split.fit, split.validation))],
            "classes": list(task.classes),
            "clips": digest(task.labels, *(array for array in arrays if array is not None)),
        }

    def name(self, protocol: str, run: Trained) -> str:
        """Of the file of a protocol and run, without its end, and of the folder of the classifier that was trained for it."""
        part = "" if self._part == "test" else f"{self._part}-"
        return f"{protocol}-{part}{'last-' if run.last else ''}seed{run.seed}"

    def read(self, protocol: str, run: Trained, fused: Trained | None = None) -> Score | None:
        """The score that was kept; None where there is none, a damaged one, or one of something else.

        Args:
            fused: the run that `run` is fused with, where the protocol does that.
        """
        try:
            path = self._folder / f"{self.name(protocol, run)}.json"
            found = _KEPT.check(read_json(path), path)
            details = _DETAILS.check(found["details"], path)
            truth = self._task.labels[self._task.split.test]
            predictions = np.array(found["predictions"])
            if (
                found["key"] != self._key(protocol, run, fused)
                or predictions.dtype != np.int64
                or predictions.shape != truth.shape
                or not ((predictions >= 0) & (predictions < len(self._task.classes))).all()
                or [name for name in SHARES if name in details] not in ([], ["per_class"], list(SHARES))
            ):
                return None
            return Score(protocol, percent(predictions, truth), predictions, truth, float(found["seconds"]), details)
        except UserError:
            return None

    def write(self, score: Score, run: Trained, fused: Trained | None = None) -> None:
        """Keeps a score, atomically.

        Raises:
            UserError: it cannot be written.
        """
        value = {
            "protocol": score.protocol,
            "run": str(run.folder),
            "seed": run.seed,
            "accuracy": score.accuracy,
            "seconds": score.seconds,
            "details": score.details,
            "classes": list(self._task.classes),
            "predictions": score.predictions.tolist(),
            "key": self._key(score.protocol, run, fused),
        }
        write_json(self._folder / f"{self.name(score.protocol, run)}.json", value)

    def _key(self, protocol: str, run: Trained, fused: Trained | None) -> str:
        trained = protocol == FUSED or MEASURES[protocol].weights == "trained"
        frozen = protocol == FUSED or MEASURES[protocol].frozen
        runs = [run] if fused is None else [run, fused]
        facts: dict[str, Any] = {
            **self._common,
            "protocol": protocol,
            "precision": [
                for_inference((r.recipe if frozen else r.recipe.supervision).precision, self._common["device"]) for r in runs
            ],
            "epochs": None if frozen else self._epochs,
            "runs": [[to_json(r.recipe), r.seed, self._weights[r.folder] if trained else None] for r in runs],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
