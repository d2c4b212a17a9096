"""PostgREST's query string as a small tree: what to select, where, in which order, how much."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qsl

from backupd.sandbox.answers import Refusal

OPERATORS = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gte": ">=",
    "lt": "<",
    "lte": "<=",
    "like": "LIKE",
    "ilike": "ILIKE",
    "match": "~",
    "imatch": "~*",
    "isdistinct": "IS DISTINCT FROM",
    "cs": "@>",
    "cd": "<@",
    "ov": "&&",
}
IS_VALUES = {"null": "NULL", "not_null": "NOT NULL", "true": "TRUE", "false": "FALSE", "unknown": "UNKNOWN"}
_RESERVED = {"select", "order", "limit", "offset", "columns", "on_conflict"}
_LOGIC = {"and", "or", "not.and", "not.or"}
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Selected:
    """One item of `select`. `column` is None for `*`."""

    column: str | None
    alias: str | None = None
    cast: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One item of `order`, with SQL's words for direction and nulls."""

    column: str
    direction: str = ""
    nulls: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """A comparison. `value` is a tuple for `in`, and text for every other operator."""

    column: str
    operator: str
    value: str | tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Logic:
    """`and` or `or` over conditions."""

    operator: str
    conditions: tuple[Condition, ...]
    negated: bool = False


Condition = Filter | Logic


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query string. `limit` is None for no limit of the client's own."""

    select: tuple[Selected, ...] = (Selected(None),)
    where: tuple[Condition, ...] = ()
    order: tuple[Order, ...] = ()
    limit: int | None = None
    offset: int = 0
    columns: tuple[str, ...] | None = None
    on_conflict: tuple[str, ...] | None = None


def parse_query(query_string: str) -> Query:
    """Read a query string. Raises `Refusal` with `PGRST100` where PostgREST would not understand it."""
    pairs = parse_qsl(query_string, keep_blank_values=True)
    given = {key: value for key, value in pairs if key in _RESERVED}
    return Query(
        select=_parse(_selection, given.get("select") or "*", "select parameter"),
        where=tuple(_condition(key, value) for key, value in pairs if key not in _RESERVED),
        order=_parse(_order, given["order"], "order") if given.get("order") else (),
        limit=_integer(given.get("limit")),
        offset=_integer(given.get("offset")) or 0,
        columns=_names(given.get("columns"), "columns parameter"),
        on_conflict=_names(given.get("on_conflict"), "on_conflict parameter"),
    )


def _integer(text: str | None) -> int | None:
    """PostgREST ignores a limit that is not a number."""
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _names(text: str | None, what: str) -> tuple[str, ...] | None:
    return _parse(lambda scanner: scanner.separated(scanner.name), text, what) if text else None


def _condition(key: str, value: str) -> Condition:
    if key in _LOGIC:
        operator = key.removeprefix("not.")
        return _parse(lambda scanner: _logic(scanner, operator, negated=key != operator), value, "logic tree")
    column = _parse(lambda scanner: scanner.name(), key, "tree path")
    return _parse(lambda scanner: _filter(scanner, column, whole=True), value, "filter")


def _parse(rule: Callable[[_Scanner], _Item], text: str, what: str) -> _Item:
    scanner = _Scanner(text, what)
    parsed = rule(scanner)
    scanner.expect_end()
    return parsed


class _Scanner:
    """A text and a place in it."""

    def __init__(self, text: str, what: str) -> None:
        self._text = text
        self._what = what
        self._at = 0

    def peek(self) -> str:
        """The next character, or nothing at the end."""
        return self._text[self._at : self._at + 1]

    def ahead(self, token: str) -> bool:
        """Whether `token` comes next."""
        return self._text.startswith(token, self._at)

    def take(self, token: str) -> bool:
        """Step over `token` if it comes next."""
        found = self.ahead(token)
        self._at += len(token) if found else 0
        return found

    def expect(self, token: str) -> None:
        """Step over `token`, which must come next."""
        if not self.take(token):
            raise self.failure(f'expecting "{token}"')

    def expect_end(self) -> None:
        """Nothing may be left."""
        if self.peek():
            raise self.failure("expecting end of input")

    def failure(self, expectation: str) -> Refusal:
        """What was met here instead of what was expected."""
        met = f'unexpected "{self.peek()}"' if self.peek() else "unexpected end of input"
        message = f'"failed to parse {self._what} ({self._text})" (line 1, column {self._at + 1})'
        return Refusal(400, "PGRST100", message, details=f"{met} {expectation}")

    def rest(self) -> str:
        """Everything up to the end."""
        start, self._at = self._at, len(self._text)
        return self._text[start:]

    def until(self, stops: str) -> str:
        """Everything before one of `stops`."""
        return self.run(lambda character: character not in stops)

    def run(self, allowed: Callable[[str], bool]) -> str:
        """Characters as long as they are allowed."""
        start = self._at
        while self.peek() and allowed(self.peek()):
            self._at += 1
        return self._text[start : self._at]

    def quoted(self) -> str:
        """A value between double quotes, in which a backslash takes the next character as it is."""
        self.expect('"')
        characters = []
        while not self.take('"'):
            self.take("\\")
            if not self.peek():
                raise self.failure('expecting "\\""')
            characters.append(self.peek())
            self._at += 1
        return "".join(characters)

    def quoted_before(self, stops: str) -> str | None:
        """A quoted value that ends at one of `stops`; otherwise the quotes belong to a plain value."""
        start = self._at
        if self.peek() == '"':
            try:
                value = self.quoted()
            except Refusal:
                value = None
            if value is not None and (not self.peek() or self.peek() in stops):
                return value
            self._at = start
        return None

    def name(self) -> str:
        """A column: quoted, or made of letters, digits, `_`, `$`, spaces and dashes."""
        self.run(str.isspace)
        if self.peek() == '"':
            return self.quoted()
        found = self.run(lambda character: character.isalnum() or character in "_$ -").strip()
        if not found:
            raise self.failure("expecting field name (* or [a..z0..9_$])")
        return found

    def separated(self, item: Callable[[], _Item]) -> tuple[_Item, ...]:
        """Items between commas, at least one."""
        items = [item()]
        while self.take(","):
            items.append(item())
        return tuple(items)


