"""The few quaternion operations of the rig, in NumPy.

Inside the rig a quaternion array is `(4, ...)`, wxyz first and contiguous, because at a hundred frames NumPy's cost is the number
of calls, not of elements; at the door of the rig it becomes `(..., 4)`.
"""

from __future__ import annotations

import numpy as np

Quat = np.ndarray


def multiply(a: Quat, b: Quat) -> Quat:
    """The rotation that applies `b` first, then `a`; `(4, ...)`."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    w = aw * bw - ax * bx - ay * by - az * bz
    out = np.empty((4, *w.shape))
    out[0] = w
    out[1] = aw * bx + ax * bw + ay * bz - az * by
    out[2] = aw * by - ax * bz + ay * bw + az * bx
    out[3] = aw * bz + ax * by - ay * bx + az * bw
    return out


def conjugate(q: Quat) -> Quat:
    """The inverse rotation."""
    return np.stack([q[0], -q[1], -q[2], -q[3]])


def rotate(q: Quat, v: np.ndarray) -> np.ndarray:
    """`(3, ...)` vectors rotated."""
    w, x, y, z = q
    a, b, c = v
    tx, ty, tz = 2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)
    out = np.empty((3, *tx.shape))
    out[0] = a + w * tx + y * tz - z * ty
    out[1] = b + w * ty + z * tx - x * tz
    out[2] = c + w * tz + x * ty - y * tx
    return out


def matrices(q: Quat) -> np.ndarray:
    """`(..., 3, 3)` rotation matrices of unit quaternions `(4, ...)`."""
    w, x, y, z = q
    dx, dy, dz = x + x, y + y, z + z
    xx, yy, zz, xy, xz, yz, wx, wy, wz = x * dx, y * dy, z * dz, x * dy, x * dz, y * dz, w * dx, w * dy, w * dz
    out = np.empty((*w.shape, 3, 3))
    out[..., 0, 0], out[..., 0, 1], out[..., 0, 2] = 1 - (yy + zz), xy - wz, xz + wy
    out[..., 1, 0], out[..., 1, 1], out[..., 1, 2] = xy + wz, 1 - (xx + zz), yz - wx
    out[..., 2, 0], out[..., 2, 1], out[..., 2, 2] = xz - wy, yz + wx, 1 - (xx + yy)
    return out


def about(axis: int, angle: np.ndarray) -> Quat:
    """A turn by `angle` (radians) about x (0), y (1) or z (2)."""
    half = 0.5 * angle
    q = np.zeros((4, *half.shape))
    q[0], q[axis + 1] = np.cos(half), np.sin(half)
    return q


def yxz(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> Quat:
    """Ry(yaw) Rx(pitch) Rz(roll), radians."""
    cy, sy, cx, sx, cz, sz = _halves(yaw, pitch, roll)
    return np.stack(
        [
            cy * cx * cz + sy * sx * sz,
            cy * sx * cz + sy * cx * sz,
            sy * cx * cz - cy * sx * sz,
            cy * cx * sz - sy * sx * cz,
        ]
    )


def xzy(x: np.ndarray, z: np.ndarray, y: np.ndarray) -> Quat:
    """Rx(x) Rz(z) Ry(y), radians: the order of a shoulder's flexion, abduction and twist."""
    cx, sx, cz, sz, cy, sy = _halves(x, z, y)
    return np.stack(
        [
            cx * cz * cy + sx * sz * sy,
            sx * cz * cy - cx * sz * sy,
            cx * cz * sy - sx * sz * cy,
            cx * sz * cy + sx * cz * sy,
        ]
    )


def from_axes(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Quat:
    """The rotation whose matrix has these `(3, ...)` columns; it must turn by less than 180 degrees."""
    w = 0.5 * np.sqrt(np.maximum(1.0 + x[0] + y[1] + z[2], 1e-9))
    return np.stack([w, (y[2] - z[1]) / (4 * w), (z[0] - x[2]) / (4 * w), (x[1] - y[0]) / (4 * w)])


def _halves(*angles: np.ndarray) -> list[np.ndarray]:
    return [f(0.5 * a) for a in angles for f in (np.cos, np.sin)]
