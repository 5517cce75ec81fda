"""CMD on reference vectors: the published layouts (N, C, T, V, M) exist only here."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.data.augment import crop_resize, transform
from kinema.data.batches import ViewBatch
from kinema.data.pieces import Crop
from kinema.motion.skeletons import NTU25
from kinema.nn.contrast import contrast_logits, follow
from kinema.recognition.cmd import CMD, SUFFIX, CMDConfig, unit
from kinema.recognition.sequence import MODALITIES, GRUConfig, RecurrentEncoder, channels
from kinema.training.method import Step

Arrays = dict[str, np.ndarray]


def ours(x: np.ndarray) -> Tensor:
    """(N, C, T, V, M) -> (B, T, M, J, C)."""
    return torch.from_numpy(x).permute(0, 2, 4, 3, 1).contiguous()


def published(x: Tensor) -> np.ndarray:
    """(B, T, M, J, C) -> (N, C, T, V, M)."""
    return x.permute(0, 4, 1, 3, 2).numpy()


def load(module: nn.Module, weights: Arrays) -> None:
    """Strictly: the authors' names are ours."""
    module.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in weights.items()}, strict=True)


def numpy(outputs: dict[str, Tensor]) -> Arrays:
    """What the files hold."""
    return {k: v.detach().numpy() for k, v in outputs.items()}


