"""Small networks for the tests of `hyperize`."""

import torch
from torch import nn

from kinema.nn.hyperize import hyper_connections
from kinema.nn.transformer import Block

KINDS = ["static", "dynamic", "manifold", "fraction", "static-fraction"]
D = 16


def encoder(norm_first=True, layers=3, batch_first=True, **options):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(D, 2, 24, 0.0, norm_first=norm_first, batch_first=batch_first, **options)
    model = nn.TransformerEncoder(layer, layers, nn.LayerNorm(D), enable_nested_tensor=not norm_first)
    with torch.no_grad():  # its layers start as clones
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape))
    return model


def disturb(model, size=0.3):
    """Moves all parameters of connections off their start, as training would."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, c in hyper_connections(model):
            for p in c.parameters():
                p.add_(size * torch.randn(p.shape, generator=generator))
    return model


class Mine(nn.Module):
    """Blocks called by hand, as in most networks."""

    def __init__(self, blocks, head=None):
        super().__init__()
        self.blocks, self.head = nn.ModuleList(blocks), head or nn.LayerNorm(D)

    def forward(self, x, *args):
        for block in self.blocks:
            x = block(x, *args)
        return self.head(x)


class ResBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.norm, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.GroupNorm(2, c), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.conv2(torch.relu(self.norm(self.conv1(x)))))


class PairBlock(nn.Module):
    """Gives more than the stream."""

    def __init__(self):
        super().__init__()
        self.norm, self.lin = nn.LayerNorm(D), nn.Linear(D, D)

    def forward(self, hidden, scale=1.0):
        y = self.lin(self.norm(hidden)) * scale
        return hidden + y, y.mean()


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(0.5 + torch.rand(D))

    def forward(self, x):
        return x * self.gamma


def timm_blocks(count, post=False):
    """Blocks with the attributes of timm's, under its name."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
            self.attn, self.mlp = nn.Linear(D, D), nn.Sequential(nn.Linear(D, 8), nn.GELU(), nn.Linear(8, D))
            self.ls1, self.ls2, self.drop_path1, self.drop_path2 = Scaled(), Scaled(), nn.Identity(), nn.Identity()

        def forward(self, x):
            if post:
                x = self.norm1(x + self.ls1(self.attn(x)))
                return self.norm2(x + self.ls2(self.mlp(x)))
            x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
            return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    return [Block() for _ in range(count)]


def networks():
    torch.manual_seed(0)
    return {
        "encoder": encoder(),
        "encoder-post": encoder(norm_first=False),
        "encoder-tokens-first": encoder(batch_first=False),
        "kinema": Mine([Block(D, 2, index=i) for i in range(3)]),
        "kinema-post": Mine([Block(D, 2, residual="postnorm") for _ in range(3)]),
        "timm": Mine(timm_blocks(3)),
        "sequential": nn.Sequential(nn.Linear(5, D), *[Block(D, 2) for _ in range(2)], nn.LayerNorm(D), Block(D, 2)),
    }


def given(name):
    torch.manual_seed(1)
    return torch.randn(2, 7, 5 if name == "sequential" else D)


def both(model, x, *args, **kwargs):
    """Outputs in training mode, in evaluation, and in evaluation without gradients (fused layers)."""
    found = [model.train()(x, *args, **kwargs), model.eval()(x, *args, **kwargs)]
    with torch.no_grad():
        found.append(model(x, *args, **kwargs))
    return [f.detach() for f in found]


def same(a, b, atol=1e-5):
    for x, y in zip(a, b, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=atol)
