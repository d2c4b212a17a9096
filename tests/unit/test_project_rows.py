"""Rows cut out of a page to the byte."""

from __future__ import annotations

import pytest

from backupd.project.rows import (
    MalformedPage,
    NotALiteral,
    TooDeep,
    key_of,
    split_rows,
    take_position,
)

LONE_SURROGATE = rb'{"id":1,"doc":"\ud800"}'
LONG_NUMBER = b'{"id":' + b"9" * 400 + b"}"
SMALL = rb'[{"id":1,"t":"a\"]}"}, ' + b"\n" + ' {"id":2.50,"j":{"x":[1, {}],"y":"é"}}]'.encode()
SMALL_SLOW = rb'[{"id":1,"t":"\ud800]}"}, ' + b"\n" + rb' {"id":2.50,"j":[null,true]}]'


def split(body: bytes) -> list[bytes]:
    """The rows as bytes."""
    return [bytes(row) for row in split_rows(body)]


@pytest.mark.parametrize("separator", [b",", b", ", b", \n ", b" ,\r\n\t", b"\n,\n"])
@pytest.mark.parametrize("first", [b'{"a": 1}', LONE_SURROGATE, LONG_NUMBER], ids=["plain", "surrogate", "long"])
def test_split_rows_by_any_separator_gives_the_text_of_each_row(first: bytes, separator: bytes) -> None:
    """Only the white space between rows is dropped."""
    second = b'{"b" : [1,\n 2.10], "b": "x, \\n y"}'
    assert split(b" [ " + first + separator + second + b" ]\n") == [first, second]


@pytest.mark.parametrize(
    "row",
    [
        b'{"n":12345678901234567890.123456789012345678901234567890}',
        b'{"n":1e400,"m":-0.0,"k":1E+5}',
        b'{"a":1,"a":2,"a":{"b":1,"b":1}}',
        '{"t":"é ☃ 😀 \u2028"}'.encode(),
        rb'{"t":"\ud83d\ude00\u0001\/"}',
        b"{}",
        LONE_SURROGATE,
        rb'{"doc":{"\udc00":["\ud800x"]},"n":1.10}',
        LONG_NUMBER,
        b'{"n":-' + b"1" * 400 + b"." + b"0" * 400 + b"}",
    ],
)
def test_split_rows_of_awkward_json_is_exact(row: bytes) -> None:
    """No digit, escape, or double key is touched, whichever way the page is cut."""
    assert split(b"[" + row + b",{}]") == [row, b"{}"]


@pytest.mark.parametrize("body", [b"[]", b" [ ]\n", b"[\n]"])
def test_split_rows_of_an_empty_array_gives_none(body: bytes) -> None:
    """An empty page has no rows."""
    assert split(body) == []


@pytest.mark.parametrize("whole", [SMALL, SMALL_SLOW], ids=["fast", "slow"])
def test_split_rows_of_a_body_cut_at_any_byte_is_refused(whole: bytes) -> None:
    """Wherever the connection broke, nothing is taken for a page."""
    assert len(split(whole)) == 2
    for length in range(len(whole)):
        with pytest.raises(MalformedPage):
            split_rows(whole[:length])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'{"message":"no"}',
        b"<!doctype html><title>Sign in</title>",
        b"[1]",
        b"[null]",
        b'["{}"]',
        b"[[]]",
        b"[{},{}][{}]",
        b"[{}]x",
        b"[{}",
        b"[{},]",
        b"[,{}]",
        b"[{} {}]",
        b'[{"a":NaN}]',
        b'[{"a":-Infinity}]',
        b'[{"a":tru}]',
        b'[{"a":01}]',
        b'[{"a":1,}]',
        b'[{"a" 1}]',
        b"[{'a':1}]",
        rb'[{"a":"\q"}]',
        b'[{"a":"\n"}]',
        b'[{"a":"\x01"}]',
        b'[{"a":"\xff"}]',
        b'[{"a":"\xed\xa0\x80"}]',
        b"\xef\xbb\xbf[{}]",
        rb'[{"a":"\ud800"},]',
        rb'[{"a":"\ud800"} {}]',
        rb'[{"a":"\ud800"}]]',
        rb'["\ud800"]',
    ],
)
def test_split_rows_of_anything_else_is_refused(body: bytes) -> None:
    """A page is a whole array of objects in valid JSON and UTF-8."""
    with pytest.raises(MalformedPage):
        split_rows(body)


def test_split_rows_of_text_broken_far_into_the_body_is_refused() -> None:
    """The check of the encoding goes through the whole body, also across its own pieces."""
    filling = "é".encode() * (1 << 20)
    assert len(split(b'[{"a":"' + filling + b'"}]')) == 1
    with pytest.raises(MalformedPage, match="UTF-8"):
        split_rows(b'[{"a":"' + filling + b'\xff"}]')


