"""Hyper-connections in a network that exists already, pretrained or not: `hyperize(model, n=4)`.

Its function is the same right after (to float32 rounding), because connections start as the residual one and the mean of equal streams is
each of them. Parameters keep their names; those of the connections are called ``<block>.hyper.<branch>.*``.

What runs between two converted blocks sees streams `(..., n, D)`, where the network's own code put something there; results
`hidden_states` of `transformers` models are reduced. All blocks of a run have to be called, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from torch import Tensor, nn

from ..text import say
from . import decay
from .hyper_adapters import Adapter, find_adapter, infer_width, is_convolution
from .hyper_blocks import HyperBlock, Place, ReducedHiddenStates, hyper_class
from .hyper_connections import HyperConnection, HyperConnections, Kind

Granularity = Literal["branch", "block"]
Named = tuple[str, nn.Module]
_Containers = (nn.ModuleList, nn.Sequential)


@dataclass
class _Plan:
    """One block's conversion: nothing of the model is changed before all plans are made."""

    name: str
    block: nn.Module
    adapter: Adapter | None
    branches: tuple[str, ...]
    place: Place
    connections: list[HyperConnection] = field(default_factory=list)

    @property
    def added(self) -> int:
        return sum(p.numel() for c in self.connections for p in c.parameters())


def hyperize(
    model: nn.Module,
    n: int = 4,
    *,
    kind: Kind = "dynamic",
    granularity: Granularity = "branch",
    blocks: str | Sequence[str | nn.Module] | nn.Module | None = None,
    reduce: Literal["mean", "sum"] = "mean",
    dim: int | None = None,
    channel_dim: int = -1,
    quiet: bool = False,
    **options: Any,
) -> nn.Module:
    """Replaces the residual connections of `model` by hyper-connections, in place, and prints what was replaced.

    Streams enter at the first block of a run of neighbours and leave after its last, so that the rest of the network sees `(B, T, D)` as
    before. Blocks in different containers are runs of their own (encoder and decoder, stages).

    Args:
        n, kind: streams, and how they are mixed, see `HyperConnection`.
        granularity: ``branch``: a connection around every residual branch, for classes with an adapter (PyTorch's transformer layers and
            this library's, timm's `Block`, many of `transformers`; see `register_adapter`). Post-norm blocks, whose branches cannot keep
            the function, are taken as a whole. ``block``: one connection around each block as the branch ``block(x) - x``, for any block
            that keeps the shape.
        blocks: names or modules to convert, in order of execution; a container stands for all its blocks. None: every run of blocks in a
            ModuleList or Sequential that have an adapter, or with ``block`` and none of those the largest run of one class.
        reduce: how streams leave: ``mean`` keeps the function, ``sum`` (the paper's) multiplies the stream by `n`.
        dim, channel_dim: width of the blocks' input if it cannot be found, and the axis of features: -1, or 1 for feature maps.
        quiet: print nothing. options: the rest of `HyperConnections` (`tanh`, `gain`, `sinkhorn`, ...). `norm` is by default the blocks' own
            kind.

    Returns:
        The same object. New parameters are float32, on their block's device.

    `nn.TransformerEncoder` no longer packs padded batches into nested tensors, so that outputs at padded positions are no longer zeroed in
    evaluation (they never were in training).

    Raises:
        ValueError: a value out of range, nothing to convert, blocks of mixed widths or that fractions do not divide, modules that are no
            residual blocks or already converted. The model is unchanged then.
    """
    if granularity not in get_args(Granularity):
        raise ValueError(f"granularity {granularity!r}: expected one of {', '.join(get_args(Granularity))}")
    how = HyperConnections(n, kind, reduce=reduce, **options)
    if any(isinstance(module, nn.parallel.DistributedDataParallel) for module in model.modules()):
        raise ValueError(
            "the network is wrapped in DistributedDataParallel, which would not average new gradients: convert it before"
        )
    runs = _automatic(model, granularity) if blocks is None else _given(model, blocks)
    if "norm" not in options and kind in ("dynamic", "fraction"):
        rms = any("RMSNorm" in type(m).__name__ for m in runs[0][0][1].modules())
        how = HyperConnections(n, kind, reduce=reduce, norm="rmsnorm" if rms else "layernorm", **options)
    plans: list[_Plan] = []
    index = len(hyper_connections(model))
    for run in runs:
        planned = _plan(run, how, granularity, dim, channel_dim, index)
        index += sum(len(p.connections) for p in planned)
        plans += planned
    for plan in plans:
        _convert(plan)
        if plan.place.first:
            _prepare_owners(model, plan)
    if not quiet:
        say(*_table(plans, how).split("\n"))
    return model


def hyper_connections(model: nn.Module) -> list[tuple[str, HyperConnection]]:
    """All connections of a network with their names, in order of their index."""
    found = [(name, m) for name, m in model.named_modules() if isinstance(m, HyperConnection)]
    return sorted(found, key=lambda item: item[1].index)


