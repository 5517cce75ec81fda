"""The arithmetic of hyper-connections against plain loops, whatever the shapes and types."""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kinema.nn import hyper_kernels as kernels
from kinema.nn import hyper_ops as ops
from kinema.nn.hyper_connections import HyperConnections
from kinema.nn.transformer import Block

shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 9), st.sampled_from([(), (3,), (2, 3)]))


def numbers(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_()


def mixed_by_loops(x: Tensor, matrix: Tensor) -> Tensor:
    targets = []
    for j in range(matrix.shape[-1]):
        total = torch.zeros_like(x[..., 0, :])
        for i in range(x.shape[-2]):
            total = total + matrix[..., i, j, None] * x[..., i, :]
        targets.append(total)
    return torch.stack(targets, -2)


def written_by_loops(x: Tensor, output: Tensor, carry: Tensor, gains: Tensor) -> Tensor:
    each = output.unsqueeze(-2) if output.ndim < x.ndim else output
    return mixed_by_loops(x, carry) + gains.unsqueeze(-1) * each


def normed(x: Tensor, norm: str) -> Tensor:
    x = x - x.mean(-1, keepdim=True) if norm == "layernorm" else x
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def same(function, reference, leaves: list[Tensor], close: float = 1e-9) -> None:
    """Values and gradients of both."""
    results = []
    for f in (function, reference):
        values = f(*leaves)
        values = values if isinstance(values, tuple) else (values,)
        torch.manual_seed(1)
        loss = sum((v.double() * torch.randn(v.shape, dtype=torch.float64)).sum() for v in values)
        results.append((values, torch.autograd.grad(loss, leaves)))
    for ours, theirs in zip(results[0], results[1], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape
            assert (a.double() - b.double()).abs().max() <= close * (1 + b.double().abs().max())


@settings(max_examples=15, deadline=None)
@given(shapes, st.booleans(), st.integers(0, 1000))
def test_mixing_is_a_weighted_sum(shape, shared, seed):
    torch.manual_seed(seed)
    n, k, d, lead = shape
    same(ops.mix, mixed_by_loops, [numbers(*lead, n, d), numbers(*(() if shared else lead), n, k)])


@settings(max_examples=15, deadline=None)
@given(shapes, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 1000))
def test_writing_carries_and_adds(shape, shared_carry, shared_gains, own, seed):
    torch.manual_seed(seed)
    n, _, d, lead = shape
    carry, gains = numbers(*(() if shared_carry else lead), n, n), numbers(*(() if shared_gains else lead), n)
    output = numbers(*lead, n, d) if own else numbers(*lead, d)
    same(ops.write, written_by_loops, [numbers(*lead, n, d), output, carry, gains])


@settings(max_examples=15, deadline=None)
@given(shapes, st.sampled_from(["layernorm", "rmsnorm"]), st.booleans(), st.integers(0, 1000))
def test_projection_is_of_the_normalised_streams(shape, norm, joint, seed):
    torch.manual_seed(seed)
    n, k, d, lead = shape
    x, weight = numbers(*lead, n, d + 1), numbers((d + 1) * (n if joint else 1), k)

    def reference(x: Tensor, w: Tensor) -> Tensor:
        return normed(x.flatten(-2) if joint else x, norm) @ w

    same(lambda x, w: ops.normed_projection(x, w, norm, 1e-5, joint), reference, [x, weight], 1e-7)


@settings(max_examples=15, deadline=None)
@given(shapes, st.sampled_from(["layernorm", "rmsnorm"]), st.booleans(), st.integers(0, 1000))
def test_the_fused_read_is_its_parts(shape, norm, tanh, seed):
    torch.manual_seed(seed)
    n, k, d, lead = shape
    statics = [numbers(n, k), numbers(n, n), numbers(n), numbers(), numbers()]

    def fused(x: Tensor, w: Tensor, *s: Tensor) -> tuple[Tensor, ...]:
        found = ops.dynamic_read(x, w, kernels.Statics(*s), norm, 1e-5, tanh)
        return *found[:4], 2 * found.streams

    def parts(x: Tensor, w: Tensor, *s: Tensor) -> tuple[Tensor, ...]:
        logits = normed(x, norm) @ w
        found = kernels.coefficients(logits, kernels.Statics(*s), tanh)
        return mixed_by_loops(x, found[0]), *found, 2 * x

    same(fused, parts, [numbers(*lead, n, d + 1), numbers(d + 1, k + n + 1), *statics], 1e-7)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_streams_are_added_up_in_float32(dtype):
    torch.manual_seed(0)
    x, output = numbers(6, 4, 32, dtype=dtype), numbers(6, 32, dtype=dtype)
    carry, gains = numbers(6, 4, 4, dtype=torch.float32), numbers(6, 4, dtype=torch.float32)
    after = ops.write(x, output, carry, gains)
    exact = written_by_loops(x.double(), output.double(), carry.double(), gains.double())
    assert after.dtype == dtype
    assert torch.equal(after, exact.to(dtype)) or (after - exact).abs().max() <= torch.finfo(dtype).eps * exact.abs().max()
    after.float().square().sum().backward()
    assert (x.grad.dtype, output.grad.dtype, carry.grad.dtype, gains.grad.dtype) == (dtype, dtype, torch.float32, torch.float32)
    weight = numbers(32, 6, dtype=torch.float32)
    logits = ops.normed_projection(x, weight, "layernorm", 1e-5)
    assert logits.dtype == torch.float32
    assert (logits - normed(x.double(), "layernorm") @ weight.double()).abs().max() < 1e-4


def test_chunks_of_tokens_change_nothing(monkeypatch):
    torch.manual_seed(0)
    x, weight = numbers(40, 3, 8), numbers(8, 5)
    statics = kernels.Statics(numbers(3, 1), numbers(3, 3), numbers(3), numbers(), numbers())

    def run() -> list[Tensor]:
        found = ops.dynamic_read(x, weight, statics, "layernorm", 1e-5, True)
        after = ops.write(found.streams, found.mixed.squeeze(-2).tanh(), found.carry, found.gains)
        return [after, *torch.autograd.grad(after.square().sum(), [x, weight, *statics])]

    whole = run()
    monkeypatch.setattr(kernels, "CHUNK", 1)
    for a, b in zip(run(), whole, strict=True):
        assert (a - b).abs().max() <= 1e-9 * (1 + b.abs().max())


@pytest.mark.parametrize("n", [1, 3])
def test_the_unrolled_kernels_agree(n, monkeypatch):
    """What is compiled on a GPU, here without a compiler."""
    torch.manual_seed(0)
    x, weight = numbers(5, n, 8), numbers(8, 1 + n + 1)
    statics = kernels.Statics(numbers(n, 1), numbers(n, n), numbers(n), numbers(), numbers())

    def run() -> list[Tensor]:
        found = ops.dynamic_read(x, weight, statics, "layernorm", 1e-5, True)
        after = ops.write(found.streams, found.mixed.squeeze(-2).tanh(), found.carry, found.gains)
        after = ops.write(after, after.tanh(), statics.carry, statics.write)
        logits = ops.normed_projection(after, weight, "rmsnorm", 1e-5)
        return [after, *torch.autograd.grad((ops.mix(after, statics.carry) * logits.sum()).sum(), [x, weight, *statics])]

    eager = run()
    used = []
    monkeypatch.setattr(kernels, "_compiled", lambda kernel, *key: used.append(kernel) or kernel)
    with kernels.engine("compiled"):
        for a, b in zip(run(), eager, strict=True):
            assert (a - b).abs().max() <= 1e-9 * (1 + b.abs().max())
    assert {kernels.read, kernels.read_backward, kernels.write, kernels.write_backward, kernels.project_backward} <= set(used)


def pass_of(how: HyperConnections, blocks: torch.nn.ModuleList, batch: int, gradients: bool) -> None:
    x = how.expand(torch.randn(batch, 3, 8))
    for block in blocks:
        x = block(x)
    if gradients:
        how.collapse(x).square().sum().backward()


MODES = [(torch.enable_grad, True), (torch.no_grad, False), (torch.inference_mode, False)]


@pytest.mark.parametrize("kind", ["dynamic", "static", "manifold"])
def test_what_compiled_kernels_get_has_few_forms(kind, monkeypatch):
    """The compiler refuses after eight variants of a function: a form is a function, and only the number of tokens varies in it."""
    variants: dict[tuple, set] = {}

    def counted(kernel, *key):
        def run(algebra, *given):
            flat = [t for g in given for t in (g if isinstance(g, tuple) else (g,)) if isinstance(t, Tensor)]
            assert not any(t.requires_grad for t in flat)
            variants.setdefault((kernel, *key), set()).add(tuple((t.shape[1:], t.stride(), t.dtype) for t in flat if t.ndim > 1))
            return kernel(algebra, *given)

        return run

    monkeypatch.setattr(kernels, "_compiled", counted)
    with kernels.engine("compiled"):
        for _ in range(2):  # another model of the same sizes
            how = HyperConnections(2, kind, iterations=1)
            blocks = torch.nn.ModuleList(Block(8, 2, residual=how, index=i) for i in range(2))
            for batch in (2, 3):
                for mode, gradients in MODES:
                    with mode():
                        pass_of(how, blocks, batch, gradients)
    assert len(variants) < 30
    assert max(map(len, variants.values())) == 1


@pytest.mark.slow
def test_no_number_of_tokens_and_mode_is_one_too_many(monkeypatch):
    """Training, validation and inference with batches of several sizes, which were more variants than the compiler makes."""
    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiler(function, backend="eager", **options))
    kernels._compiled.cache_clear()
    with kernels.engine("compiled"):
        for how in (HyperConnections(2), HyperConnections(2, norm="rmsnorm"), HyperConnections(2, "static")):
            blocks = torch.nn.ModuleList(Block(8, 2, residual=how, index=i) for i in range(2))
            for batch in (2, 3, 1):
                for mode, gradients in MODES:
                    with mode():
                        pass_of(how, blocks, batch, gradients)
    kernels._compiled.cache_clear()
    torch.compiler.reset()


