"""What people call the parts of a split."""

import pytest

from kinema.motion.formats.split_names import pair, side


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train Training TRAIN trn", "train"),
        ("val valid Validation dev development VAL eval", "validation"),
        ("test Testing tst TEST", "test"),
        ("practice contest strain latest interval", None),
    ],
)
def test_a_word_tells_its_side_however_it_is_written(words, expected):
    assert {side(form) for word in words.split() for form in (word, f" {word} ")} == {expected}


@pytest.mark.parametrize(
    ("names", "name"),
    [
        ("train val", "given"),
        ("training testing", "given"),
        ("trn tst", "given"),
        ("Train Test", "given"),
        ("train dev", "given"),
        ("trainset testset", "given"),
        ("trainval test", "given"),
        ("tr te", "given"),
        ("train1 test1", "split1"),
        ("1_train 1_val", "split1"),
        ("train.1 test.1", "split1"),
        ("train_split1 test_split1", "split1"),
        ("xsub_train xsub_val", "xsub"),
        ("XSUB-TRAIN XSUB-VAL", "XSUB"),
        ("train_x test_x", "x"),
        ("xsubTrain xsubTest", "xsub"),
        ("xsubtrain xsubtest", "xsub"),
        ("x/train x/valid", "x"),
        ("tr_train tr_test", "tr"),
    ],
)
def test_any_pair_is_a_split(names, name):
    train, test = names.split()
    (lists,) = pair([test, train]).values()
    assert list(pair([train, test])) == [name]
    assert (lists.train, lists.validation, lists.test) == ((train,), (), (test,))


@pytest.mark.parametrize("names", ["x_train x_val x_test", "train dev test", "Train Validation Test", "train-1 valid-1 tst-1"])
def test_val_validates_where_a_test_exists(names):
    (lists,) = pair(names.split()).values()
    assert [*lists.train, *lists.validation, *lists.test] == names.split()


def test_every_split_of_a_file_is_found():
    assert sorted(pair("train1 test1 train2 test2 train3 test3".split())) == ["split1", "split2", "split3"]
    found = pair("sub_train sub_test setup_train setup_val train val".split())
    assert {k: (v.train[0], v.test[0]) for k, v in found.items()} == {
        "sub": ("sub_train", "sub_test"),
        "setup": ("setup_train", "setup_val"),
        "given": ("train", "val"),
    }


def test_a_list_without_a_rest_serves_those_that_have_none():
    found = pair("train val test_seen test_unseen".split())
    assert {k: (v.train, v.validation, v.test) for k, v in found.items()} == {
        "seen": (("train",), ("val",), ("test_seen",)),
        "unseen": (("train",), ("val",), ("test_unseen",)),
    }
    assert pair("train_small train_full val test".split())["small"].validation == ("val",)


@pytest.mark.parametrize(
    "names", ["a b", "xsub_train xview_val", "train", "x_val x_test", "interval strain", "contest latest train", ""]
)
def test_what_makes_no_pair_is_no_split(names):
    assert pair(names.split()) == {}


def test_a_word_that_only_ends_like_a_side_does_not_disturb_a_pair():
    assert list(pair("train test contest latest".split())) == ["given"]


def test_a_clip_on_both_sides_tests_and_is_told():
    lists = pair(["x_train", "x_val", "x_test"])["x"]
    assert [lists.side(c) for c in (["x_train"], ["x_val"], ["x_test"], ["y"], [])] == ["train", "validation", "test", None, None]
    assert (lists.side(["x_train", "x_test"]), lists.side(["x_train", "x_val"])) == ("test", "validation")
    assert [lists.overlaps(c) for c in (["x_train", "x_test"], ["x_train", "x_val"], ["x_test", "y_train"])] == [True, False, False]
