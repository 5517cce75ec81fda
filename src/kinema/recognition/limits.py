"""How large the numbers of a recipe may be, and how much memory its network takes: asked before anything is built.

A `config.json` may come from anybody, and a typed number may have a digit too many. Every number has a range in `RANGES`, far beyond what
was ever published; one without a range is refused too, so none can be forgotten. What several sizes take together is a question of memory.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ..errors import CheckpointError, UserError
from ..machine import memory
from ..motion.skeleton import MAX_JOINTS
from ..nn.hyper_connections import HyperConnections
from .cmd import CMDConfig
from .encoder import TransformerConfig
from .i2md import I2MDConfig
from .mamp import MAMPConfig
from .masa import MASAConfig
from .sequence import GRUConfig

MAX_LIST = 4096
"""Entries of a list in a recipe."""
FLOAT = 4
"""Bytes of a number."""


@dataclass(frozen=True)
class Range:
    """The values that a number may have; the ends belong to it unless `open_low` or `open_high`."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False

    def holds(self, value: float) -> bool:
        """False for NaN too."""
        above = value > self.low if self.open_low else value >= self.low
        return above and (value < self.high if self.open_high else value <= self.high)

    def __str__(self) -> str:
        if self.open_low:
            return f"a number above {self.low:.15g}{' and below' if self.open_high else ', at most'} {self.high:.15g}"
        return f"{self.low:.15g} to {'below ' if self.open_high else ''}{self.high:.15g}"


COUNT, SHARE, RATE = Range(1, 10**9), Range(0, 1), Range(0, 1, open_high=True)
WIDTH, LAYERS, FRAMES, JOINTS = Range(1, 2**17), Range(1, 512), Range(1, 10**4), Range(1, MAX_JOINTS)
POSITIVE, WEIGHT, AMOUNT = Range(0, 1000, open_low=True), Range(0, 10**6), Range(-1000, 1000)
RANGES: dict[str, Range] = {
    # of networks
    **dict.fromkeys(("width", "decoder_width", "dim", "mlp", "head_hidden", "channels"), WIDTH),
    **dict.fromkeys(("depth", "decoder_depth", "layers", "heads"), LAYERS),
    **dict.fromkeys(("frames", "frame_patch", "stride"), FRAMES),
    **dict.fromkeys(("joints", "joint_patch"), JOINTS),
    **dict.fromkeys(("queue", "neighbours"), Range(1, 10**7)),
    **dict.fromkeys(("bones", "order", "ShearOrCorrupt.joints", "count"), Range(0, MAX_JOINTS)),
    "hidden": Range(0, 2**17),  # 0: a classifier with a single map
    "HeadConfig.width": Range(1, 10**7),  # joints side by side
    "GRUConfig.hidden": WIDTH,
    "mlp_ratio": Range(0, 64, open_low=True),
    "coordinates": Range(1, 16),
    "people": Range(1, 64),
    "classes": Range(1, 10**6),
    "aggregated": Range(0, 10**7),
    "n": Range(1, 64),
    "iterations": Range(1, 1000),
    "recompute": Range(0, 10**4),
    "least": Range(1, MAX_JOINTS),
    # of training
    **dict.fromkeys(("batch_size", "accumulate"), Range(1, 10**5)),
    **dict.fromkeys(("warmup", "milestones", "align_epochs", "gamma", "final"), Range(0, 10**6)),
    "epochs": Range(0, 10**6, open_low=True),
    **dict.fromkeys(("most_steps", "longest", "minimum"), COUNT),
    "probe_views": Range(0, 100),
    "lr": POSITIVE,
    "weight_decay": Range(0, 1000),
    "clip": Range(0, 10**6, open_low=True),
    **dict.fromkeys(("betas", "ema", "smoothing", "dropout", "feature_dropout", "drop_path"), RATE),
    "momentum": SHARE,
    "Optimiser.momentum": RATE,
    "layer_decay": Range(0, 1, open_low=True),
    # of losses
    "mask_ratio": Range(0, 1, open_low=True, open_high=True),
    "predict_share": Range(0, 1, open_low=True),
    "tau": Range(-(10**6), 10**6),
    **dict.fromkeys(("temperature", "teacher", "student", "aggregate_temperature"), POSITIVE),
    **dict.fromkeys(("weight", "share", "cluster_weight", "intra", "align", "threshold"), WEIGHT),
    "MotionConfig.share": SHARE,
    "input_eps": POSITIVE,
    # of clips
    **dict.fromkeys(("confident", "arm", "visible", "hide", "hide_key"), SHARE),
    "bottom": Range(0, 10**6),
    "margin": POSITIVE,
    **dict.fromkeys(("low", "high", "p"), SHARE),
    "evaluation": Range(0, 1, open_low=True),
    **dict.fromkeys(("Scale.low", "Scale.high", "angle", "beta", "stretch", "shift"), AMOUNT),
    "std": Range(0, 1000),
}
"""By the name of a value, or of a class and a value where the name means several things."""


def check(value: Any, path: str = "") -> None:
    """Checks every number in a dataclass and in those within it.

    Raises:
        UserError: one is out of its range, or a list is too long; it names where.
    """
    for field in fields(value):
        _check(getattr(value, field.name), f"{path}{field.name}", f"{type(value).__name__}.{field.name}", field.name)


