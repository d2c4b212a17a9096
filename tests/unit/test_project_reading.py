"""Whether the rows that came can be the whole table."""

from __future__ import annotations

import pytest

from backupd.model import Count, Paging, TableStatus
from backupd.project.reading import judge

COMPLETED, INCOMPLETE = TableStatus.COMPLETED, TableStatus.INCOMPLETE


def exact(rows: int) -> Count:
    """A count to rely on."""
    return Count(rows, exact=True)


def estimate(rows: int) -> Count:
    """The planner's idea."""
    return Count(rows, exact=False)


@pytest.mark.parametrize(
    ("received", "before", "after", "status"),
    [
        (10, 10, 10, COMPLETED),
        (0, 0, 0, COMPLETED),
        (9, 10, 10, INCOMPLETE),
        (11, 10, 10, INCOMPLETE),
        (10, 10, 12, COMPLETED),
        (11, 10, 12, COMPLETED),
        (12, 10, 12, COMPLETED),
        (13, 10, 12, INCOMPLETE),
        (9, 10, 12, INCOMPLETE),
        (9, 10, 8, COMPLETED),
        (7, 10, 8, INCOMPLETE),
    ],
)
def test_judge_by_two_exact_counts_allows_what_lies_between(
    received: int, before: int, after: int, status: TableStatus
) -> None:
    """Without writes all three are equal; with writes the truth lies between."""
    outcome = judge(received, exact(before), exact(after), Paging.KEY)
    assert (outcome.status, outcome.message is None) == (status, status is COMPLETED)


@pytest.mark.parametrize(
    ("received", "before", "after", "status"),
    [
        (9, exact(10), None, INCOMPLETE),
        (10, exact(10), None, COMPLETED),
        (11, exact(10), estimate(3), COMPLETED),
        (9, estimate(3), exact(10), INCOMPLETE),
        (9, estimate(1000), estimate(1000), COMPLETED),
        (9, None, None, COMPLETED),
    ],
)
def test_judge_by_less_than_two_exact_counts_is_content_with_enough_and_says_so(
    received: int, before: Count | None, after: Count | None, status: TableStatus
) -> None:
    """Fewer rows than an exact count are too few; an estimate may be years old."""
    outcome = judge(received, before, after, Paging.KEY)
    assert outcome.status is status
    assert ("no exact count" in (outcome.warning or "")) == (status is COMPLETED)


@pytest.mark.parametrize("paging", [Paging.CTID, Paging.OFFSET])
def test_judge_of_a_table_without_a_key_warns(paging: Paging) -> None:
    """A row that moves may be missed while another is doubled: the counts would not tell."""
    assert "no primary key" in str(judge(5, exact(5), exact(5), paging).warning)


def test_judge_of_an_empty_table_without_a_key_says_nothing() -> None:
    """There was nothing to miss."""
    assert judge(0, exact(0), exact(0), Paging.CTID).warning is None


def test_judge_of_a_table_that_shrank_to_less_than_half_warns() -> None:
    """It may have been emptied by mistake, and the backup holds less than the last."""
    assert "shrank while it was read" in str(judge(60, exact(100), exact(49), Paging.KEY).warning)
    assert judge(60, exact(100), exact(50), Paging.KEY).warning is None
