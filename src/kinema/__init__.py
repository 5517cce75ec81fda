"""Kinema sees, reads and writes human motion.

What a program needs first is here: `read`, `show`, `open_store`, `open_run`, `embed`, `retrieve`, `open_classifier`, `recognize`. The
rest is in the rooms: `kinema.motion`, `kinema.data`, `kinema.nn`, `kinema.training`, `kinema.recognition`, `kinema.view`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import (
        Caption,
        CheckpointError,
        Clip,
        FormatError,
        Skeleton,
        Store,
        UserError,
        embed,
        open_classifier,
        open_run,
        open_store,
        read,
        recognize,
        retrieve,
        show,
    )

__version__ = "0.1.0"

__all__ = [
    "Caption",
    "CheckpointError",
    "Clip",
    "FormatError",
    "Skeleton",
    "Store",
    "UserError",
    "__version__",
    "embed",
    "open_classifier",
    "open_run",
    "open_store",
    "read",
    "recognize",
    "retrieve",
    "show",
]


def __getattr__(name: str) -> Any:
    """What `__all__` names, imported when it is first asked for: ``import kinema`` and ``kinema --help`` come at once."""
    if name not in __all__:
        raise AttributeError(f"module 'kinema' has no attribute {name!r}")
    from . import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