def test_feature_maps_reach_compiled_kernels_in_order(monkeypatch):
    """One image, features first: its strides depend on its size, and every size would be compiled anew."""
    keys = []
    monkeypatch.setattr(kernels, "_compiled", lambda kernel, *key: keys.append((kernel, *key)) or kernel)
    connection, found = HyperConnections(2).connection(6, 0, 1), []
    with kernels.engine("compiled"):
        for side in (3, 4):
            keys.clear()
            connection(torch.randn(1, 2, 6, side, side, requires_grad=True), torch.tanh).square().sum().backward()
            found.append(set(keys))
    assert found[0] == found[1]


def test_shapes_alone():
    how = HyperConnections(2, recompute=2)
    with torch.device("meta"):
        block = Block(8, 2, residual=how)
        after = how.collapse(block(how.expand(torch.empty(2, 3, 8))))
        after.sum().backward()
    assert (after.shape, after.is_meta, block.join1.projection.grad.shape) == ((2, 3, 8), True, (8, 4))


@pytest.mark.slow
def test_the_kernels_compile():
    torch.manual_seed(0)
    with kernels.engine("compiled"):
        for tokens, d in ((5, 8), (7, 8), (5, 6)):
            same(
                ops.write, written_by_loops, [numbers(tokens, 2, d), numbers(tokens, d), numbers(tokens, 2, 2), numbers(tokens, 2)]
            )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dynamic", "static", "fraction", "manifold"])
