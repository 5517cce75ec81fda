"""The experiments of hyper-connections, in the small: paired, resumable, and with sound figures."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "hyper"))
import language
import table
import text
import vision
from measure import inside
from model import Experts, LanguageModel, initialise
from paired import interval, reached

from kinema.errors import UserError
from kinema.nn.residual import named_residual


@pytest.fixture(scope="module", autouse=True)
def _threads():
    """The commands set the number of threads of the whole process, on which the last bits of other tests' sums depend."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    for i in range(40):
        (folder / f"module{i}.py").write_text(f"def function_{i}(argument):\n    return argument + {i}\n" * 5)
    (folder / "site-packages").mkdir()
    (folder / "site-packages" / "secret.py").write_text("not ours\n" * 100)
    return folder


@pytest.fixture(scope="module")
def folder(library, tmp_path_factory):
    """A finished queue of three arms and two seeds."""
    out = tmp_path_factory.mktemp("runs")
    text.read(out / "text", library)
    language.main(line(out))
    return out


def line(out, *more):
    arms = ("prenorm", "postnorm", "dynamic-2")
    return ["run", "--size", "smoke", "--steps", "10", "--arms", *arms, "--seeds", "0", "1", "--out", str(out), *more]


def model(name, experts=0, top=2, seed=0):
    made = LanguageModel(16, 2, 2, 12, named_residual(name), experts, top)
    initialise(made, seed, 2)
    return made


DATA = torch.arange(24).view(2, 12)


def test_the_text_is_split_by_file_and_leaves_packages_out(library, tmp_path):
    found = text.read(tmp_path, library)
    files = [bytes(a).split(b"\0")[:-1] for a in (found.train, found.validation)]
    assert sum(map(len, files)) == 40
    assert 0 < len(files[1]) < 12
    assert not set(files[0]) & set(files[1])
    assert b"not ours" not in bytes(found.train) + bytes(found.validation)
    assert text.read(tmp_path, Path("nowhere")).digest == found.digest, "the gathered text is read again"
    assert torch.equal(found.batch(3, 5, 4, 8), found.batch(3, 5, 4, 8))
    assert not torch.equal(found.batch(3, 5, 4, 8), found.batch(4, 5, 4, 8))


def test_a_folder_without_sources_is_said(tmp_path):
    with pytest.raises(UserError, match="standard library"):
        text.read(tmp_path / "cache", tmp_path)


@pytest.mark.parametrize("experts", [0, 3])
def test_a_byte_does_not_see_those_after_it(experts):
    network = model("dynamic-2", experts)
    for p in network.parameters():
        nn.init.normal_(p, std=0.3)
    other = DATA.clone()
    other[:, 7:] += 50
    with torch.no_grad():
        torch.testing.assert_close(network(DATA)[:, :7], network(other)[:, :7])
        assert not torch.allclose(network(DATA)[:, 7:], network(other)[:, 7:])


@pytest.mark.parametrize("name", ["dynamic-1", "dynamic-4", "static-4", "manifold-4", "fraction-4"])
def test_arms_share_their_first_weights_and_all_start_as_prenorm(name):
    base, arm = model("prenorm"), model(name)
    arm.residual = replace(arm.residual, reduce="mean")  # of a sum, the final norm's eps would weigh less
    weights = arm.state_dict()
    assert all(torch.equal(weights[n], p) for n, p in base.state_dict().items())
    torch.testing.assert_close(base(DATA), arm(DATA), rtol=1e-4, atol=1e-6)
    assert not torch.equal(model("prenorm", seed=1).head.weight, base.head.weight)


@pytest.mark.parametrize("top", [1, 2])
def test_experts_are_the_weighted_sum_of_the_chosen(top):
    torch.manual_seed(0)
    layer = Experts(8, 16, 4, top)
    x = torch.randn(2, 5, 8)
    probabilities = layer.router(x).softmax(-1)
    weights = torch.where(probabilities >= probabilities.topk(top, -1).values[..., -1:], probabilities, torch.zeros(()))
    if top > 1:
        weights = weights / weights.sum(-1, keepdim=True)
    expected = sum(weights[..., i, None] * expert(x) for i, expert in enumerate(layer.experts))
    torch.testing.assert_close(layer(x), expected)
    assert 0 < layer.imbalance.item() <= 4
    layer.imbalance.backward()
    assert float(layer.router.weight.grad.norm()) > 0


