"""How MAMP and CMD prepare raw NTU RGB+D clips, step by step and exactly, from the clip as `formats.ntu` reads it.

MAMP: `mamp_actors` (denoise, at most two people), `mamp_centre`, and for NTU-120 `mamp_duplicate`.
CMD:  `cmd_bodies` (two people of most energy), `cmd_prenormalise` (pad, centre every frame, rotate).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError, unknown
from ..words import plural
from .clip import Clip
from .formats.ntu import NTU60_TRAIN_CAMERAS, NTU60_TRAIN_SUBJECTS, NTU120_TRAIN_SETUPS, NTU120_TRAIN_SUBJECTS

SHORTEST = 11
"""MAMP: a body seen in at most this many frames is noise, if another is seen longer."""
WIDEST = 0.8
"""MAMP: a body wider than this part of its height is not upright, in this frame."""
NOISIEST = 0.69754
"""MAMP: a body that is not upright in this part of its frames is noise."""
CMD_FRAMES = 300
"""CMD: length of the padded clips."""

_SPINE = 1
_HIP, _RIGHT_SHOULDER, _LEFT_SHOULDER = 0, 8, 4


@dataclass(eq=False)
class _Track:
    """One body id: joints (n, 25, 3) in the frames first .. last (both included)."""

    joints: np.ndarray
    first: int
    motion: float

    @property
    def last(self) -> int:
        return self.first + len(self.joints) - 1

    def overlaps(self, interval: tuple[int, int]) -> bool:
        """More than one frame in common, as the reference counts."""
        return min(interval[1], self.last) - max(interval[0], self.first) > 0


def _motion(joints: np.ndarray) -> float:
    """Sum over x, y, z of the variance over all frames and joints."""
    return float(joints.reshape(-1, 3).astype(np.float64).var(0).sum())


def _tracks(clip: Clip) -> tuple[list[_Track], int]:
    """The bodies in the order in which they are first seen, and the number of frames with a body.

    Frames without a body are left out. A body that comes and goes is moved up so that it has no gaps, as the reference does.
    A second body with the same id in one frame is left out (the reference fails on it).
    """
    _need(clip)
    # without tracker ids a person keeps to the slot
    ids = np.where(clip.present(), np.arange(1, clip.people + 1), 0) if clip.body_ids is None else clip.body_ids
    kept = np.flatnonzero((ids != 0).any(1))
    ids, positions = ids[kept], clip.positions[kept]
    tracks: list[_Track] = []
    for identity in dict.fromkeys(ids[ids != 0].tolist()):
        mine = ids == identity
        frames = np.flatnonzero(mine.any(1))
        joints = positions[frames, mine[frames].argmax(1)]
        tracks.append(_Track(joints, int(frames[0]), _motion(joints)))
    return tracks, len(kept)


def _upright(tracks: list[_Track]) -> list[_Track]:
    """Without the bodies that are mostly wider than tall; of the others the motion of their upright frames counts if it is less."""
    left = list(tracks)
    for track in tracks:
        if len(left) == 1:
            break
        extent = np.ptp(track.joints, axis=1)
        good = extent[:, 0] <= WIDEST * extent[:, 1]
        if good.all():
            continue
        if (~good).mean() >= NOISIEST:
            left.remove(track)
        else:
            track.motion = min(track.motion, _motion(track.joints[good]))
    return left


def mamp_denoise(clip: Clip) -> np.ndarray:
    """MAMP's denoised joints of a raw clip (T, S, 25, 3): float32 (F, 75) for one actor or (F, 150) for two, F <= T.

    Where all of several bodies are too short the reference fails; here the longest (of equals the first) is kept.

    Raises:
        UserError: nobody is in the clip, or it has not the 25 joints of NTU RGB+D.
    """
    tracks, frames = _tracks(clip)
    if not tracks:
        raise UserError(f"{clip.source or 'clip'}: nobody is in any of its {plural(clip.frames, 'frame')}; leave it out")
    if len(tracks) == 1:
        return tracks[0].joints.reshape(-1, 75).copy()
    tracks = [t for t in tracks if len(t.joints) > SHORTEST] or [max(tracks, key=lambda t: len(t.joints))]
    if len(tracks) > 1:
        tracks = _upright(tracks)
    if len(tracks) == 1:
        joints = np.zeros((frames, 75), np.float32)
        joints[tracks[0].first : tracks[0].last + 1] = tracks[0].joints.reshape(-1, 75)
    else:
        joints = _two_actors(tracks, frames)
    return joints[joints.sum(1) != 0]


def _two_actors(tracks: list[_Track], frames: int) -> np.ndarray:
    """(F, 150): the body that moves most is actor 1, and each further one continues the first actor that it does not overlap."""
    joints = np.zeros((frames, 150), np.float32)
    main, *rest = sorted(tracks, key=lambda t: -t.motion)
    spans = [(main.first, main.last), (0, 0)]
    joints[main.first : main.last + 1, :75] = main.joints.reshape(-1, 75)
    for track in rest:
        actor = next((a for a in (0, 1) if not track.overlaps(spans[a])), None)
        if actor is not None:
            joints[track.first : track.last + 1, 75 * actor : 75 * (actor + 1)] = track.joints.reshape(-1, 75)
            spans[actor] = (min(spans[actor][0], track.first), max(spans[actor][1], track.last))
    return joints


def mamp_actors(clip: Clip) -> Clip:
    """`mamp_denoise` as a clip (F, M, 25, 3), M = 1 or 2; tracker ids and confidence no longer apply and are dropped.

    Raises:
        UserError: as `mamp_denoise`, or no frame is left.
    """
    joints = mamp_denoise(clip)
    if not len(joints):
        raise UserError(f"{clip.source or 'clip'}: every body is at the origin in every frame; leave it out")
    positions = joints.reshape(len(joints), -1, 25, 3)
    return clip.with_(positions=positions, confidence=None, body_ids=None, rotations=None, offsets=None, contacts=None)


def mamp_centre(clip: Clip) -> Clip:
    """Moves a clip (T, M, 25, 3) so that the spine (joint 2) of person 1 is the origin where that person is first seen.

    One translation for the whole clip: the path is kept. Of several people those who are absent in a frame stay zero; a single
    one is taken to be in every frame, as in the reference. A clip whose person 1 is never seen stays as it is.

    Raises:
        UserError: not the joints of NTU RGB+D.
    """
    _need(clip)
    seen = np.flatnonzero(clip.positions[:, 0].any((1, 2)))
    if not len(seen):
        return clip
    positions = clip.positions - clip.positions[seen[0], 0, _SPINE]
    if clip.people > 1:
        positions[clip.positions.sum((2, 3)) == 0] = 0
    return clip.with_(positions=positions)


def mamp_duplicate(clip: Clip) -> Clip:
    """The clip with person 1 again as person 2 where there is no person 2 in any frame (MAMP for NTU-120): (T, 2, J, C)."""
    if clip.people > 2 or (clip.people == 2 and clip.positions[:, 1].any()):
        return clip
    twice = [0, 0]

    def copy(values: np.ndarray | None, axis: int = 1) -> np.ndarray | None:
        return None if values is None else values.take(twice, axis)

    return clip.with_(
        positions=clip.positions[:, twice],
        confidence=copy(clip.confidence),
        body_ids=copy(clip.body_ids),
        rotations=copy(clip.rotations),
        offsets=copy(clip.offsets, 0),
        contacts=copy(clip.contacts),
    )


SPLITS = {
    "XSub": (60, "performer", NTU60_TRAIN_SUBJECTS),
    "XView": (60, "camera", NTU60_TRAIN_CAMERAS),
    "XSub120": (120, "performer", NTU120_TRAIN_SUBJECTS),
    "XSet120": (120, "setup", NTU120_TRAIN_SETUPS),
}
"""Split -> classes, the number of the name that decides, and its values that train."""


def mamp_npz_arrays(clips: Sequence[Clip], split: str) -> dict[str, np.ndarray]:
    """The arrays of MAMP's published files, from raw clips in the order of the file list.

    Returns:
        `x_train`, `x_test` (N, longest of all clips, 150) float32, centred and zero-padded; `y_train`, `y_test` (N, classes)
        float32, one-hot. Ordered by performer, camera or setup (whatever the split goes by), then as given. A missing second body
        is zero for the splits of 60 classes and a copy of the first for those of 120.

    Raises:
        UserError: an unknown split, a clip without the facts of its name, or one that `mamp_actors` refuses.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    classes, key, train = SPLITS[split]
    for clip in clips:
        if clip.label is None or key not in clip.meta or not 0 <= clip.label < classes:
            raise UserError(f"{clip.source or 'clip'}: split {split} needs names SsssCcccPpppRrrrAaaa with A001 to A{classes:03d}")
    actors = [mamp_centre(mamp_actors(clip)) for clip in clips]
    longest = max((a.frames for a in actors), default=0)
    order = sorted(range(len(clips)), key=lambda i: clips[i].meta[key])
    arrays: dict[str, np.ndarray] = {}
    for part, trains in (("train", True), ("test", False)):
        chosen = [i for i in order if (clips[i].meta[key] in train) == trains]
        x = np.zeros((len(chosen), longest, 2, 75), np.float32)
        y = np.zeros((len(chosen), classes), np.float32)
        for row, i in enumerate(chosen):
            # a clip that has two actors keeps an empty second one, also in NTU-120
            full = mamp_duplicate(actors[i]) if classes == 120 and actors[i].people == 1 else actors[i]
            x[row, : full.frames, : full.people] = full.positions.reshape(full.frames, full.people, 75)
            y[row, clips[i].label] = 1
        arrays[f"x_{part}"], arrays[f"y_{part}"] = x.reshape(len(chosen), longest, 150), y
    return arrays


