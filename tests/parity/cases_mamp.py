"""MAMP on reference vectors: the published layouts (N, C, T, V, M) exist only here."""

from __future__ import annotations

import re

import numpy as np
import torch

from kinema.recognition.encoder import SkeletonTransformer, TransformerConfig, fold_people, resize_positions
from kinema.recognition.heads import FineTuneHead, LinearHead
from kinema.recognition.mamp import (
    MAMP,
    MAMPConfig,
    frame_motion,
    gumbel_scores,
    mask_probability,
    motion_intensity,
    normalise_tokens,
)

Arrays = dict[str, np.ndarray]


def transformer_config(c: dict, drop_path: float = 0.0) -> TransformerConfig:
    """Our names for the reference's constructor arguments."""
    return TransformerConfig(
        coordinates=c["dim_in"],
        width=c["dim_feat"],
        depth=c["depth"],
        heads=c["num_heads"],
        mlp_ratio=c["mlp_ratio"],
        frames=c["num_frames"],
        joints=c["num_joints"],
        frame_patch=c["t_patch_size"],
        joint_patch=c["patch_size"],
        qkv_bias=c["qkv_bias"],
        drop_path=drop_path,
    )


def ours(x: np.ndarray) -> torch.Tensor:
    """(N, C, T, V, M) -> (B, T, M, J, C)."""
    return torch.from_numpy(x).permute(0, 2, 4, 3, 1).contiguous()


def load(module: torch.nn.Module, weights: Arrays) -> None:
    """Strictly: the authors' names are ours."""
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()}, strict=True)


def run_mamp_pretrain(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """Mask, latent, prediction, loss and gradients for given uniform draws."""
    c, call = spec["constructor"], spec["call"]

    def build(tau: float, normalise: str) -> MAMP:
        config = MAMPConfig(
            encoder=transformer_config(c),
            decoder_width=c["decoder_dim_feat"],
            decoder_depth=c["decoder_depth"],
            mask_ratio=call["mask_ratio"],
            tau=tau,
            stride=call["motion_stride"],
            normalise=normalise,
        )
        model = MAMP(config).train()
        load(model, weights)
        return model

    x, u = fold_people(ours(inputs["x"])), torch.from_numpy(inputs["u"])
    out: Arrays = {}

    def run(model: MAMP) -> dict[str, torch.Tensor]:
        scores = model.mask_scores(x, u)
        order = torch.argsort(scores, dim=1, stable=True)
        keep, hidden = order[:, : model.config.kept], order[:, model.config.kept :]
        latent = model.encode_kept(x, keep)
        pred = model.decode_all(latent, keep)
        mask = torch.ones_like(u).scatter_(1, keep, 0.0)
        target = model.targets(x)
        rows = torch.arange(len(x))[:, None]
        loss = (pred[rows, hidden] - target[rows, hidden]).square().mean((1, 2)).mean()
        # the same number as the training path gives
        ours_pred, ids, _ = model.predict(x, u)
        again = (ours_pred - target[rows, ids]).square().mean((1, 2)).mean()
        assert torch.allclose(loss, again, atol=1e-6)
        return {
            "scores": scores, "ids_restore": torch.argsort(order, 1), "keep": keep,
            "latent": latent, "pred": pred, "mask": mask, "target": target, "loss": loss,
        }  # fmt: skip

    tau = call["motion_aware_tau"]
    model = build(tau, "token" if c["norm_skes_loss"] else "none")
    r = run(model)
    r["loss"].backward()
    motion = frame_motion(x, call["motion_stride"])
    intensity = motion_intensity(model.patches(x), model.size.grid)
    probability = mask_probability(intensity, tau) if tau > 0 else torch.full_like(intensity, 1 / intensity.shape[1])
    out.update(
        loss=r["loss"], pred=r["pred"], mask=r["mask"], latent=r["latent"], tokens=model.embed(x),
        ids_keep=r["keep"], ids_restore=r["ids_restore"], motion_intensity=intensity, mask_prob=probability,
        gumbel_score=gumbel_scores(probability, u), motion=motion, target_raw=model.patches(motion),
        target_norm=normalise_tokens(model.patches(motion)),
    )  # fmt: skip
    # every gradient, so that a file may ask for any parameter
    out.update({f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None})
    with torch.no_grad():
        rand = run(build(0.0, "token" if c["norm_skes_loss"] else "none"))
        out.update(rand_loss=rand["loss"], rand_pred=rand["pred"], rand_mask=rand["mask"])
        out["loss_unnormalised_target"] = run(build(tau, "none"))["loss"]
    return {k: v.detach().numpy() for k, v in out.items()}


def resized_length(spec: dict) -> int:
    """The number of temporal positions that the JSON's description asks for."""
    found = re.search(r"to (\d+) temporal positions", spec.get("outputs", {}).get("temp_embed_resized", ""))
    return int(found.group(1)) if found else 9


def run_mamp_classifier(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """Both downstream models: logits in eval mode and with batch statistics, buffers after one call, features."""
    c, head = spec["constructor"], spec["finetune_head"]
    x = ours(inputs["x"])
    out: Arrays = {}
    for kind in ("linprobe", "finetune"):
        own = {k.removeprefix(kind + "."): v for k, v in weights.items() if k.startswith(kind + ".")}
        encoder = SkeletonTransformer(transformer_config(c, c["drop_path_rate"])).eval()
        load(encoder, {k: v for k, v in own.items() if not k.startswith("head.")})
        if kind == "linprobe":
            top: torch.nn.Module = LinearHead(c["dim_feat"], c["num_classes"])
        else:
            width = c["dim_feat"] * encoder.size.grid[1]
            top = FineTuneHead(width, c["num_classes"], head["hidden_dim"], head["dropout"])
        load(top, {k.removeprefix("head."): v for k, v in own.items() if k.startswith("head.")})
        with torch.no_grad():
            tokens = encoder.tokens(x)
            out[f"{kind}.logits_eval"] = top.eval()(tokens)
            out[f"{kind}.logits_headtrain"] = top.train()(tokens)
            out[f"{kind}.features"] = tokens.mean((1, 2, 3)) if kind == "linprobe" else tokens.mean((2, 3))
            if kind == "linprobe":
                out["temp_embed_resized"] = resize_positions(encoder.temp_embed, resized_length(spec))
        out.update({f"{kind}.after.head.{n}": b.clone() for n, b in top.named_buffers()})
    return {k: v.detach().numpy() for k, v in out.items()}
