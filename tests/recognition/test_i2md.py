"""I2MD against a second, naive implementation of the whole loss; its limit, CMD; its queues, and what each option does."""

import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.batches import ViewBatch
from kinema.motion.skeletons import KINECT20, NTU25
from kinema.recognition.cmd import CMD, SUFFIX, CMDConfig
from kinema.recognition.i2md import I2MD, LEVELS, I2MDConfig
from kinema.recognition.presets import recipe
from kinema.recognition.recipes import build_method
from kinema.recognition.sequence import MODALITIES, GRUConfig, see
from kinema.training.method import Step
from kinema.verbs.train import changed

CMD_ALONE = {"aggregated": 0, "intra": 0.0, "cluster_weight": 0.0}


def small(**options):
    torch.manual_seed(0)
    sizes = {"joints": 20, "people": 1, "frames": 8, "network": GRUConfig(6, 2), "dim": 5, "queue": 12, "neighbours": 4}
    model = I2MD(I2MDConfig(tuple(KINECT20.bone_pairs()), **{**sizes, "aggregated": 3, **options}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "_k" in name.split(".")[0]:  # keys that are not the queries, as after some steps
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def views(rows=4):
    first, second = torch.randn(2, rows, 8, 1, 20, 3, generator=torch.Generator().manual_seed(rows)).unbind(0)
    return ViewBatch(first, second, torch.arange(rows))


def queue_of(model, modality, level):
    return getattr(model, ("queue" if level == "instance" else "queue_cluster") + SUFFIX[modality])


def gradients(model, total):
    model.zero_grad(set_to_none=True)
    total.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# the whole loss, a sample, a branch and a slot at a time


def direction(x):
    return x / x.pow(2).sum().sqrt()


def shares(similarities, temperature):
    powers = [(s / temperature).exp() for s in similarities]
    return [p / sum(powers) for p in powers]


def nearest(similarities, count):
    return sorted(range(len(similarities)), key=lambda slot: -similarities[slot].item())[:count]


def headed(head, feature):
    """What a head makes of a feature `(W,)`, by its parameters' names."""
    weights = dict(head.named_parameters())
    if "weight" in weights:
        return weights["weight"] @ feature + weights["bias"]
    return weights["2.weight"] @ (weights["0.weight"] @ feature + weights["0.bias"]).clamp(min=0) + weights["2.bias"]


def naive_sample(model, first, second):
    c = model.config
    query, key, queue = {}, {}, {}
    for m in MODALITIES:
        q = getattr(model, f"encoder_q{SUFFIX[m]}")
        k = getattr(model, f"encoder_k{SUFFIX[m]}")
        seen, kept = q.feature(see(first[None], m, c.bones))[0], k.feature(see(second[None], m, c.bones))[0]
        query[m, "instance"], key[m, "instance"] = direction(headed(q.fc, seen)), direction(headed(k.fc, kept)).detach()
        query[m, "cluster"] = direction(headed(getattr(model, f"cluster_q{SUFFIX[m]}"), seen))
        key[m, "cluster"] = direction(headed(getattr(model, f"cluster_k{SUFFIX[m]}"), kept)).detach()
        for level in LEVELS:
            queue[m, level] = list(queue_of(model, m, level).T)

    def contrast(q, positive, negatives):
        return -shares([q @ positive, *(q @ n for n in negatives)], c.temperature)[0].log()

    def lesson(teacher, student):
        told = [key[teacher] @ slot for slot in queue[teacher]]
        slots = nearest(told, c.neighbours)
        target = shares([told[s] for s in slots], c.teacher)
        answer = shares([query[student] @ queue[student][s] for s in slots], c.student)
        return sum(t * (t.log() - a.log()) for t, a in zip(target, answer, strict=True))

    learning = [m for m in MODALITIES if m not in c.frozen]
    found = {f"contrast_{m}": (1.0, contrast(query[m, "instance"], key[m, "instance"], queue[m, "instance"])) for m in learning}
    for m in learning:
        alike = [key[m, c.pick] @ slot for slot in queue[m, c.pick]]
        slots = nearest(alike, c.aggregated)
        centre = key[m, "cluster"].clone()
        for s, weight in zip(slots, shares([alike[s] for s in slots], c.aggregate_temperature), strict=True):
            centre += c.share * weight * queue[m, "cluster"][s]
        negatives = [v for s, v in enumerate(queue[m, "cluster"]) if not (c.exclude and s in slots)]
        found[f"cluster_{m}"] = c.cluster_weight, contrast(query[m, "cluster"], direction(centre), negatives)
        found[f"{m}_instance_to_cluster"] = c.intra, lesson((m, "instance"), (m, "cluster"))
        found[f"{m}_cluster_to_instance"] = c.intra, lesson((m, "cluster"), (m, "instance"))
    for teacher, student in c.directions:
        if c.between in ("instance", "both"):
            found[f"{teacher}_to_{student}"] = c.weight, lesson((teacher, "instance"), (student, "instance"))
        if c.between in ("cluster", "both"):
            found[f"{teacher}_to_{student}_cluster"] = c.weight, lesson((teacher, "cluster"), (student, "cluster"))
    return {name: (weight, value) for name, (weight, value) in found.items() if weight}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"aggregated": 0, "intra": 0.3},
        {"aggregated": 12, "exclude": False, "share": 0.3, "aggregate_temperature": 0.5, "pick": "cluster"},
        {"between": "both", "cluster_weight": 0.7, "weight": 2.0, "neighbours": 99},
        {"between": "cluster", "pick": "cluster", "directions": (("joint", "bone"), ("bone", "motion"))},
        {"frozen": ("motion",), "directions": (("motion", "bone"), ("motion", "joint"), ("bone", "joint")), "between": "both"},
        {"weight": 0.0, "temperature": 0.2, "teacher": 0.1, "student": 0.3},
        {"cluster_weight": 0.0},
        {"mlp": False, "between": "both"},
    ],
    ids=str,
)
def test_the_loss_and_its_gradients_are_those_of_a_naive_implementation(options):
    model, batch = small(**options).eval(), views(3)
    losses = model.loss(batch, Step(0))
    found = [naive_sample(model, *pair) for pair in zip(batch.first, batch.second, strict=True)]
    expected = {name: sum(f[name][1] for f in found) / len(found) for name in found[0]}
    assert losses.parts.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses.parts[name], value.detach(), rtol=1e-5, atol=1e-5)
    total = sum(found[0][name][0] * value for name, value in expected.items())
    torch.testing.assert_close(losses.total, total, rtol=1e-5, atol=1e-5)
    naive = gradients(model, total)
    ours = gradients(model, losses.total)
    assert ours.keys() == naive.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, naive[name], rtol=1e-4, atol=1e-5, msg=name)