def param_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser of PyTorch: parameters with weight decay, then those without (see `decay.decayed`).

    The static parts of connections, biases and norms have none. Frozen parameters are left out, shared ones listed once.

    Raises:
        ValueError: a negative `weight_decay`.
    """
    if not weight_decay >= 0:
        raise ValueError(f"weight_decay {weight_decay}: expected 0 or more")
    with_decay, without = decay.groups(model)
    groups = [{"params": with_decay, "weight_decay": weight_decay}, {"params": without, "weight_decay": 0.0}]
    return [g for g in groups if g["params"]]


def load_plain_state_dict(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads the weights of the network as it was before `hyperize` into the converted one. Connections stay as they are.

    Raises:
        ValueError: a weight is missing or unknown. RuntimeError: one of another shape.
    """
    tied = {name: id(p) for name, p in model.named_parameters(remove_duplicate=False)}
    present = {tied[name] for name in state if name in tied}
    new = {f"{name}.{key}" for name, c in hyper_connections(model) for key in c.state_dict()}
    known = set(model.state_dict())
    missing = [name for name in known - set(state) - new if tied.get(name) not in present]
    unknown = set(state) - known
    if missing or unknown:
        what, name = ("no", min(missing)) if missing else ("an unknown", min(unknown))
        raise ValueError(
            f"state dict with {what} {name!r} ({len(missing)} missing, {len(unknown)} unknown): expected this network's"
        )
    model.load_state_dict(state, strict=False)


# ---- which blocks


def _automatic(model: nn.Module, granularity: Granularity) -> list[list[Named]]:
    for name, module in model.named_modules():
        if isinstance(module, HyperBlock):
            raise ValueError(f"{_label(name, module)} already has hyper-connections")
    runs = _runs(model, lambda block: find_adapter(block) is not None)
    if runs or granularity == "branch":
        if not runs:
            raise ValueError(
                f"{type(model).__name__}: no block in it has an adapter; use granularity='block' with blocks=, or register_adapter"
            )
        return runs
    candidates: list[list[Named]] = []
    for run in _runs(model, _may_be_block, nested=True):
        start = 0
        for i in range(1, len(run) + 1):  # parts of one class
            if i == len(run) or type(run[i][1]) is not type(run[start][1]):
                candidates += [run[start:i]] if i - start > 1 else []
                start = i
    if not candidates:
        raise ValueError(
            f"{type(model).__name__}: no ModuleList or Sequential of two blocks of one class in it; name them in blocks="
        )
    return [max(candidates, key=lambda run: sum(p.numel() for _, b in run for p in b.parameters()))]


def _may_be_block(block: nn.Module) -> bool:
    """PyTorch's single layers and containers are no residual blocks, and a block is made of layers."""
    return not type(block).__module__.startswith("torch.nn.") and next(block.children(), None) is not None


def _runs(model: nn.Module, wanted: Callable[[nn.Module], bool], nested: bool = False) -> list[list[Named]]:
    """Neighbours in a container that are wanted. Unless `nested`, what is inside of one is not looked at."""
    runs: list[list[Named]] = []
    inside: set[int] = set()
    for name, container in model.named_modules():
        if not isinstance(container, _Containers) or id(container) in inside:
            continue
        members = [block for block in container if wanted(block)]
        if len(set(members)) < len(members):
            raise ValueError(f"{name or 'model'} holds the same block more than once: each needs connections of its own")
        run: list[Named] = []
        for key, block in [*container.named_children(), ("", None)]:
            if block is not None and id(block) not in inside and wanted(block):
                run.append((f"{name}.{key}" if name else key, block))
                if not nested:
                    inside.update(id(m) for m in block.modules())
            elif run:
                runs.append(run)
                run = []
    return runs


def _given(model: nn.Module, blocks: str | Sequence[str | nn.Module] | nn.Module) -> list[list[Named]]:
    named = {id(module): name for name, module in model.named_modules()}
    chosen: list[Named] = []
    single = isinstance(blocks, str) or (isinstance(blocks, nn.Module) and not isinstance(blocks, _Containers))
    for item in [blocks] if single else list(blocks):  # type: ignore[arg-type]
        try:
            block = model.get_submodule(item) if isinstance(item, str) else item
        except AttributeError as error:
            raise ValueError(f"blocks: {type(model).__name__} has no module named {item!r}") from error
        if not isinstance(block, nn.Module) or id(block) not in named:
            raise ValueError(f"blocks: {type(block).__name__} is not a module of this {type(model).__name__}")
        name = named[id(block)]
        inner = list(block.named_children()) if isinstance(block, _Containers) else [("", block)]
        chosen += [(".".join(part for part in (name, key) if part), b) for key, b in inner]
    if not chosen:
        raise ValueError("blocks: got none, expected modules or names of them")
    runs: list[list[Named]] = []
    seen: set[int] = set()
    for name, block in chosen:
        if id(block) in seen:
            raise ValueError(f"blocks: {_label(name, block)} is listed more than once")
        seen.add(id(block))
        if runs and _follows(model, runs[-1][-1][0], name):
            runs[-1].append((name, block))
        else:
            runs.append([(name, block)])
    return runs


