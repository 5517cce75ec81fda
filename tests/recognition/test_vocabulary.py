"""Numbers of classes mean the same whichever files they came from, or carry the names that say what they mean."""

from hypothesis import given
from hypothesis import strategies as st

from kinema.recognition.vocabulary import labels_of

CLASSES = ("clap", "jump", "salto\u0300", "wave")


@given(
    st.lists(st.tuples(st.none() | st.integers(0, 9), st.none() | st.sampled_from([*CLASSES, "bow", "salt\u00f2"])), max_size=12)
)
def test_a_number_is_the_place_of_the_name(told):
    found = labels_of(told, CLASSES)
    assert found.classes == CLASSES
    assert len(found.numbers) == len(found.names) == len(told)
    for (label, name), number, called in zip(told, found.numbers.tolist(), found.names, strict=True):
        if number >= 0:
            assert CLASSES[number] == called
        if name is None:
            assert number == (label if label is not None and label < len(CLASSES) else -1)
        elif name == "bow":
            assert (number, called) == (-1, "bow")
        else:
            assert number == {"clap": 0, "jump": 1, "wave": 3}.get(name, 2)


@given(st.sets(st.integers(0, 19), min_size=1), st.sets(st.integers(0, 19), min_size=1))
def test_two_subsets_agree(first, second):
    names = [f"class {i % 4}" for i in range(20)]
    vocabulary = sorted(set(names))
    numbers = [
        dict(zip(rows, labels_of([(7, names[i]) for i in rows], vocabulary).numbers.tolist(), strict=True))
        for rows in (first, second)
    ]
    assert all(numbers[0][i] == numbers[1][i] for i in first & second)


def test_what_is_found_is_the_vocabulary_where_there_is_none():
    found = labels_of([(0, "wave"), (1, "clap"), (None, None), (1, "wave")], None)
    assert (found.classes, found.numbers.tolist(), found.names) == (("clap", "wave"), [1, 0, -1, 1], ("wave", "clap", "", "wave"))
    bare = labels_of([(4, None), (None, None)], None)
    assert (bare.classes, bare.numbers.tolist(), bare.names) == ((), [4, -1], ("", ""))
    assert "1 clip" in bare.remarks[0]


def test_what_is_strange_is_said():
    found = labels_of([(None, "bow"), (0, "run"), (0, "clap")], CLASSES)
    assert found.remarks == ("not among the classes, so without a number: bow, run",)
    many = labels_of([(None, f"class {i}") for i in range(9)], CLASSES)
    assert many.remarks[0].endswith("class 4 and 4 more")
