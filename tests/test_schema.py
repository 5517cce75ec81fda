"""What a JSON object must hold: each kind takes what it says and nothing that only looks like it."""

from typing import Annotated, Any, Literal, NotRequired

import pytest

from kinema.errors import FormatError
from kinema.schema import Table, fits

VALUES = {
    "null": None, "true": True, "one": 1, "minus": -1, "half": 0.5, "text": "a", "list": [], "words": ["a"], "mixed": ["a", 1],
    "pair": [2, 3], "object": {}, "numbers": {"a": 1}, "huge": 2**70,
}  # fmt: skip
KINDS = {
    int: {"one", "minus", "huge"},
    float: {"one", "minus", "half", "huge"},
    bool: {"true"},
    str: {"text"},
    Any: set(VALUES),
    None: {"null"},
    int | None: {"one", "minus", "huge", "null"},
    list[str]: {"list", "words"},
    list[Any]: {"list", "words", "mixed", "pair"},
    dict[str, Any]: {"object", "numbers"},
    dict[str, int]: {"object", "numbers"},
    tuple[int, int]: {"pair"},
    Literal["a", "b"]: {"text"},
    Annotated[int, 1, 9]: {"one"},
    Annotated[float, 0, 1]: {"one", "half"},
    Annotated[int, 1, 9] | None: {"one", "null"},
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_kinds(kind):
    assert {name for name, value in VALUES.items() if fits(value, kind)} == KINDS[kind]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"n": True}, "n is true; expected a whole number from 1 to 9"),
        ({"n": 10}, "n is 10; expected a whole number from 1 to 9"),
        ({"n": 1, "s": [1]}, r"s is \[1\]; expected a list of text"),
        ({"s": []}, "n is missing; expected a whole number from 1 to 9"),
        ([1], r"holds \[1\]; expected an object with n, s"),
        ({"n": 1, "x": 1}, 'holds "x", which is not known; expected n, s'),
        ({"n": "y" * 10**6}, r"n is \"y{59} \.\.\.; expected"),
    ],
)
def test_messages(value, said):
    with pytest.raises(FormatError, match=f"^here: {said}"):
        Table(n=Annotated[int, 1, 9], s=NotRequired[list[str]], more=False).check(value, "here")


def test_more_is_passed_over():
    value = {"n": 1, "x": 2}
    assert Table(n=int).check(value, "here") is value
