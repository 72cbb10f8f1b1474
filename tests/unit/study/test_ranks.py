"""``--ranks``: lists, ranges and the default for the size of the images."""

import pytest

from pipeline.errors import UsageError
from pipeline.study.ranks import default_ranks, parse_ranks, select_ranks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5,1,5", (1, 5, 224)),
        ("0", (0, 224)),
        ("224", (224,)),
        ("2:5", (2, 3, 4, 224)),
        ("0:224:100", (0, 100, 200, 224)),
        ("::112", (0, 112, 224)),
        ("220:", (220, 221, 222, 223, 224)),
    ],
)
def test_ranks_end_with_the_image_itself(text: str, expected: tuple[int, ...]) -> None:
    assert select_ranks(parse_ranks(text), 224) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1,x", "'x' is not a whole number"),
        ("", "'' is not a whole number"),
        ("-3", "'-3' is not a whole number"),
        ("1:2:0", "step from 1"),
        ("1:2:3:4", "START:STOP:STEP"),
        ("300", "300 is above the rank of these images, 224"),
        ("5:5", "the range is empty"),
    ],
)
def test_wrong_ranks(text: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        select_ranks(parse_ranks(text), 224)


@pytest.mark.parametrize("side", [1, 8, 32, 33, 64, 96, 224, 299, 384, 512, 1000])
def test_the_default_is_dense_at_low_rank_and_about_forty_ranks(side: int) -> None:
    ranks = default_ranks(side)
    assert (ranks[0], ranks[-1]) == (0, side)
    assert list(ranks) == sorted(set(ranks))
    assert {*range(min(side, 16) + 1)} <= {*ranks}
    if side <= 32:
        assert ranks == tuple(range(side + 1))
    else:
        assert 20 <= len(ranks) <= 55
        assert {20, 28} <= {*ranks}
