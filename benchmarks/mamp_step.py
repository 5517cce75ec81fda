"""How fast a MAMP training step is: ``python benchmarks/mamp_step.py [--batch 8] [--threads N] [--device cpu|cuda] [--bf16] [--compile]``.

Compares, in one process and interleaved, the published model written plainly (attention spelt out, fp32), the `paper` preset and the
`fast` preset at the published size (120 frames x 25 joints, 256 wide, 8 + 3 blocks, one person), and prints how many operations each does
a second beside the rate of plain matrix products measured in the same run. Presets run in the precision that they choose on this machine;
the last line says whether one of them is slower than the plain model.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import replace

import torch
from timing import clock, header, milliseconds, square_rate
from torch import Tensor, nn

from kinema.data.batches import ClipBatch
from kinema.motion.skeletons import NTU25
from kinema.recognition.mamp import MAMP, MAMPConfig
from kinema.recognition.presets import fast, paper_ntu60
from kinema.training.method import Step, decay_groups
from kinema.training.precision import resolve, verdict
from kinema.training.update import compiled_step


class WrittenOut(nn.Module):
    """Attention as the published code writes it: the N x N matrix is stored."""

    def __init__(self, attention: nn.Module):
        super().__init__()
        self.heads, self.qkv, self.proj = attention.heads, attention.qkv, attention.proj

    def forward(self, x: Tensor) -> Tensor:
        b, n, d = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = ((q @ k.transpose(-2, -1)) * (d // self.heads) ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, d))


def plain() -> MAMP:
    """The published model without any of our speed."""
    model = MAMP(MAMPConfig())
    for block in (*model.blocks, *model.decoder_blocks):
        block.attn = WrittenOut(block.attn)
    return model


def operations(config: MAMPConfig) -> float:
    """Floating-point operations of one training step for one person: matrix products forward, twice as many backward."""
    e, (t, j) = config.encoder, config.encoder.grid
    n, kept, d, w = t * j, config.kept, e.width, config.decoder_width
    hidden = n - kept

    def block(tokens: int, width: int) -> float:
        return tokens * (8 + 4 * e.mlp_ratio) * width**2 + 4 * tokens**2 * width

    total = 2 * n * e.patch * d + e.depth * block(kept, d) + 2 * kept * d * w
    if config.decoder == "self":
        total += config.decoder_depth * block(n, w) + 2 * n * w * e.patch
    else:
        queries = max(1, round(hidden * config.predict_share))
        cross = queries * (4 + 4 * e.mlp_ratio) * w**2 + kept * 4 * w**2 + 4 * queries * kept * w
        total += config.decoder_depth * cross + 2 * queries * w * e.patch
    return 3 * total


def stepper(model: MAMP, bf16: bool, batch: ClipBatch, compile: bool) -> Callable[[], None]:
    """One training step: forward, backward, AdamW."""
    device = batch.positions.device
    model = model.to(device).train()
    optimiser = torch.optim.AdamW(decay_groups(model), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    # as the training loop does: draws hash and seed on the host, outside the compiled graph
    loss, kind = (torch.compile(model.loss), compiled_step()) if compile else (model.loss, Step)
    step = kind(0, device=device)

    def run() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            total = loss(batch, step).total
        optimiser.zero_grad(set_to_none=True)
        total.backward()
        optimiser.step()

    return run


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bf16", action="store_true", help="bf16 rows also where they do not pay, up to half a minute a step")
    parser.add_argument("--compile", action="store_true", help="add compiled rows (minutes to compile on a CPU)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cuda = arguments.device == "cuda"
    torch.manual_seed(0)
    positions = torch.randn(arguments.batch, 120, 1, 25, 3).cumsum(1).mul(0.02).to(arguments.device)
    batch = ClipBatch(
        positions,
        torch.ones(arguments.batch, 1, dtype=torch.bool, device=arguments.device),
        torch.zeros(arguments.batch, dtype=torch.int64, device=arguments.device),
        torch.arange(arguments.batch, device=arguments.device),
    )
    paper, quick = paper_ntu60(NTU25).model, fast(NTU25).model
    device = torch.device(arguments.device)
    found_here, chosen = verdict(device), resolve(fast(NTU25).precision, device)
    cases: list[tuple[str, MAMP, bool, bool]] = [
        ("plain published model, fp32", plain(), False, False),
        ("paper, fp32 (the preset)", MAMP(paper), False, False),
        ("fast, fp32" + (" (the preset)" if chosen == "32" else ""), MAMP(quick), False, False),
    ]
    if chosen == "bf16" or arguments.bf16:
        cases += [
            ("paper, bf16", MAMP(paper), True, False),
            ("fast, bf16" + (" (the preset)" if chosen == "bf16" else ""), MAMP(quick), True, False),
            ("fast, bf16, every masked query", MAMP(replace(quick, predict_share=1.0)), True, False),
        ]
    if arguments.compile:
        cases += [("paper, fp32, compiled", MAMP(paper), False, True), ("fast, fp32, compiled", MAMP(quick), False, True)]
        if chosen == "bf16" or arguments.bf16:
            cases += [("paper, bf16, compiled", MAMP(paper), True, True), ("fast, bf16, compiled", MAMP(quick), True, True)]
    steps = [stepper(model, bf16, batch, compiled) for _, model, bf16, compiled in cases]
    for step in steps:
        for _ in range(3 if cuda else 1):
            step()
    rates = {torch.float32: [], torch.bfloat16: []}
    times: list[list[float]] = [[] for _ in cases]
    for _ in range(arguments.rounds):
        for dtype, found in rates.items():
            found.append(square_rate(dtype, cuda))
        for step, found in zip(steps, times, strict=True):
            found.append(clock(step, cuda))
    print(header(cuda, f"batch {arguments.batch}, {arguments.rounds} rounds"))
    peak = {d: statistics.median(r) for d, r in rates.items()}
    print(f"matrix products: fp32 {peak[torch.float32]:.0f}, bf16 {peak[torch.bfloat16]:.0f} GFLOP/s (median of the rounds)")
    print(f"presets compute in {'bf16' if found_here.pays else 'fp32'} here: {found_here.why}\n")
    print(
        "| step | ms, median (min-max) | clips/s | x plain | GFLOP a clip | GFLOP/s | share of matrix rate |\n|---|---|---|---|---|---|---|"
    )
    base, slower = times[0], []
    for (name, model, bf16, _), found in zip(cases, times, strict=True):
        middle = statistics.median(found)
        ratio = statistics.median(b / f for b, f in zip(base, found, strict=True))
        work = operations(model.config) / 1e9
        rate = work * arguments.batch / middle
        if "the preset" in name and ratio < 1:
            slower.append(name)
        share = rate / peak[torch.bfloat16 if bf16 else torch.float32]
        print(
            f"| {name} | {milliseconds(found)} | {arguments.batch / middle:.1f} | {ratio:.2f} | {work:.1f} | {rate:.0f} | {100 * share:.0f} % |"
        )
    print(f"\npresets slower than the plain model: {', '.join(slower) or 'none'}")


if __name__ == "__main__":
    main()
