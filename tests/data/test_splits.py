import numpy as np
import pytest
from fake_format import clip
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.datasets import DATASETS, SplitRule, dataset
from kinema.data.splits import check, split, splits, subset
from kinema.data.store import Entry, Store
from kinema.errors import UserError
from kinema.motion.formats import FORMATS
from kinema.motion.formats.ntu import MISSING_60, MISSING_120, parse_name
from kinema.motion.skeletons import KINECT20, SKELETONS


def store(tmp_path, count=60, subjects=6, dataset=None, **more):
    clips = [
        (
            f"c{i}",
            clip(i, label=i % 3, subject=None if subjects is None else str(i % subjects), **{k: v(i) for k, v in more.items()}),
        )
        for i in range(count)
    ]
    return Store.write(tmp_path / "s", clips, name="mine", dataset=dataset)


def sound(s):
    assert np.array_equal(np.union1d(s.fit, s.validation), s.train)
    assert not set(s.fit) & set(s.validation)
    assert not set(s.train) & set(s.test)
    assert len(s.fit)
    assert all(part.dtype == np.int64 and (np.diff(part) > 0).all() for part in (s.train, s.test, s.fit, s.validation))


def test_user_data_is_split_by_its_column(tmp_path):
    sides = ["train", "train", "test", "validation", None]
    s = store(tmp_path, meta=lambda i: {"split": sides[i % 5]} if sides[i % 5] else {})
    assert splits(s) == ["given"]
    found = split(s, "given")
    sound(found)
    assert set(found.test % 5) == {2}
    assert set(found.validation % 5) == {3}
    assert len(found.train) == 36


def test_user_data_without_a_column_is_split_by_class(tmp_path):
    s = store(tmp_path, subjects=None)
    assert splits(s) == ["random"]
    found = split(s, "random")
    sound(found)
    assert [int((s.labels[found.test] == c).sum()) for c in range(3)] == [4, 4, 4]
    assert [int((s.labels[found.validation] == c).sum()) for c in range(3)] == [3, 3, 3]
    again = split(Store.open(s.folder), "random")
    assert np.array_equal(found.fit, again.fit)


def test_whole_subjects_validate(tmp_path):
    s = store(tmp_path, count=66, subjects=11, meta=lambda i: {"split": "test" if i % 11 == 0 else "train"})
    found = split(s, "given")
    sound(found)
    held = {s.entries[i].subject for i in found.validation}
    assert not held & {s.entries[i].subject for i in found.fit}
    assert 0.15 <= len(found.validation) / len(found.train) <= 0.2 or len(held) == 1


def test_a_subject_who_alone_shows_a_class_is_not_held_out(tmp_path):
    s = store(
        tmp_path, subjects=6, meta=lambda i: {"split": "test" if i > 50 else "train"}
    )  # label is subject % 3: two subjects a class
    clips = [(e.id, s.clip(i).with_(label=i % 6)) for i, e in enumerate(s.entries)]
    s = Store.write(tmp_path / "t", clips, name="x")
    found = split(s, "given")
    sound(found)
    assert set(s.labels[found.fit]) == set(range(6))
    assert len(found.validation)


def test_carried_splits_are_found(tmp_path):
    s = store(tmp_path, meta=lambda i: {"splits": ["xsub_train" if i % 2 else "xsub_val", "xview_val" if i % 3 else "xview_train"]})
    assert splits(s) == ["xsub", "xview"]
    found = split(s, "xsub")
    sound(found)
    assert set(found.test % 2) == {0}


@pytest.mark.parametrize("lists", [("train", "val"), ("train1", "test1"), ("training", "testing"), ("Train-x", "Test-x")])
def test_two_lists_of_any_usual_names_are_a_split_that_validates_by_a_draw(tmp_path, lists):
    s = store(tmp_path, meta=lambda i: {"splits": [lists[i % 3 == 0]]})
    (name,) = splits(s)
    found = split(s, name)
    sound(found)
    assert set(found.test % 3) == {0}
    assert 0 < len(found.validation) < len(found.fit)
    assert check(s) == []


