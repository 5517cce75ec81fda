"""Names whose letters can be written in two ways: "é" as one character, or as "e" with an accent, as macOS writes file names.

They look the same and are the same to a person, so Kinema compares and keeps names in one form, NFC of Unicode. Only the disk's own
spelling of a file name, by which it is opened, stays as it is.
"""

from __future__ import annotations

import unicodedata


def one_form(name: str) -> str:
    """The name with composed letters (NFC)."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