def cmd_bodies(clip: Clip) -> np.ndarray:
    """CMD's two bodies of greatest energy among the first four slots: float32 (3, T, 25, 2), greatest first, absent ones zero.

    Energy is the sum over x, y, z of the standard deviation over the frames and joints where the slot is filled. Tracker ids are
    not used: a slot that changes its person is one body.

    Raises:
        UserError: not the joints of NTU RGB+D.
    """
    _need(clip)
    bodies = np.zeros((4, clip.frames, 25, 3), np.float32)
    slots = min(clip.people, 4)
    bodies[:slots] = clip.positions[:, :slots].swapaxes(0, 1)
    energy = [_energy(body) for body in bodies.astype(np.float64)]
    order = np.argsort(energy, kind="stable")[::-1][:2]
    return bodies[order].transpose(3, 1, 2, 0)


def _energy(body: np.ndarray) -> float:
    filled = body[body.sum((1, 2)) != 0]
    return float(filled.std((0, 1)).sum()) if len(filled) else 0.0


def cmd_prenormalise(x: np.ndarray, length: int | None = None) -> np.ndarray:
    """CMD's pre-normalisation of a batch (N, 3, T, 25, 2) -> float32 (N, 3, `length`, 25, 2).

    Fills each body to the end by repeating it, subtracts the spine of body 1 in every frame, turns the first frame's spine to +z
    and then its shoulder line (left to right) to +x.

    Args:
        x: metres, absent zero; body 1 decides, see `cmd_bodies`.
        length: frames of the result; shorter clips are padded, longer ones cut (`CMD_FRAMES` as published). None: T.

    Raises:
        UserError: another shape.
    """
    if x.ndim != 5 or x.shape[1] != 3 or x.shape[3:] != (25, 2):
        raise UserError(f"array {x.shape}; expected (clips, 3, frames, 25, 2)")
    frames: int = x.shape[2] if length is None else length
    s: np.ndarray = np.zeros((len(x), 2, frames, 25, 3))
    s[:, :, : x.shape[2]] = x[:, :, :frames].transpose(0, 4, 2, 3, 1)
    for sample in s:
        for body in sample:
            _fill(body)
    centre = s[:, :1, :, _SPINE : _SPINE + 1]
    s = (s - centre) * (s.sum(-1, keepdims=True) != 0)
    if s.size:
        s = _turn(s, (_HIP, _SPINE), np.array([0.0, 0.0, 1.0]))
        s = _turn(s, (_LEFT_SHOULDER, _RIGHT_SHOULDER), np.array([1.0, 0.0, 0.0]))
    return s.transpose(0, 4, 2, 3, 1).astype(np.float32)


