"""How the blocks of other people's networks are cut into residual branches, for `hyperize`.

An adapter rewrites one class of blocks as a sequence of branches, each around a connection of its own:

    def forward(block, connections, streams, mask=None):
        streams = connections[0](streams, lambda h: block.attention(block.norm1(h), mask))
        return connections[1](streams, lambda h: block.mlp(block.norm2(h)))

    register_adapter(MyBlock, Adapter(("attention", "mlp"), forward))

Classes of `transformers` are known by name, so that it need not be installed. The names are those whose forward pass is the same code,
instruction by instruction, as that of the class the adapter was written for (transformers 5.23).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .transformer import Block, CrossBlock


def _in_branches(block: Any) -> str:
    return ""


@dataclass(frozen=True)
class Adapter:
    """One class of blocks as residual branches.

    Attributes:
        branches: their names, in order of execution; or a function of the block that gives them.
        forward: ``(block, connections, streams, *args, **kwargs)`` -> the streams after the block, or a tuple that begins with them. Gets one
            connection a branch, and the block's own arguments after the first. A function of a module, if models are to be pickled.
        whole: why a given block can be converted only as a whole (``post-norm``); "" where branches are possible.
        width: features of the block's input; by default found from its first layer, see `infer_width`.
        probe: whether a block is believed only after it gave the same as its branches for a random input. For classes known by their
            attributes alone.

    Raises:
        ValueError: no branches, or one string in place of several.
    """

    branches: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    forward: Callable[..., Any]
    whole: Callable[[Any], str] = _in_branches
    width: Callable[[Any], int] | None = None
    probe: bool = False

    def __post_init__(self) -> None:
        if callable(self.branches):
            return
        if isinstance(self.branches, str) or not self.branches:
            raise ValueError(f"Adapter: branches {self.branches!r}: expected their names, such as ('attention', 'mlp')")
        object.__setattr__(self, "branches", tuple(self.branches))  # a list could not be hashed

    def names(self, block: nn.Module) -> tuple[str, ...]:
        """The branches of this block."""
        return self.branches(block) if callable(self.branches) else self.branches


_registered: dict[type | str, Adapter] = {}


def register_adapter(block: type[nn.Module] | str, adapter: Adapter) -> None:
    """Makes `hyperize` know a class of blocks, given itself or by name (``MyBlock`` or ``package.module.MyBlock``).

    Goes before the built-in adapters. Classes derived from `block` are covered unless they replace its `forward`.

    Raises:
        ValueError: neither a class of modules nor a name, or not an `Adapter`.
    """
    if not (isinstance(block, str) and block) and not (isinstance(block, type) and issubclass(block, nn.Module)):
        raise ValueError(f"register_adapter: got {block!r}, expected a class of modules or its name")
    if not isinstance(adapter, Adapter):
        raise ValueError(f"register_adapter: got {adapter!r}, expected an Adapter(branches, forward)")
    _registered[block] = adapter


def find_adapter(block: nn.Module) -> Adapter | None:
    """The adapter for this block, or None."""
    for kind in type(block).__mro__:
        adapter = _of_class(kind)
        if adapter is None and kind.__name__ == "Block" and _looks_prenorm(block):
            adapter = _TIMM
        if adapter is not None:
            # a class that replaces the forward pass is not described by the adapter of its parent
            same = inspect.unwrap(type(block).forward) is inspect.unwrap(kind.forward)  # type: ignore[attr-defined]
            return adapter if same and (not adapter.probe or _agrees(block, adapter)) else None
    return None


def _of_class(kind: type) -> Adapter | None:
    name, path = kind.__name__, f"{kind.__module__}.{kind.__qualname__}"
    for key in (kind, path, name):
        if key in _registered:
            return _registered[key]
    if kind in _BUILT_IN:
        return _BUILT_IN[kind]
    return _TRANSFORMERS.get(name) if kind.__module__.startswith("transformers.") else None


class _Plain:
    """The residual connection itself, with the methods of a HyperConnection."""

    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x

    def write(self, carry: Tensor, output: Tensor) -> Tensor:
        return carry + output

    def __call__(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        return x + branch(x)


def _agrees(block: nn.Module, adapter: Adapter) -> bool:
    """Whether the block and its branches, joined by plain residual connections, give the same for a random input."""
    like = next((p for p in block.parameters() if p.is_floating_point()), None)
    width = adapter.width(block) if adapter.width else infer_width(block)
    if like is None or like.is_meta or width is None:
        return False
    modes = [(module, module.training) for module in block.modules()]
    x = torch.randn(2, 5, width, generator=torch.Generator().manual_seed(0)).to(like)
    try:
        block.eval()
        with torch.no_grad():
            whole = block(x)
            cut = adapter.forward(block, [_Plain() for _ in adapter.names(block)], x)
        return isinstance(whole, Tensor) and whole.shape == cut.shape and torch.allclose(whole, cut, rtol=1e-3, atol=1e-4)
    except Exception:  # any code of the user's: what needs more than one argument, or another shape, is not this kind of block
        return False
    finally:
        for module, mode in modes:
            module.training = mode


def infer_width(block: nn.Module, channel_dim: int = -1) -> int | None:
    """Features of a block's input as its first layer shows them, or None. With `channel_dim` 1 that layer is one over feature maps."""
    for module in block.modules():
        if channel_dim == 1:
            for name in ("in_channels", "num_channels", "num_features"):  # convolutions, GroupNorm, BatchNorm
                if isinstance(getattr(module, name, None), int):
                    return getattr(module, name)
        elif isinstance(module, nn.MultiheadAttention):
            return module.embed_dim
        elif isinstance(module, nn.LayerNorm):
            return module.normalized_shape[-1]
        elif isinstance(module, nn.Linear):
            return module.in_features
        elif is_convolution(module):
            return None
        elif type(module).__name__.endswith("RMSNorm") and isinstance(getattr(module, "weight", None), Tensor):
            return module.weight.shape[-1]  # type: ignore[union-attr,return-value]
    return None


