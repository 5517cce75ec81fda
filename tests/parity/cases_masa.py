"""MASA on reference vectors: the published layouts (confidences, masks and weights with a column for each coordinate) exist only here."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor, nn

from kinema.motion.clip import Clip
from kinema.motion.skeletons import WHOLEBODY133
from kinema.nn.contrast import follow
from kinema.nn.graph import GraphConfig
from kinema.recognition.masa import MASA, MASAConfig
from kinema.recognition.masa_batch import Parts, SignBatch
from kinema.recognition.masa_motion import Motion, MotionConfig, hide_parts, motions, prediction_loss
from kinema.recognition.masa_network import SignEncoder, SignNetworkConfig, View
from kinema.recognition.masa_prepare import CANVAS, SignParts, SignPreparation, prepare_sign

Arrays = dict[str, np.ndarray]
SIDES = ("right", "left", "body")
BODY_NAMES = {"kp2d": "body_pose", "gts": "body_pose_gt", "flag_2d": "body_pose_conf", "mask": "root_mask", "masked": "masked"}


def load(module: nn.Module, weights: Arrays) -> None:
    """Strictly: the authors' names are ours."""
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()}, strict=True)


def numpy(outputs: dict[str, Tensor]) -> Arrays:
    """What the files hold."""
    return {k: v.detach().numpy() for k, v in outputs.items()}


def network_config(d: dict) -> SignNetworkConfig:
    """Our names for the reference's sizes, in either file."""
    graph = GraphConfig(d.get("part_dim_D", d.get("D")), tuple(d.get("gcn_channels", d.get("inter"))))
    return SignNetworkConfig(graph, d.get("encoder_blocks", d.get("blocks")), d["heads"], d.get("d_ff", d.get("dff")), dropout=0.0)


def without_dropout(model: nn.Module) -> nn.Module:
    """Every dropout at rate 0, as the reference's training pass has it."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def published_view(inputs: Arrays, prefix: str) -> tuple[View, tuple[Motion, Motion, Motion]]:
    """A view and the motion of each part, as the reference's loader hands them to the model: ``gts`` is already the residual."""

    def read(side: str, name: str) -> Tensor:
        return torch.from_numpy(inputs[f"{prefix}{side}.{BODY_NAMES[name] if side == 'body' else name}"])

    hidden = Parts(*(read(side, "masked")[..., 0] > 0 for side in SIDES))
    hands = torch.cat([(read(side, "mask") > 0).any(3).any(2) for side in SIDES[:2]], 1)
    real = torch.from_numpy(inputs[f"{prefix}right.vid_len"]) > 0
    moving = []
    for side in SIDES:
        weight = read(side, "flag_2d")
        moving.append(Motion(read(side, "gts"), weight, weight.bool().any(3), hidden.right))
    return View(Parts(*(read(side, "kp2d") for side in SIDES)), hidden, hands, real), tuple(moving)