def test_a_block_compiles_in_one_graph(kind):
    torch.manual_seed(0)
    how = HyperConnections(2, kind, iterations=3)
    block, x = Block(16, 2, residual=how), torch.randn(2, 3, 16)

    def gradients(function) -> list[Tensor]:
        return list(torch.autograd.grad(function(how.expand(x)).square().sum(), list(block.parameters()), allow_unused=True))

    plain = gradients(block)
    for a, b in zip(gradients(torch.compile(block, fullgraph=True, backend="aot_eager")), plain, strict=True):
        assert (a is None and b is None) or (a - b).abs().max() < 1e-4
    torch.compiler.reset()


def test_a_missing_compiler_is_said_once(monkeypatch, caplog):
    kernels._can_compile.cache_clear()
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        assert not kernels._can_compile()
        assert not kernels._can_compile()
    assert [r.getMessage() for r in caplog.records] == ["hyper-connections run uncompiled, several times slower: Triton is missing"]
    kernels._can_compile.cache_clear()


def test_missing_headers_are_said_too(monkeypatch, caplog, tmp_path):
    kernels._can_compile.cache_clear()
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr(kernels.sysconfig, "get_path", lambda name: str(tmp_path))
    with caplog.at_level(logging.WARNING):
        assert not kernels._can_compile()
    assert "Python.h" in caplog.text
    kernels._can_compile.cache_clear()


