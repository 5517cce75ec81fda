"""Models of `transformers` with random weights, converted."""

import copy

import pytest
import torch
from hyper_toys import disturb

from kinema.nn.hyper_connections import HyperConnections
from kinema.nn.hyperize import hyper_connections, hyperize

transformers = pytest.importorskip("transformers", minversion="5")

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
TOKENS = {**SMALL, "vocab_size": 40, "max_position_embeddings": 32}
GROUPED = {**TOKENS, "num_key_value_heads": 1, "head_dim": 8, "pad_token_id": 0}
PIXELS = {**SMALL, "image_size": 8, "patch_size": 4}
GPT2 = {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 40, "n_positions": 32}
QUIET = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def build(name):
    t = transformers
    torch.manual_seed(0)
    made = {
        "llama": lambda: t.LlamaForCausalLM(t.LlamaConfig(**GROUPED)),
        "mistral": lambda: t.MistralForCausalLM(t.MistralConfig(**GROUPED, sliding_window=4)),
        "qwen2": lambda: t.Qwen2ForCausalLM(t.Qwen2Config(**GROUPED)),
        "qwen3": lambda: t.Qwen3ForCausalLM(t.Qwen3Config(**GROUPED)),
        "gemma": lambda: t.GemmaForCausalLM(t.GemmaConfig(**GROUPED)),
        "gpt2": lambda: t.GPT2LMHeadModel(t.GPT2Config(**GPT2, **QUIET)),
        "gpt2-cross": lambda: t.GPT2LMHeadModel(t.GPT2Config(**GPT2, **QUIET, add_cross_attention=True)),
        "bert": lambda: t.BertModel(t.BertConfig(**TOKENS, **NO_DROPOUT)),
        "roberta": lambda: t.RobertaForMaskedLM(t.RobertaConfig(**TOKENS, **NO_DROPOUT)),
        "vit": lambda: t.ViTForImageClassification(t.ViTConfig(**PIXELS)),
        "dinov2": lambda: t.Dinov2Model(t.Dinov2Config(**PIXELS)),
        "clip": lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**PIXELS)),
    }
    model = made[name]()
    with torch.no_grad():  # weights far from the tiny ones they start with, so that a wrong branch shows
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    return model.eval()


QUICK = ["llama", "gpt2-cross", "bert", "vit"]
NAMES = [*QUICK, "mistral", "qwen2", "qwen3", "gemma", "gpt2", "roberta", "dinov2", "clip"]


def inputs(name):
    torch.manual_seed(1)
    if name in ("vit", "dinov2", "clip"):
        return {"pixel_values": torch.randn(2, 3, 8, 8)}
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 5:] = 0
    given = {"input_ids": torch.randint(5, 40, (2, 7)), "attention_mask": mask}
    return {**given, "encoder_hidden_states": torch.randn(2, 3, 16)} if name == "gpt2-cross" else given


def tensors(output):
    """First result and hidden states."""
    return [output[0], *output.hidden_states]


def close(found, expected):
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize(
    ("name", "granularity"),
    [*((name, "branch") for name in QUICK), ("llama", "block"), ("vit", "block")]
    + [pytest.param(name, how, marks=pytest.mark.slow) for name in NAMES[len(QUICK) :] for how in ("branch", "block")],
)
def test_the_function_and_hidden_states_stay(name, granularity):
    model, given = build(name), inputs(name)
    plain = set(model.state_dict())
    with torch.no_grad():
        before = [tensors(model.train(mode)(**given, output_hidden_states=True)) for mode in (True, False)]
        hyperize(model, 4, granularity=granularity, quiet=True)
        after = [tensors(model.train(mode)(**given, output_hidden_states=True)) for mode in (True, False)]
    for a, b in zip(after, before, strict=True):
        assert [x.shape for x in a] == [x.shape for x in b]
        for x, y in zip(a, b, strict=True):
            close(x, y)
    assert plain <= set(model.state_dict())
    per_block = 1 if granularity == "block" or name in ("bert", "roberta") else 3 if name == "gpt2-cross" else 2
    assert len(hyper_connections(model)) == 3 * per_block
    norm = "rmsnorm" if name in ("llama", "mistral", "qwen2", "qwen3", "gemma") else "layernorm"
    assert {c.norm for _, c in hyper_connections(model)} == {norm}


@pytest.mark.parametrize(("kind", "n"), [("static", 4), ("manifold", 2), ("fraction", 2), ("dynamic", 1)])
@pytest.mark.parametrize("name", ["llama", "bert", "vit"])
def test_kinds(name, kind, n):
    model, given = build(name), inputs(name)
    with torch.no_grad():
        before = model(**given)[0]
        close(hyperize(model, n, kind=kind, quiet=True)(**given)[0], before)


