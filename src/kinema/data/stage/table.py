"""The table of actions. A new action is appended to its file's list and to the classes of a new stage; none is ever changed."""

from __future__ import annotations

from . import everyday, exercise, gestures, locomotion, pairs
from .action import Action

ACTIONS: dict[str, Action] = {a.name: a for room in (locomotion, gestures, exercise, everyday, pairs) for a in room.ACTIONS}
"""Every action by name."""