def _check(value: Any, path: str, whole: str, name: str) -> None:
    if is_dataclass(value):
        check(value, f"{path}.")
    elif isinstance(value, tuple):
        if len(value) > MAX_LIST:
            raise UserError(f"{path}: {len(value)} entries; expected at most {MAX_LIST}")
        for i, each in enumerate(value):
            _check(each, f"{path}.{i}", whole, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = RANGES.get(whole) or RANGES.get(name)
        if found is None:
            raise LookupError(f"{whole} has no range in limits.RANGES")
        if not found.holds(value):
            raise UserError(f"{path} {_shown(value)}: expected {found}")


def _shown(value: float) -> str:
    text = str(value)
    return text if len(text) <= 30 else f"{text[:30]}..."


def numbers(model: Any, *, queues: bool = True) -> int:
    """About how many parameters and (unless not `queues`) numbers in queues a method has, a little more or less."""
    if isinstance(model, MAMPConfig):
        e, width, depth = model.encoder, model.decoder_width, model.decoder_depth
        cross = 4 * width**2 if model.decoder == "cross" else 0
        decoder = depth * (_block(width, e.mlp_ratio * width) + cross + _joins(e.residual, width))
        t, j = e.grid
        return round(_transformer(e) + decoder + width * (e.width + t + j + e.patch))
    if isinstance(model, MASAConfig):
        net, graph = model.network, model.network.graph
        sizes = (2, *graph.channels, graph.width, graph.width)
        graphs = 2 * (sum(5 * a * b + b * b for a, b in itertools.pairwise(sizes)) + 27 * graph.width**2)
        blocks = _block(net.width, net.mlp) + _joins(net.residual, net.width)
        heads = graph.width**2 + graph.width * model.dim
        encoder = graphs + net.depth * blocks + heads
        return round(
            2 * encoder + model.decoder_depth * blocks + 2 * graph.width * model.head_hidden + queues * model.dim * model.queue
        )
    assert isinstance(model, CMDConfig)
    heads = 2 if isinstance(model, I2MDConfig) else 1
    network, width = model.network, model.network.width
    if isinstance(network, GRUConfig):
        inputs = model.coordinates * model.joints * model.people
        encoder = 6 * network.hidden * (inputs + (network.layers - 1) * width + network.layers * (network.hidden + 2))
    else:
        encoder = _transformer(network)
    return round(
        6 * (encoder + heads * (width * (width if model.mlp else 0) + width * model.dim))
        + queues * 3 * heads * model.dim * model.queue
    )


def _transformer(size: TransformerConfig) -> float:
    t, j = size.grid
    each = _block(size.width, size.mlp_ratio * size.width) + _joins(size.residual, size.width)
    return size.depth * each + size.width * (size.patch + t + j)


def _block(width: int, mlp: float) -> float:
    return 4 * width**2 + 2 * width * mlp


def _joins(residual: Any, width: int) -> float:
    """Of the two connections of a block."""
    if not isinstance(residual, HyperConnections):
        return 0
    n = residual.n
    # coefficients of the manifold are of every pair of streams, and see all streams at once
    return 2 * (n * width) * n * (n + 2) if residual.kind == "manifold" else 2 * width * (n + 2)


def check_network(model: Any, people: int) -> None:
    """Whether a network could be built and see one clip, with half of the memory that this process may use.

    Raises:
        UserError: no; it says how much it would take.
    """
    count, most = numbers(model), memory() // 2
    if count * FLOAT > most:
        raise UserError(
            f"a network of about {count:,} numbers takes {_bytes(count * FLOAT)}, this machine has {_bytes(2 * most)} of memory; "
            "choose smaller sizes (width, depth, hidden, queue, ...)"
        )
    network = model.encoder if isinstance(model, MAMPConfig) else model.network
    if isinstance(network, TransformerConfig):
        t, j = network.grid
        clip = people * t * j * network.width * FLOAT
        if clip > most:
            raise UserError(
                f"{t} x {j} tokens of {people} people, {network.width} wide, take {_bytes(clip)} for one clip in one layer, this machine "
                f"has {_bytes(2 * most)} of memory; choose fewer frames or joints, or larger patches"
            )


def check_batch(rows: int, frames: int, people: int, joints: int, coordinates: int) -> None:
    """Whether a batch of clips fits into half of the memory that this process may use.

    Raises:
        UserError: no; it says how much it would take.
    """
    size, most = rows * frames * people * joints * coordinates * FLOAT, memory() // 2
    if size > most:
        raise UserError(
            f"a batch of {rows} clips x {frames} frames x {people} people x {joints} joints x {coordinates} coordinates takes "
            f"{_bytes(size)}, this machine has {_bytes(2 * most)} of memory; choose a smaller batch_size or fewer frames"
        )


def check_held(count: int, held: int, origin: object) -> None:
    """Whether a checkpoint of so many bytes can hold a network of `count` numbers, which need not be built to find out.

    Raises:
        CheckpointError: by far not.
    """
    if count * FLOAT > 4 * held + 2**22:  # half precision takes half as much, and the count is not exact
        raise CheckpointError(
            f"{origin}: config.json describes a network of about {count:,} numbers, but the checkpoint holds {held:,} bytes: "
            "made for another model"
        )


def _bytes(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"
