"""Whatever a name holds, what is shown of it drives no terminal, turns no letters round, and hides nothing."""

import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.text import one_line, plain, plain_json, say

FORBIDDEN = {
    **{f"control {n:02x}": chr(n) for n in (*range(32), *range(0x7F, 0xA0))},
    **{f"direction {n:04x}": chr(n) for n in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))},
    **{f"unseen {n:04x}": chr(n) for n in (0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0x2063, 0xFEFF, 0x3164, 0x115F, 0xFFA0, 0x34F)},
    **{f"line {n:04x}": chr(n) for n in (0x85, 0x2028, 0x2029)},
    **{f"tag {n:05x}": chr(n) for n in (0xE0001, 0xE0041, 0xE007F, 0xE0100)},
    "surrogate": "\udc80",
    "not assigned": "\ufffe",
}


@pytest.mark.parametrize("c", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_cannot_be_seen_is_shown_as_an_escape(c):
    assert plain(f"a{c}b") == f"a{ascii(c)[1:-1]}b"
    assert plain(c) == ascii(c)[1:-1]
    assert json.loads(plain_json(json.dumps(f"a{c}b", ensure_ascii=False))) == f"a{c}b"


@pytest.mark.parametrize(
    "text",
    [
        "wave",
        "Gänge – été, naïve œuvre",
        "العربية",
        "עברית",
        "手話 を する",
        "한국어",
        "हिन्दी",
        "ไทย",
        "👋🏽",
        "🇫🇷",
        "§ 5 ± 2 °",
        "C:\\new\\table",
    ],
)
def test_words_of_every_script_stay(text):
    assert plain(text) == one_line(text) == plain_json(text) == text


def test_joiners_stay_where_they_mean_something():
    for text in ("👨\u200d👩\u200d👧", "🏳️\u200d🌈", "क्\u200dष", "می\u200cخواهم"):
        assert plain(text) == text
    assert plain("pay\u200dpal") == r"pay\u200dpal"
    assert plain("\u200d👧") == r"\u200d👧"


def test_one_line():
    assert one_line(" a\r\nb\u2028c\x1b[2K ") == r"a b c\x1b[2K"


def is_plain(text):
    return all(unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp", "Cn", "Co") for c in text) and not any(
        unicodedata.bidirectional(c) in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI") for c in text
    )


@given(st.text(st.characters()))
def test_of_any_text(text):
    assert is_plain(plain(text))
    assert plain(plain(text)) == plain(text)
    written = plain_json(json.dumps([text], ensure_ascii=False))
    assert is_plain(written)
    assert json.loads(written) == [text]


def test_said_lines_are_lines(capsys):
    say("a\nb", "\x1b[31m", 3)
    say("e\u202e", to=sys.stderr)
    captured = capsys.readouterr()
    assert captured.out == "a\\nb\n\\x1b[31m\n3\n"
    assert captured.err == "e\\u202e\n"