@pytest.mark.parametrize("name", ["llama", "gpt2", "vit", "bert"])
def test_every_connection_learns(name):
    model, given = build(name).train(), inputs(name)
    start = model(**given)[0].detach()
    disturb(hyperize(model, quiet=True))
    found = model(**given, output_hidden_states=True)
    assert (found[0] - start).abs().max() > 1e-2
    assert {x.ndim for x in found.hidden_states} == {3}
    found[0].square().sum().backward()
    for key, c in hyper_connections(model):
        assert all(p.grad is not None for p in c.parameters()), key
        assert c.static_read.grad.abs().max() > 0, key


@pytest.mark.parametrize(
    ("name", "granularity"),
    [
        ("llama", "branch"),
        ("gpt2", "branch"),
        pytest.param("llama", "block", marks=pytest.mark.slow),
        pytest.param("mistral", "branch", marks=pytest.mark.slow),
    ],
)
def test_generation_with_a_cache(name, granularity):
    model = build(name)
    ids = inputs(name)["input_ids"]
    how = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids), "eos_token_id": None}
    plain = model.generate(ids, **how)
    hyperize(model, granularity=granularity, quiet=True)
    assert torch.equal(model.generate(ids, **how), plain)
    disturb(model)
    cached, slow = model.generate(ids, **how), model.generate(ids, **how, use_cache=False)
    assert torch.equal(cached, slow)
    with torch.no_grad():  # one token after the others is all at once
        past = model(input_ids=cached[:, :-1], use_cache=True).past_key_values
        step = model(input_ids=cached[:, -1:], past_key_values=past).logits[:, -1]
        close(step, model(input_ids=cached).logits[:, -1])


def test_results_without_names():
    model, given = build("llama"), inputs("llama")
    model.set_attn_implementation("eager")  # which gives attentions
    disturb(hyperize(model, quiet=True))
    with torch.no_grad():
        named = model.model(**given, output_hidden_states=True, output_attentions=True)
        bare = model.model(**given, output_hidden_states=True, output_attentions=True, return_dict=False)
    states = next(v for v in bare if isinstance(v, tuple) and v[0].ndim == 3)
    for a, b in zip(states, named.hidden_states, strict=True):
        torch.testing.assert_close(a, b)
    assert {a.ndim for a in named.attentions} == {4}


def test_hidden_states_are_the_mean_of_the_streams():
    model, given = build("gpt2"), inputs("gpt2")
    disturb(hyperize(model, quiet=True))
    between = []
    model.transformer.h[1].register_forward_hook(lambda m, args, out: between.append(out))
    with torch.no_grad():
        states = model(**given, output_hidden_states=True).hidden_states
    torch.testing.assert_close(states[2], between[0].mean(-2))


def test_checkpointed_layers_give_the_same_gradients():
    given = inputs("llama")
    gradients = []
    for checkpointing in (False, True):
        model = disturb(hyperize(build("llama").train(), quiet=True))
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model(**given, use_cache=False).logits.square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, g in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], g, msg=name)


def test_copies_and_states():
    model, given = build("llama"), inputs("llama")
    disturb(hyperize(model, quiet=True))
    twin = copy.deepcopy(model)
    fresh = hyperize(build("llama"), quiet=True)
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        expected = model(**given).logits
        for other in (twin, fresh):
            torch.testing.assert_close(other(**given).logits, expected, rtol=0, atol=0)
    assert type(model.model.layers[0]).__name__ == "LlamaDecoderLayer"


def test_a_model_in_bf16():
    model, given = build("llama").bfloat16(), inputs("llama")
    with torch.no_grad():
        before = model(**given).logits
        after = hyperize(model, quiet=True)(**given).logits
    assert after.dtype == torch.bfloat16
    assert (after - before).abs().max() < 0.05 * before.abs().max()


def test_layers_of_another_release_are_taken_whole(capsys):
    class LlamaDecoderLayer(torch.nn.Module):
        """With the interface before release 5: a tuple, and `output_attentions`."""

        __module__ = "transformers.models.llama.modeling_llama"

        def __init__(self):
            super().__init__()
            self.input_layernorm, self.self_attn = torch.nn.LayerNorm(16), torch.nn.Linear(16, 16)
            self.post_attention_layernorm, self.mlp = torch.nn.LayerNorm(16), torch.nn.Linear(16, 16)

        def forward(self, hidden_states, output_attentions=False):
            y = hidden_states + self.self_attn(self.input_layernorm(hidden_states))
            return (y + self.mlp(self.post_attention_layernorm(y)),)

    blocks = torch.nn.ModuleList(LlamaDecoderLayer() for _ in range(2))
    x = torch.randn(2, 3, 16)
    before = blocks[1](blocks[0](x)[0])[0]
    hyperize(blocks)
    assert "whole block: other release of transformers" in capsys.readouterr().out
    torch.testing.assert_close(blocks[1](blocks[0](x)[0])[0], before)


def test_hidden_states_of_fractions_need_nothing():
    model, given = build("vit"), inputs("vit")
    hyperize(model, 4, kind="fraction", quiet=True)
    assert not HyperConnections(4, "fraction").streams
    assert {x.shape for x in model(**given, output_hidden_states=True).hidden_states} == {(2, 5, 16)}