def _follows(model: nn.Module, before: str, after: str) -> bool:
    """Whether the streams of one block go on into the other: neighbours in a container, or attributes of one module, listed in order."""
    (parent, _, a), (other, _, b) = before.rpartition("."), after.rpartition(".")
    if parent != other:
        return False
    container = model.get_submodule(parent)
    if not isinstance(container, _Containers):
        return True
    keys = list(container._modules)
    return keys.index(b) == keys.index(a) + 1


# ---- how they are converted


def _label(name: str, module: nn.Module) -> str:
    return f"{name or 'model'} ({type(module).__name__})"


def _plan(
    run: list[Named], how: HyperConnections, granularity: Granularity, dim: int | None, channel_dim: int, index: int
) -> list[_Plan]:
    plans: list[_Plan] = []
    for i, (name, block) in enumerate(run):
        label = _label(name, block)
        if isinstance(block, HyperBlock) or any(isinstance(m, HyperConnection) for m in block.modules()) or hasattr(block, "hyper"):
            raise ValueError(f"{label} already has hyper-connections")
        if "forward" in vars(block):
            raise ValueError(
                f"{label}: the object has a forward of its own, which would go around its class's; convert the network before what puts "
                "it there (compiling a forward, spreading a network over devices by accelerate)"
            )
        adapter = find_adapter(block)
        if adapter is None and not _may_be_block(block):
            raise ValueError(f"{label} is not a residual block")
        if adapter is None and granularity == "branch":
            raise ValueError(f"{label} has no adapter; use granularity='block', or register_adapter({type(block).__name__}, ...)")
        width = dim or _width(block, adapter, channel_dim, label)
        if plans and width != plans[0].place.dim:
            raise ValueError(
                f"{label} is {width} wide, {run[0][0] or 'model'} {plans[0].place.dim}: a run needs one width; name equal blocks in blocks="
            )
        whole = "whole block" if granularity == "block" or adapter is None else adapter.whole(block)
        if whole or adapter is None:
            branches, adapter = (whole if granularity == "block" else f"whole block: {whole}",), None
        else:
            branches = adapter.names(block)
        place = Place(label, how, width, channel_dim, first=i == 0, last=i == len(run) - 1)
        plan = _Plan(name, block, adapter, branches, place)
        for _ in branches:
            try:
                plan.connections.append(how.connection(width, index, channel_dim))
            except ValueError as error:
                raise ValueError(f"{label}: {error}") from error
            index += 1
        plans.append(plan)
    return plans


def _width(block: nn.Module, adapter: Adapter | None, channel_dim: int, label: str) -> int:
    width = adapter.width(block) if adapter and adapter.width else infer_width(block, channel_dim)
    if width is None:
        hint = "it is convolutional: give channel_dim=1" if any(is_convolution(m) for m in block.modules()) else "give dim="
        raise ValueError(f"{label}: the width of its input cannot be told; {hint if channel_dim == -1 else 'give dim='}")
    return width


def _convert(plan: _Plan) -> None:
    block = plan.block
    like = next(block.parameters(), None)
    connections = nn.ModuleList(plan.connections).train(block.training)
    block.hyper = connections if like is None else connections.to(like.device)
    block.hyper_place = plan.place  # type: ignore[assignment]
    block.__class__ = hyper_class(type(block), plan.adapter)


def _prepare_owners(model: nn.Module, plan: _Plan) -> None:
    """What is around a run: results of `transformers` models, and the encoder that would pack its input for fused layers."""
    parts = plan.name.split(".")[:-1]
    for i in range(len(parts) + 1):
        owner = model.get_submodule(".".join(parts[:i]))
        if isinstance(owner, nn.TransformerEncoder):
            owner.use_nested_tensor = False
        if plan.place.how.streams and any(c.__module__.startswith("transformers.") for c in type(owner).__mro__):
            owner.register_forward_hook(ReducedHiddenStates(plan.place))


def _table(plans: list[_Plan], how: HyperConnections) -> str:
    """A line for each row of blocks of one class."""
    rows: list[tuple[str, ...]] = [("blocks", "class", "branches", "connections", "parameters")]
    start = 0
    for i in range(1, len(plans) + 1):
        first, last = plans[start], plans[i - 1]
        if i < len(plans) and not plans[i].place.first:
            if type(plans[i].block) is type(first.block) and plans[i].branches == first.branches:
                continue
        same = plans[start:i]
        name = first.name or "model"
        name = name if len(same) == 1 else f"{name} .. {last.name.rpartition('.')[2]}"
        count, added = sum(len(p.connections) for p in same), sum(p.added for p in same)
        rows.append((name, type(first.block).__name__, ", ".join(first.branches), str(count), f"+{added:,}"))
        start = i
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    total = sum(p.added for p in plans)
    return "\n".join([f"hyper-connections: {how.kind}, n={how.n}, leaving by {how.reduce}; {total:,} parameters added", *lines])