def cmd_actors(clip: Clip) -> Clip:
    """`cmd_bodies` as a clip (T, 2, 25, 3); tracker ids and confidence no longer apply and are dropped."""
    positions = np.ascontiguousarray(cmd_bodies(clip).transpose(1, 3, 2, 0))
    return clip.with_(positions=positions, confidence=None, body_ids=None, rotations=None, offsets=None, contacts=None)


def cmd_centre(clip: Clip) -> Clip:
    """`cmd_prenormalise` of one clip of one or two people, at its own length: (T, M, 25, 3) -> the same shape.

    Raises:
        UserError: not the joints of NTU RGB+D, or more than two people.
    """
    _need(clip)
    if clip.people > 2:
        raise UserError(f"{clip.source or 'clip'}: {plural(clip.people, 'person', 'people')}; CMD's preparation is for one or two")
    x = np.zeros((1, 3, clip.frames, 25, 2), np.float32)
    x[0, ..., : clip.people] = clip.positions.transpose(3, 0, 2, 1)
    y = cmd_prenormalise(x)[0, ..., : clip.people]
    # frames are filled in, so what was known of single frames no longer applies
    return clip.with_(
        positions=np.ascontiguousarray(y.transpose(1, 3, 2, 0)),
        confidence=None,
        body_ids=None,
        rotations=None,
        offsets=None,
        contacts=None,
    )