def test_without_its_own_terms_it_is_cmd():
    model = small(**CMD_ALONE).train()
    plain = CMD(CMDConfig(**{f.name: getattr(model.config, f.name) for f in fields(CMDConfig)})).train()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if "cluster" not in name})
    for step in range(2):  # the second with the queues and keys that the first left
        batch = views()
        mine, theirs = model.loss(batch, Step(step)), plain.loss(batch, Step(step))
        assert torch.equal(mine.total, theirs.total)
        assert mine.parts.keys() == theirs.parts.keys()
        ours, expected = gradients(model, mine.total), gradients(plain, theirs.total)
        assert ours.keys() == expected.keys()
        assert all(torch.equal(ours[name], expected[name]) for name in expected)
        model.after_step([mine.carry])
        plain.after_step([theirs.carry])
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in plain.state_dict().items())


def test_gradients_reach_the_queries_alone_and_the_loss_changes_no_queue():
    model = small(between="both").train()
    before = {k: v.clone() for k, v in model.state_dict().items() if "input_norm" not in k}
    losses = model.loss(views(), Step(0))
    with_gradient = {name.split(".")[0] for name in gradients(model, losses.total)}
    assert with_gradient == {f"{kind}{suffix}" for kind in ("encoder_q", "cluster_q") for suffix in SUFFIX.values()}
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items() if k in before)
    assert len(losses.parts) == 3 + 3 + 6 + 6 + 6


