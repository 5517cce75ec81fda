"""Recipes: the whole configuration of a run as a Python function. A preset is its hyphenated name on the command line."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import cattrs
from cattrs.strategies import configure_tagged_union

from ..data.augment import Rotate, ShearOrCorrupt
from ..data.batches import Crop
from ..errors import UserError, unknown
from ..motion.prepare import Preparation
from ..motion.skeleton import Skeleton
from ..nn.hyper_connections import HyperConnections
from ..nn.residual import Residual, named_residual
from ..training.method import Optimiser, Schedule
from .cmd import CMD, CMDConfig
from .encoder import Encoder, TransformerConfig
from .i2md import I2MD, I2MDConfig
from .mamp import MAMP, MAMPConfig
from .protocols import Augmentations, Pooling, Supervision
from .published import cmd_supervision
from .sequence import GRUConfig

MOST_EPOCHS = 1e6
MODELS: dict[str, type] = {"mamp": MAMPConfig, "cmd": CMDConfig, "i2md": I2MDConfig}
"""What each method is configured by."""
METHODS: dict[str, type[Encoder]] = {"mamp": MAMP, "cmd": CMD, "i2md": I2MD}
"""What each method is; `build_method` makes one."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run besides data, seed and machine. Saved as the run's `config.json`.

    Attributes:
        preset: the recipe function that made it. method: which paper.
        model: the method's own choices. preparation: what happens to clips first.
        crop, augment: of training clips. batch_size: clips of one optimiser step. epochs: passes over the training split.
        optimiser, schedule: how it learns. ema: decay of averaged weights, or None.
        accumulate: parts of a batch; None: as memory asks, see `parts`.
        precision: ``32`` or ``bf16``. compile: torch.compile the loss.
        pooling: how the linear probe and nearest neighbours see tokens. probe_views: random crops averaged with the middle one there.
        supervision: how fine-tuning runs.
    """

    preset: str
    method: Literal["mamp", "cmd", "i2md"]
    model: MAMPConfig | CMDConfig | I2MDConfig
    preparation: Preparation = field(default_factory=Preparation)
    crop: Crop = field(default_factory=Crop)
    augment: tuple[Augmentations, ...] = (Rotate(0.3),)
    batch_size: int = 128
    epochs: float = 400
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=lambda: Schedule("cosine", warmup=20, final=0.5))
    accumulate: int | None = None
    ema: float | None = None
    precision: Literal["32", "bf16"] = "32"
    compile: bool = False
    pooling: Pooling = "mean"
    probe_views: int = 0
    supervision: Supervision = field(default_factory=Supervision)

    def __post_init__(self) -> None:
        if type(self.model) is not MODELS[self.method]:
            raise UserError(f"method {self.method} with a {type(self.model).__name__}: they do not belong together")
        if isinstance(self.model, CMDConfig):
            if self.model.people != self.preparation.people:
                raise UserError(f"model.people {self.model.people}, preparation.people {self.preparation.people}: set both alike")
            if self.supervision.drop_path and isinstance(self.model.network, GRUConfig):
                raise UserError(
                    f"supervision.drop_path {self.supervision.drop_path}: a recurrent network has no paths to drop, set 0"
                )
        network, path = self.network
        if isinstance(network, TransformerConfig) and network.drop_path:
            raise UserError(
                f"{path}.drop_path {network.drop_path}: pre-training drops no paths, set 0; supervision.drop_path is for fine-tuning"
            )
        if not 0 <= self.probe_views <= 100:
            raise UserError(f"probe_views {self.probe_views}: expected 0 to 100")
        for name, learning in (("", self), ("supervision.", self.supervision)):
            if learning.batch_size < 1:
                raise UserError(f"{name}batch_size {learning.batch_size}: expected 1 or more")
            if not 0 < learning.epochs < MOST_EPOCHS:
                raise UserError(f"{name}epochs {learning.epochs}: expected a number above 0")
            if not 0 < learning.optimiser.lr < math.inf:
                raise UserError(f"{name}optimiser.lr {learning.optimiser.lr}: expected a number above 0")
            if not 0 <= learning.optimiser.weight_decay < math.inf:
                raise UserError(f"{name}optimiser.weight_decay {learning.optimiser.weight_decay}: expected 0 or more")

    @property
    def size(self) -> TransformerConfig | CMDConfig:
        """What says how many joints, coordinates and frames the network sees."""
        return self.model.encoder if isinstance(self.model, MAMPConfig) else self.model

    @property
    def network(self) -> tuple[TransformerConfig | GRUConfig, str]:
        """What each clip runs through, and where that is, for ``--set``."""
        return (
            (self.model.encoder, "model.encoder") if isinstance(self.model, MAMPConfig) else (self.model.network, "model.network")
        )

    @property
    def size_path(self) -> str:
        """Where `size` is, for ``--set``."""
        return "model.encoder" if isinstance(self.model, MAMPConfig) else "model"


def _sized(skeleton: Skeleton, **size: Any) -> TransformerConfig:
    return TransformerConfig(joints=len(skeleton), bones=tuple(skeleton.bone_pairs()), **size)


def _needs_kinect2(preset: str, skeleton: Skeleton, others: str) -> None:
    if len(skeleton) != 25:
        raise UserError(
            f"preset {preset}: made for the 25 joints of Kinect v2, but the data has {len(skeleton)} ({skeleton.name}); use {others}"
        )


def _paper(preset: str, skeleton: Skeleton, preparation: Preparation, depth: int, tau: float) -> Recipe:
    _needs_kinect2(preset, skeleton, "small or fast")
    return Recipe(
        preset=preset,
        method="mamp",
        model=MAMPConfig(_sized(skeleton), decoder_depth=depth, tau=tau),
        preparation=preparation,
        supervision=Supervision(augment=(Rotate(0.3),)),
    )


def paper_ntu60(skeleton: Skeleton) -> Recipe:
    """MAMP on NTU-60 as published: 256 wide, 8 + 3 blocks, 120 frames, tau 0.8, batch 128, 400 epochs, AdamW 1e-3 to 5e-4.

    Every value was read in the authors' repository (commit 09e6252): `Optimiser` and `Schedule` defaults are theirs too.
    """
    ntu = Preparation(actors="mamp", centre="mamp", longest=300, people=2)
    return _paper("paper-ntu60", skeleton, ntu, 3, 0.8)


def paper_ntu120(skeleton: Skeleton) -> Recipe:
    """MAMP on NTU-120 as published: 5 decoder blocks, tau 0.75, and a lone person copied into the second place."""
    ntu = Preparation(actors="mamp", centre="mamp", longest=300, people=2, absent="copy")
    return _paper("paper-ntu120", skeleton, ntu, 5, 0.75)


def paper_pku(skeleton: Skeleton) -> Recipe:
    """MAMP on PKU-MMD as published: 5 decoder blocks, tau 0.8, positions not centred, first 300 frames."""
    return _paper("paper-pku", skeleton, Preparation(empty="prefix", longest=300, people=2), 5, 0.8)


def small(skeleton: Skeleton) -> Recipe:
    """MAMP for a small set on two CPU cores: 128 wide, 6 + 2 blocks, cross-attention decoder, view-aligned clips, bf16."""
    size = _sized(skeleton, width=128, depth=6, heads=4, frames=32)
    return Recipe(
        preset="small",
        method="mamp",
        model=MAMPConfig(size, decoder="cross", decoder_width=128, decoder_depth=2, mask_ratio=0.8, predict_share=0.5, pack=True),
        preparation=Preparation(centre="first", yaw=True, people=1),
        crop=Crop(minimum=12),
        batch_size=32,
        epochs=100,
        schedule=Schedule("cosine", warmup=10, final=0.1),
        precision="bf16",
        pooling="joints",
        probe_views=4,
        supervision=Supervision(
            epochs=25, batch_size=32, hidden=512, drop_path=0.1, crop=Crop(minimum=12), augment=(Rotate(0.3),), precision="bf16"
        ),
    )


def fast(skeleton: Skeleton) -> Recipe:
    """The published encoder size with a cheaper decoder: cross-attention over half of the masked queries, present people packed, bf16."""
    size = _sized(skeleton)
    return Recipe(
        preset="fast",
        method="mamp",
        model=MAMPConfig(size, decoder="cross", predict_share=0.5, pack=True),
        preparation=Preparation(empty="drop", centre="first", yaw=True, people=2),
        crop=Crop(minimum=64),
        precision="bf16",
        supervision=Supervision(augment=(Rotate(0.3),), precision="bf16"),
    )


def _cmd_paper(preset: str, skeleton: Skeleton, epochs: float, milestone: float) -> Recipe:
    _needs_kinect2(preset, skeleton, "small")
    return Recipe(
        preset=preset,
        method="cmd",
        model=CMDConfig(tuple(skeleton.bone_pairs())),
        preparation=Preparation(actors="cmd", longest=300, centre="cmd", people=2),
        crop=Crop(low=0.1),
        augment=(ShearOrCorrupt(),),
        batch_size=64,
        epochs=epochs,
        optimiser=Optimiser("sgd", lr=0.01, weight_decay=1e-4, momentum=0.9),
        schedule=Schedule("step", milestones=(milestone,)),
        supervision=cmd_supervision(Supervision()),
    )


def cmd_paper_ntu(skeleton: Skeleton) -> Recipe:
    """CMD on NTU RGB+D as published: 3 x 1024 hidden, 64 frames, queue 16,384, SGD 0.01, batch 64, 451 epochs (the 450th is kept)."""
    return _cmd_paper("paper-ntu", skeleton, 451, 351)


def cmd_paper_pku(skeleton: Skeleton) -> Recipe:
    """CMD on PKU-MMD II as published: 1001 epochs."""
    return _cmd_paper("paper-pku", skeleton, 1001, 801)


def cmd_small(skeleton: Skeleton) -> Recipe:
    """CMD for a small set on two CPU cores: one layer of 2 x 128, 32 frames, a queue of 256, view-aligned clips, bf16."""
    size = CMDConfig(
        tuple(skeleton.bone_pairs()),
        joints=len(skeleton),
        people=1,
        frames=32,
        network=GRUConfig(hidden=128, layers=1),
        queue=256,
        neighbours=128,
        momentum=0.99,
    )
    return Recipe(
        preset="small",
        method="cmd",
        model=size,
        preparation=Preparation(centre="first", yaw=True, people=1),
        crop=Crop(minimum=12),
        augment=(ShearOrCorrupt(joints=round(len(skeleton) * 15 / 25)),),  # the published share
        batch_size=32,
        epochs=50,
        optimiser=Optimiser("sgd", lr=0.1, weight_decay=1e-4, momentum=0.9),
        schedule=Schedule("cosine", warmup=2, final=0.01),
        precision="bf16",
        probe_views=4,
        supervision=Supervision(epochs=25, batch_size=32, hidden=512, drop_path=0.0, crop=Crop(minimum=12), augment=(Rotate(0.3),)),
    )


def _i2md(base: Recipe) -> Recipe:
    """What a recipe of CMD is for I2MD, which keeps CMD's data, networks and optimiser; what it adds has its defaults."""
    model = I2MDConfig(**{each.name: getattr(base.model, each.name) for each in fields(CMDConfig)})
    return replace(base, method="i2md", model=model)


