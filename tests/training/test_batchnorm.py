"""Batch norm over processes against PyTorch's on the whole batch."""

import pytest
import torch
import toys
from torch import distributed, nn

from kinema.training.batchnorm import SharedBatchNorm, share_statistics


def layer(kind=nn.BatchNorm1d, **options):
    torch.manual_seed(0)
    made = kind(3, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(3))
    return made


@pytest.mark.parametrize("shape", [(7, 3), (7, 3, 4), (7, 3, 2, 2)])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}], ids=str)
def test_unequal_shares_give_the_whole_batch(tmp_path, shape, options):
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 3 + 5
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    whole, leaf = layer(kind, **options), x.clone().requires_grad_(True)
    for _ in range(2):
        y = whole(leaf)
    y.backward(grad)

    def action():
        distributed.init_process_group("gloo")
        rank = distributed.get_rank()
        mine = slice(0, 2) if rank == 0 else slice(2, 7)
        module = nn.Sequential(layer(kind, **options))
        names = list(module.state_dict())
        share_statistics(module)
        assert list(module.state_dict()) == names
        assert isinstance(module[0], SharedBatchNorm)
        part = x[mine].clone().requires_grad_(True)
        for _ in range(2):
            out = module(part)
        out.backward(grad[mine])
        torch.testing.assert_close(out, y.detach()[mine], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(part.grad, leaf.grad[mine], rtol=1e-4, atol=1e-5)
        for name, buffer in whole.named_buffers():
            torch.testing.assert_close(module.state_dict()[f"0.{name}"], buffer, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(module.eval()(x), whole.eval()(x), rtol=1e-4, atol=1e-5)
        distributed.destroy_process_group()

    toys.two_processes(action)


def test_with_one_process_it_is_pytorchs():
    x, plain, shared = torch.randn(5, 3), layer(), layer()
    share_statistics(shared)
    assert torch.equal(shared(x), plain(x))
    assert torch.equal(shared.running_var, plain.running_var)
    with pytest.raises(ValueError, match=r"batch norm of \(3,\): expected \(B, C"):
        shared(torch.randn(3))
