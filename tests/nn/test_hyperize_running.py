"""Converted networks compiled, and trained by two processes."""

import pytest
import torch
from hyper_toys import D, Mine, disturb, encoder, given
from torch import nn

from kinema.nn.hyperize import hyperize
from kinema.nn.transformer import Block


def compiles(model, x, backend):
    torch._dynamo.reset()
    disturb(model)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    found = compiled(x)
    torch.testing.assert_close(found, model(x), rtol=1e-4, atol=1e-5)
    found.sum().backward()


def test_compiles_as_one_graph():
    compiles(hyperize(encoder(layers=1), 2, quiet=True), given("encoder"), "eager")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["static", "dynamic", "fraction"])
def test_compiles_with_its_backward_pass(kind):
    for model in (encoder(layers=2), encoder(norm_first=False, layers=2), Mine([Block(D, 2) for _ in range(2)])):
        compiles(hyperize(model, 2, kind=kind, quiet=True), given("encoder"), "aot_eager")


def shard(rank, folder, kind, granularity):
    """One of two processes: its half of the batch, gradients averaged over both."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = disturb(hyperize(encoder(layers=2), 2, kind=kind, granularity=granularity, quiet=True))
    parallel = nn.parallel.DistributedDataParallel(model)
    for _ in range(2):  # the second pass fails if a parameter had no gradient in the first
        parallel.zero_grad()
        parallel(given("encoder")[rank : rank + 1]).square().mean().backward()
    torch.save({name: p.grad for name, p in model.named_parameters()}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "granularity"), [("dynamic", "branch"), ("manifold", "block")])
def test_two_processes_have_the_gradients_of_one(tmp_path, kind, granularity):
    torch.multiprocessing.spawn(shard, (str(tmp_path), kind, granularity), nprocs=2)
    model = disturb(hyperize(encoder(layers=2), 2, kind=kind, granularity=granularity, quiet=True))
    model(given("encoder")).square().mean().backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, p in model.named_parameters():
            torch.testing.assert_close(found[name], p.grad, rtol=1e-4, atol=1e-6, msg=name)