def i2md_paper_ntu(skeleton: Skeleton) -> Recipe:
    """I2MD on NTU RGB+D with CMD's published values; those of its own are not known, see `I2MDConfig`."""
    return _i2md(cmd_paper_ntu(skeleton))


def i2md_paper_pku(skeleton: Skeleton) -> Recipe:
    """I2MD on PKU-MMD II with CMD's published values; those of its own are not known, see `I2MDConfig`."""
    return _i2md(cmd_paper_pku(skeleton))


def i2md_small(skeleton: Skeleton) -> Recipe:
    """I2MD for a small set on two CPU cores: sizes and optimiser of CMD's preset `small`."""
    return _i2md(cmd_small(skeleton))


PRESETS: dict[str, dict[str, Callable[[Skeleton], Recipe]]] = {
    "mamp": {
        "paper-ntu60": paper_ntu60,
        "paper-ntu120": paper_ntu120,
        "paper-pku": paper_pku,
        "small": small,
        "fast": fast,
    },
    "cmd": {"paper-ntu": cmd_paper_ntu, "paper-pku": cmd_paper_pku, "small": cmd_small},
    "i2md": {"paper-ntu": i2md_paper_ntu, "paper-pku": i2md_paper_pku, "small": i2md_small},
}
"""Method -> preset -> recipe of a skeleton."""


