"""Which parameters take weight decay."""

from __future__ import annotations

from torch import nn


def decayed(model: nn.Module) -> dict[str, bool]:
    """Name of every parameter -> whether weight decay applies: all but biases and others of one dimension or none (most of the field).

    A module that knows better lists the names of its parameters without decay in `undecayed`; its other parameters take it.
    """
    found: dict[str, bool] = {}
    for prefix, module in model.named_modules():
        own = getattr(module, "undecayed", None)
        for name, parameter in module.named_parameters(recurse=False):
            whole = f"{prefix}.{name}" if prefix else name
            found[whole] = name not in own if own is not None else parameter.ndim > 1 and name != "bias"
    return found


def groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters with weight decay, and those without. Frozen ones are left out, shared ones are listed once."""
    takes = decayed(model)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [p for name, p in named if takes[name]], [p for name, p in named if not takes[name]]
