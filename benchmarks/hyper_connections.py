"""What hyper-connections cost: ``python benchmarks/hyper_connections.py [--widths 256 1024 2048] [--streams 2 4] [--device cuda --compile]``.

Forward and backward of pre-norm transformer blocks with the plain residual connection and with dynamic hyper-connections, in one process and
interleaved: time, and what is kept for the backward pass apart from parameters, with and without recomputation. Then reading and writing
alone, beside the time that a copy of as many bytes would take in the same run. fp32 on a CPU, bf16 autocast on a GPU.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from timing import clock, header, milliseconds
from torch import Tensor, nn

from kinema.nn.hyper_connections import HyperConnections
from kinema.nn.residual import Residual, enter, leave
from kinema.nn.transformer import Block

SEQUENCE = 1024


class Stack(nn.Module):
    """`depth` blocks, `(B, N, D)` -> `(B, N, D)`."""

    def __init__(self, width: int, depth: int, residual: Residual):
        super().__init__()
        self.residual = residual
        self.blocks = nn.ModuleList(Block(width, max(1, width // 64), residual=residual, index=i) for i in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = enter(self.residual, x)
        for block in self.blocks:
            x = block(x)
        return leave(self.residual, x)


def tokens(count: int, width: int, device: str) -> Tensor:
    """`(B, 1024, D)`, or one shorter sequence."""
    length = min(count, SEQUENCE)
    return torch.randn(count // length, length, width, device=device, requires_grad=True)


def step(model: Callable[[Tensor], Tensor], x: Tensor, parameters: list[nn.Parameter]) -> None:
    """Forward and backward."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
        y = model(x)
    y.float().square().mean().backward()
    for p in (x, *parameters):
        p.grad = None


