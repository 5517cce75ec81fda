"""How each paper trains its classifiers; apart from `protocols.py`, which works for any of these choices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..training.method import Optimiser, Schedule
from .protocols import Supervision


def mamp_linear(how: Supervision) -> Supervision:
    """MAMP's linear probe: SGD, momentum 0.9, no decay, rate 0.1 (absolute) falling to 0 along a cosine, no warm-up, augmented as `how`."""
    return replace(
        how,
        epochs=100,
        batch_size=256,
        optimiser=Optimiser("sgd", lr=0.1, weight_decay=0.0, momentum=0.9),
        schedule=Schedule("cosine"),
        layer_decay=1.0,
        hidden=how.hidden or Supervision.hidden,  # its head has a batch norm
    )


def cmd_supervision(how: Supervision, lr: float = 0.01) -> Supervision:
    """CMD's classifiers where everything is trained (semi-supervised, transfer): one linear map, SGD, a tenth of the rate at 5/8 and 7/8.

    The crop and the precision of `how` are kept.
    """
    return replace(
        how,
        epochs=80,
        batch_size=64,
        optimiser=Optimiser("sgd", lr=lr, weight_decay=0.0, momentum=0.9),
        schedule=Schedule("step", milestones=(50, 70)),
        layer_decay=1.0,
        smoothing=0.0,
        drop_path=0.0,
        hidden=0,
        dropout=0.0,
        augment=(),
    )


def cmd_linear(how: Supervision) -> Supervision:
    """CMD's linear probe: as its other classifiers, at ten times their rate."""
    return cmd_supervision(how, lr=0.1)


def masa_supervision(how: Supervision) -> Supervision:
    """MASA's fine-tuning as its paper has it: CMD's classifier, with 0.1 of dropout, for 60 epochs with a tenth of the rate every 20.

    The crop and the precision of `how` are kept.
    """
    return replace(cmd_supervision(how), epochs=60, schedule=Schedule("step", milestones=(20, 40)), dropout=0.1)


PUBLISHED_LINEAR: dict[str, Callable[[Supervision], Supervision]] = {"mamp": mamp_linear, "cmd": cmd_linear, "i2md": cmd_linear}
"""How each method's own linear probe is trained, from how its other classifiers are. I2MD's protocols are CMD's."""


def lasting(how: Supervision, epochs: int) -> Supervision:
    """The same in another number of epochs; milestones of its schedule move with its end."""
    milestones = tuple(m * epochs / how.epochs for m in how.schedule.milestones)
    return replace(how, epochs=epochs, schedule=replace(how.schedule, milestones=milestones))
