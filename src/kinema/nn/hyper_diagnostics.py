"""What hyper-connections have become: which layer reads which, how streams mix, how alike the inputs of layers are.

`record` runs a model once; the other functions only compute on what it kept:

    found = record(model, x)
    unfolded_matrix(found)      # who reads whom (Hyper-Connections, figure 8)
    amax_gain(found)            # what mixing the streams does to signals and gradients (mHC, figure 3)
    layer_input_cosine(found)   # how little a layer changes (Hyper-Connections, figure 3)

They speak of the network as it is only if nothing but connections touches the streams between a network's entry and its end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .hyper_connections import Carry, Coefficients, HyperConnection
from .transformer import Block, CrossBlock


@dataclass(frozen=True)
class Record:
    """The `K` branches of one trunk (an encoder, a decoder) in the order of their calls, seen at `S` tokens; all on the CPU.

    Attributes:
        names: of the connections or layers.
        coefficients: of each, with a leading axis of `S` tokens, or of 1 where tokens share them. Empty without hyper-connections.
        cosine: `(K - 1, S)`: cosine similarity of the inputs of branch k + 1 and branch k.
        fractions: whether the connections are of fractions.
    """

    names: tuple[str, ...]
    coefficients: tuple[Coefficients, ...]
    cosine: Tensor
    fractions: bool = False

    @property
    def mean(self) -> tuple[Coefficients, ...]:
        """Coefficients averaged over tokens: without the leading axis."""
        return tuple(Coefficients(*(c.mean(0) for c in each)) for each in self.coefficients)


class Band(NamedTuple):
    """Median, 5 % and 95 % quantile."""

    median: Tensor
    low: Tensor
    high: Tensor


class Gain(NamedTuple):
    """How much mixing the streams may amplify, each `(K,)` and averaged over tokens: 1 is neutral.

    Attributes:
        forward, backward: of all mixings from branch k to the end of the trunk, for signals and for gradients.
        single_forward, single_backward: of the mixing at branch k alone. largest: of all of them.
    """

    forward: Tensor
    backward: Tensor
    single_forward: Tensor
    single_backward: Tensor
    largest: float


def record(
    model: nn.Module,
    *inputs: Any,
    call: Callable[..., Any] | None = None,
    layers: Sequence[nn.Module] | None = None,
    tokens: int = 4096,
) -> Record:
    """Of a model with a single trunk; see `records`.

    Raises:
        ValueError: nothing to record, or several trunks.
    """
    found = records(model, *inputs, call=call, layers=layers, tokens=tokens)
    if len(found) != 1:
        trunks = "; ".join(f"{r.names[0]} to {r.names[-1]}" for r in found)
        raise ValueError(f"{len(found)} trunks ({trunks}): use records, or name the layers of one")
    return found[0]


def records(
    model: nn.Module,
    *inputs: Any,
    call: Callable[..., Any] | None = None,
    layers: Sequence[nn.Module] | None = None,
    tokens: int = 4096,
) -> list[Record]:
    """Runs the model without gradients, in the mode it is in, and keeps what its connections did: one record a trunk, by first call.

    A trunk ends where the index of the next connection is not larger, or where the number or width of tokens changes. A trunk that is
    run several times is one record of all its tokens.

    Args:
        model: not compiled (hooks would not be seen). inputs: what `call` takes.
        call: what to run; the model itself unless another of its methods is meant.
        layers: whose inputs to compare: hyper-connections or any modules, in order. By default all hyper-connections; without any, the
            branches of our own blocks (before their norm in pre-norm blocks, as hyper-connections count them).
        tokens: how many to keep in a pass, evenly spread; memory does not grow with more.

    Raises:
        ValueError: nothing to record: no connections nor blocks, or none of them called.
    """
    watch = _watched(model, layers)
    passes: list[_Pass] = []

    def note(module: nn.Module, h: Tensor, found: Coefficients | None) -> None:
        name, trunk, position = watch[module]
        h = h.detach().flatten(0, -2) if h.ndim > 1 else h.detach()[None]
        last = passes[-1] if passes else None
        if last is None or last.trunk != trunk or position <= last.position or last.shape != h.shape:
            last = _Pass(trunk, h.shape)
            passes.append(last)
        last.add(name, position, h, found, tokens, shared=str(getattr(module, "kind", "")).startswith("static"))

    with ExitStack() as stack, torch.no_grad():
        for module in watch:
            _hook(stack, module, note)
        (call or model)(*inputs)
    if not passes:
        raise ValueError("none of the layers was called: expected a call of the model that runs them")
    found: dict[tuple[str, ...], list[_Pass]] = {}
    for each in passes:
        found.setdefault(tuple(each.names), []).append(each)
    fractions = {name: getattr(module, "fractions", False) for module, (name, _, _) in watch.items()}
    return [_joined(names, group, fractions[names[0]]) for names, group in found.items()]


class _Pass:
    """One walk through a trunk. Keeps the input of the last branch only."""

    def __init__(self, trunk: str, shape: torch.Size):
        self.trunk, self.shape, self.position = trunk, shape, -1
        self.names: list[str] = []
        self.coefficients: list[Coefficients] = []
        self.shared: list[bool] = []
        self.cosine: list[Tensor] = []
        self.previous: Tensor | None = None

    def add(self, name: str, position: int, h: Tensor, found: Coefficients | None, tokens: int, *, shared: bool) -> None:
        step = -(-h.shape[0] // tokens)
        chosen = h[::step].float()
        if self.previous is not None:
            self.cosine.append(F.cosine_similarity(chosen, self.previous, dim=-1).cpu())
        self.names.append(name)
        self.position, self.previous = position, chosen
        if found is not None:
            axes = (2, 2, 1)
            flat = (c.detach().reshape(-1, *c.shape[c.ndim - a :])[::step].cpu() for c, a in zip(found, axes, strict=True))
            self.coefficients.append(Coefficients(*flat))
            self.shared.append(shared)


def _joined(names: tuple[str, ...], passes: list[_Pass], fractions: bool) -> Record:
    count = len(passes[0].coefficients)
    coefficients = tuple(
        passes[0].coefficients[k]
        if passes[0].shared[k]
        else Coefficients(*(torch.cat(parts) for parts in zip(*(p.coefficients[k] for p in passes), strict=True)))
        for k in range(count)
    )
    cosine = torch.cat([torch.stack(p.cosine) if p.cosine else torch.zeros(0, 0) for p in passes], -1)
    return Record(names, coefficients, cosine, fractions)


def _watched(model: nn.Module, layers: Sequence[nn.Module] | None) -> dict[nn.Module, tuple[str, str, int]]:
    """Module -> its name, what it can share a trunk with, and its place there."""
    names = {module: name for name, module in model.named_modules()}
    if layers is not None:
        return {module: (names.get(module, f"layer {i}"), "layers", i) for i, module in enumerate(layers)}
    places: dict[nn.Module, tuple[str, str, int]] = {}
    for module, name in names.items():
        if isinstance(module, HyperConnection):
            places[module] = name, "", module.index
    if places:
        return places
    for block, name in names.items():
        if not isinstance(block, Block | CrossBlock):
            continue
        trunk = name.rpartition(".")[0]
        for module in (block.norm1, block.norm2) if block.join1 == "prenorm" else (block.attn, block.mlp):
            places[module] = names[module], trunk, sum(t == trunk for _, t, _ in places.values())
    if not places:
        raise ValueError(f"{type(model).__name__} has neither hyper-connections nor blocks of ours: name its layers")
    return places


def _hook(stack: ExitStack, module: nn.Module, note: Callable[[nn.Module, Tensor, Coefficients | None], None]) -> None:
    """Calls `note(module, branch input, coefficients)` whenever the module runs, until the stack ends."""
    if not isinstance(module, HyperConnection):

        def before(_: nn.Module, args: tuple[Any, ...]) -> None:
            note(module, args[0], None)

        stack.callback(module.register_forward_pre_hook(before).remove)
        return
    read, inside = module.read, False

    def tell(h: Tensor, carry: Carry) -> None:
        note(module, h if module.channel_dim == -1 else h.movedim(module.channel_dim, -1), carry.coefficients)

    def watched(streams: Tensor) -> tuple[Tensor, Carry]:
        found = read(streams)
        if not inside:
            tell(*found)
        return found

    def enter(_: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal inside
        tell(*read(args[0]))
        inside = True

    def leave(*_: object) -> None:
        nonlocal inside
        inside = False

    # `read` and `write` may be called without `forward`, and `forward` need not call `read`
    module.read = watched
    stack.callback(delattr, module, "read")
    stack.callback(module.register_forward_pre_hook(enter).remove)
    stack.callback(module.register_forward_hook(leave, always_call=True).remove)


def unfolded_matrix(found: Record, *, reduce: Literal["sum", "mean"] = "sum", per_token: bool = False) -> Tensor:
    """The connections unfolded: how much of what is in what. `(K + 1, K + 1)` float64, zero above the diagonal.

    Row k < K is the input of branch k, row K the output of the trunk; column 0 is the embedding, column j + 1 the output of branch j:

        c[k, j] = B_j (A_{j+1} ... A_{k-1}) a_k

    A pre-norm residual network has ones everywhere. Of fractions, which exchange parts of a token, the coefficient is the mean over
    fractions of what reaches the same fraction.

    Args:
        found: of a model with hyper-connections. reduce: how its streams become one (fractions need neither).
        per_token: unfold the coefficients of every token and average then; otherwise the averaged coefficients are unfolded.

    Raises:
        ValueError: a record without coefficients.
    """
    chosen = _coefficients(found, per_token)
    n = chosen[0].carry.shape[-1]
    eye = torch.eye(n, dtype=torch.float64)
    ones = torch.ones(1, n, dtype=torch.float64)
    end = eye if found.fractions else ones.T / (n if reduce == "mean" else 1)
    size = len(chosen) + 1
    # of every source so far: what of it is in each stream, (S, sources, 1, n); of fractions, what of each in each, (S, sources, n, n)
    inside = (eye if found.fractions else ones)[None, None]
    matrix = torch.zeros(size, size, dtype=torch.float64)
    for k, (read, carry, write) in enumerate(chosen):
        matrix[k, : k + 1] = _diagonal_mean(inside @ read[:, None])
        added = write.diag_embed() if found.fractions else write.unsqueeze(-2)
        carried = inside @ carry[:, None]
        tokens = max(carried.shape[0], added.shape[0])
        inside = torch.cat([carried.expand(tokens, -1, -1, -1), added[:, None].expand(tokens, -1, -1, -1)], 1)
    matrix[-1] = _diagonal_mean(inside @ end)
    return matrix


def _diagonal_mean(blocks: Tensor) -> Tensor:
    """`(S, J, s, s)` -> `(J,)`: mean over tokens and the diagonal."""
    return blocks.diagonal(dim1=-2, dim2=-1).mean((0, -1))


def _coefficients(found: Record, per_token: bool) -> list[Coefficients]:
    """In float64, each with its leading axis; without `per_token` that axis is of one mean."""
    if not found.coefficients:
        raise ValueError(f"{found.names[0]} to {found.names[-1]}: recorded without hyper-connections, so there are no coefficients")
    return [
        Coefficients(*(c.double() if per_token else c.double().mean(0, keepdim=True) for c in each)) for each in found.coefficients
    ]


def amax_gain(found: Record) -> Gain:
    """Largest absolute sums of the rows and columns of the mixing matrices, alone and composed, for each token and then averaged.

    Raises:
        ValueError: a record without coefficients.
    """
    carries = [c.carry for c in _coefficients(found, per_token=True)]
    single = [_gains(carry) for carry in carries]
    composed = [single[-1]]
    product = carries[-1]
    for carry in reversed(carries[:-1]):
        product = carry @ product
        composed.append(_gains(product))
    forward, backward = torch.tensor(composed[::-1]).T
    single_forward, single_backward = torch.tensor(single).T
    every = torch.stack([forward, backward, single_forward, single_backward])
    return Gain(forward, backward, single_forward, single_backward, every.max().item())


def _gains(matrix: Tensor) -> tuple[float, float]:
    """`(S, n, n)`, source -> target: of signals (sums over sources) and of gradients (sums over targets)."""
    size = matrix.abs()
    return size.sum(-2).amax(-1).mean().item(), size.sum(-1).amax(-1).mean().item()


def layer_input_cosine(found: Record) -> Band:
    """Similarity of the inputs of neighbouring branches over tokens, each `(K - 1,)`; near 1, a layer does next to nothing.

    Raises:
        ValueError: a record of one branch.
    """
    if len(found.names) < 2:
        raise ValueError("one branch has no neighbour: expected a record of 2 or more")
    levels = torch.tensor([0.5, 0.05, 0.95])
    return Band(*torch.quantile(found.cosine, levels, dim=1))


def gradient_norms(model: nn.Module, layers: Sequence[nn.Module] | None = None) -> Tensor:
    """Euclidean norm of the gradients of each layer's parameters after a backward pass, by depth: `(L,)` on the CPU.

    Args:
        model: whose blocks are taken, all of ours in the order they are found in. layers: these instead.

    Raises:
        ValueError: no blocks, or a layer without a gradient.
    """
    chosen = [m for m in model.modules() if isinstance(m, Block | CrossBlock)] if layers is None else list(layers)
    if not chosen:
        raise ValueError(f"{type(model).__name__} has no blocks of ours: name its layers")
    norms: list[Tensor] = []
    for i, layer in enumerate(chosen):
        gradients = [p.grad.float() for p in layer.parameters() if p.grad is not None]
        if not gradients:
            raise ValueError(f"layer {i} ({type(layer).__name__}) has no gradients: call backward first")
        norms.append(torch.stack([g.norm() for g in gradients]).norm())
    return torch.stack(norms).cpu()
