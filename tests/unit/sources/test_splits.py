"""Names of splits are recognised as Hugging Face datasets recognises them."""

import pytest

from pipeline.sources.splits import exact_split, in_order, in_source, splits_in


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("train", ["train"]),
        ("Training", ["train"]),
        ("VAL", ["val"]),
        ("valid", ["val"]),
        ("dev", ["val"]),
        ("validation", ["validation"]),
        ("testing", ["test"]),
        ("eval", ["test"]),
        ("Evaluation", ["test"]),
        ("seg_train", ["train"]),
        ("train2017", ["train"]),
        ("2017train", ["train"]),
        ("my-data.test-v2", ["test"]),
        ("train_val", ["train", "val"]),
        ("testing-eval", ["test"]),
        ("trainer", []),
        ("latest", []),
        ("trainval", []),
        ("developer", []),
        ("cat", []),
        ("", []),
    ],
)
def test_keywords_are_found_between_delimiters(name, splits):
    assert splits_in(name) == splits


def test_only_a_whole_name_is_exact():
    assert exact_split("Valid") == "val"
    assert exact_split("valid_1") is None


@pytest.mark.parametrize(
    ("asked", "splits", "split"),
    [
        ("valid", ["train", "val"], "val"),
        ("Training", ["train"], "train"),
        ("validation", ["validation", "val"], "validation"),
        ("dev", ["train"], "dev"),
        ("nonsense", ["train"], "nonsense"),
    ],
)
def test_the_user_may_ask_for_a_split_by_another_name(asked, splits, split):
    assert in_source(asked, splits) == split


def test_splits_are_built_in_one_order():
    assert in_order({"test", "validation", "train", "val"}) == ["train", "val", "validation", "test"]