def is_convolution(module: nn.Module) -> bool:
    """Whether a layer works on feature maps `(B, C, ...)`."""
    return isinstance(module, nn.modules.conv._ConvNd | nn.modules.batchnorm._BatchNorm | nn.GroupNorm)


# ---- PyTorch's own


def _encoder(
    block: Any,
    connections: Any,
    streams: Tensor,
    src_mask: Tensor | None = None,
    src_key_padding_mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:
    streams = connections[0](streams, lambda h: block._sa_block(block.norm1(h), src_mask, src_key_padding_mask, is_causal))
    return connections[1](streams, lambda h: block._ff_block(block.norm2(h)))


def _decoder(
    block: Any,
    connections: Any,
    streams: Tensor,
    memory: Tensor,
    tgt_mask: Tensor | None = None,
    memory_mask: Tensor | None = None,
    tgt_key_padding_mask: Tensor | None = None,
    memory_key_padding_mask: Tensor | None = None,
    tgt_is_causal: bool = False,
    memory_is_causal: bool = False,
) -> Tensor:
    streams = connections[0](streams, lambda h: block._sa_block(block.norm1(h), tgt_mask, tgt_key_padding_mask, tgt_is_causal))
    streams = connections[1](
        streams,
        lambda h: block._mha_block(block.norm2(h), memory, memory_mask, memory_key_padding_mask, memory_is_causal),
    )
    return connections[2](streams, lambda h: block._ff_block(block.norm3(h)))


def _norm_last(block: Any) -> str:
    return "" if block.norm_first else "post-norm"


# ---- this library's own


def _kinema(block: Any, connections: Any, streams: Tensor) -> Tensor:
    streams = connections[0](streams, lambda h: block.drop_path(block.attn(block.norm1(h))))
    return connections[1](streams, lambda h: block.drop_path(block.mlp(block.norm2(h))))


def _kinema_cross(block: Any, connections: Any, streams: Tensor, context: Tensor) -> Tensor:
    streams = connections[0](streams, lambda h: block.attn(block.norm1(h), context))
    return connections[1](streams, lambda h: block.mlp(block.norm2(h)))


def _joined_last(block: Any) -> str:
    return "post-norm" if block.join1 == "postnorm" else ""


# ---- timm, and what looks like it


def _looks_prenorm(block: nn.Module) -> bool:
    children = {name for name, _ in block.named_children()}
    needed = {"norm1", "attn", "norm2", "mlp"}
    return needed <= children <= needed | {"ls1", "ls2", "drop_path", "drop_path1", "drop_path2"}


def _timm(block: Any, connections: Any, streams: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    def after(i: int, y: Tensor) -> Tensor:
        for name in (f"ls{i}", f"drop_path{i}", "drop_path"):
            if hasattr(block, name):
                y = getattr(block, name)(y)
        return y

    streams = connections[0](streams, lambda h: after(1, block.attn(block.norm1(h), *args, **kwargs)))
    return connections[1](streams, lambda h: after(2, block.mlp(block.norm2(h))))


_TIMM = Adapter(("attention", "mlp"), _timm, probe=True)


# ---- transformers


def _llama(
    block: Any,
    connections: Any,
    streams: Tensor,
    attention_mask: Tensor | None = None,
    position_ids: Tensor | None = None,
    past_key_values: Any = None,
    use_cache: bool | None = False,
    position_embeddings: Any = None,
    **kwargs: Any,
) -> Tensor:
    h, carry = connections[0].read(streams)
    output, _ = block.self_attn(
        hidden_states=block.input_layernorm(h),
        attention_mask=attention_mask,
        position_ids=position_ids,
        past_key_values=past_key_values,
        use_cache=use_cache,
        position_embeddings=position_embeddings,
        **kwargs,
    )
    streams = connections[0].write(carry, output)
    return connections[1](streams, lambda h: block.mlp(block.post_attention_layernorm(h)))


def _gpt2(
    block: Any,
    connections: Any,
    streams: Tensor,
    past_key_values: Any = None,
    attention_mask: Tensor | None = None,
    encoder_hidden_states: Tensor | None = None,
    encoder_attention_mask: Tensor | None = None,
    use_cache: bool | None = False,
    **kwargs: Any,
) -> Tensor:
    cache = {"past_key_values": past_key_values, "attention_mask": attention_mask}
    streams = connections[0](streams, lambda h: block.attn(block.ln_1(h), **cache, use_cache=use_cache, **kwargs)[0])
    if encoder_hidden_states is not None:
        if len(connections) < 3:
            raise ValueError("GPT2Block: got encoder_hidden_states, expected a model made with add_cross_attention=True")
        memory = {"encoder_hidden_states": encoder_hidden_states, "encoder_attention_mask": encoder_attention_mask}
        streams = connections[1](streams, lambda h: block.crossattention(block.ln_cross_attn(h), **cache, **memory)[0])
    return connections[-1](streams, lambda h: block.mlp(block.ln_2(h)))


def _gpt2_branches(block: Any) -> tuple[str, ...]:
    return ("attention", "cross-attention", "mlp") if hasattr(block, "crossattention") else ("attention", "mlp")


def _vit(block: Any, connections: Any, streams: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
    h, carry = connections[0].read(streams)
    output, _ = block.attention(block.layernorm_before(h), attention_mask, **kwargs)
    streams = connections[0].write(carry, block.dropout(output))
    return connections[1](streams, lambda h: block.dropout(block.mlp(block.layernorm_after(h))))


def _dinov2(block: Any, connections: Any, streams: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
    h, carry = connections[0].read(streams)
    output, _ = block.attention(block.norm1(h), attention_mask=attention_mask, **kwargs)
    streams = connections[0].write(carry, block.drop_path(block.layer_scale1(output)))
    return connections[1](streams, lambda h: block.drop_path(block.layer_scale2(block.mlp(block.norm2(h)))))


def _clip(block: Any, connections: Any, streams: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
    h, carry = connections[0].read(streams)
    output, _ = block.self_attn(hidden_states=block.layer_norm1(h), attention_mask=attention_mask, **kwargs)
    streams = connections[0].write(carry, output)
    return connections[1](streams, lambda h: block.mlp(block.layer_norm2(h)))


_MADE_OF = {
    _llama: "input_layernorm self_attn post_attention_layernorm mlp",
    _gpt2: "ln_1 attn ln_2 mlp",
    _vit: "layernorm_before attention layernorm_after mlp dropout",
    _dinov2: "norm1 attention layer_scale1 drop_path norm2 mlp layer_scale2",
    _clip: "layer_norm1 self_attn layer_norm2 mlp",
}


def _of_today(block: Any) -> str:
    """Layers of older releases return tuples, or have other parts; they can still be converted as a whole."""
    adapter = next(a for kind in type(block).__mro__ if (a := _TRANSFORMERS.get(kind.__name__)) is not None)
    parts = {name for name, _ in block.named_children()}
    older = "output_attentions" in inspect.signature(inspect.unwrap(type(block).forward)).parameters
    return "other release of transformers" if older or not set(_MADE_OF[adapter.forward].split()) <= parts else ""


def _always_last(block: Any) -> str:
    return "post-norm"


def _never(block: Any, connections: Any, streams: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    raise ValueError(f"{type(block).__name__}: post-norm blocks have no residual branches; use granularity='block'")


_BUILT_IN: dict[type, Adapter] = {
    nn.TransformerEncoderLayer: Adapter(("attention", "mlp"), _encoder, _norm_last),
    nn.TransformerDecoderLayer: Adapter(("attention", "cross-attention", "mlp"), _decoder, _norm_last),
    Block: Adapter(("attention", "mlp"), _kinema, _joined_last),
    CrossBlock: Adapter(("cross-attention", "mlp"), _kinema_cross, _joined_last),
}

_LLAMA = """Arcee AriaText BitNet Cwm DeepseekV2 DeepseekV3 DiffLlama Dots1 Ernie4_5 Ernie4_5_Moe ExaoneMoe Gemma Glm Glm4Moe Helium
    HunYuanDenseV1 HunYuanMoEV1 Llama Ministral Ministral3 Mistral NanoChat Olmo Olmoe Qwen2 Qwen2Moe Qwen3 Qwen3Moe SeedOss SmolLM3
    SolarOpen Starcoder2 Youtu"""
_VIT = "ViT DeiT AST IJepa ViTMAE ViTMSN Vivit"
_DINO = "Dinov2 Dinov2WithRegisters"
_CLIP = "CLIP AltCLIP CLIPSeg MetaClip2 Owlv2 OwlViT Siglip Siglip2 SmolVLM Idefics2 Idefics3 XCLIP"
_BERT = "Bert BertGeneration Camembert Data2VecText Electra Ernie Roberta RoCBert XLMRoberta"

_TRANSFORMERS: dict[str, Adapter] = {
    **{f"{name}DecoderLayer": Adapter(("attention", "mlp"), _llama, _of_today) for name in _LLAMA.split()},
    **{f"{name}Layer": Adapter(("attention", "mlp"), _vit, _of_today) for name in _VIT.split()},
    **{f"{name}Layer": Adapter(("attention", "mlp"), _dinov2, _of_today) for name in _DINO.split()},
    **{f"{name}EncoderLayer": Adapter(("attention", "mlp"), _clip, _of_today) for name in _CLIP.split()},
    **{f"{name}Layer": Adapter(("block",), _never, _always_last) for name in _BERT.split()},
    "GPT2Block": Adapter(_gpt2_branches, _gpt2, _of_today),
    "DecisionTransformerGPT2Block": Adapter(_gpt2_branches, _gpt2, _of_today),
}