def recipe(method: str, preset: str, skeleton: Skeleton) -> Recipe:
    """The recipe of a preset for data with this skeleton.

    Raises:
        UserError: an unknown method or preset, or a skeleton that the preset is not made for.
    """
    if method not in PRESETS:
        raise unknown("method", method, PRESETS)
    if preset not in PRESETS[method]:
        raise unknown(f"preset of {method}", preset, PRESETS[method])
    return PRESETS[method][preset](skeleton)


def build_method(recipe: Recipe, drop_path: float = 0.0) -> Encoder:
    """The untrained network of a recipe; its first weights come from torch's global generator.

    Raises:
        UserError: the model's choices contradict one another.
    """
    try:
        if isinstance(recipe.model, CMDConfig):
            network = recipe.model.network
            if isinstance(network, TransformerConfig):
                network = replace(network, drop_path=drop_path)
            elif drop_path:
                raise ValueError(f"drop_path {drop_path}: a recurrent network has no paths to drop")
            model = replace(recipe.model, network=network)
            return I2MD(model) if isinstance(model, I2MDConfig) else CMD(model)
        size = replace(recipe.model.encoder, drop_path=drop_path)
        return MAMP(replace(recipe.model, encoder=size))
    except ValueError as error:
        raise UserError(f"recipe {recipe.preset}: {error}") from error


