"""The classifiers that protocols train: what each begins from, how and on which clips; and whether its folder is free for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..training.folder import CONFIG, check_same
from .classifier import classifier_config, score_classifier, train_classifier
from .encoder import Encoder
from .names import MEASURES
from .protocols import Score, Supervision, Task, few_labels
from .published import PUBLISHED_LINEAR, lasting
from .run import Trained


@dataclass(frozen=True)
class Plan:
    """One classifier to train.

    Attributes:
        protocol: its name. trained: the run. task: the clips. how: it is trained. frozen: the head alone. rows: of the clips that train.
    """

    protocol: str
    trained: Trained
    task: Task
    how: Supervision
    frozen: bool
    rows: np.ndarray

    @classmethod
    def of(cls, protocol: str, trained: Trained, task: Task, epochs: int | None) -> Plan:
        """What a protocol does with a run; `epochs` instead of the recipe's.

        Raises:
            UserError: too few clips, or of one class alone.
        """
        measure, how = MEASURES[protocol], trained.recipe.supervision.reopened()
        frozen = measure.kind == "linear-published"
        if frozen:
            how = PUBLISHED_LINEAR[trained.recipe.method](how)
        if epochs is not None:
            how = lasting(how, epochs)
        if measure.weights == "random":
            how = replace(how, layer_decay=1.0)
        rows = task.split.train
        try:
            if measure.labels < 1:
                rows = few_labels(task, measure.labels, trained.seed)
        except UserError as error:
            raise UserError(f"protocol {protocol}: {error}") from error
        if len(np.unique(task.labels[rows])) < 2:
            raise UserError(f"protocol {protocol}: the training clips of split {task.split.name} are all of one class")
        return cls(protocol, trained, task, how, frozen, rows)

    def encoder(self, device: str) -> Encoder:
        """With the weights that it begins from."""
        drop_path = 0.0 if self.frozen else self.how.drop_path
        weights = MEASURES[self.protocol].weights == "trained"
        return self.trained.encoder(weights=weights, drop_path=drop_path).alone().to(device)

    def check_folder(self, folder: Path, device: str) -> None:
        """Raises UserError where another classifier is in its folder."""
        if (folder / CONFIG).exists():
            what = {"seed": self.trained.seed, "frozen": self.frozen}
            arguments = (self.protocol, self.trained, self.encoder(device), self.task, self.how, self.rows)
            check_same(folder, classifier_config(*arguments, **what), partly=True)

    def measure(self, folder: Path, device: str, quiet: bool) -> Score:
        """Trains it, or goes on with it, and scores it.

        Raises:
            Interrupted: a signal came; the same call goes on.
        """
        how, rows, seed = self.how, self.rows, self.trained.seed
        encoder = self.encoder(device)
        model, how = train_classifier(
            self.protocol, self.trained, encoder, self.task, how, folder, seed=seed, rows=rows, frozen=self.frozen, quiet=quiet
        )
        return score_classifier(self.protocol, model, self.task, how, rows=len(rows), epochs=how.epochs)
