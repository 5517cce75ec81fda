"""Recipes: the whole configuration of a run, and as JSON. `presets.py` has those that have a name."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cattrs
from cattrs.strategies import configure_tagged_union

from ..data.augment import Rotate
from ..data.pieces import Crop, Window
from ..errors import UserError
from ..motion.clip import Clip
from ..motion.prepare import Preparation, prepare
from ..nn.hyper_connections import HyperConnections
from ..nn.residual import Residual, named_residual
from ..training.method import Optimiser, Schedule
from .cmd import CMD, CMDConfig
from .encoder import Encoder, TransformerConfig
from .i2md import I2MD, I2MDConfig
from .mamp import MAMP, MAMPConfig
from .masa import MASA, MASAConfig
from .masa_network import SignNetworkConfig
from .masa_prepare import SignPreparation, prepare_clip
from .protocols import Augmentations, Pooling, SignAugmentations, Supervision
from .sequence import GRUConfig

MOST_EPOCHS = 1e6
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
        optimiser, schedule: how it learns. ema: decay of averaged weights, or None.
        accumulate: parts of a batch; None: as memory asks, see `parts`.
        precision: ``32`` or ``bf16``. compile: torch.compile the loss.
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
        self._check_pieces()
        network, path = self.network
        if self.supervision.drop_path and not isinstance(network, TransformerConfig):
            raise UserError(f"supervision.drop_path {self.supervision.drop_path}: this network has no paths to drop, set 0")
        if isinstance(network, TransformerConfig) and network.drop_path:
            raise UserError(
                f"{path}.drop_path {network.drop_path}: pre-training drops no paths, set 0; supervision.drop_path is for fine-tuning"
            )
        if self.most_steps is not None and self.most_steps < 1:
            raise UserError(f"most_steps {self.most_steps}: expected 1 or more, or null")
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
        UserError: the model's choices contradict one another.
    """
    model = recipe.model
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
    converter = cattrs.Converter(forbid_extra_keys=True)
    configure_tagged_union(Augmentations, converter, tag_name="kind")
    for union, keys in _TOLD_BY.items():
        converter.register_structure_hook(union, functools.partial(_one_of, converter, keys))
    converter.register_structure_hook(
        Residual,
        lambda value, _: named_residual(value) if not isinstance(value, dict) else converter.structure(value, HyperConnections),
    )
    # without these cattrs would cut 2.5 to 2 and take any value for true
    for kind in (int, float, bool, str):
        converter.register_structure_hook(kind, _exactly)
    return converter


_TOLD_BY: dict[Any, dict[str, type]] = {
    Model: {"encoder": MAMPConfig, "motion": MASAConfig, "aggregated": I2MDConfig, "": CMDConfig},
    GRUConfig | TransformerConfig: {"heads": TransformerConfig, "": GRUConfig},
    Preparation | SignPreparation: {"margin": SignPreparation, "": Preparation},
    Crop | Window: {"take": Window, "": Crop},
}
"""For each choice of classes, the key of a JSON object that only one of them has; "" is the one that is left."""


def _one_of(converter: cattrs.Converter, keys: dict[str, type], value: Any, _: type) -> Any:
    """The object that a JSON object describes, of the class that it has a key of."""
    known = value if isinstance(value, dict) else {}
    return converter.structure(value, next(kind for key, kind in keys.items() if not key or key in known))


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
    if device != "cpu" or rows < 1 or not isinstance(recipe.model, MAMPConfig):  # batch statistics want the batch whole
        return 1
    t, j = recipe.model.encoder.grid
    return next(
        k
        for k in range(1, rows + 1)
        if rows % k == 0 and (rows // k * recipe.preparation.people * t * j <= CPU_TOKENS or k == rows)
    )