def _fill(body: np.ndarray) -> None:
    """In place, (T, 25, 3): leading null frames are closed up, and trailing ones repeat what is before them; inner ones stay."""
    filled = np.flatnonzero(body.sum((1, 2)) != 0)
    if not len(filled):
        return
    if filled[0] > 0:
        seen = body[filled]
        body[:] = 0
        body[: len(seen)] = seen
        filled = np.arange(len(seen))
    used = int(filled[-1]) + 1
    body[used:] = body[np.arange(len(body) - used) % used]


def _turn(s: np.ndarray, bone: tuple[int, int], target: np.ndarray) -> np.ndarray:
    """(N, M, T, 25, 3) rotated, each sample by what takes its bone (from, to) of body 1 in frame 1 to the target direction."""
    direction = s[:, 0, 0, bone[1]] - s[:, 0, 0, bone[0]]
    axis = np.cross(direction, target)
    still = np.abs(axis).sum(1) < 1e-6
    norm = np.linalg.norm(direction, axis=1)
    angle = np.arccos(np.clip(direction @ target / np.where(norm > 0, norm, 1), -1, 1))
    angle[still | (np.abs(angle) < 1e-6)] = 0
    unit = axis / np.where(still, 1, np.linalg.norm(axis, axis=1))[:, None]
    # Rodrigues: R v = v cos + (k x v) sin + k (k.v) (1 - cos)
    zero = np.zeros(len(s))
    kx, ky, kz = unit.T
    cross = np.stack([zero, -kz, ky, kz, zero, -kx, -ky, kx, zero], -1).reshape(-1, 3, 3)
    sin, cos = np.sin(angle)[:, None, None], np.cos(angle)[:, None, None]
    turn = np.eye(3) * cos + cross * sin + unit[:, :, None] * unit[:, None, :] * (1 - cos)
    shape = s.shape
    return (s.reshape(len(s), -1, 3) @ turn.swapaxes(1, 2)).reshape(shape)


def _need(clip: Clip) -> None:
    if clip.positions.shape[2:] != (25, 3):
        raise UserError(f"{clip.source or 'clip'}: {clip.skeleton.name} in {clip.positions.shape[3]}-D; expected ntu25 in 3-D")