@pytest.mark.parametrize(
    ("options", "learning"),
    [
        (CMD_ALONE, set()),
        ({**CMD_ALONE, "between": "cluster", "directions": (("joint", "bone"),)}, {"bone"}),
        ({**CMD_ALONE, "between": "cluster", "weight": 0.0}, set()),
        ({**CMD_ALONE, "intra": 1.0}, set(MODALITIES)),
        ({"frozen": ("joint", "bone"), "directions": (("joint", "motion"),)}, {"motion"}),
    ],
    ids=str,
)
def test_a_cluster_head_that_nothing_teaches_is_not_trained(options, learning):
    model = small(**options)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {m for m in MODALITIES if f"cluster_q{SUFFIX[m]}.0.weight" in trained} == learning
    assert gradients(model, model.loss(views(), Step(0)).total).keys() == trained


def test_a_step_enqueues_both_kinds_in_lock_step_whatever_the_batch_and_moves_the_keys():
    model = small(momentum=0.5).train()
    kept = []
    for step, rows in enumerate((5, 3, 7)):
        losses = model.loss(views(rows), Step(step))
        old = [p.clone() for p in model.cluster_k_bone.parameters()]
        model.after_step([losses.carry])
        for before, key, query in zip(old, model.cluster_k_bone.parameters(), model.cluster_q_bone.parameters(), strict=True):
            torch.testing.assert_close(key, (before + query) / 2)
        kept.append(losses.carry)
    for modality in MODALITIES:
        assert model.queue_of(modality)[1].item() == 15 % 12
        for level in LEVELS:
            newest = torch.cat([carry[level][modality] for carry in kept])[-12:]
            assert torch.equal(queue_of(model, modality, level).T.roll(-3, 0), newest)
            torch.testing.assert_close(newest.norm(dim=1), torch.ones(12))


def test_what_is_frozen_only_teaches():
    model = small(frozen=("joint",), directions=(("joint", "motion"), ("joint", "bone")), between="both").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = model.loss(views(), Step(0))
    model.after_step([losses.carry])
    own = {name for name in before if name.split(".")[0] in ("encoder_q", "encoder_k", "cluster_q", "cluster_k")}
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in own)
    taught = {f"joint_to_{m}{at}" for m in ("motion", "bone") for at in ("", "_cluster")}
    assert {name for name in losses.parts if "joint" in name} == taught
    assert all(not torch.equal(model.state_dict()[name], before[name]) for name in ("queue", "queue_cluster"))


def test_frozen_teachers_bring_the_heads_that_they_teach_by():
    def heads(between):
        model = small(frozen=("joint",), directions=(("joint", "motion"), ("motion", "bone")), between=between)
        return {prefix for prefix in model.taken_over() if "cluster" in prefix}

    assert heads("instance") == set()
    assert heads("cluster") == heads("both") == {"cluster_q.", "cluster_k."}
    names = set(small().state_dict())
    for prefix in ("cluster_q.", "cluster_k."):
        assert any(name.startswith(prefix) for name in names)
    assert small().taken_over() == ()


# options


def cluster_losses(model, batch):
    parts = model.loss(batch, Step(0)).parts
    return torch.stack([parts[f"cluster_{name}"] for name in MODALITIES])


@pytest.mark.parametrize("exclude", [True, False])
def test_excluded_slots_are_no_negatives(exclude):
    # with share 0 the excluded slots are no part of the key either
    model, batch = small(exclude=exclude, share=0.0, temperature=1.0).eval(), views(1)
    before = cluster_losses(model, batch)
    keys = model.loss(batch, Step(0)).carry["instance"]
    for modality in MODALITIES:
        nearest = (keys[modality] @ queue_of(model, modality, "instance")).topk(3).indices[0]
        queue_of(model, modality, "cluster")[:, nearest] *= -1
    after = cluster_losses(model, batch)
    assert torch.equal(before, after) is exclude
    for modality in MODALITIES:
        queue_of(model, modality, "cluster").neg_()  # everything else too
    assert (cluster_losses(model, batch) != after).all()