def run_cmd_bigru(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """The sequence encoder with the linear head of the downstream task."""
    c = spec["constructor"]
    model = RecurrentEncoder(c["en_input_size"], GRUConfig(c["en_hidden_size"], c["en_num_layers"]), 1)
    model.fc = nn.Linear(2 * c["en_hidden_size"], c["num_class"])  # type: ignore[assignment]
    load(model, weights)
    x = torch.from_numpy(inputs["x"])[:, :, None, None]  # channels as coordinates of one joint
    model.eval()
    feature = model.feature(x)
    outputs = {"sequence_eval": model.gru(model.norm(x)), "feat_eval": feature, "fc_eval": model.fc(feature)}
    outputs["feat_train"] = model.train().feature(x)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        outputs[f"after_train.input_norm.{name}"] = getattr(model.input_norm, name)
    return numpy(outputs)


def run_cmd_loss(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """The losses of given raw features and queues, with the gradients of the queries."""
    c = spec["parameters"]
    config = CMDConfig(
        NTU25.bone_pairs(),
        network=GRUConfig(1, 1),
        dim=c["dim"],
        queue=c["K"],
        neighbours=c["topk"],
        temperature=c["T"],
        teacher=c["teacher_T"],
        student=c["student_T"],
        weight=c["cmd_weight"],
    )
    model = CMD(config)
    for name in MODALITIES:
        model.queue_of(name)[0].copy_(torch.from_numpy(inputs[f"queue_{name}"]))
    raw = {name: torch.from_numpy(inputs[f"q_{name}"].copy()).requires_grad_(True) for name in MODALITIES}
    queries = {name: F.normalize(q, dim=1) for name, q in raw.items()}
    keys = {name: F.normalize(torch.from_numpy(inputs[f"k_{name}"]), dim=1) for name in MODALITIES}
    total, parts = model.losses(queries, keys)
    grads = torch.autograd.grad(total, [raw[name] for name in MODALITIES])
    outputs = {"loss_total": total, **{f"grad_q_{n}": g for n, g in zip(MODALITIES, grads, strict=True)}}
    distilled = torch.zeros(())
    for name, value in parts.items():
        if name.startswith("contrast_"):
            outputs[f"loss_nce_{name.removeprefix('contrast_')}"] = value
        else:
            outputs[f"kl_{name}"] = value
            distilled = distilled + value
    outputs["loss_cmd"] = c["cmd_weight"] * distilled
    for name in MODALITIES:
        outputs[f"topk_idx_{name}"] = (keys[name] @ model.queue_of(name)[0]).topk(c["topk"], 1).indices
    return numpy(outputs)


def run_cmd_moco(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """One whole pre-training step, but for the optimiser: the published code moves the key encoders first, ours after the step before."""
    c = spec["constructor"]
    _, coordinates, frames, joints, people = inputs["x_q"].shape
    if c["en_input_size"] != coordinates * joints * people:
        raise ValueError(f"en_input_size {c['en_input_size']}, but a frame has {coordinates * joints * people} numbers")
    config = CMDConfig(
        NTU25.bone_pairs(),
        coordinates=coordinates,
        joints=joints,
        people=people,
        frames=frames,
        network=GRUConfig(c["en_hidden_size"], c["en_num_layers"]),
        dim=c["dim"],
        mlp=c["mlp"],
        queue=c["K"],
        momentum=c["m"],
        temperature=c["T"],
        teacher=c["teacher_T"],
        student=c["student_T"],
        neighbours=c["topk"],
        weight=c["cmd_weight"],
    )
    model = CMD(config).train()
    load(model, weights)
    for name in MODALITIES:
        follow(model.key(name), model.query(name), config.momentum)
    followed = {k: v.clone() for k, v in model.state_dict().items()}
    batch = ViewBatch(ours(inputs["x_q"]), ours(inputs["x_k"]), torch.arange(len(inputs["x_q"])))
    outputs: dict[str, Tensor] = {}
    hooks = [
        module.fc.register_forward_hook(lambda _, args, out, n=name: outputs.update({f"enc.{n}": out}))
        for name, module in model.named_children()
    ]
    queues = {name: model.queue_of(name)[0].clone() for name in MODALITIES}
    losses = model.loss(batch, Step(0))
    for hook in hooks:
        hook.remove()
    losses.total.backward()
    outputs |= {f"in.encoder_q{SUFFIX[name]}": channels(model.see(batch.first, name)) for name in MODALITIES}
    outputs["loss_total"] = losses.total
    outputs["loss_cmd"] = config.weight * sum(v for k, v in losses.parts.items() if not k.startswith("contrast"))  # type: ignore[assignment]
    for name in MODALITIES:
        q, k = (unit(outputs[f"enc.encoder_{side}{SUFFIX[name]}"]) for side in "qk")
        outputs[f"logits_{name}"] = contrast_logits(q, k, queues[name], config.temperature)
        outputs[f"loss_nce_{name}"] = losses.parts[f"contrast_{name}"]
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            outputs[f"grad.{name}"] = parameter.grad
    model.after_step([losses.carry])
    # the key encoders of the reference have moved once, before the forward pass; their buffers have seen one batch
    for name, value in model.state_dict().items():
        moves = name.startswith("encoder_k") and name in dict(model.named_parameters())
        outputs[f"after.{name}"] = followed[name] if moves else value
    return numpy(outputs)


def run_cmd_aug(inputs: Arrays, spec: dict) -> Arrays:
    """Crops, shear and joint corruption for recorded draws."""
    x, frames = ours(inputs["x"]), spec["size"]
    lengths = torch.from_numpy(inputs["num_frames"])
    flat = torch.cat([row[:n] for row, n in zip(x, lengths.tolist(), strict=True)])
    first = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)[:-1]])
    start, length = Crop().middle(lengths)
    outputs = {"eval_crop": published(crop_resize(flat, first + start, length, frames))}
    start, length = (torch.from_numpy(inputs[f"crop_{k}"]) for k in ("start", "len"))
    train = crop_resize(flat, first + start, length, frames)
    outputs["train_crop"] = published(train)
    view = train[:1]
    outputs["shear"] = published(transform(view, torch.from_numpy(inputs["shear_matrix"])[None]))[0]
    zero = view.clone()
    zero[..., torch.from_numpy(inputs["corrupt_zero_joints"]), :] = 0
    outputs["corrupt_zero"] = published(zero)[0]
    joints = torch.from_numpy(inputs["corrupt_transform_joints"])
    turned = view.clone()
    turned[..., joints, :] = transform(view, torch.from_numpy(inputs["corrupt_matrix"]).T[None])[..., joints, :]
    outputs["corrupt_transform"] = published(turned)[0]
    return outputs
