"""Runs the package on reference files and compares: ``python tests/parity/verify.py FILE... [--dump DIR]``.

A reference file is ``NAME.safetensors`` with keys ``input.*``, ``weight.*`` and (optionally) ``output.*`` beside ``NAME.json``, which holds
constructor arguments. What is run is chosen by NAME alone; sizes come from the JSON. Prints the largest error of each output and exits 1
if one exceeds its tolerance. With ``--dump`` everything that was computed goes to ``DIR/NAME.safetensors`` as ``output.*``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))
from cases_cmd import run_cmd_aug, run_cmd_bigru, run_cmd_loss, run_cmd_moco
from cases_hyper import (
    run_deepseek,
    run_fraction,
    run_hc_paper,
    run_lucidrains,
    run_manifold,
    run_prenorm_equivalence,
    run_sinkhorn,
)
from cases_mamp import run_mamp_classifier, run_mamp_pretrain
from cases_mamp_data import run_mamp_data
from cases_masa import run_masa_finetune, run_masa_fullsize, run_masa_preproc, run_masa_pretrain
from cases_ntu import run_cmd_prenorm, run_ntu_raw

Arrays = dict[str, np.ndarray]

CASES: dict[str, Callable[[Arrays, Arrays, dict], Arrays]] = {
    "mamp_pretrain": run_mamp_pretrain,
    "mamp_classifier": run_mamp_classifier,
    "mamp_data": lambda inputs, weights, spec: run_mamp_data(inputs, spec),
    "ntu_raw": lambda inputs, weights, spec: run_ntu_raw(inputs, spec),
    "cmd_prenorm": lambda inputs, weights, spec: run_cmd_prenorm(inputs, spec),
    "cmd_bigru": run_cmd_bigru,
    "cmd_loss": run_cmd_loss,
    "cmd_moco": run_cmd_moco,
    "cmd_aug": lambda inputs, weights, spec: run_cmd_aug(inputs, spec),
    "masa_pretrain": run_masa_pretrain,
    "masa_finetune": run_masa_finetune,
    "masa_fullsize": run_masa_fullsize,
    "masa_preproc": lambda inputs, weights, spec: run_masa_preproc(inputs, spec),
    "hc_paper_shc": run_hc_paper,
    "hc_paper_dhc_ln": run_hc_paper,
    "hc_paper_dhc_ln_notanh": run_hc_paper,
    "hc_paper_dhc_rms": run_hc_paper,
    "hc_lucidrains_dhc": run_lucidrains,
    "fc_paper_dfc": run_fraction,
    "mhc_paper_layer": run_manifold,
    "mhc_deepseek_ref": run_deepseek,
    "mhc_sinkhorn": lambda inputs, weights, spec: run_sinkhorn(inputs, spec),
    "prenorm_equiv": run_prenorm_equivalence,
}

VALUE, GRADIENT = 1e-5, 1e-4
"""Largest absolute errors: a few float32 roundings of numbers of order one; gradients add up over tokens."""


class Arguments(dict):
    """Constructor arguments that remember which of them were asked for."""

    def __init__(self, given: dict):
        super().__init__(given)
        self.asked: set[str] = set()

    def __getitem__(self, name: str):
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default=None):
        self.asked.add(name)
        return super().get(name, default)


GROUPS = ("constructor", "call", "parameters", "finetune_head", "dims")
"""Where the JSON has arguments."""
UNUSED = {"masa_finetune": {"dblocks", "mid", "nclass"}}
"""Arguments of what a case does not run: the decoder, and a head of another task."""


def part(tensors: Arrays, prefix: str) -> Arrays:
    """The tensors under a prefix, without it."""
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


def error(computed: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference; infinite where shapes differ or one is not finite where the other is."""
    if computed.shape != expected.shape:
        return float("inf")
    if computed.size == 0:
        return 0.0
    a, b = computed.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        distance = np.where(same, 0.0, np.abs(a - b))
    return float(np.nan_to_num(distance, nan=np.inf).max())


def bf16_error(computed: np.ndarray, expected: np.ndarray) -> float:
    """As `error`, in units of the last place of bfloat16 (8 significant bits), for outputs that were rounded to it."""
    if computed.shape != expected.shape:
        return float("inf")
    with np.errstate(divide="ignore"):
        place = 2.0 ** (np.floor(np.log2(np.abs(expected.astype(np.float64)))) - 7)
    return error(computed / np.maximum(place, 1e-38), expected / np.maximum(place, 1e-38))


def draw_error(computed: np.ndarray, expected: np.ndarray, candidate: np.ndarray) -> float:
    """For a random draw of frames, of which each is as good: how many more or fewer are drawn, and how many that may not be."""
    if computed.shape != expected.shape:
        return float("inf")
    outside = (computed > 0).reshape(candidate.shape) & ~candidate
    return float(abs(computed.sum() - expected.sum()) + outside.sum())


def verify(path: Path, dump: Path | None) -> bool:
    """Runs one file; True if every output that it holds is matched."""
    if path.suffix != ".safetensors":
        path = path.with_name(path.name + ".safetensors")
    case = CASES.get(path.stem)
    if case is None:
        raise SystemExit(f"{path}: no case of this name; known: {', '.join(CASES)}")
    tensors = load_file(path)
    spec = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    groups = [group for group in GROUPS if group in spec and path.stem != "masa_fullsize"]  # there it lists the weights
    spec |= {group: Arguments(spec[group]) for group in groups}
    computed = case(part(tensors, "input."), part(tensors, "weight."), spec)
    expected = part(tensors, "output.")
    ignored = {name for group in groups for name in set(spec[group]) - spec[group].asked}
    ignored -= UNUSED.get(path.stem, set())
    good = not ignored
    if ignored:
        print(f"{path.stem}: arguments that this case does not know: {', '.join(sorted(ignored))}")
    print(f"{path.stem}: {len(computed)} outputs computed, {len(expected)} to compare")
    for name in sorted(expected):
        rounded = name.endswith("_bf16")
        bound = 1.0 if rounded else GRADIENT if name.startswith(("grad.", "grad_")) or ".grad." in name else VALUE
        measure = bf16_error if rounded else error
        if name not in computed:
            found = float("inf")
        elif path.stem == "masa_preproc" and name.endswith(".masked"):
            # without a list of candidates, any frame may be drawn
            candidate = expected.get(name.removesuffix("masked") + "candidate", np.ones(len(expected[name]), bool))
            found = draw_error(computed[name], expected[name], candidate)
        else:
            found = measure(computed[name], expected[name])
            if path.stem == "masa_pretrain" and name.endswith("logits"):
                # cosines over a temperature, up to 14 in size; the same arithmetic in double precision is as far from the file
                bound = VALUE / spec["dims"]["temperature"]
        good &= found <= bound
        remark = ""
        if found > bound:
            remark = f"  <-- above {bound:g}" if name in computed else "  <-- not computed"
        elif bound not in (VALUE, GRADIENT, 1.0):
            remark = f"  (bound {bound:.1e})"
        print(f"  {name:<45} {found:.2e}{remark}")
    if dump is not None:
        dump.mkdir(parents=True, exist_ok=True)
        # np.ascontiguousarray would turn scalars into vectors
        save_file({f"output.{k}": np.array(v, order="C") for k, v in computed.items()}, dump / f"{path.stem}.safetensors")
    return good


def main_with(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Compare the package with reference vectors.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--dump", type=Path, metavar="DIR", help="write what was computed here")
    options = parser.parse_args(arguments)
    results = [verify(path, options.dump) for path in options.files]
    print("all within tolerance" if all(results) else "DIFFERENCES")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main_with())
