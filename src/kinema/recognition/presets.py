"""Presets: each a function of the data's skeleton that returns a whole recipe; its hyphenated name is that of the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from ..data.augment import Rotate, ShearOrCorrupt
from ..data.pieces import Crop, Window
from ..data.sign_augment import JitterParts, SwapHands
from ..errors import UserError, unknown
from ..motion.prepare import Preparation
from ..motion.skeleton import Skeleton
from ..motion.skeletons import SIGN49
from ..nn.graph import GraphConfig
from ..training.method import Optimiser, Schedule
from .cmd import CMDConfig
from .encoder import TransformerConfig
from .i2md import I2MDConfig
from .mamp import MAMPConfig
from .masa import MASAConfig
from .masa_network import SignNetworkConfig
from .masa_prepare import SignPreparation
from .protocols import Supervision
from .published import cmd_supervision, masa_supervision
from .recipes import Recipe
from .sequence import GRUConfig


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
    """MAMP for a small set on two CPU cores: 128 wide, 6 + 2 blocks, cross-attention decoder, view-aligned clips."""
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
        precision="auto",
        pooling="joints",
        probe_views=4,
        supervision=Supervision(
            epochs=25, batch_size=32, hidden=512, drop_path=0.1, crop=Crop(minimum=12), augment=(Rotate(0.3),), precision="auto"
        ),
    )


def fast(skeleton: Skeleton) -> Recipe:
    """The published encoder size with a cheaper decoder: cross-attention over half of the masked queries, present people packed."""
    size = _sized(skeleton)
    return Recipe(
        preset="fast",
        method="mamp",
        model=MAMPConfig(size, decoder="cross", predict_share=0.5, pack=True),
        preparation=Preparation(empty="drop", centre="first", yaw=True, people=2),
        crop=Crop(minimum=64),
        precision="auto",
        supervision=Supervision(augment=(Rotate(0.3),), precision="auto"),
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
    """CMD for a small set on two CPU cores: one layer of 2 x 128, 32 frames, a queue of 256, view-aligned clips."""
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
        precision="auto",
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


def _masa(preset: str, model: MASAConfig, optimiser: Optimiser, schedule: Schedule) -> Recipe:
    return Recipe(
        preset=preset,
        method="masa",
        model=model,
        preparation=SignPreparation.wlasl(),
        crop=Window(300),
        augment=(),
        batch_size=64,
        epochs=400,
        optimiser=optimiser,
        schedule=schedule,
        supervision=masa_supervision(Supervision(crop=Window(32, "run"))),
    )


def masa_code(skeleton: Skeleton) -> Recipe:
    """MASA as released: AdamW 1e-4 with decay 0.03, 400 epochs, halved at 120, 220, 320 and 370; a batch of 64 clips.

    Preparation is that of the data set (`SignPreparation.of`), of another than the four that of WLASL. The script gives 64 clips to each
    of eight processes, which its queue of 6,912 does not take; ours does (``--batch-size 512``).
    """
    optimiser = Optimiser(lr=1e-4, weight_decay=0.03, betas=(0.9, 0.999))
    schedule = Schedule("step", warmup=20, milestones=(120, 220, 320, 370), gamma=0.5)
    return _masa("code", MASAConfig.code(), optimiser, schedule)


def masa_paper(skeleton: Skeleton) -> Recipe:
    """MASA as written: AdamW 1e-4 with decay 1e-4 and betas 0.9, 0.95, 400 epochs with a linear decay; the batch size is not given."""
    made = _masa("paper", MASAConfig.paper(), Optimiser(lr=1e-4, weight_decay=1e-4), Schedule("linear", warmup=20))
    return replace(made, preparation=replace(SignPreparation.wlasl(), confident=0.4))


def masa_small(skeleton: Skeleton) -> Recipe:
    """MASA for a small set on two CPU cores: 48 numbers a part, 2 + 1 blocks, a queue of 256, padding not seen, at most 360 steps.

    In so few steps the published weight of InfoNCE, 0.05 beside a motion loss of some hundred, teaches nothing: 200 was chosen on
    validation clips. So were 60 epochs for a classifier with hands that change places, turn and stretch: without them it is no better
    after 60 than after 25.
    """
    network = SignNetworkConfig(
        GraphConfig(48, (16, 16, 32), dropout=0.0), depth=2, heads=4, mlp=192, padding=False, hands="present"
    )
    return replace(
        _masa("small", MASAConfig.code(), Optimiser(lr=1e-3, weight_decay=0.03), Schedule("cosine", warmup=3, final=0.01)),
        model=MASAConfig(network, decoder_depth=1, head_hidden=64, dim=64, queue=256, momentum=0.99, align=200.0, align_epochs=3),
        preparation=SignPreparation(),
        batch_size=32,
        epochs=30,
        most_steps=360,
        precision="auto",
        supervision=Supervision(
            precision="auto",
            epochs=60,
            batch_size=32,
            optimiser=Optimiser(lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
            schedule=Schedule("cosine", warmup=3, final=0.01),
            layer_decay=1.0,
            drop_path=0.0,
            hidden=0,
            dropout=0.1,
            crop=Window(32, "spread"),
            augment=(JitterParts(), SwapHands()),
        ),
    )


def _signs(base: Recipe) -> Recipe:
    """A recipe for poses of signers: the hands and the body that MASA sees, in two coordinates, not turned."""
    crop, how = replace(base.crop, minimum=8), replace(base.supervision, augment=(), crop=Crop(minimum=8))
    return replace(base, preset="signs", preparation=SignPreparation(), crop=crop, augment=(), supervision=how)


def mamp_signs(skeleton: Skeleton) -> Recipe:
    """MAMP's preset `small` on the hands and the body of a signer, as MASA sees them (without confidences)."""
    base = _signs(small(SIGN49))
    assert isinstance(base.model, MAMPConfig)
    return replace(base, model=replace(base.model, encoder=replace(base.model.encoder, coordinates=2)))


