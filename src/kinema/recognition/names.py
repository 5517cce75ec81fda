"""The protocols that can be asked for by name: what each does, with which weights, to which streams of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import UserError, unknown

Kind = Literal["linear", "knn", "knn-published", "linear-published", "finetune"]
Weights = Literal["trained", "random", "raw"]
FIRST, ALL = "first", "all"


@dataclass(frozen=True)
class Measure:
    """One protocol.

    Attributes:
        meaning: for tables. kind: what is done.
        weights: of the network: ``trained``, ``random`` (fresh, of the run's seed), or ``raw``: prepared positions without a network.
        streams: ``first``, ``all`` (late fusion), or the name of one.
        labels: share of the training clips that keep their label.
    """

    meaning: str
    kind: Kind
    weights: Weights = "trained"
    streams: str = FIRST
    labels: float = 1.0

    @property
    def frozen(self) -> bool:
        """Whether all it needs of the network are the features of each clip."""
        return self.kind in ("linear", "knn", "knn-published")


MEASURES = {
    "linear": Measure("linear probe on frozen features", "linear"),
    "knn": Measure("1-nearest neighbour on frozen features", "knn"),
    "random-linear": Measure("linear probe, network with random weights", "linear", "random"),
    "random-knn": Measure("1-NN, network with random weights", "knn", "random"),
    "raw-linear": Measure("linear probe on prepared positions", "linear", "raw"),
    "raw-knn": Measure("1-NN on prepared positions", "knn", "raw"),
    "linear-motion": Measure("linear probe, motion stream", "linear", streams="motion"),
    "linear-bone": Measure("linear probe, bone stream", "linear", streams="bone"),
    "linear-3s": Measure("linear probes of all streams, fused", "linear", streams=ALL),
    "knn-motion": Measure("1-NN, motion stream", "knn", streams="motion"),
    "knn-bone": Measure("1-NN, bone stream", "knn", streams="bone"),
    "knn-3s": Measure("1-NN of all streams, fused", "knn", streams=ALL),
    "random-linear-3s": Measure("linear probes of all streams, fused, random weights", "linear", "random", ALL),
    "random-knn-3s": Measure("1-NN of all streams, fused, random weights", "knn", "random", ALL),
    "knn-published": Measure("CMD's 1-NN (features not standardised)", "knn-published"),
    "linear-published": Measure("the method's published linear probe (SGD, augmented clips)", "linear-published"),
    "finetune": Measure("fine-tuned, everything trained", "finetune"),
    "scratch": Measure("same network trained from scratch", "finetune", "random"),
    "semi-1": Measure("fine-tuned on 1 % of the labels", "finetune", labels=0.01),
    "semi-5": Measure("fine-tuned on 5 % of the labels", "finetune", labels=0.05),
    "semi-10": Measure("fine-tuned on 10 % of the labels", "finetune", labels=0.1),
    "semi-20": Measure("fine-tuned on 20 % of the labels", "finetune", labels=0.2),
    "scratch-1": Measure("from scratch on 1 % of the labels", "finetune", "random", labels=0.01),
    "scratch-5": Measure("from scratch on 5 % of the labels", "finetune", "random", labels=0.05),
    "scratch-10": Measure("from scratch on 10 % of the labels", "finetune", "random", labels=0.1),
    "scratch-20": Measure("from scratch on 20 % of the labels", "finetune", "random", labels=0.2),
}
FUSED = "linear-fused"
"""Late fusion of two methods, `fusion.py`: it needs the runs of both."""
PROTOCOLS = tuple(MEASURES)
MEANING = {name: measure.meaning for name, measure in MEASURES.items()} | {FUSED: "linear probes of two methods, fused"}


def check_names(
    wanted: Sequence[str], origin: object, streams: Sequence[str], *, fusing: bool = False, published: bool = True
) -> None:
    """Checks that an encoder can be measured by protocols.

    Args:
        wanted: their names. origin: the run that made it. streams: of the encoder. fusing: with runs of another method.
        published: its method has a linear probe of its own.

    Raises:
        UserError: a name that is unknown, or a protocol that does not suit.
    """
    for name in wanted:
        if name == FUSED:
            if not fusing:
                raise UserError(f"protocol {FUSED}: fuses the runs with those of another method; name these with --fuse")
        elif name not in MEASURES:
            raise unknown("protocol", name, PROTOCOLS)
        elif MEASURES[name].kind == "linear-published" and not published:
            raise UserError(f"protocol {name}: the method of {origin} has published none; ask for linear instead")
        elif (which := MEASURES[name].streams) not in (FIRST, *streams) and not (which == ALL and len(streams) > 1):
            has = f"its streams are {', '.join(streams)}" if streams else "its encoder is one network without streams"
            raise UserError(f"protocol {name}: {origin} has no such streams; {has}; ask for linear or knn instead")


def chosen(which: str, streams: Sequence[str]) -> tuple[str | None, ...]:
    """The streams that are meant by ``first``, ``all`` or a name; None stands for the whole of an encoder that has none."""
    if not streams:
        return (None,)
    return {FIRST: tuple(streams[:1]), ALL: tuple(streams)}.get(which, (which,))
