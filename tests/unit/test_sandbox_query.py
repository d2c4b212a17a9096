"""The query parser: PostgREST's query strings as a tree."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from backupd.sandbox.answers import Refusal
from backupd.sandbox.query import Filter, Logic, Order, Query, Selected, parse_query


def _query(**parameters: str) -> Query:
    return parse_query(urlencode(parameters))


def test_query_without_parameters_selects_everything() -> None:
    """An empty query string means all columns and all rows."""
    assert parse_query("") == Query(select=(Selected(None),))


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("*", (Selected(None),)),
        ("id,name", (Selected("id"), Selected("name"))),
        ("ctid,*", (Selected("ctid"), Selected(None))),
        (' id , "Key, ""One', None),
        ('"Key, One"', (Selected("Key, One"),)),
        ("total:amount", (Selected("amount", alias="total"),)),
        ("amount::text", (Selected("amount", cast="text"),)),
        ("t:amount::numeric,id", (Selected("amount", alias="t", cast="numeric"), Selected("id"))),
        (r'"a\"b\\c"', (Selected('a"b\\c'),)),
    ],
)
def test_select_item_is_read(text: str, selected: tuple[Selected, ...] | None) -> None:
    """Names, quoted names, aliases, casts and system columns are told apart; open quotes are refused."""
    if selected is None:
        with pytest.raises(Refusal, match="failed to parse select parameter"):
            _query(select=text)
    else:
        assert _query(select=text).select == selected


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("id", (Order("id"),)),
        ("org.asc,usr.desc", (Order("org", "ASC"), Order("usr", "DESC"))),
        ("at.desc.nullslast", (Order("at", "DESC", "NULLS LAST"),)),
        ("at.nullsfirst", (Order("at", "", "NULLS FIRST"),)),
        ('"Key, One".desc', (Order("Key, One", "DESC"),)),
        ("Key, One", (Order("Key"), Order("One"))),
    ],
)
def test_order_term_is_read(text: str, order: tuple[Order, ...]) -> None:
    """Direction and nulls are optional; a comma outside quotes starts the next term."""
    assert _query(order=text).order == order


@pytest.mark.parametrize(
    ("key", "value", "condition"),
    [
        ("id", "gt.5", Filter("id", "gt", "5")),
        ("usr", "gt.a,b)", Filter("usr", "gt", "a,b)")),
        ("usr", 'eq."x"', Filter("usr", "eq", '"x"')),
        ("usr", "eq.", Filter("usr", "eq", "")),
        ("ctid", "gt.(0,5)", Filter("ctid", "gt", "(0,5)")),
        ("at", "gte.2026-11-22T03:00:00.000004+00:00", Filter("at", "gte", "2026-11-22T03:00:00.000004+00:00")),
        ("id", "not.eq.1", Filter("id", "eq", "1", negated=True)),
        ("id", "is.null", Filter("id", "is", "null")),
        ("id", "not.is.null", Filter("id", "is", "null", negated=True)),
        ("id", "in.(1,2)", Filter("id", "in", ("1", "2"))),
        ("id", 'in.("a,b",c)', Filter("id", "in", ("a,b", "c"))),
        ("id", "in.()", Filter("id", "in", ())),
        ("id", "isdistinct.3", Filter("id", "isdistinct", "3")),
        ('"Key, One"', "lt.b", Filter("Key, One", "lt", "b")),
        ('"select"', "eq.1", Filter("select", "eq", "1")),
    ],
)
def test_filter_is_read(key: str, value: str, condition: Filter) -> None:
    """The value of a plain filter runs to its end, quotes and all; only lists know quotes."""
    assert _query(**{key: value}).where == (condition,)


def test_filter_given_twice_keeps_both() -> None:
    """Two filters on one column make a range."""
    assert parse_query("id=gt.3&id=lte.6").where == (Filter("id", "gt", "3"), Filter("id", "lte", "6"))


@pytest.mark.parametrize(
    ("key", "value", "condition"),
    [
        ("or", "(a.eq.1,b.gt.2)", Logic("or", (Filter("a", "eq", "1"), Filter("b", "gt", "2")))),
        ("not.and", "(a.eq.1)", Logic("and", (Filter("a", "eq", "1"),), negated=True)),
        (
            "or",
            '(org.gt."1",and(org.eq."1",usr.gt."a,b)"))',
            Logic(
                "or",
                (
                    Filter("org", "gt", "1"),
                    Logic("and", (Filter("org", "eq", "1"), Filter("usr", "gt", "a,b)"))),
                ),
            ),
        ),
        (
            "and",
            "(not.or(a.is.null,b.not.eq.x),c.in.(1,2))",
            Logic(
                "and",
                (
                    Logic("or", (Filter("a", "is", "null"), Filter("b", "eq", "x", negated=True)), negated=True),
                    Filter("c", "in", ("1", "2")),
                ),
            ),
        ),
        ("or", r'(k.eq."a\"q\\")', Logic("or", (Filter("k", "eq", 'a"q\\'),))),
        ("or", '("Key, One".gt."a.b")', Logic("or", (Filter("Key, One", "gt", "a.b"),))),
        ("or", "(tags.cs.{a,b},n.eq.1)", Logic("or", (Filter("tags", "cs", "{a,b}"), Filter("n", "eq", "1")))),
        ("or", '(k.eq."")', Logic("or", (Filter("k", "eq", ""),))),
        ("or", '(k.eq."a"b)', Logic("or", (Filter("k", "eq", '"a"b'),))),
    ],
)
def test_logic_tree_is_read(key: str, value: str, condition: Logic) -> None:
    """Trees nest, and in a tree quotes protect commas, parentheses, quotes and backslashes."""
    assert _query(**{key: value}).where == (condition,)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "zz.1"),
        ("id", "5"),
        ("id", "is.sometimes"),
        ("id", "in.1,2"),
        ("id", "in.(1,2"),
        ("or", "(id.gt.1"),
        ("or", "id.gt.1"),
        ("or", "(id.gt.1)x"),
        ("or", "()"),
        ("order", "id.sideways"),
        ("select", "id,"),
        ("select", "orgs(name)"),
        ("Key, One", "eq.1"),
    ],
)
def test_query_malformed_is_refused(key: str, value: str) -> None:
    """What PostgREST cannot parse is refused with its code, not guessed at."""
    with pytest.raises(Refusal) as caught:
        _query(**{key: value})
    assert (caught.value.status, caught.value.code) == (400, "PGRST100")


def test_query_limit_and_offset_are_read() -> None:
    """Limit and offset are numbers; a limit that is none is ignored, as PostgREST does."""
    assert (_query(limit="5", offset="10").limit, _query(limit="5", offset="10").offset) == (5, 10)
    assert _query(limit="many").limit is None


def test_query_columns_and_on_conflict_are_read() -> None:
    """The names a write is about are lists of columns."""
    query = _query(columns='org,"Key, One"', on_conflict="org,k")
    assert (query.columns, query.on_conflict) == (("org", "Key, One"), ("org", "k"))
