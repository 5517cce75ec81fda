"""Words of messages, said as a person would."""

from __future__ import annotations


def plural(count: int, one: str, many: str | None = None) -> str:
    """A number and what it counts: ``1 file``, ``2 files``, ``0 classes``, ``3 entries``.

    Args:
        count: how many.
        one: what one is called; of several words the last is the one that changes (``bad file``).
        many: what several are called, where that is not formed by -s, -es or -ies (``people``).
    """
    if count == 1:
        return f"1 {one}"
    if many is None:
        if one.endswith(("s", "x", "ch", "sh")):
            many = f"{one}es"
        elif one.endswith("y") and one[-2:-1] not in "aeiou":
            many = f"{one[:-1]}ies"
        else:
            many = f"{one}s"
    return f"{count} {many}"
