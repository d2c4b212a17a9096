"""Rows on their way: taken apart without being decoded, put into batches, spelled alike."""

from __future__ import annotations

import re

import pytest

from backupd.errors import ArchiveError
from backupd.model import TableName
from backupd.restore.compare import Spelling, multiset
from backupd.restore.follow_up import follow_up_sql
from backupd.restore.loading import BatchSize, batches
from backupd.restore.members import described, members, rebuilt


@pytest.mark.parametrize(
    "value", [b"12345678901234.123456000", b"1" * 500, b'"\\ud800"', b'{"b" : 1,"b":2}', b"null", b'"\\u00fc"']
)
def test_member_keeps_its_text_to_the_byte(value: bytes) -> None:
    """Also what a strict parser refuses and a json column may hold."""
    row = b'{"id":1, "v" :' + value + b' ,"w":[]}'
    assert members(row) == {"id": b"1", "v": value, "w": b"[]"}
    assert rebuilt(row, ("w", "v")) == b'{"w":[],"v":' + value + b"}"


@pytest.mark.parametrize("row", [b"[1]", b'{"a":', b"", b'{"a" 1}', b'{"a":"\\ud800"'])
def test_row_that_is_no_object_is_an_error_that_shows_it(row: bytes) -> None:
    """Cut, or something else."""
    with pytest.raises(ArchiveError, match=re.escape("not a JSON object that can be taken apart")):
        members(row)


def test_row_described_shows_its_key_or_its_beginning() -> None:
    """Never more than a line can hold."""
    assert described(b'{"id":7,"v":"x"}', ("id",)) == "id=7"
    assert described(b'{"v":"' + b"x" * 900 + b'"}', ()).endswith("x…")


def test_batches_are_about_as_large_as_they_may_be() -> None:
    """A wider row goes alone; every row goes once."""
    size = BatchSize()
    size.bytes = 10
    rows = [b"aaaa", b"bbbb", b"cccc", b"d" * 50, b"e"]
    made = list(batches(enumerate(rows), size))
    assert [[row for _, row in batch.rows] for batch in made] == [
        [b"aaaa", b"bbbb"], [b"cccc"], [b"d" * 50], [b"e"]
    ]  # fmt: skip
    assert [batch.end for batch in made] == [2, 3, 4, 5]


def test_batch_that_must_be_whole_is_one() -> None:
    """Whatever its size."""
    size = BatchSize()
    size.bytes = 1
    assert len(list(batches(enumerate([b"aa", b"bb"]), size, whole=True))) == 1


def test_batch_size_shrinks_at_once_and_grows_slowly() -> None:
    """Up to where it began."""
    size = BatchSize()
    largest = size.bytes
    size.too_much()
    assert size.bytes == largest // 2
    for _ in range(15):
        size.was_right()
    assert size.bytes == largest // 2
    for _ in range(40):
        size.was_right()
    assert size.bytes == largest


def test_spelling_of_the_targets_rows_is_the_archives() -> None:
    """Another order of columns, a column more, and a line break in a json column."""
    archived = [b'{"a":1,"doc":{"x": 1,  "y":2}}']
    found = [b'{"doc":{"x": 1, \n"y":2},"new":null,"a":1}']
    spelling = Spelling(("a", "doc"))
    assert list(spelling.found(found)) == archived
    assert multiset(spelling.found(found)) == multiset(archived)


def test_multiset_counts_how_often_a_row_is_there() -> None:
    """Twice is not once, and the order does not matter."""
    assert multiset([b"a", b"b", b"a"]) == multiset([b"a", b"a", b"b"])
    assert multiset([b"a", b"b", b"a"]) != multiset([b"a", b"b", b"b"])


def test_sql_for_afterwards_quotes_every_name() -> None:
    """`order` is a table too, and names may hold quotes of both kinds."""
    name = TableName("public", 'it\'s "an" order')
    sql = follow_up_sql([name], [(name, "group")])
    assert 'ALTER TABLE "public"."it\'s ""an"" order" ALTER COLUMN "group" SET GENERATED ALWAYS;' in sql
    assert 'array[\'"public"."it\'\'s ""an"" order"\']::regclass[]' in sql
    assert follow_up_sql([]) == ""