def run_masa_pretrain(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """The whole model, evaluating and training: the published code moves the key encoder first, ours after the step before."""
    d = spec["dims"]
    if d["hidden"] != 3 * d["part_dim_D"]:
        raise ValueError(f"hidden {d['hidden']}: a frame has three parts of {d['part_dim_D']} each")
    config = MASAConfig(
        network_config(d),
        decoder_depth=d["decoder_blocks"],
        head_hidden=d["decoder_mlp_hidden"],
        dim=d["proj_dim"],
        queue=d["queue"],
        momentum=d["momentum"],
        temperature=d["temperature"],
        align_epochs=0,
    )
    query, moving = published_view(inputs, "q.")
    key, _ = published_view(inputs, "k.")
    outputs: dict[str, Tensor] = {}
    for mode in ("eval", "train"):
        model = MASA(config).train(mode == "train")
        without_dropout(model)
        load(model, weights)
        follow(model.encoder_k, model.encoder_q, config.momentum)
        followed = {k: v.clone() for k, v in model.encoder_k.state_dict().items()}
        if mode == "eval":
            outputs |= evaluated(model, query, inputs)
        before = {k: v.clone() for k, v in model.state_dict().items()}
        logits, _ = model.alignment(model.encoder_q(query), key)
        model.load_state_dict(before)  # the second pass moves the statistics of batches anew
        losses = model.losses(query, key, moving, model.weight(0))
        losses.total.backward()
        grads = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
        outputs |= {f"{mode}.loss_{k}": v for k, v in (*losses.parts.items(), ("total", losses.total))}
        outputs |= {f"{mode}.logits": logits, f"{mode}.labels": torch.zeros(len(logits), dtype=torch.int64)}
        outputs |= {f"{mode}.grad.{k}": v for k, v in grads.items()}
        outputs[f"{mode}.grad_norm_all"] = torch.stack([g.norm() for g in grads.values()]).norm()
        outputs |= {f"{mode}.buffer_after.{k}": v.clone() for k, v in model.named_buffers()}
        model.after_step([losses.carry])
        # the reference has one queue, which it recorded after evaluating but which training then filled again from the same place
        outputs |= {"eval.queue_after": model.queue.clone(), f"{mode}.queue_ptr_after": model.queue_ptr.clone()}
        outputs |= {f"{mode}.encoder_k_after.{k}": v for k, v in followed.items()}
    return numpy(outputs)


def evaluated(model: MASA, view: View, inputs: Arrays) -> dict[str, Tensor]:
    """What lies between the input and the losses."""
    net = model.encoder_q
    encoded = net(view)
    decoded = model.decode(encoded.tokens, view.real)
    found = {
        "gcn_right": net.embed.st_gcn_hand(view.coordinates.right),
        "gcn_left": net.embed.st_gcn_hand(view.coordinates.left),
        "gcn_body": net.embed.st_gcn_body(view.coordinates.body),
        "embed_q": net.embed(view),
        "enc_mask_q": view.whole.float(),
        "enc_q": encoded.tokens,
        "hand_q": encoded.hands,
        "body_q": encoded.body,
        "proj_q": net.proj(encoded.hands, encoded.body),
        "dec": decoded,
        **{f"pred_{side}": x for side, x in zip(SIDES, model.predict(decoded), strict=True)},
    }
    return {f"eval.{k}": v for k, v in found.items()}


def run_masa_finetune(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """The classifier, evaluating."""
    network = network_config(spec["dims"])
    model = SignEncoder(network, nn.Linear(network.graph.width, spec["num_class"])).eval()
    load(model, {k.removeprefix("encoder_q."): v for k, v in weights.items()})
    coordinates = Parts(*(torch.from_numpy(inputs[name]) for name in ("rh", "lh", "body")))
    hands = (torch.from_numpy(inputs["mask"]) > 0).any(3).any(2)
    view = View(coordinates, None, hands, torch.ones(coordinates.right.shape[:2], dtype=torch.bool))
    encoded = model(view)
    return numpy(
        {
            "logits": model.proj(encoded.hands, encoded.body),
            "hand_feat": encoded.hands,
            "body_feat": encoded.body,
            "feat_knn": encoded.feature,
        }
    )


def formula(name: str, shape: list[int] | torch.Size) -> np.ndarray:
    """The full-size weights: a sine of the place in the tensor, its phase a checksum of the name."""
    phase = 6.2831853 * (zlib.crc32(name.encode()) % 10007) / 10007
    v = np.sin(0.7310585 * np.arange(int(np.prod(shape)), dtype=np.float64) + phase).reshape(tuple(shape))
    if name.endswith("running_var"):
        v = 1 + 0.3 * v
    elif name.endswith("running_mean"):
        v = 0.1 * v
    elif len(shape) == 1 and name.endswith(("weight", "gamma")):
        v = 1 + 0.2 * v
    elif len(shape) <= 1:
        v = 0.05 * v
    else:
        v = v * np.sqrt(1.5 / np.prod(shape[1:]))
    return v.astype(np.float32)


def run_masa_fullsize(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """The published sizes with weights from a formula; evaluating, without a key."""
    config = MASAConfig()
    with torch.device("meta"):
        model = MASA(config)
    model.to_empty(device="cpu").eval()
    graphs = SignEncoder(SignNetworkConfig(GraphConfig(4, (2, 2, 2)), heads=1), nn.Identity()).state_dict()
    state = {}
    for name, value in model.state_dict().items():
        fixed = name.split(".", 1)[-1]
        if name.endswith((".A", ".A_pool")):
            state[name] = graphs[fixed]
        elif name.startswith("encoder_k.") or value.dtype == torch.int64 or name == "queue":
            state[name] = torch.zeros_like(value)
        else:
            state[name] = torch.from_numpy(formula(name, value.shape))
    model.load_state_dict(state)
    view, moving = published_view(inputs, "")
    outputs = {k.removeprefix("eval."): v for k, v in evaluated(model, view, inputs).items()}
    names = {"enc": "enc_q", "enc_mask": "enc_mask_q", "hand": "hand_q", "body": "body_q", "proj": "proj_q"}
    found = {k: outputs[v] for k, v in names.items()}
    found |= {f"pred_{side}": outputs[f"pred_{side}"] for side in SIDES}
    assert view.hidden is not None
    for side, motion, hidden in zip(SIDES, moving, view.hidden, strict=True):
        found[f"loss_{side}"] = prediction_loss(found[f"pred_{side}"], motion, hidden, "l1")
    return numpy(found)


def run_masa_preproc(inputs: Arrays, spec: dict) -> Arrays:
    """Keypoints to parts, and what moves and is hidden in them. Draws are our own: the reference's are one of many."""
    outputs: Arrays = {}
    for case in spec["cases"]:
        i, eps = case["case"], case["threshold"]
        size = tuple(int(v) for v in inputs[f"{i}.image_size_wh"])
        preparation = SignPreparation(confident=eps, drop_last=case["drop_last_frame"])
        keypoints = inputs[f"{i}.keypoints"][:, None]
        clip = Clip(keypoints[..., :2], WHOLEBODY133, confidence=keypoints[..., 2], units="pixels", image_size=size)
        parts = prepare_sign(clip, preparation)
        found: Arrays = {"kept_frames": parts.frames} | published_parts(parts, eps)
        positions = np.concatenate([parts.coordinates, parts.confidence[..., None]], 2)
        batch = SignBatch.of_positions(torch.from_numpy(positions)[None, :, None])
        for view, stride in (("motion_view", 3), ("random_view", 1)):
            found |= published_motion(batch, MotionConfig(stride=stride, confident=eps), view, case["seed"])
        outputs |= {f"{i}.{k}": v for k, v in found.items()}
    return outputs


def published_parts(parts: SignParts, eps: float) -> Arrays:
    """Coordinates in both units, confidences and masks under the published names."""
    found: Arrays = {}
    for side in SIDES:
        x, confidence = getattr(parts, side), getattr(parts, f"{side}_confidence")
        both = np.repeat(confidence[..., None], 2, 2)
        values = {"kp2d": x, "gts": x * CANVAS, "flag_2d": both, "mask": (both > eps).astype(np.float32)}
        found |= {f"{side}.{BODY_NAMES[k] if side == 'body' else k}": v for k, v in values.items()}
    return found


def published_motion(batch: SignBatch, config: MotionConfig, view: str, seed: int) -> Arrays:
    """Residuals, weights, candidates and a mask of a batch of one clip."""
    found: Arrays = {}
    moving = motions(batch, config)
    draws = torch.rand(1, 3, batch.frames, generator=torch.Generator().manual_seed(seed))
    if view == "motion_view":
        hidden = hide_parts(Parts(*(m.candidate for m in moving)), config.hide, draws)
    else:
        hidden = hide_parts(Parts(batch.real, batch.real, batch.real), config.hide_key, draws)
    for side, motion, masked in zip(SIDES, moving, hidden, strict=True):
        found[f"{view}.{side}.residual"] = motion.residual[0].numpy()
        found[f"{view}.{side}.weight"] = motion.weight[0].numpy()
        found[f"{view}.{side}.moving_count"] = (motion.residual[0] > config.threshold).sum((1, 2)).numpy()
        found[f"{view}.{side}.masked"] = masked[0, :, None].float().numpy()
        if view == "motion_view":
            found[f"{view}.{side}.candidate"] = motion.candidate[0].numpy()
    return found
