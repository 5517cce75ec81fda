"""The stage, measured: clips a second on one core, and how hard it is to recognise.

    OMP_NUM_THREADS=1 python benchmarks/stage.py            # everything, about six minutes on one core
    OMP_NUM_THREADS=1 python benchmarks/stage.py --no-network

Prints a Markdown table. The two figures of difficulty are accuracies on held-out subjects (the split ``subject``: 2,400 training
clips of even subjects, 2,400 test clips of odd ones), with the sensor on: a linear SVM on raw positions, and a small supervised
network.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import time

import numpy as np
import sklearn
import torch
from sklearn.svm import LinearSVC
from torch import Tensor, nn

from kinema.data.stage import stage1
from kinema.motion.skeletons import SMPL22

FRAMES = 32


def speed(clips: int = 640) -> tuple[float, float]:
    """Clips a second of this process's own time, sensor on, and the same for sequences."""
    rates = []
    for make, count in ((stage1.clip, clips), (stage1.sequence, clips // 4)):
        for i in range(32):
            make(i)
        start = time.process_time()
        for i in range(count):
            make(i)
        rates.append(count / (time.process_time() - start))
    return rates[0], rates[1]


def world() -> tuple[np.ndarray, np.ndarray]:
    """Positions `(N, 32, 2, 22, 3)`, resampled and absent people zero, NaN where a joint was lost; and labels."""
    x, y = np.zeros((stage1.SIZE, FRAMES, 2, 22, 3), np.float32), np.empty(stage1.SIZE, np.int64)
    for i in range(stage1.SIZE):
        clip = stage1.clip(i)
        at = np.linspace(0, clip.frames - 1, FRAMES)
        low = np.floor(at).astype(int)
        high, w = np.minimum(low + 1, clip.frames - 1), (at - low)[:, None, None, None]
        x[i, :, : clip.people] = clip.positions[low] * (1 - w) + clip.positions[high] * w
        lost = (clip.confidence[low] == 0) | (clip.confidence[high] == 0)
        x[i, :, : clip.people][lost] = np.nan
        y[i] = clip.label
    return x, y


def linear(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> tuple[float, float]:
    """(test accuracy, C): raw positions centred on the first person's pelvis in each frame; a lost joint stays at the raw zero."""
    root = x[:, :, :1, :1]
    flat = (np.nan_to_num(x) - root * (x != 0).any((1, 3, 4), keepdims=True)).reshape(len(x), -1).astype(np.float64)
    held = train // len(stage1.CLASSES) % 5 == 0
    fit, check = train[~held], train[held]

    def svm(c: float, rows: np.ndarray) -> LinearSVC:
        return LinearSVC(C=c, max_iter=200, random_state=0).fit(flat[rows], y[rows])

    c = max((0.01, 0.1, 1.0), key=lambda c: svm(c, fit).score(flat[check], y[check]))
    return float(svm(c, train).score(flat[test], y[test])), c


class Network(nn.Module):
    """Residual temporal convolutions over positions, velocities and the way of the pelvis."""

    def __init__(self, classes: int, width: int = 128):
        super().__init__()
        self.stem = nn.Linear(2 * 132 + 3, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm1d(width), nn.ReLU(), nn.Conv1d(width, width, 3, padding=d, dilation=d), nn.BatchNorm1d(width),
                nn.ReLU(), nn.Dropout(0.2), nn.Conv1d(width, width, 1),
            )
            for d in (1, 2, 4, 8)
        )  # fmt: skip
        self.head = nn.Sequential(nn.LayerNorm(2 * width), nn.Dropout(0.4), nn.Linear(2 * width, classes))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, 2, J, 3)` metres, NaN where lost -> `(B, classes)`."""
        root = x[:, :, :1, :1]
        centred = torch.nan_to_num(x - root) * (x != 0).any(4).any(3).any(1)[:, None, :, None, None]
        flat = centred.flatten(2)
        still = torch.zeros_like(flat[:, :1])
        way = (root - root[:, :1]).flatten(2)
        h = self.stem(torch.cat([flat, 8 * torch.diff(flat, dim=1, prepend=still + flat[:, :1]), way], -1)).transpose(1, 2)
        for block in self.blocks:
            h = h + block(h)
        return self.head(torch.cat([h.mean(2), h.amax(2)], 1))


def _augment(x: Tensor, order: list[int]) -> Tensor:
    angle = (torch.rand(len(x)) * 2 - 1) * torch.pi
    sin, cos = (f(angle)[:, None, None, None] for f in (torch.sin, torch.cos))
    a, b, c = x.unbind(-1)
    x = torch.stack([a * cos + c * sin, b, c * cos - a * sin], -1) * (0.9 + 0.2 * torch.rand(len(x), 1, 1, 1, 1))
    flip = torch.rand(len(x)) < 0.5
    x[flip] = x[flip][:, :, :, order] * torch.tensor([-1.0, 1.0, 1.0])
    return x


def supervised(x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, epochs: int) -> float:
    """Test accuracy of a small network, trained with turned and mirrored clips; nothing is chosen on the test clips."""
    torch.manual_seed(0)
    data, label, order = torch.from_numpy(x), torch.from_numpy(y), SMPL22.mirror()
    net = Network(len(stage1.CLASSES))
    batches = len(train) // 64
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=epochs * batches)
    rows = torch.from_numpy(train.copy())
    for _ in range(epochs):
        net.train()
        for batch in rows[torch.randperm(len(rows))][: batches * 64].view(batches, 64):
            loss = nn.functional.cross_entropy(net(_augment(data[batch], order)), label[batch], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        guess = net(data[torch.from_numpy(test.copy())]).argmax(1)
    for k, name in enumerate(stage1.CLASSES):
        mine = y[test] == k
        if (guess.numpy()[mine] == k).mean() < 0.85:
            print(f"  {name}: {(guess.numpy()[mine] == k).mean():.2f}", flush=True)
    return float((guess.numpy() == y[test]).mean())


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-network", action="store_true", help="leave the supervised network out")
    parser.add_argument("--epochs", type=int, default=40, help="of the supervised network")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[str, str]] = []
    clips, sequences = speed()
    rows.append(("clips a second, one core", f"{clips:.0f}"))
    rows.append(("sequences a second, one core", f"{sequences:.0f}"))
    x, y = world()
    train, test = stage1.split("subject")
    start = time.process_time()
    accuracy, c = linear(x, y, train, test)
    rows.append(
        (
            "linear SVM on raw positions, held-out subjects",
            f"{100 * accuracy:.1f} % (C = {c:g}, {time.process_time() - start:.0f} s)",
        )
    )
    if not options.no_network:
        start = time.process_time()
        accuracy = supervised(x, y, train, test, options.epochs)
        spent = time.process_time() - start
        rows.append(("supervised network, held-out subjects", f"{100 * accuracy:.1f} % ({options.epochs} epochs, {spent:.0f} s)"))
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, scikit-learn {sklearn.__version__}"
    print(f"\nstage-1, {datetime.date.today().isoformat()}, {versions}, PyTorch {torch.__version__}\n")
    print("| what | measured |\n|---|---|")
    print("\n".join(f"| {name} | {value} |" for name, value in rows))


if __name__ == "__main__":
    main()
