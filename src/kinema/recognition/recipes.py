"""Recipes: the whole configuration of a run, and as JSON. `presets.py` has those that have a name."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args

import cattrs

from ..data.augment import Rotate
from ..data.pieces import Crop, Window
from ..errors import UserError
from ..motion.clip import Clip
from ..motion.prepare import Preparation, prepare
from ..nn.hyper_connections import HyperConnections
from ..nn.residual import Residual, named_residual
from ..training.method import Optimiser, Schedule
from ..training.precision import Precision
from . import limits
from .cmd import CMD, CMDConfig
from .encoder import Encoder, TransformerConfig
from .i2md import I2MD, I2MDConfig
from .mamp import MAMP, MAMPConfig
from .masa import MASA, MASAConfig
from .masa_network import SignNetworkConfig
from .masa_prepare import SignPreparation, prepare_clip
from .protocols import Augmentations, Pooling, SignAugmentations, Supervision
from .sequence import GRUConfig
from .structure import Refused, converter, objection, one_of, refusal, structure, tagged

T = TypeVar("T")
Model = MAMPConfig | CMDConfig | I2MDConfig | MASAConfig
Network = TransformerConfig | GRUConfig | SignNetworkConfig
MODELS: dict[str, type] = {"mamp": MAMPConfig, "cmd": CMDConfig, "i2md": I2MDConfig, "masa": MASAConfig}
"""What each method is configured by."""
METHODS: dict[str, type[Encoder]] = {"mamp": MAMP, "cmd": CMD, "i2md": I2MD, "masa": MASA}
"""What each method is; `build_method` makes one."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run besides data, seed and machine. Saved as the run's `config.json`.

    Attributes:
        preset: the recipe function that made it. method: which paper.
        model: the method's own choices.
        preparation: what happens to clips first: to skeletons, or (`SignPreparation`) to the hands and the body of a signer.
        crop, augment: of training clips; MASA takes a `Window` of frames as they are, the others a `Crop` that is resized.
        batch_size: clips of one optimiser step. epochs: passes over the training split.
        most_steps: a training of more steps ends there, and its schedule too, so that it lasts no longer on a larger set; None: whatever
            the epochs are.
        optimiser, schedule: how it learns. ema: decay of the averaged weights that are then
            used, or None: those of the last step are.
        accumulate: parts of a batch; None: as memory asks, see `parts`.
        precision: ``32``, ``bf16``, or ``auto``: bf16 where the machine gains by it; that of a run is settled when it begins. Of a trained
            network ``bf16`` too means: where the machine gains by it. compile: torch.compile the loss.
        pooling: how the linear probe and nearest neighbours see tokens. probe_views: random crops averaged with the middle one there.
        supervision: how fine-tuning runs.
    """

    preset: str
    method: Literal["mamp", "cmd", "i2md", "masa"]
    model: Model
    preparation: Preparation | SignPreparation = field(default_factory=Preparation)
    crop: Crop | Window = field(default_factory=Crop)
    augment: tuple[Augmentations, ...] = (Rotate(0.3),)
    batch_size: int = 128
    epochs: float = 400
    most_steps: int | None = None
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=lambda: Schedule("cosine", warmup=20, final=0.5))
    accumulate: int | None = None
    ema: float | None = None
    precision: Precision = "32"
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
        self._check_pieces()
        network, path = self.network
        if self.supervision.drop_path and not isinstance(network, TransformerConfig):
            raise UserError(f"supervision.drop_path {self.supervision.drop_path}: this network has no paths to drop, set 0")
        if isinstance(network, TransformerConfig) and network.drop_path:
            raise UserError(
                f"{path}.drop_path {network.drop_path}: pre-training drops no paths, set 0; supervision.drop_path is for fine-tuning"
            )
        limits.check(self)

    def prepare(self, clip: Clip) -> Clip:
        """A clip as it was read -> as the network sees it; of a signer it may be left with nobody (`Clip.somebody`).

        Raises:
            UserError: it lacks what a step needs.
        """
        if isinstance(self.preparation, SignPreparation):
            return prepare_clip(clip, self.preparation)
        return prepare(clip, self.preparation)

    @property
    def signs(self) -> bool:
        """Whether it sees signers, of any skeleton with hands, and not the joints of one skeleton."""
        return isinstance(self.preparation, SignPreparation)

    def _check_pieces(self) -> None:
        """Raises UserError unless preparation, crops and augmentation suit the method."""
        signs = isinstance(self.model, MASAConfig)
        if signs and not isinstance(self.preparation, SignPreparation):
            raise UserError("preparation: MASA sees hands cut out of images; it needs that of a signer, as its presets have it")
        for name, learning in (("", self), ("supervision.", self.supervision)):
            if isinstance(learning.crop, Window) != signs:
                kind = "a window of frames as they are (frames, take)" if signs else "a crop that is resized (low, high, minimum)"
                raise UserError(f"{name}crop: method {self.method} takes {kind}")
            made_for = (
                "SwapHands or JitterParts, for poses with confidences"
                if signs
                else "Rotate, Shear, ..., for poses without confidences"
            )
            for each in learning.augment:
                if isinstance(each, SignAugmentations) != signs:
                    raise UserError(f"{name}augment: {type(each).__name__}; expected {made_for}, or []")

    @property
    def size(self) -> TransformerConfig | CMDConfig | MASAConfig:
        """What says how many joints, coordinates and frames the network sees."""
        return self.model.encoder if isinstance(self.model, MAMPConfig) else self.model

    @property
    def network(self) -> tuple[Network, str]:
        """What each clip runs through, and where that is, for ``--set``."""
        return (
            (self.model.encoder, "model.encoder") if isinstance(self.model, MAMPConfig) else (self.model.network, "model.network")
        )

    @property
    def size_path(self) -> str:
        """Where `size` is, for ``--set``."""
        return "model.encoder" if isinstance(self.model, MAMPConfig) else "model"


def build_method(recipe: Recipe, drop_path: float = 0.0) -> Encoder:
    """The untrained network of a recipe; its first weights come from torch's global generator.

    Raises:
        UserError: the model's choices contradict one another, or it is too large for this machine.
    """
    model = recipe.model
    limits.check_network(model, recipe.preparation.people)
    try:
        if isinstance(model, MAMPConfig):
            return MAMP(replace(model, encoder=replace(model.encoder, drop_path=drop_path)))
        if isinstance(model.network, TransformerConfig):
            model = replace(model, network=replace(model.network, drop_path=drop_path))
        elif drop_path:
            raise ValueError(f"drop_path {drop_path}: this network has no paths to drop")
        if isinstance(model, MASAConfig):
            return MASA(model)
        return I2MD(model) if isinstance(model, I2MDConfig) else CMD(model)
    except ValueError as error:
        raise UserError(f"recipe {recipe.preset}: {error}") from error


@functools.cache
def _converter() -> cattrs.Converter:
    made = converter()
    made.register_unstructure_hook(
        Augmentations, lambda value: {**made.unstructure(value, type(value)), "kind": type(value).__name__}
    )
    made.register_structure_hook(Augmentations, tagged(made, {kind.__name__: kind for kind in get_args(Augmentations)}, "kind"))
    for union, keys in _TOLD_BY.items():
        made.register_structure_hook(union, one_of(made, keys))
    made.register_structure_hook(
        Residual,
        lambda value, _: made.structure(value, HyperConnections) if isinstance(value, dict) else named_residual(value),
    )
    return made


_TOLD_BY: dict[Any, dict[str, type]] = {
    Model: {"encoder": MAMPConfig, "motion": MASAConfig, "aggregated": I2MDConfig, "": CMDConfig},
    GRUConfig | TransformerConfig: {"heads": TransformerConfig, "": GRUConfig},
    Preparation | SignPreparation: {"margin": SignPreparation, "": Preparation},
    Crop | Window: {"take": Window, "": Crop},
}
"""For each choice of classes, the key of a JSON object that only one of them has; "" is the one that is left."""


def to_json(recipe: Recipe) -> dict[str, Any]:
    """A JSON-safe description that `from_json` reads back."""
    return _converter().unstructure(recipe, Recipe)


def structured(value: Any, kind: type[T]) -> T:
    """The recipe, or another dataclass of a configuration, that a JSON value describes; every number is in its range.

    Raises:
        Refused: something missing, unknown or of the wrong type, or out of range.
    """
    found = structure(_converter(), value, kind)
    try:
        limits.check(found)
    except UserError as error:
        raise Refused([objection(str(error), "", kind)]) from error
    return found


def from_json(value: Any, origin: object) -> Recipe:
    """The recipe of a run's configuration.

    Raises:
        UserError: something missing, unknown or of the wrong type, naming `origin`.
    """
    try:
        return structured(value, Recipe)
    except Refused as refused:
        raise refusal(origin, refused, "recipe") from refused


CPU_TOKENS = 16_000
"""Tokens of people that a CPU works on at once: more gain no speed there, and cost 65 kB each at the published size."""


def parts(recipe: Recipe, device: str, processes: int = 1) -> int:
    """How many parts each process cuts its rows of a batch into. The result of a step does not depend on it, but for rounding."""
    if recipe.accumulate is not None:
        return recipe.accumulate
    rows = recipe.batch_size // processes
    if device != "cpu" or rows < 1 or not isinstance(recipe.model, MAMPConfig):  # batch statistics want the batch whole
        return 1
    t, j = recipe.model.encoder.grid
    return next(
        k
        for k in range(1, rows + 1)
        if rows % k == 0 and (rows // k * recipe.preparation.people * t * j <= CPU_TOKENS or k == rows)
    )