def test_the_validation_list_validates_and_the_test_list_alone_tests(tmp_path):
    sides = ["x_train", "x_train", "x_val", "x_test"]
    s = store(tmp_path, meta=lambda i: {"splits": [sides[i % 4]]})
    assert splits(s) == ["x"]
    found = split(s, "x")
    sound(found)
    assert (set(found.validation % 4), set(found.test % 4), set(found.fit % 4)) == ({2}, {3}, {0, 1})


def test_lists_without_a_pair_leave_the_random_split_and_are_told(tmp_path):
    s = store(tmp_path, meta=lambda i: {"splits": ["easy" if i % 2 else "xsub_val"]})
    assert splits(s) == ["random"]
    sound(split(s, "random"))
    (line,) = check(s)
    assert "easy, xsub_val" in line
    assert "'random'" in line


def test_clips_on_both_sides_of_a_split_only_test_and_are_told(tmp_path):
    s = store(tmp_path, meta=lambda i: {"splits": ["train"] if i < 40 else ["test"] if i > 42 else ["train", "test"]})
    found = split(s, "given")
    sound(found)
    assert found.test.tolist() == list(range(40, 60))
    (line,) = check(s)
    assert "split given: 3 clips train and test; they only test: c40, c41, c42" in line
    with pytest.raises(UserError, match="3 clips train and test"):
        check(s, strict=True)


def test_labels_that_leave_most_classes_empty_are_told(tmp_path):
    s = Store.write(tmp_path / "s", [(f"c{i}", clip(i, label=5000 if i == 3 else i % 3)) for i in range(12)], name="mine")
    (line,) = check(s)
    assert "4997 of 5001 classes have no clip" in line


def test_a_column_that_tests_nothing_tests_what_validates(tmp_path):
    s = store(tmp_path, meta=lambda i: {"split": "validation" if i % 5 == 0 else "train"})
    found = split(s, "given")
    sound(found)
    assert set(found.test % 5) == {0}
    assert 0 < len(found.validation) < len(found.fit)
    other = Store.write(
        tmp_path / "t", [(e.id, s.clip(i).with_(meta={"split": "train"})) for i, e in enumerate(s.entries)], name="t"
    )
    assert splits(other) == ["random"]


def test_an_unknown_split_names_the_close_ones(tmp_path):
    s = store(tmp_path, meta=lambda i: {"splits": ["xsub_train" if i % 2 else "xsub_val"]})
    with pytest.raises(UserError, match="did you mean xsub"):
        split(s, "xsbu")


def test_too_few_clips_to_draw_a_split_are_told(tmp_path):
    s = Store.write(tmp_path / "s", [(str(i), clip(i, label=i % 4)) for i in range(8)], name="mine", classes=tuple("abcd"))
    with pytest.raises(UserError, match="cannot be drawn: the largest class has 2 clips"):
        split(s, "random")


def test_incomplete_data_is_told(tmp_path):
    s = Store.write(
        tmp_path / "s",
        [(str(i), clip(i, view="1", label=0)) for i in range(4)],
        name="nw-ucla",
        dataset="nw-ucla",
        classes=("a",) * 10,
    )
    with pytest.raises(UserError, match="0 test clips"):
        split(s, "view")
    assert check(s) == ["nw-ucla: 4 clips; Northwestern-UCLA Multiview Action 3D has 1484",
                        "nw-ucla: split view has 4 / 0 clips; expected 1020 / 464"]  # fmt: skip
    with pytest.raises(UserError, match="1484"):
        check(s, strict=True)


@pytest.mark.parametrize("ratio", [0.01, 0.05, 0.1, 0.2, 1.0])
def test_a_subset_has_the_published_size(tmp_path, ratio):
    whole = split(store(tmp_path, subjects=None), "random")
    part = subset(whole, ratio, seed=1)
    sound(part)
    assert len(part.train) == max(int(len(whole.train) * ratio), 1)
    assert set(part.train) <= set(whole.train)
    assert set(part.validation) <= set(whole.validation)
    assert np.array_equal(part.train, subset(whole, ratio, seed=1).train)


