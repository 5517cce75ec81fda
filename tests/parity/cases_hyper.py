"""Hyper-connections on reference vectors: the published layouts and names exist only here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.nn import hyper_ops
from kinema.nn.hyper_connections import Coefficients, HyperConnection, HyperConnections

Arrays = dict[str, np.ndarray]


def tensors(arrays: Arrays, grad: bool = True) -> dict[str, Tensor]:
    """Leaves that collect gradients."""
    return {k: torch.from_numpy(np.array(v)).requires_grad_(grad) for k, v in arrays.items()}


def numpy(outputs: dict[str, Tensor]) -> Arrays:
    """What the files hold."""
    return {k: v.detach().numpy() for k, v in outputs.items()}


def branch(weights: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """The references' branch: `tanh(h W1^T + b1) W2^T`."""
    return lambda h: F.linear(torch.tanh(F.linear(h, weights["branch.W1"], weights["branch.b1"])), weights["branch.W2"])


def gradients(loss: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """`grad.NAME` of each leaf."""
    found = torch.autograd.grad(loss, list(leaves.values()))
    return {f"grad.{k}": g for k, g in zip(leaves, found, strict=True)}


class Assigned:
    """A connection whose parameters are replaced by tensors put together from the reference's, so that gradients reach those."""

    def __init__(self, connection: HyperConnection, values: dict[str, Tensor]):
        self.connection = connection
        known = set(dict(connection.named_parameters()))
        if known != set(values):
            raise ValueError(f"parameters {sorted(known)} but values for {sorted(values)}")
        for name, value in values.items():
            if getattr(connection, name).shape != value.shape:
                raise ValueError(f"{name}: {tuple(getattr(connection, name).shape)} but {tuple(value.shape)}")
            delattr(connection, name)
            setattr(connection, name, value)


@dataclass(frozen=True)
class Pass:
    """One connection around one branch.

    Attributes:
        read, wrote, after: the branch's input and output, and the streams after it. found: the coefficients.
        loss: the product of what the reference gives out and its cotangent. gradients: of the streams as they came and the weights.
    """

    read: Tensor
    wrote: Tensor
    after: Tensor
    found: Coefficients
    loss: Tensor
    gradients: dict[str, Tensor]


def run(
    connection: HyperConnection,
    name: str,
    inputs: Arrays,
    weights: dict[str, Tensor],
    unfold: Callable[[Tensor], Tensor] = lambda t: t,
    fold: Callable[[Tensor], Tensor] = lambda t: t,
) -> Pass:
    """Reads, calls the branch and writes.

    Args:
        connection: with the weights assigned. name: of the input that holds the streams. weights: the reference's, as leaves.
        unfold, fold: between the reference's layout of streams and ours.
    """
    given = tensors(inputs)[name]
    read, carry = connection.read(unfold(given))
    wrote = branch(weights)(read)
    after = fold(connection.write(carry, wrote))
    loss = (after * torch.from_numpy(inputs["cotangent"])).sum()
    return Pass(read, wrote, after, carry.coefficients, loss, gradients(loss, {name: given} | weights))


def paper_values(w: dict[str, Tensor], dynamic: bool) -> dict[str, Tensor]:
    """Our parameters of HC (A_m, A_r, B) or of fractions (Y, A, B)."""
    read, carry, letter = ("Am", "Ar", "m") if "Am" in w else ("Y", "A", "y")
    values = {"static_read": w[read], "static_carry": w[carry], "static_write": w["B"]}
    if dynamic:
        last = "r" if "Am" in w else "a"
        values["projection"] = torch.cat([w[f"W{letter}"], w[f"W{last}"], w["Wb"]], 1)
        values |= {"gain": w["g"], "scale_read": w["s_a"], "scale_write": w["s_b"]}
    return values


def run_hc_paper(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """One connection of the paper, static or dynamic, with LayerNorm or RMSNorm, with tanh or without."""
    c, w = spec["cfg"], tensors(weights)
    variant = spec["variant"]
    dynamic = variant != "shc"
    connection = HyperConnection(
        c["d"],
        c["n"],
        index=c["layer"],
        kind="dynamic" if dynamic else "static",
        norm="rmsnorm" if "rms" in variant else "layernorm",
        tanh="notanh" not in variant,
    )
    Assigned(connection, paper_values(w, dynamic))
    p = run(connection, "H", inputs, w)
    carried = hyper_ops.mix(torch.from_numpy(inputs["H"]), p.found.carry)
    outputs = {"H_next": p.after, "loss": p.loss[None], "h0": p.read, "Hp": carried, "o": p.wrote}
    outputs |= {"coef_B": p.found.write, "coef_Am": p.found.read, "coef_Ar": p.found.carry}
    return numpy(outputs | p.gradients)


def run_fraction(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """One frac-connection, dynamic."""
    c, w = spec["cfg"], tensors(weights)
    connection = HyperConnection(c["d"], c["m"], index=c["layer"], kind="fraction", norm="rmsnorm")
    Assigned(connection, paper_values(w, True))
    p = run(connection, "h", inputs, w)
    return numpy({"h_next": p.after, "branch_input": p.read, "loss": p.loss[None]} | p.gradients)


def run_lucidrains(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """lucidrains/hyper-connections: streams folded into the batch (fastest), alpha and beta packed, gain stored minus one."""
    c, args, w = spec["cfg"], spec["args"], tensors(weights)
    n = args["num_residual_streams"]
    connection = HyperConnection(args["dim"], n, index=args["layer_index"], norm="rmsnorm", tanh=args["tanh"])
    alpha = w["static_alpha"]
    Assigned(
        connection,
        {
            "static_read": alpha[:, :1],
            "static_carry": alpha[:, 1:],
            "static_write": w["static_beta"],
            "projection": torch.cat([w["dynamic_alpha_fn"], w["dynamic_beta_fn"][:, None]], 1),
            "gain": w["norm.gamma"] + 1,
            "scale_read": w["dynamic_alpha_scale"],
            "scale_write": w["dynamic_beta_scale"],
        },
    )

    def unfold(t: Tensor) -> Tensor:
        return t.unflatten(0, (c["b"], n)).transpose(1, 2)

    def fold(t: Tensor) -> Tensor:
        return t.transpose(1, 2).flatten(0, 1)

    p = run(connection, "x", inputs, w, unfold, fold)
    outputs = {
        "out": p.after,
        "branch_input": p.read,
        "residuals_mixed": fold(hyper_ops.mix(unfold(torch.from_numpy(inputs["x"])), p.found.carry)),
        "beta": p.found.write[:, :, None, :, None],
        "loss": p.loss[None],
    }
    return numpy(outputs | p.gradients)


def run_manifold(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """One layer of mHC as its paper writes it."""
    c, w = spec["cfg"], tensors(weights)
    connection = HyperConnection(c["d"], c["n"], index=c["layer"], kind="manifold")
    Assigned(connection, {"projection": w["phi"], "bias": w["b"], "scales": w["a"]})
    p = run(connection, "x", inputs, w)
    outputs = {"x_next": p.after, "loss": p.loss[None], "u": p.read, "y": p.wrote}
    outputs |= {"pre": p.found.read.squeeze(-1), "post": p.found.write, "res": p.found.carry.transpose(-1, -2)}
    return numpy(outputs | p.gradients)


def run_deepseek(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """DeepSeek's reference of mHC: what it hands on is rounded to bf16; `comb` maps source to target."""
    c, w = spec["cfg"], tensors(weights, False)
    n = c["n"]
    connection = HyperConnection(c["d"], n, index=c["layer"], kind="manifold", sinkhorn="deepseek", iterations=spec["iters"])
    Assigned(connection, {"projection": w["fn"].T, "bias": w["base"], "scales": w["scale"]})
    x = torch.from_numpy(inputs["x"])
    h, carry = connection.read(x)
    after = connection.write(carry, torch.from_numpy(inputs["branch_output"]))
    logits = hyper_ops.normed_projection(x.flatten(-2), w["fn"].T, "rmsnorm", 1e-6)
    comb_logits = (w["scale"][2] * logits[..., 2 * n :] + w["base"][2 * n :]).unflatten(-1, (n, n))
    found = carry.coefficients
    outputs = {
        "mix": logits,
        "pre": found.read,
        "post": found.write[..., None],
        "comb_logits": comb_logits,
        "comb": found.carry,
        "branch_input_bf16": h.bfloat16().float(),
        "x_next_bf16": after.bfloat16().float(),
    }
    return numpy(outputs)


def run_sinkhorn(inputs: Arrays, spec: dict) -> Arrays:
    """Every variant of Sinkhorn-Knopp, with gradients."""
    logits = tensors({"logits": inputs["logits"]})["logits"]
    cotangent = torch.from_numpy(inputs["cotangent"])
    variants = {
        "paper20": lambda x: hyper_ops.sinkhorn(x, 20),
        "paper3": lambda x: hyper_ops.sinkhorn(x, 3),
        "lucidrains20": lambda x: hyper_ops.sinkhorn(x, 20),
        "lucidrains_log20": lambda x: hyper_ops.sinkhorn(x, 20),
        "deepseek10": lambda x: hyper_ops.sinkhorn_deepseek(x, 10),
        "deepseek20": lambda x: hyper_ops.sinkhorn_deepseek(x, 20),
    }
    outputs = {}
    for name, variant in variants.items():
        outputs[name] = variant(logits)
        outputs[f"grad_{name}"] = torch.autograd.grad((outputs[name] * cotangent).sum(), logits)[0]
    return numpy(outputs)


def run_prenorm_equivalence(inputs: Arrays, weights: Arrays, spec: dict) -> Arrays:
    """A pre-norm transformer with plain residual connections, and with dynamic hyper-connections at their start."""
    c, w = spec["cfg"], tensors(weights)
    d, heads = c["d"], c["h"]
    x = tensors(inputs)["x"]

    def norm(t: Tensor, name: str) -> Tensor:
        return F.layer_norm(t, (d,), w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(t: Tensor, name: str) -> Tensor:
        return F.linear(t, w[f"{name}.weight"], w[f"{name}.bias"])

    def attention(t: Tensor, block: str) -> Tensor:
        q, k, v = linear(norm(t, f"{block}.n1"), f"{block}.qkv").unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return linear(out.transpose(1, 2).flatten(2), f"{block}.o")

    def feedforward(t: Tensor, block: str) -> Tensor:
        return linear(F.gelu(linear(norm(t, f"{block}.n2"), f"{block}.f1")), f"{block}.f2")

    branches = [(kind, f"blocks.{i}") for i in range(c["D"]) for kind in (attention, feedforward)]
    y = x
    for function, block in branches:
        y = y + function(y, block)
    y = norm(y, "norm")
    loss = (y * torch.from_numpy(inputs["cotangent"])).sum()
    outputs = {"y": y, "loss": loss[None]} | gradients(loss, {"x": x} | w)
    for n in (1, 2, 4):
        for reduce in ("sum", "mean"):
            how = HyperConnections(n, reduce=reduce)
            streams = how.expand(x)
            for index, (function, block) in enumerate(branches):
                streams = how.connection(d, index)(streams, lambda h, f=function, b=block: f(h, b))
            outputs[f"hc{n}_{reduce}_y"] = norm(how.collapse(streams), "norm")
    return numpy(outputs)
