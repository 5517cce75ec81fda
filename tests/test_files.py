"""Reading what anybody may have changed: strict JSON, of files that are files, and never a surprise."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import FormatError
from kinema.files import DEEPEST, parse_json, read_bytes, read_json, write_json

BAD = {
    "empty": (b"", "not JSON"),
    "half": (b'{"a": 1', "not JSON"),
    "not UTF-8": (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "NaN": (b"[NaN]", "NaN is no number"),
    "infinity": (b"[-Infinity]", "-Infinity is no number"),
    "overflow": (b"[1e999]", "1e999 is no number"),
    "large": (b"[" + b"1" * 400 + b"]", "400 digits"),
    "very large": (b"[" + b"1" * 10_000 + b"]", "10000 digits"),
    "64 bits": (b"[9223372036854775808]", "19 digits"),
    "twice": (b'{"a": {"b": 1, "b": 2}}', "the key 'b' is there twice"),
    "deep": (b"[" * 100_000 + b"]" * 100_000, "levels deep"),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "levels deep"),
    "deep and open": (b"[" * 100_000, "levels deep"),
    "deeper than is read": (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "levels deep"),
    "more": (b"{} {}", "not JSON"),
}


@pytest.mark.parametrize(("content", "said"), BAD.values(), ids=BAD)
def test_json_that_is_refused(tmp_path, content, said):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FormatError, match=said) as caught:
        read_json(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path / 'a.json'}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.integers(-(2**63), 2**63 - 1),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)
def test_json_that_is_read(value):
    assert parse_json(json.dumps(value).encode(), "x") == value
    assert parse_json(b"\xef\xbb\xbf" + json.dumps(value).encode(), "x") == value


def test_the_deepest_that_is_read(tmp_path):
    write_json(tmp_path / "a", json.loads("[" * DEEPEST + "]" * DEEPEST))
    assert read_json(tmp_path / "a")


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")  # opened as a file it would wait for ever
    (tmp_path / "large").write_bytes(bytes(11))
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 2**40)
    for name, said in {
        "folder": "a folder; expected a file",
        "dangling": "No such file",
        "loop": "symbolic links",
        "pipe": "no file; expected a file",
        "large": "11 bytes; at most 10",
        "sparse": "at most 10",
        "x" * 300: "too long",
    }.items():
        with pytest.raises(FormatError, match=said):
            read_bytes(tmp_path / name, 10)
    assert read_bytes(tmp_path / "large", 11) == bytes(11)
    with pytest.raises(FormatError, match="cannot be read"):
        read_bytes(tmp_path / "a\0b", 10)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    (tmp_path / "a").touch(0o000)
    with pytest.raises(FormatError, match="Permission denied"):
        read_bytes(tmp_path / "a", 10)
