"""What a camera and a pose estimator would have made of a signer: pixels, jitter, confidence, hands not found.

The estimator is a network for the body and one for each hand: the wrist of the body and the root of the hand err separately, and a
hand is found or not found as a whole.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

IMAGE_SIZE = (512, 512)
"""Width and height, pixels."""
_FOCAL = 620.0
_AIM = np.array([0.0, -0.12, 0.0])  # what the camera looks at, metres from between the shoulders
_MEMORY = 0.5  # of the jitter from one frame to the next
HANDS = (slice(0, 21), slice(21, 42))
"""Joints of the left and of the right hand in `SIGN49`."""
_LOOSE = np.array([1.0, *([0.8, 0.9, 1.1, 1.4] * 5)])  # jitter of a hand's joints: the tips are found worst


def project(points: np.ndarray, distance: float, angles: tuple[float, float, float], shift: tuple[float, float]) -> np.ndarray:
    """The picture of points.

    Args:
        points: `(..., 3)` metres from between the shoulders: to the signer's left, up, towards the camera.
        distance: of the camera, metres. angles: yaw, pitch and roll of the view, degrees. shift: of the picture, pixels.

    Returns:
        `(..., 2)` pixels, y down.
    """
    (sy, sp, sr), (cy, cp, cr) = np.sin(np.radians(angles)), np.cos(np.radians(angles))
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    seen = (points - _AIM) @ (roll @ pitch @ yaw).T
    scale = _FOCAL / (distance - seen[..., 2:])
    return np.array(IMAGE_SIZE) / 2 + shift + seen[..., :2] * scale * (1, -1)


def estimate(pixels: np.ndarray, fps: float, idle: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """What is found in the pictures.

    Args:
        pixels: `(T, 49, 2)` where the joints of `SIGN49` really are. fps: frames per second.
        idle: `(T, 2)` bool: the left, the right hand does nothing. rng: the only source of randomness.

    Returns:
        Positions `(T, 49, 2)` float32 in pixels, and confidence `(T, 49)` float32; what is not found is zero in both.
    """
    frames = len(pixels)
    speed = np.linalg.norm(np.gradient(pixels, axis=0), axis=-1)  # pixels a frame
    quick = np.stack([speed[:, hand].mean(1) for hand in HANDS], 1) / 18.0
    sigma = 0.8 + 1.4 * rng.random()
    spread = np.full((frames, 49), 1.0)
    for side, hand in enumerate(HANDS):
        spread[:, hand] = _LOOSE * (1 + 0.8 * quick[:, side : side + 1])
    noise = sigma * spread[..., None] * _wandering(rng, (frames, 49, 2))
    together = sigma * _wandering(rng, (frames, 2, 2))  # the hand's box is off, and all joints with it
    found = pixels + noise
    confidence = np.minimum(0.93 + 0.05 * rng.standard_normal((frames, 49)), 1.0)
    for side, hand in enumerate(HANDS):
        found[:, hand] += together[:, side : side + 1]
        confidence[:, hand] -= np.minimum(0.45, 0.35 * quick[:, side : side + 1]) + 0.08 * (_LOOSE - 0.8)
    confidence = np.maximum(confidence, 0.12)
    for side, hand in enumerate(HANDS):
        confidence[_lost(quick[:, side], idle[:, side], fps, rng), hand] = 0.0
    outside = ((found < 0) | (found > np.array(IMAGE_SIZE) - 1)).any(-1)
    confidence[outside] = 0.0
    found[confidence == 0] = 0.0
    return found.astype(np.float32), confidence.astype(np.float32)


def _wandering(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    noise = rng.standard_normal(shape)
    noise[1:] *= np.sqrt(1 - _MEMORY**2)
    for before, now in pairwise(noise):
        now += _MEMORY * before
    return noise


def _lost(quick: np.ndarray, idle: np.ndarray, fps: float, rng: np.random.Generator) -> np.ndarray:
    """`(T,)` bool: the hand is not found; more often when it is quick, and sometimes all the time that it does nothing."""
    u = rng.random(2)
    lost = idle & (u[0] < 0.3)
    bouts = int(1.4 * u[1] * len(quick) / fps + 0.5)
    chance = np.cumsum(0.25 + quick)
    starts = np.searchsorted(chance, chance[-1] * rng.random(bouts))
    for start, length in zip(starts, 1 + (6 * rng.random(bouts) ** 2).astype(int), strict=True):
        lost[start : start + length] = True
    return lost