def test_a_stratified_subset_has_every_class(tmp_path):
    s = store(tmp_path, subjects=None)
    part = subset(split(s, "random"), 0.01, seed=1, labels=s.labels)
    assert sorted(s.labels[part.train]) == [0, 1, 2]
    with pytest.raises(UserError, match="ratio 0"):
        subset(split(s, "random"), 0, seed=1)


@settings(max_examples=25, deadline=None)
@given(labels=st.lists(st.integers(0, 3), min_size=2, max_size=30), subjects=st.integers(1, 8))
def test_every_split_is_sound(tmp_path_factory, labels, subjects):
    folder = tmp_path_factory.mktemp("s")
    clips = [
        (str(i), clip(i, frames=1, label=c, subject=str(i % subjects), meta={"split": "test" if i == 0 else "train"}))
        for i, c in enumerate(labels)
    ]
    found = split(Store.write(folder / "s", clips, name="x"), "given")
    sound(found)
    assert len(found.validation) or len(found.train) == 1


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_complete(name):
    known = DATASETS[name]
    assert dataset(name) is known
    assert known.format in FORMATS
    if known.classes or known.skeleton:  # otherwise the list and the files tell
        assert known.skeleton in SKELETONS
        assert len(set(known.classes)) == len(known.classes) > 1
    assert known.splits
    for rule in known.splits.values():
        assert rule.labels is None or max(rule.labels) < len(known.classes)
        assert rule.counts is None or rule.labels is not None or sum(rule.counts) == known.clips
    assert known.source
    assert known.licence


def entry(name):
    fields = parse_name(name).clip_fields(name)
    return Entry(name, 1, 1, 30.0, **fields)


def test_ntu_clips_fall_on_the_published_sides():
    one = entry("S001C001P001R001A001")
    assert DATASETS["ntu60"].splits["xsub"].side(one) == "train"
    assert DATASETS["ntu60"].splits["xview"].side(one) == "test"
    assert DATASETS["ntu120"].splits["xset"].side(one) == "test"
    assert DATASETS["ntu120"].splits["xset"].side(entry("S018C001P003R001A061")) == "train"
    assert DATASETS["ntu120"].splits["xsub"].side(entry("S018C001P003R001A061")) == "test"
    assert DATASETS["ntu120"].splits["xsub"].side(entry("S018C001P045R001A061")) == "train"


def test_ntu_leaves_out_what_its_authors_list():
    small, large = DATASETS["ntu60"].keep, DATASETS["ntu120"].keep
    assert small("nturgb+d_skeletons/S001C001P001R001A001")
    assert not small("S018C001P001R001A061")
    assert large("S018C001P001R001A061")
    assert not any(small(n) for n in MISSING_60)
    assert not any(large(n) for n in MISSING_120)
    assert not small("notes")


def test_pku_clips_fall_where_the_split_files_say():
    rule = DATASETS["pku-mmd-1"].splits["xsub"]
    assert rule.side(Entry("a", 1, 1, 30.0, meta={"train_cross_subject": True})) == "train"
    assert rule.side(Entry("a", 1, 1, 30.0, meta={"train_cross_subject": False})) == "test"
    assert rule.side(Entry("a", 1, 1, 30.0)) is None


def test_a_rule_without_its_fact_takes_no_part():
    rule = SplitRule("camera", frozenset({"1"}))
    assert rule.side(Entry("a", 1, 1, 30.0)) is None
    assert rule.side(Entry("a", 1, 1, 30.0, meta={"camera": 1})) == "train"
    both = SplitRule("view", frozenset({"1"}), frozenset({"3"}))
    assert both.side(Entry("a", 1, 1, 30.0, view="2")) is None
    three = DATASETS["wlasl100"].splits["official"]
    sides = ("train", "validation", "test")
    assert [three.side(Entry("a", 1, 1, 30.0, meta={"split": s})) for s in (*sides, "other")] == [*sides, None]
    assert KINECT20.name == DATASETS["nw-ucla"].skeleton