def test_without_a_share_neighbours_count_only_by_being_excluded():
    def found(**options):
        return cluster_losses(small(temperature=1.0, **options).eval(), views())

    alone = found(aggregated=0)
    assert torch.equal(found(aggregated=0, exclude=False), alone)
    assert torch.equal(found(share=0.0, exclude=False), alone)
    assert (found(share=0.0) < alone).all()  # fewer negatives
    assert (found(share=0.5, exclude=False) != alone).all()


@given(st.permutations(range(12)), st.integers(0, 5), st.sampled_from(["instance", "cluster", "both"]))
@settings(max_examples=15, deadline=None)
def test_the_order_of_slots_does_not_matter_if_it_is_one_order(order, aggregated, between):
    model = small(aggregated=aggregated, between=between, pick="instance" if aggregated % 2 else "cluster")
    unit = {(m, level): torch.nn.functional.normalize(torch.randn(2, 3, 5), dim=2) for level in LEVELS for m in MODALITIES}
    queries, keys = ({branch: pair[side] for branch, pair in unit.items()} for side in (0, 1))
    before, parts = model.losses(queries, keys)
    for modality in MODALITIES:
        for level in LEVELS:
            queue = queue_of(model, modality, level)
            queue.copy_(queue[:, list(order)])
    after, same = model.losses(queries, keys)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    for name, value in parts.items():
        torch.testing.assert_close(same[name], value, rtol=1e-5, atol=1e-5)


def test_as_an_encoder_it_is_cmds():
    model = small().eval()
    x = torch.randn(3, 8, 1, 20, 3)
    torch.testing.assert_close(model.tokens(x).flatten(1), model.query("joint").feature(x))
    torch.testing.assert_close(
        model.stream("bone").tokens(x).flatten(1), model.query("bone").feature(see(x, "bone", model.config.bones))
    )
    kept = [name for name in model.state_dict() if model.is_encoder_parameter(name)]
    assert kept
    assert all(name.startswith(("encoder_q.encoder.", "encoder_q.input_norm.")) for name in kept)


@pytest.mark.parametrize("preset", ["small", "paper-ntu", "paper-pku"])
def test_its_presets_are_cmds_with_its_own_model(preset):
    mine, theirs = recipe("i2md", preset, NTU25), recipe("cmd", preset, NTU25)
    assert replace(mine, method="cmd", model=theirs.model) == theirs
    assert all(getattr(mine.model, f.name) == getattr(theirs.model, f.name) for f in fields(CMDConfig))
    assert mine.model == I2MDConfig(**{f.name: getattr(theirs.model, f.name) for f in fields(CMDConfig)})


def test_its_options_are_set_as_any_other():
    model = build_method(
        changed(
            recipe("i2md", "small", KINECT20),
            {},
            ["model.between=both", "model.aggregated=4", "model.exclude=false", "model.frames=8"],
        )
    )
    assert isinstance(model, I2MD)
    assert (model.config.between, model.config.aggregated, model.config.exclude) == ("both", 4, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregated": -1}, "aggregated -1: expected 0 to 11 of a queue of 12, which must keep negatives"),
        ({"aggregated": 12}, "aggregated 12: expected 0 to 11 of a queue of 12, which must keep negatives"),
        ({"aggregated": 13, "exclude": False}, "aggregated 13: expected 0 to 12 of a queue of 12$"),
        ({"aggregate_temperature": 0.0}, "aggregate_temperature 0.0: expected a temperature above 0"),
        ({"share": -0.5}, "share -0.5: expected 0 or more"),
        ({"cluster_weight": math.inf}, "cluster_weight inf: expected 0 or more"),
        ({"intra": math.nan}, "intra nan: expected 0 or more"),
        ({"pick": "both"}, "pick 'both': expected one of instance, cluster"),
        ({"between": "all"}, "between 'all': expected one of instance, cluster, both"),
        ({"queue": 0}, "queue 0: expected 1 or more"),
    ],
    ids=str,
)
def test_choices_that_contradict_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)