def test_split_rows_of_html_says_what_came() -> None:
    """The message shows the beginning of what came instead of rows."""
    with pytest.raises(MalformedPage, match="expected a JSON array, got '<!doctype html>'"):
        split_rows(b"<!doctype\nhtml>")


def test_split_rows_of_a_cut_body_says_so() -> None:
    """The message tells a cut array from something else."""
    with pytest.raises(MalformedPage, match="cut off or garbled"):
        split_rows(b'[{"a":1},')


def test_split_rows_nested_too_deeply_to_check_is_the_tables_error() -> None:
    """It is not a broken connection: asking again would give the same."""
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(TooDeep):
        split_rows(b'[{"doc":' + deep + b"}]")


def test_split_rows_nested_a_hundred_levels_is_exact() -> None:
    """What people really nest is no trouble."""
    row = b'{"doc":' + b"[" * 100 + b"]" * 100 + b"}"
    assert split(b"[" + row + b"]") == [row]


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("9223372036854775807", "9223372036854775807"),
        ("-1", "-1"),
        ("12345678901234567890.1234567890", "12345678901234567890.1234567890"),
        ("1e-7", "1e-7"),
        ("true", "true"),
        ("false", "false"),
        ('""', ""),
        ('"null"', "null"),
        (r'"a,b\"c\\d(e) é \u00e9\n"', 'a,b"c\\d(e) é é\n'),
        (r'"\\xdeadbeef"', r"\xdeadbeef"),
        ('"2026-11-22T15:24:29.872639+00:00"', "2026-11-22T15:24:29.872639+00:00"),
        ('"NaN"', "NaN"),
        ('"infinity"', "infinity"),
    ],
)
@pytest.mark.parametrize("rest", ['"z":1', r'"z":"\ud800"'], ids=["fast", "slow"])
def test_key_of_a_scalar_is_its_literal(text: str, literal: str, rest: str) -> None:
    """Each kind of scalar comes out as PostgreSQL reads it, with every digit, also beside what msgspec refuses."""
    assert key_of(f'{{"k":{text},{rest}}}'.encode(), ("k",)) == (literal,)


def test_key_of_several_columns_keeps_their_order() -> None:
    """The key is in the order that was asked for, not in that of the row."""
    assert key_of(b'{"a":1,"b":"x","c":true}', ("c", "a")) == ("true", "1")


@pytest.mark.parametrize("text", ["[1]", '{"a":1}', "null", "[]"])
@pytest.mark.parametrize("rest", ['"z":1', r'"z":"\ud800"'], ids=["fast", "slow"])
def test_key_of_what_is_not_a_scalar_is_refused(text: str, rest: str) -> None:
    """Arrays and composites are written otherwise in a filter than in JSON, and a null cannot be compared."""
    with pytest.raises(NotALiteral):
        key_of(f'{{"k":{text},{rest}}}'.encode(), ("k",))


def test_key_of_half_a_surrogate_pair_is_refused() -> None:
    """It cannot be sent as a filter."""
    with pytest.raises(NotALiteral):
        key_of(LONE_SURROGATE, ("doc",))


def test_key_of_a_column_that_did_not_come_names_it() -> None:
    """The KeyError holds the column."""
    with pytest.raises(KeyError, match="nope"):
        key_of(b'{"a":1}', ("nope",))


@pytest.mark.parametrize(
    ("row", "rest"),
    [
        (b'{"tableoid":"16385","ctid":"(0,1)","a":1}', b'{"a":1}'),
        (b'{"tableoid":16385,"ctid":"(0,1)","a":1}', b'{"a":1}'),
        (b'{ "tableoid": "16385", "ctid": "(0,1)", "a": 1 }', b'{"a": 1 }'),
        (b'{"tableoid":"16385","ctid":"(0,1)"}', b"{}"),
        (b'{"tableoid":"16385","ctid":"(0,1)","doc":{"tableoid":"1"}}', b'{"doc":{"tableoid":"1"}}'),
    ],
)
def test_take_position_gives_the_row_as_it_would_have_come(row: bytes, rest: bytes) -> None:
    """The two columns that were added to the query are taken off again, also from a table without columns."""
    assert take_position(row) == (rest, ("16385", "(0,1)"))


@pytest.mark.parametrize(
    "row",
    [b'{"a":1}', b"{}", b'{"ctid":"(0,1)","a":1}', b'{"tableoid":null,"ctid":null}', b'{"tableoid":"1","ctid":1}'],
)
def test_take_position_of_a_row_without_one_is_refused(row: bytes) -> None:
    """A server that leaves the position out is not walked by position."""
    with pytest.raises(MalformedPage):
        take_position(row)
