"""Lines of a list of samples: the fast reader of the usual form, against the parser of JSON."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.verification import listings

_LINE = b'{"key": "train-00000012", "label": 3, "name": "cats/one.png"}\n'
_PIECES = st.sampled_from([*b'"\\{},: -0123456789/\n\x00\x7f\x80', *b"aeklmnrtuy"])


@given(st.lists(st.tuples(st.integers(0, len(_LINE) - 1), st.booleans(), st.lists(_PIECES, max_size=3)), max_size=3))
@example([(10, True, [*b'"'])])
@example([(21, True, [*b"00"]), (34, True, [*b"0"])])
@example([(21, True, [*b"1"]), (34, True, [*b"2147483648"])])
def test_the_fast_reader_of_lines_reads_what_the_json_parser_reads(
    changes: list[tuple[int, bool, list[int]]],
) -> None:
    line = bytearray(_LINE)
    for at, keep, more in changes:
        line[at : at + (not keep)] = bytes(more)
    for split in ("train", 'tra"in', "train-1"):
        with pytest.MonkeyPatch.context() as patch:
            fast = line_or_error(bytes(line), split)
            patch.setattr(listings, "_PLAIN", re.compile(b"(?!)"))
            assert line_or_error(bytes(line), split) == fast


def line_or_error(line: bytes, split: str) -> Any:
    try:
        return listings._line(line, split, 12)
    except listings.BadLine as error:
        return str(error)