@pytest.mark.parametrize("name", ["prenorm", "postnorm", "dynamic-2", "manifold-2", "fraction-2"])
def test_the_inside_leaves_nothing_behind(name):
    network = model(name)
    found = inside(network, network.blocks, lambda: network(DATA).square().mean())
    assert len(found["cosine"]) == 3
    assert all(low <= middle <= high <= 1.0001 for low, middle, high in found["cosine"])
    assert len(found["arriving"]) == len(found["weights"]) == 4
    assert min(found["arriving"] + found["weights"]) > 0
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    if name in ("dynamic-2", "fraction-2"):
        assert found["gain"] == pytest.approx({"forward": 1, "backward": 1}), "identity at the start"
    elif name == "manifold-2":
        assert found["gain"] == pytest.approx({"forward": 1, "backward": 1}, abs=1e-3), "doubly stochastic"
    else:
        assert found["gain"] is None


def test_the_gradient_that_arrives_is_that_of_the_output():
    """By finite differences in the last branch, whose output meets only the final norm and the head."""
    network = model("prenorm")
    found = inside(network, network.blocks, lambda: network(DATA).square().mean())
    shift = torch.zeros(2, 12, 16, requires_grad=True)
    hook = network.blocks[-1].mlp.register_forward_hook(lambda _, __, output: output + shift)
    (24 * network(DATA).square().mean()).backward()
    hook.remove()
    assert found["arriving"][-1] == pytest.approx(float(shift.grad.norm(dim=-1).mean()), rel=1e-5)


def test_finished_runs_are_skipped_and_lost_ones_come_out_the_same(folder, capsys):
    path = folder / "dynamic-2-seed1.json"
    kept, before = path.read_text(), (folder / "prenorm-seed0.json").stat().st_mtime_ns
    path.unlink()
    language.main(line(folder))
    assert "5 of 6 runs are done" in capsys.readouterr().out
    assert (folder / "prenorm-seed0.json").stat().st_mtime_ns == before
    old, new = json.loads(kept), json.loads(path.read_text())
    for name in ("curve", "probes", "score", "added"):
        assert old[name] == new[name]
    assert len((folder / "dynamic-2-seed1.jsonl").read_text().splitlines()) == 3


def test_other_settings_in_one_folder_are_refused(folder):
    with pytest.raises(SystemExit, match="other settings"):
        language.main(line(folder, "--experts", "2"))


def test_the_tables_and_plots_with_a_diverged_run(folder, tmp_path, capsys):
    for file in folder.glob("*-seed*.json"):
        run = json.loads(file.read_text())
        if run["arm"] == "postnorm" and run["seed"] == 0:
            run |= {"score": None, "diverged": 10}
        (tmp_path / file.name).write_text(json.dumps(run))
    table.main([str(tmp_path)])
    out = capsys.readouterr().out
    assert "seed 0 diverged by step 10" in out
    rows = [r for r in out.splitlines() if r.startswith(("| postnorm", "| prenorm", "| dynamic-2"))]
    assert len(rows) == 6
    assert len({r.count("|") for r in rows[:3]}) == 1
    assert "inf" not in out
    assert "nan" not in out
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in ("loss", "cosine", "gradient"))
    with pytest.raises(SystemExit, match="no such arm"):
        table.main([str(folder), "--baseline", "static-4"])


def test_vision(tmp_path):
    vision.main(["--out", str(tmp_path), "--steps", "1", "--arms", "prenorm", "--seeds", "0"])
    runs = table.by_arm(table.results(tmp_path))
    assert "| prenorm | 1 |" in table.compared(runs, "prenorm")[2]
    assert len(table.other_scores(runs)) == 4
    images, labels = vision.digits()["test"]
    assert (images.shape, len(labels)) == ((497, 8, 8), 497)
    network = vision.VisionTransformer("prenorm")
    seen = []
    network.patches.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    initialise(network, 0, vision.DEPTH)
    network(images[:1])
    assert torch.equal(seen[0][0, 5], images[0, 2:4, 2:4].flatten()), "patch 5 is in the second row and column"


def test_paired_figures():
    low, high = interval([0.1, 0.2, 0.3])
    assert (low, high) == pytest.approx((0.2 - 4.3027 * 0.1 / 3**0.5, 0.2 + 4.3027 * 0.1 / 3**0.5), rel=1e-4)
    assert interval([0.1]) is None
    assert reached([[0, 5.0], [10, 3.0], [20, 1.0]], 2.0) == 15
    assert reached([[0, 5.0], [10, 1.0], [20, 3.0], [30, 1.0]], 2.0) == 25, "for good"
    assert reached([[0, 5.0], [10, 3.0]], 2.0) is None