@functools.cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    configure_tagged_union(Augmentations, converter, tag_name="kind")
    converter.register_structure_hook(
        MAMPConfig | CMDConfig | I2MDConfig, lambda value, _: converter.structure(value, _model_of(value))
    )
    converter.register_structure_hook(
        GRUConfig | TransformerConfig,
        lambda value, _: converter.structure(
            value, TransformerConfig if isinstance(value, dict) and "heads" in value else GRUConfig
        ),
    )
    converter.register_structure_hook(
        Residual,
        lambda value, _: named_residual(value) if not isinstance(value, dict) else converter.structure(value, HyperConnections),
    )
    # without these cattrs would cut 2.5 to 2 and take any value for true
    for kind in (int, float, bool, str):
        converter.register_structure_hook(kind, _exactly)
    return converter


def _model_of(value: Any) -> type:
    """The configuration that a JSON object is of, by a key that only this one has."""
    known = value if isinstance(value, dict) else {}
    return MAMPConfig if "encoder" in known else I2MDConfig if "aggregated" in known else CMDConfig


def _exactly(value: Any, kind: type) -> Any:
    """The value, if it is of the JSON type that stands for `kind` (a whole number may stand for a float)."""
    if type(value) is kind or (kind is float and type(value) is int):
        return kind(value)
    raise UserError(f"{value!r}: expected {_NAMES[kind]}")


_NAMES: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _reason(error: BaseException, kind: type | None) -> str:
    """What was wrong with one value, in a few words."""
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown: {', '.join(sorted(error.extra_fields))}"
    if isinstance(error, KeyError):
        return f"missing or unknown: {error}"
    return f"{error}".replace("typing.Literal", "")


def to_json(recipe: Recipe) -> dict[str, Any]:
    """A JSON-safe description that `from_json` reads back."""
    return _converter().unstructure(recipe, Recipe)


def from_json(value: Any, origin: object) -> Recipe:
    """The recipe of a run's configuration.

    Raises:
        UserError: something missing, unknown or of the wrong type, naming `origin`.
    """
    try:
        return _converter().structure(value, Recipe)
    except UserError as error:
        raise UserError(f"{origin}: {error}") from error
    except Exception as error:  # cattrs wraps whatever a constructor raises
        reasons = "; ".join(cattrs.transform_error(error, format_exception=_reason))
        raise UserError(f"{origin}: not a recipe that this version knows ({reasons})") from error


CPU_TOKENS = 16_000
"""Tokens of people that a CPU works on at once: more gain no speed there, and cost 65 kB each at the published size."""


def parts(recipe: Recipe, device: str, processes: int = 1) -> int:
    """How many parts each process cuts its rows of a batch into. The result of a step does not depend on it, but for rounding."""
    if recipe.accumulate is not None:
        return recipe.accumulate
    rows = recipe.batch_size // processes
    if device != "cpu" or rows < 1 or isinstance(recipe.model, CMDConfig):  # batch statistics want the batch whole
        return 1
    t, j = recipe.model.encoder.grid
    return next(
        k
        for k in range(1, rows + 1)
        if rows % k == 0 and (rows // k * recipe.preparation.people * t * j <= CPU_TOKENS or k == rows)
    )