def cmd_signs(skeleton: Skeleton) -> Recipe:
    """CMD's preset `small` on the hands and the body of a signer, as MASA sees them (without confidences)."""
    base = _signs(cmd_small(SIGN49))
    assert isinstance(base.model, CMDConfig)
    return replace(base, model=replace(base.model, coordinates=2), augment=(ShearOrCorrupt(joints=round(49 * 15 / 25)),))


def i2md_signs(skeleton: Skeleton) -> Recipe:
    """I2MD for poses of signers: sizes and optimiser of CMD's preset `signs`."""
    return _i2md(cmd_signs(skeleton))


PRESETS: dict[str, dict[str, Callable[[Skeleton], Recipe]]] = {
    "mamp": {
        "paper-ntu60": paper_ntu60,
        "paper-ntu120": paper_ntu120,
        "paper-pku": paper_pku,
        "small": small,
        "fast": fast,
        "signs": mamp_signs,
    },
    "cmd": {"paper-ntu": cmd_paper_ntu, "paper-pku": cmd_paper_pku, "small": cmd_small, "signs": cmd_signs},
    "i2md": {"paper-ntu": i2md_paper_ntu, "paper-pku": i2md_paper_pku, "small": i2md_small, "signs": i2md_signs},
    "masa": {"code": masa_code, "paper": masa_paper, "small": masa_small},
}
"""Method -> preset -> recipe of a skeleton."""


def recipe(method: str, preset: str, skeleton: Skeleton, dataset: str | None = None) -> Recipe:
    """The recipe of a preset for data with this skeleton. Of `dataset`, a name in `data.datasets`, published presets know the preparation.

    Raises:
        UserError: an unknown method or preset, or a skeleton that the preset is not made for.
    """
    if method not in PRESETS:
        raise unknown("method", method, PRESETS)
    if preset not in PRESETS[method]:
        raise unknown(f"preset of {method}", preset, PRESETS[method])
    made = PRESETS[method][preset](skeleton)
    if preset in ("code", "paper") and isinstance(made.preparation, SignPreparation):
        return replace(made, preparation=made.preparation.of(dataset))
    return made
