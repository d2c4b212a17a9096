"""Cursors, quoting and the size of a page."""

from __future__ import annotations

import pytest

from backupd.project.paging import KeyCursor, PageSize, PositionCursor, quote_name, quote_value


@pytest.mark.parametrize("name", ["id", "Name_2", "select", "order", "limit", "offset", "columns", "on_conflict", "_x"])
def test_quote_name_of_a_plain_name_leaves_it(name: str) -> None:
    """Also names that mean something as a parameter: inside `order` and logic trees they do not."""
    assert quote_name(name) == name


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("and", '"and"'),
        ("or", '"or"'),
        ("not", '"not"'),
        ("Key, One", '"Key, One"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("a.b", '"a.b"'),
        ("größe", '"größe"'),
        ("2nd", '"2nd"'),
        ("a->b", '"a->b"'),
        ("", '""'),
        ("id\n", '"id\n"'),
    ],
)
def test_quote_name_of_any_other_name_quotes_it(name: str, quoted: str) -> None:
    """Whatever PostgREST would read as something else stands in quotes."""
    assert quote_name(name) == quoted


def test_quote_value_escapes_quotes_and_backslashes_alone() -> None:
    """Everything else is literal between the quotes."""
    assert quote_value('a,b."c"\\d(e)*%') == r'"a,b.\"c\"\\d(e)*%"'


def test_key_cursor_at_the_beginning_has_no_conditions() -> None:
    """The first page is the beginning of the table."""
    cursor = KeyCursor(("org", "usr"))
    assert (cursor.conditions, cursor.order) == (None, ("org", "usr"))


def test_key_cursor_of_one_column_asks_for_what_is_greater() -> None:
    """One column needs one comparison."""
    cursor = KeyCursor(("id",)).advance(("1",), ("5",), 5)
    assert cursor.conditions == 'id.gt."5"'


def test_key_cursor_of_two_columns_compares_them_as_a_row() -> None:
    """Greater in the first, or equal there and greater in the second, with a lower bound for the index."""
    cursor = KeyCursor(("org", "usr")).advance(("1", "a"), ("2", "b"), 2)
    assert cursor.conditions == 'and(org.gte."2",or(org.gt."2",and(org.eq."2",usr.gt."b")))'


def test_key_cursor_within_a_large_group_holds_the_leading_columns_equal() -> None:
    """A page full of one organisation shows that more of it is to come."""
    cursor = KeyCursor(("org", "usr")).advance(("7", "a"), ("7", "z"), 64)
    assert (cursor.conditions, cursor.order) == ('and(org.eq."7",usr.gt."z")', ("usr",))


def test_key_cursor_after_a_small_page_of_one_group_does_not_hold_it() -> None:
    """Few rows of one group say nothing: holding it would cost a request for each."""
    assert KeyCursor(("org", "usr")).advance(("7", "a"), ("7", "z"), 63).fixed == 0


def test_key_cursor_at_the_end_of_a_group_goes_on_behind_it() -> None:
    """An empty page within a group is the end of the group, not of the table."""
    held = KeyCursor(("org", "team", "usr")).advance(("7", "1", "a"), ("7", "1", "z"), 64)
    assert held.fixed == 2
    after_team = held.after_empty_page()
    assert after_team is not None
    assert (after_team.conditions, after_team.order) == ('and(org.eq."7",team.gt."1")', ("team", "usr"))
    after_org = after_team.after_empty_page()
    assert after_org is not None
    assert (after_org.conditions, after_org.order) == ('org.gt."7"', ("org", "team", "usr"))


def test_key_cursor_after_an_empty_page_of_the_whole_table_is_done() -> None:
    """That is the end."""
    assert KeyCursor(("id",), ("5",)).after_empty_page() is None


def test_key_cursor_of_equal_first_and_last_keeps_the_last_column_free() -> None:
    """At least one column must move on."""
    assert KeyCursor(("a",)).advance(("1",), ("1",), 100).fixed == 0


def test_position_cursor_after_a_full_page_looks_a_few_pages_ahead() -> None:
    """A range with two ends costs no more than what lies in it."""
    cursor = PositionCursor().advance(("9", "(100,1)"), ("9", "(129,7)"), 1000)
    assert cursor.conditions == 'and(tableoid.eq."9",ctid.gt."(129,7)",ctid.lt."(249,0)")'
    assert cursor.order == ("ctid",)


