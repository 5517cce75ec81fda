"""Standing people in any of the known skeletons, for pictures."""

import numpy as np

from kinema.motion.clip import Clip

MIDLINE = {
    "hip": 1.0, "pelvis": 1.0, "hip_centre": 1.0, "spine_base": 1.0, "torso": 1.2, "spine": 1.2, "spine1": 1.1, "spine2": 1.2,
    "spine_mid": 1.2, "spine3": 1.35, "spine_shoulder": 1.45, "shoulder_centre": 1.45, "neck": 1.5, "head": 1.65, "nose": 1.62,
}  # fmt: skip
LEFT = {
    "collar": (0.08, 1.45), "shoulder": (0.2, 1.45), "elbow": (0.32, 1.2), "wrist": (0.4, 1.45), "hand": (0.42, 1.52),
    "hip": (0.12, 1.0), "knee": (0.13, 0.5), "ankle": (0.14, 0.08), "foot": (0.16, 0.02), "heel": (0.14, 0.03), "foot_index": (0.18, 0.0),
    "big_toe": (0.16, 0.0), "small_toe": (0.2, 0.0), "eye": (0.03, 1.66), "eye_inner": (0.02, 1.66), "eye_outer": (0.045, 1.66),
    "ear": (0.08, 1.63), "mouth": (0.025, 1.57), "pinky_knuckle": (0.44, 1.5), "index_knuckle": (0.41, 1.53), "thumb_knuckle": (0.38, 1.49),
    "hand_tip": (0.43, 1.6), "thumb": (0.38, 1.55), "hand_root": (0.4, 1.46),
}  # fmt: skip
FINGERS = ("thumb", "index", "middle", "ring", "little")


def place(name):
    """`(3,)` metres, y up, facing +z; nothing for a joint that is not known."""
    side = -1 if name.startswith("right_") else 1
    bare = name.removeprefix("left_").removeprefix("right_")
    if bare != name and bare in LEFT:
        return side * LEFT[bare][0], LEFT[bare][1], 0.05 * ("eye" in bare or "mouth" in bare)
    if name in MIDLINE:
        return 0.0, MIDLINE[name], 0.1 * (name == "nose")
    if name.startswith("face_"):
        i = int(name[5:])
        angle = np.pi + np.pi * i / 16 if i < 17 else 2 * np.pi * i / 68
        size = 0.09 if i < 17 else 0.05
        return size * np.cos(angle), 1.64 + 1.2 * size * np.sin(angle), 0.06
    finger = bare.rstrip("1234")
    if finger in FINGERS:
        k, i = FINGERS.index(finger), int(bare[-1])
        return side * (0.36 + 0.02 * k), 1.48 + 0.025 * i, 0.02
    raise AssertionError(name)


def standing(skeleton, frames=8, flat=False, **fields):
    """Somebody who waves with the left arm; `flat`: in pixels."""
    pose = np.float32([place(name) for name in skeleton.joints])
    track = np.repeat(pose[None, None], frames, 0)
    arm = [
        j for j, n in enumerate(skeleton.joints) if n.startswith("left_") and track[0, 0, j, 0] > 0.3 and track[0, 0, j, 1] > 1.3
    ]
    track[:, 0, arm, 0] += 0.12 * np.sin(np.arange(frames, dtype=np.float32) / 2)[:, None]
    if flat:
        fields |= {"units": "pixels", "image_size": (640, 480)}
        track = track[..., :2] * np.float32([200, -200]) + np.float32([320, 420])
    return Clip(track.astype(np.float32), skeleton, **fields)
