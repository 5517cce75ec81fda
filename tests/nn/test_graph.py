"""Graph encoders: their arithmetic against loops, and what a frame sees; the published numbers are in tests/parity."""

import pytest
import torch

from kinema.nn.graph import BODY, HAND, Graph, GraphConfig, GraphConvolution, GraphEncoder

SMALL = GraphConfig(6, (3, 3, 4))


@pytest.mark.parametrize("graph", [HAND.joints, HAND.parts, BODY.joints, BODY.parts])
def test_an_edge_has_one_class_and_columns_are_over_degrees(graph):
    joints = len(graph.distance)
    found = graph.partitions()
    edges = {frozenset(e) for e in (*graph.edges, *graph.across)} | {frozenset([j]) for j in range(joints)}
    across = {frozenset(e) for e in graph.across}
    for v in range(joints):
        for w in range(joints):
            far, near = graph.distance[v], graph.distance[w]
            linked = frozenset([v, w]) in edges
            degree = sum(frozenset([u, w]) in edges for u in range(joints))
            classes = [v == w, far > near, far < near, frozenset([v, w]) in across]
            expected = [linked * c / degree for c in classes]
            torch.testing.assert_close(found[:, v, w], torch.tensor(expected))


def test_hands_and_bodies_are_as_published():
    assert HAND.groups == ((2, 3, 4), (6, 7, 8), (10, 11, 12), (14, 15, 16), (18, 19, 20), (0, 1, 5, 9, 13, 17))
    assert (3, 4) in HAND.joints.edges
    assert (0, 17) in HAND.joints.edges
    assert (4, 8) in HAND.joints.across
    parts = BODY.parts.partitions()
    assert parts[:, 0, 2].sum() == parts[:, 2, 0].sum() == 0  # an edge without a class
    assert parts[3, 0, 1] == 0.5


def test_an_edge_to_nowhere_is_told():
    with pytest.raises(ValueError, match="edge 0, 2: expected two different joints of 0 to 1"):
        Graph((0, 1), ((0, 2),))
    with pytest.raises(ValueError, match="rate from 0"):
        GraphConfig(dropout=1.0)
    with pytest.raises(ValueError, match="expected 1 or more"):
        GraphConfig(width=0)


def test_mixing_joints_before_the_map_is_mixing_them_after_it():
    torch.manual_seed(0)
    layer, partitions = GraphConvolution(5, 3), torch.rand(4, 7, 7)
    x = torch.randn(5, 2, 7)
    mapped = layer.conv(x[None])[0].view(4, 3, 2, 7)
    expected = torch.einsum("kcnv,kvw->cnw", mapped, partitions)
    torch.testing.assert_close(layer(x, partitions), expected.flatten(1))


def test_a_frame_sees_four_before_and_after_it_and_no_other_clip():
    torch.manual_seed(0)
    encoder = GraphEncoder(HAND, SMALL).eval()
    x = torch.rand(2, 15, 21, 2, requires_grad=True)
    (grad,) = torch.autograd.grad(encoder(x)[1, 7].sum(), x)
    seen = grad.abs().sum((2, 3)) > 0
    assert not seen[0].any()
    assert seen[1].nonzero().flatten().min() >= 3
    assert seen[1].nonzero().flatten().max() <= 11
    alone = torch.cat([encoder.spatial(x[:, t : t + 1]) for t in range(15)], 1)
    torch.testing.assert_close(encoder.spatial(x), alone)


def test_the_input_is_normalised_with_the_published_epsilon():
    encoder = GraphEncoder(BODY, SMALL)
    assert encoder.data_bn.eps == 0.1
    assert GraphEncoder(BODY, GraphConfig(6, (3, 3, 4), input_eps=1e-5)).data_bn.eps == 1e-5
    x = torch.rand(3, 4, 7, 2)
    encoder.train()(x)
    torch.testing.assert_close(encoder.data_bn.running_mean, 0.1 * x.flatten(0, 1).mean(0).flatten())


def test_batch_statistics_are_as_exact_as_the_batch_is_large():
    torch.manual_seed(0)
    encoder = GraphEncoder(HAND, GraphConfig(8, (4, 4, 4), dropout=0.0, feature_dropout=0.0)).train()
    x = torch.rand(8, 100, 21, 2)
    single = encoder(x)
    torch.testing.assert_close(single.double(), encoder.double()(x.double()), atol=1e-4, rtol=0)
