"""Signers of random numbers and a small MASA that sees them."""

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from kinema.nn.graph import GraphConfig
from kinema.recognition.masa import MASA, MASAConfig
from kinema.recognition.masa_batch import SignBatch
from kinema.recognition.masa_motion import motions
from kinema.recognition.masa_network import SignNetworkConfig
from kinema.recognition.masa_prepare import SignParts
from kinema.training.method import Step

NETWORK = SignNetworkConfig(GraphConfig(6, (3, 3, 4)), depth=2, heads=2, mlp=8)


def small(network=NETWORK, **options):
    torch.manual_seed(0)
    sizes = {"decoder_depth": 1, "head_hidden": 8, "dim": 5, "queue": 12}
    return MASA(MASAConfig(**{"network": network, **sizes, **options}))


def parts(frames, seed=0, right=True, left=True):
    rng = np.random.default_rng(seed)
    hand = lambda there: rng.random((frames, 21, 2), np.float32) * there  # noqa: E731
    sure = lambda n, there: rng.random((frames, n), np.float32) * there  # noqa: E731
    return SignParts(
        hand(right), hand(left), rng.random((frames, 7, 2), np.float32),
        sure(21, right), sure(21, left), sure(7, True), np.arange(frames),
    )  # fmt: skip


def positions(clips):
    """`(B, T, 1, 49, 3)` as a batch has them, padded with zeros."""
    rows = [np.concatenate([clip.coordinates, clip.confidence[..., None]], 2)[:, None] for clip in clips]
    return pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True)


def collate(clips):
    return SignBatch.of_positions(positions(clips))


def batch_of(*lengths, **options):
    return collate([parts(n, i, **options) for i, n in enumerate(lengths)])


def hidden_from_query(model, batch, step=0):
    draws = Step(step).uniform("mask.query", (len(batch), 3, model.config.frames))
    return model.query_view(batch, motions(batch, model.config.motion), draws).hidden