def test_an_old_gpu_is_said_too(monkeypatch, caplog):
    kernels._can_compile.cache_clear()
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr(kernels.os.path, "isfile", lambda path: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    with caplog.at_level(logging.WARNING):
        assert not kernels._can_compile()
    assert "compute capability 7.0" in caplog.text
    kernels._can_compile.cache_clear()


def test_streams_may_be_strided_repeated_or_none_at_all():
    torch.manual_seed(0)
    carry, gains, matrix = numbers(3, 3), numbers(3), numbers(3, 2)
    same(ops.write, written_by_loops, [numbers(4, 5, 3).mT, numbers(5, 4).T, carry, gains])

    def repeated(x: Tensor) -> Tensor:
        return x.unsqueeze(1).expand(4, 3, 5)

    same(lambda x, m: ops.mix(repeated(x), m), lambda x, m: mixed_by_loops(repeated(x), m), [numbers(4, 5), matrix])
    none = numbers(0, 3, 5)
    after = ops.write(none, numbers(0, 5), carry, gains)
    found = torch.autograd.grad(after.sum() + ops.mix(none, matrix).sum(), [none, carry, gains, matrix])
    assert after.shape == (0, 3, 5)
    assert all((g == 0).all() for g in found)
    assert ops.normed_projection(none, numbers(5, 2), "layernorm", 1e-5).shape == (0, 3, 2)


def test_autocast_does_not_reach_inside():
    torch.manual_seed(0)
    connection = HyperConnections(3).connection(16, 0)
    x = torch.randn(4, 3, 16)
    h, carry = connection.read(x)
    with torch.autocast("cpu", torch.bfloat16):
        h_cast, carry_cast = connection.read(x)
        after = connection.write(carry_cast, h_cast)
    assert torch.equal(h, h_cast)
    assert torch.equal(after, connection.write(carry, h))


@pytest.mark.parametrize("kind", ["static", "dynamic", "manifold", "fraction"])
def test_what_is_kept_for_backward(kind):
    """Streams once, the branch's output, and a few numbers a stream."""
    n, d, tokens = 4, 64, 32
    connection = HyperConnections(n, kind, iterations=2).connection(d, 0)
    own = {p.untyped_storage().data_ptr() for p in connection.parameters()}
    width = d // n if connection.fractions else d
    streams = torch.randn(tokens, d) if connection.fractions else torch.randn(tokens, n, d)
    streams, output, found = streams.requires_grad_(), torch.randn(tokens, d, requires_grad=True), {}

    def pack(t: Tensor) -> Tensor:
        if t.untyped_storage().data_ptr() not in own:
            found[t.untyped_storage().data_ptr()] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        connection.write(connection.read(streams)[1], output)
    of_streams = tokens * n * width + output.numel()
    a_token = 0 if kind == "static" else 4 * n * (2 * n + 1) + 20 * n
    parameters = sum(p.numel() for p in connection.parameters()) + 100
    assert sum(t.untyped_storage().nbytes() // 4 for t in found.values()) <= of_streams + tokens * a_token + parameters


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.sampled_from([0.1, 2.0, 50.0, 1e4]), st.integers(0, 1000))
def test_sinkhorn_is_finite_and_its_rows_sum_to_one(n, spread, seed):
    torch.manual_seed(seed)
    logits = (spread * torch.randn(3, 2, n, n)).requires_grad_()
    for iterations in (1, 20):
        m = ops.sinkhorn(logits, iterations)
        assert (m >= 0).all()
        assert (m.sum(-1) - 1).abs().max() < 1e-5
        (grad,) = torch.autograd.grad(m.square().sum(), logits)
        assert torch.isfinite(grad).all()
        deepseek = ops.sinkhorn_deepseek(logits, iterations)
        assert deepseek.sum(-2).max() < 1 + 1e-5  # its eps only takes away
        assert torch.isfinite(torch.autograd.grad(deepseek.square().sum(), logits)[0]).all()


def test_sinkhorn_columns_too_and_its_symmetries():
    torch.manual_seed(0)
    logits = torch.randn(6, 4, 4, dtype=torch.float64)
    m = ops.sinkhorn(logits, 200)
    assert (m.sum(-2) - 1).abs().max() < 1e-9
    shifted = logits + torch.randn(6, 4, 1, dtype=torch.float64) + torch.randn(6, 1, 4, dtype=torch.float64)
    assert (ops.sinkhorn(shifted, 200) - m).abs().max() < 1e-9
    order = torch.tensor([2, 0, 3, 1])
    assert (ops.sinkhorn(logits[:, order], 20) - ops.sinkhorn(logits, 20)[:, order]).abs().max() < 1e-12


def test_sinkhorn_is_the_iteration_of_the_paper():
    torch.manual_seed(0)
    logits = numbers(5, 4, 4)

    def by_sums(logits: Tensor) -> Tensor:
        m = logits.exp()
        for _ in range(20):
            m = m / m.sum(-2, keepdim=True)
            m = m / m.sum(-1, keepdim=True)
        return m

    same(lambda x: ops.sinkhorn(x, 20), by_sums, [logits])
