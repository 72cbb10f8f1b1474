"""``Names`` holds any texts in little memory, and gives back what it was made from."""

import json
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.names import Names

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=12)


@given(texts)
def test_names_are_the_texts(expected: list[str]) -> None:
    names = Names.of(expected)
    assert len(names) == len(expected)
    assert list(names) == expected and names == expected
    assert [names[i] for i in range(len(expected))] == expected
    assert [names[-i - 1] for i in range(len(expected))] == expected[::-1]
    assert names[1:3] == expected[1:3]
    assert pickle.loads(pickle.dumps(names)) == expected
    assert names.joined == "\0".join(expected).encode()


@given(texts, st.data())
def test_taken_names_are_those_at_the_places(expected: list[str], data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=20)) if expected else []
    taken = Names.of(expected).take(np.array(places, np.int64))
    assert list(taken) == [expected[place] for place in places]
    assert taken.joined == "\0".join(expected[place] for place in places).encode()


@given(texts)
def test_simple_names_need_no_escapes_in_json(expected: list[str]) -> None:
    needs_none = all(json.dumps(text) == f'"{text}"' for text in expected)
    assert Names.of(expected).simple() == needs_none


def test_bytes_that_are_no_text_survive() -> None:
    name = b"\xff\xfe.png".decode("utf-8", "surrogateescape")
    assert list(Names.of([name, "a"])) == [name, "a"]


def test_joined_names_are_split_at_nul() -> None:
    assert list(Names(b"a\0bc\0")) == ["a", "bc", ""]
    assert list(Names(b"")) == []


def test_names_that_differ_are_not_equal() -> None:
    assert Names.of(["a", "b"]) != ["a", "c"] and Names.of(["a"]) != ["a", "b"] and Names.of(["1"]) != [1]


def test_a_place_beyond_the_end_is_an_error() -> None:
    with pytest.raises(IndexError):
        Names.of(["a"])[1]


def test_a_name_costs_its_bytes_and_eight_more() -> None:
    tracemalloc.start()
    try:
        names = Names(b"\0".join(b"n01440764/n01440764_%05d.JPEG" % n for n in range(50_000)))
        assert tracemalloc.get_traced_memory()[0] < 50_000 * (31 + 8) + 10_000
        assert len(names) == 50_000
    finally:
        tracemalloc.stop()