def _selection(scanner: _Scanner) -> tuple[Selected, ...]:
    return scanner.separated(lambda: _selected(scanner))


def _selected(scanner: _Scanner) -> Selected:
    scanner.run(str.isspace)
    if scanner.take("*"):
        return Selected(None)
    column, alias = scanner.name(), None
    casts = scanner.take("::")
    if not casts and scanner.take(":"):
        column, alias = scanner.name(), column
        casts = scanner.take("::")
    return Selected(column, alias, _cast(scanner) if casts else None)


def _cast(scanner: _Scanner) -> str:
    return scanner.run(lambda character: character.isalnum() or character in "_ []").strip()


def _order(scanner: _Scanner) -> tuple[Order, ...]:
    return scanner.separated(lambda: _order_term(scanner))


def _order_term(scanner: _Scanner) -> Order:
    column, direction, nulls = scanner.name(), "", ""
    for word in ("asc", "desc"):
        if scanner.take(f".{word}"):
            direction = word.upper()
            break
    for word in ("nullsfirst", "nullslast"):
        if scanner.take(f".{word}"):
            nulls = f"NULLS {word.removeprefix('nulls').upper()}"
    return Order(column, direction, nulls)


def _logic(scanner: _Scanner, operator: str, *, negated: bool) -> Logic:
    scanner.expect("(")
    conditions = scanner.separated(lambda: _logic_item(scanner))
    if not scanner.take(")"):
        raise scanner.failure('expecting "," or ")"')
    return Logic(operator, conditions, negated)


def _logic_item(scanner: _Scanner) -> Condition:
    scanner.run(str.isspace)
    for prefix in ("and", "or", "not.and", "not.or"):
        if scanner.ahead(f"{prefix}("):
            scanner.expect(prefix)
            return _logic(scanner, prefix.removeprefix("not."), negated=prefix.startswith("not."))
    column = scanner.name()
    scanner.expect(".")
    return _filter(scanner, column, whole=False)


def _filter(scanner: _Scanner, column: str, *, whole: bool) -> Filter:
    """The part of a filter after its column. `whole`: a plain value runs to the end of the text."""
    negated = scanner.take("not.")
    operator = _operator(scanner)
    return Filter(column, operator, _value(scanner, operator, whole=whole), negated)


def _operator(scanner: _Scanner) -> str:
    for operator in sorted((*OPERATORS, "is", "in"), key=len, reverse=True):
        if scanner.take(f"{operator}."):
            return operator
    raise scanner.failure('expecting "not" or operator (eq, gt, ...)')


def _value(scanner: _Scanner, operator: str, *, whole: bool) -> str | tuple[str, ...]:
    if operator == "in":
        return _list(scanner)
    value = scanner.rest() if whole else _logic_value(scanner)
    if operator == "is" and value.lower() not in IS_VALUES:
        raise scanner.failure("expecting isVal: (null, not_null, true, false, unknown)")
    return value


def _list(scanner: _Scanner) -> tuple[str, ...]:
    scanner.expect("(")
    values = scanner.separated(lambda: _element(scanner))
    scanner.expect(")")
    return () if values == ("",) else values


def _element(scanner: _Scanner) -> str:
    quoted = scanner.quoted_before(",)")
    return scanner.until(",)") if quoted is None else quoted


def _logic_value(scanner: _Scanner) -> str:
    if scanner.take("{"):
        value = "{" + scanner.until("}") + "}"
        scanner.expect("}")
        return value
    return _element(scanner)
