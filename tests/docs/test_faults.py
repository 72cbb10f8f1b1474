"""The table in docs/faults.md names a test for each fault, and the test exists."""

import re

from tests.docs.conftest import DOCUMENTS, ROOT


def test_every_fault_names_a_test_that_exists() -> None:
    rows = re.findall(
        r"^\|(.+)\|$", DOCUMENTS["docs/faults.md"].read_text().partition("## Faults and their tests")[2], re.M
    )
    table = [cells for row in rows if len(cells := row.split(" | ")) == 4][1:]
    assert len(table) > 25
    for fault, _, _, tests in table:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", tests)
        assert named, f"no test: {fault}"
        for file, test in named:
            assert f"\ndef {test}(" in (ROOT / "tests" / file).read_text(), f"{file} has no {test}"