def test_position_cursor_after_empty_pages_looks_farther_then_to_the_end_then_at_the_next_heap() -> None:
    """A hole in the heap is not its end, and the end of a heap is not that of the table."""
    cursor = PositionCursor(("9", "(129,7)"), blocks=20)
    seen = []
    while (following := cursor.after_empty_page()) is not None:
        cursor = following
        seen.append(cursor.conditions)
    assert seen == [
        'and(tableoid.eq."9",ctid.gt."(129,7)",ctid.lt."(449,0)")',
        'and(tableoid.eq."9",ctid.gt."(129,7)")',
        'tableoid.gt."9"',
    ]
    assert cursor.order == ("tableoid", "ctid")


def test_position_cursor_after_a_page_that_spans_two_heaps_goes_on_in_the_last() -> None:
    """Small partitions come several to a page."""
    cursor = PositionCursor().advance(("9", "(0,1)"), ("11", "(0,2)"), 1000)
    assert cursor.conditions == 'and(tableoid.eq."11",ctid.gt."(0,2)")'


def test_position_cursor_of_an_empty_table_is_done_at_once() -> None:
    """Nothing on the first page means nothing at all."""
    assert PositionCursor().after_empty_page() is None


def test_position_cursor_near_the_last_block_stays_in_range() -> None:
    """There are fewer than 2**32 blocks in a heap."""
    cursor = PositionCursor(("9", "(4294967290,1)"), blocks=1000)
    assert str(cursor.conditions).endswith('ctid.lt."(4294967294,0)")')


def test_page_size_begins_small_and_grows_to_the_most_rows() -> None:
    """The width of a row is not known before one was seen."""
    size = PageSize(most_rows=1000)
    seen = []
    for _ in range(4):
        seen.append(size.rows)
        size.received(size.rows, size.rows * 100)
    assert seen == [100, 400, 1000, 1000]


def test_page_size_of_wide_rows_fits_the_target() -> None:
    """Rows of 1 MiB come four at a time with a target of 4 MiB."""
    size = PageSize(most_rows=1000)
    size.received(100, 100 << 20)
    assert size.rows == 4


def test_page_size_of_a_row_wider_than_the_target_is_one() -> None:
    """There is no page without a row."""
    size = PageSize(most_rows=1000)
    size.received(1, 50 << 20)
    assert size.rows == 1


def test_page_size_after_an_empty_page_stays() -> None:
    """An empty page says nothing of widths and must not divide by nothing."""
    size = PageSize(most_rows=1000, rows=1000)
    size.received(0, 2)
    assert size.rows == 1000


def test_page_size_after_a_timeout_is_halved_and_stays_there_for_a_while() -> None:
    """The server's limit is not tried again with the next page."""
    size = PageSize(most_rows=1000, rows=1000)
    assert size.timed_out()
    sizes = []
    for _ in range(9):
        size.received(size.rows, 100)
        sizes.append(size.rows)
    assert sizes[:7] == [500] * 7
    assert sizes[7:] == [750, 750]


def test_page_size_timing_out_again_waits_twice_as_long() -> None:
    """Trying in vain becomes rare."""
    size = PageSize(most_rows=1000, rows=1000, patience=2)
    size.timed_out()
    size.timed_out()
    sizes = []
    for _ in range(4):
        size.received(size.rows, 100)
        sizes.append(size.rows)
    assert sizes == [250, 250, 250, 375]


def test_page_size_of_one_row_cannot_shrink() -> None:
    """Then the row itself is the trouble."""
    size = PageSize(most_rows=1)
    assert not size.timed_out()
    assert not size.too_wide()


def test_page_size_too_wide_shrinks_to_an_eighth() -> None:
    """A body beyond memory is far from the target."""
    size = PageSize(most_rows=1000)
    assert size.too_wide()
    assert size.rows == 12


def test_page_size_never_exceeds_the_most_rows() -> None:
    """A configured page of ten rows is never larger, from the first on."""
    size = PageSize(most_rows=10)
    size.received(10, 100)
    assert size.rows == 10