def kept(model: Stack, x: Tensor) -> int:
    """Bytes of different storages that a forward pass saves for backward, parameters (and their casts) apart.

    Casts of weights under autocast are kept once a step, whatever the tokens: they are told by having as many bytes for half the tokens.
    """

    def measure(x: Tensor) -> int:
        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        found: dict[int, torch.UntypedStorage] = {}

        def pack(t: Tensor) -> Tensor:
            storage = t.untyped_storage()
            if storage.data_ptr() not in own:
                found[storage.data_ptr()] = storage
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
                y = model(x)
        del y
        return sum(s.nbytes() for s in found.values())

    half = x.detach()[:, : x.shape[1] // 2].contiguous().requires_grad_()
    return 2 * (measure(x) - measure(half))


def peak(run: Callable[[], object]) -> int:
    """Bytes of GPU memory that a step takes at most beyond what was there before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def cases(streams: list[int], recompute: int) -> list[tuple[str, Residual]]:
    """What is compared; the first is what the others are compared with."""
    found: list[tuple[str, Residual]] = [("prenorm", "prenorm")]
    for n in streams:
        found.append((f"dynamic-{n}", HyperConnections(n)))
        found.append((f"dynamic-{n}, recompute {recompute}", HyperConnections(n, recompute=recompute)))
    return found


def table(width: int, arguments: argparse.Namespace) -> None:
    """The rows of one width."""
    cuda, device = arguments.device == "cuda", arguments.device
    depth = arguments.depth or (4 if cuda or width <= 256 else 2 if width <= 1024 else 1)
    x = tokens(arguments.tokens, width, device)
    names, steps, memory, peaks = [], [], [], []
    for compile in (False, True) if arguments.compile else (False,):
        for name, residual in cases(arguments.streams, arguments.recompute):
            if compile and isinstance(residual, HyperConnections) and residual.recompute:
                continue  # the compiler decides that itself
            with torch.device(device):
                memory.append(
                    None if compile else kept(Stack(width, 4, residual), tokens(64 if not cuda else 4096, width, device)) / 4
                )
                model = Stack(width, depth, residual)
            run = torch.compile(model, fullgraph=True) if compile else model
            one = lambda run=run, model=model: step(run, x, list(model.parameters()))  # noqa: E731
            for _ in range(3 if cuda else 0):
                one()
            if not cuda:  # on a CPU a few tokens wake everything up
                step(run, x if compile else tokens(64, width, device), list(model.parameters()))
            peaks.append(peak(one) if cuda else None)
            names.append(name + (", compiled" if compile else ""))
            steps.append(one)
    times: list[list[float]] = [[] for _ in names]
    for _ in range(arguments.rounds):
        for one, found in zip(steps, times, strict=True):
            found.append(clock(one, cuda))
    for i, name in enumerate(names):
        base = names.index("prenorm, compiled") if "compiled" in name else 0
        ratio = statistics.median(t / b for t, b in zip(times[i], times[base], strict=True))
        share = 64 if not cuda else 4096
        cells = "- | -" if memory[i] is None else f"{memory[i] / share / 1024:.1f} | {memory[i] / memory[0]:.2f}"
        if cuda:
            cells += f" | {peaks[i] / 2**20:.0f} | {peaks[i] / peaks[base]:.2f}"
        print(f"| {width} | {depth} | {name} | {milliseconds(times[i], 1)} | {ratio:.2f} | {cells} |", flush=True)
    torch.compiler.reset()


def floor(width: int, n: int, arguments: argparse.Namespace) -> None:
    """Reading and writing alone, forward, beside a copy of as many bytes: `(2n + 1) C` in, `(n + 1) C` out."""
    cuda, device = arguments.device == "cuda", arguments.device
    dtype = torch.bfloat16 if cuda else torch.float32
    connection = HyperConnections(n).connection(width, 0).to(device)
    streams = torch.randn(arguments.tokens, n, width, device=device, dtype=dtype)
    output, other = torch.randn(arguments.tokens, width, device=device, dtype=dtype), torch.empty_like(streams)

    @torch.no_grad()
    def both() -> Tensor:
        return connection.write(connection.read(streams)[1], output)

    copies, found = [], []
    for i in range(arguments.rounds + 3):
        copy, own = clock(lambda: other.copy_(streams), cuda), clock(both, cuda)
        if i >= 3:
            copies.append(copy)
            found.append(own)
    rate = 2 * streams.nbytes / statistics.median(copies)
    least = (3 * n + 2) * output.nbytes / rate
    took = statistics.median(found)
    print(
        f"| {width} | {n} | {rate / 1e9:.1f} | {1e3 * least:.3f} | {milliseconds(found, 3)} | {took / least:.2f} |",
        flush=True,
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", type=int, nargs="+", default=[256, 1024, 2048])
    parser.add_argument("--streams", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--tokens", type=int, default=8192, help="a multiple of 1024, or fewer")
    parser.add_argument("--depth", type=int, default=0, help="blocks; 0: four, on a CPU two of width 1024 and one of 2048")
    parser.add_argument("--recompute", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--compile", action="store_true", help="add rows of compiled models (minutes)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    cuda = arguments.device == "cuda"
    precision = "bf16 autocast" if cuda else "fp32"
    print(header(cuda, f"{arguments.tokens} tokens, {precision}, {arguments.rounds} rounds") + "\n")
    extra, rule = (" | peak, MiB | x prenorm", "|---|---") if cuda else ("", "")
    print(f"| width | blocks | connection | ms, median (min-max) | x prenorm | kept, KiB a token and block | x prenorm{extra} |")
    print(f"|---|---|---|---|---|---|---{rule}|")
    for width in arguments.widths:
        table(width, arguments)
    print("\n| width | n | copy, GB/s | floor, ms | read + write, ms, median (min-max) | x floor |\n|---|---|---|---|---|---|")
    for width in arguments.widths:
        for n in arguments.streams:
            floor(width, n, arguments)
            torch.compiler.reset()


if __name__ == "__main__":
    main()
