"""Any content of a table comes back; any difference is found; any references are written in an order that works."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backupd.model import Column, ForeignKey, Table, TableName
from backupd.restore import arrange, compare_rows, multiset
from backupd.restore.compare import Spelling
from backupd.restore.members import members, rebuilt
from backupd.sandbox.driver import connect
from backupd.sandbox.gateway import Gateway
from tests.support.projects import back_up, open_project
from tests.support.restores import dump, restore
from tests.support.sandbox import MakeDatabase, MakeGateway

DDL = """
create table things (
  id bigint primary key, "next, ""1"" " bigint references things, n numeric, d double precision, t text, b bytea,
  words text[], doc jsonb, at timestamptz
);
create table keyless (n numeric, t text, words text[]);
"""

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)
NUMBER = st.one_of(
    st.none(),
    st.just("NaN"),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30).map(lambda d: f"{d:f}"),
)
JSON = st.recursive(
    st.one_of(st.booleans(), st.integers(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
THING = st.tuples(
    NUMBER,
    st.one_of(st.none(), st.floats(width=64)).map(lambda x: None if x is None else str(x)),
    st.none() | TEXT,
    st.none() | st.binary(max_size=20),
    st.none() | st.lists(st.none() | TEXT, max_size=4),
    st.none() | JSON.map(json.dumps),
    st.none() | st.datetimes().map(lambda at: f"{at.isoformat()}+00:00"),
)
LOOSE = st.tuples(NUMBER, st.none() | TEXT, st.none() | st.lists(st.none() | TEXT, max_size=3))


@dataclass(frozen=True)
class Both:
    """A project and an empty copy of it, used again for every example."""

    source: str
    target: str
    ours: Gateway
    theirs: Gateway

    def fill(self, things: Sequence[tuple[Any, ...]], loose: Sequence[tuple[Any, ...]]) -> None:
        """Empty both, and put these rows into the one."""
        for url in (self.source, self.target):
            with connect(url) as connection:
                connection.execute(b"truncate things, keyless")
        with connect(self.source) as connection, connection.transaction():
            cursor = connection.cursor()
            rows = [(n, None if n % 3 == 0 else len(things) - 1 - n, *one) for n, one in enumerate(things)]
            values = "%s, null, %s::numeric, %s::float8, %s, %s, %s, %s::jsonb, %s::timestamptz"
            cursor.executemany(f"insert into things values ({values})".encode(), [(row[0], *row[2:]) for row in rows])
            cursor.executemany(
                b'update things set "next, ""1"" " = %s where id = %s', [(row[1], row[0]) for row in rows]
            )
            cursor.executemany(b"insert into keyless values (%s::numeric, %s, %s)", list(loose))


@pytest.fixture
def both(make_database: MakeDatabase, make_gateway: MakeGateway) -> Both:
    """Two projects with the same tables."""
    source, target = make_database(DDL), make_database(DDL)
    return Both(source, target, make_gateway(source), make_gateway(target))


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(things=st.lists(THING, max_size=12), loose=st.lists(LOOSE, max_size=8))
def test_any_rows_backed_up_and_restored_are_the_same(
    both: Both, things: list[tuple[Any, ...]], loose: list[tuple[Any, ...]]
) -> None:
    """Numbers, texts, bytes, arrays and JSON of any kind, doubled rows, and references in any direction."""
    both.fill(things, loose)
    with tempfile.TemporaryDirectory() as directory:
        with open_project(both.ours.project_url, both.ours.keys.secret) as project:
            backup = back_up(project, Path(directory))
        with open_project(both.theirs.project_url, both.theirs.keys.secret) as project:
            report = restore(project, Path(directory), backup)
    assert report.ok, [str(one.comparison) for one in report.tables]
    assert dump(both.target) == dump(both.source)


ROW = st.builds(
    lambda key, value: b'{"id":%d,"v":"%s"}' % (key, value.encode()), st.integers(0, 6), st.sampled_from("abc")
)


@given(archived=st.lists(ROW, max_size=30), found=st.lists(ROW, max_size=30), keyed=st.booleans())
def test_comparison_finds_every_difference_whatever_the_order(
    archived: list[bytes], found: list[bytes], keyed: bool
) -> None:
    """It is equal exactly when both hold each row the same number of times, and no row is counted twice."""
    key = ("id",) if keyed else ()
    with tempfile.TemporaryDirectory() as directory:
        comparison = compare_rows(lambda: archived, lambda: found, key, directory=Path(directory))
    ours, theirs = Counter(archived), Counter(found)
    assert comparison.equal == (ours == theirs)
    assert (multiset(archived) == multiset(found)) == (ours == theirs)
    assert comparison.missing + comparison.different == (ours - theirs).total()
    assert comparison.extra <= (theirs - ours).total()
    assert (len(comparison.samples) > 0) == (not comparison.equal)
    if not keyed:
        assert comparison.extra == (theirs - ours).total()


@given(rows=st.lists(st.dictionaries(TEXT, JSON, min_size=1, max_size=5), max_size=5), order=st.randoms())
def test_row_spelled_anew_has_the_same_members(rows: list[dict[str, Any]], order: Any) -> None:
    """Columns in another order, and more of them than the archive has, make no difference."""
    for row in rows:
        archived = json.dumps(row, separators=(",", ":")).encode()
        shuffled = [*row.items(), ("a column of the target's own\0", 1)]
        order.shuffle(shuffled)
        found = json.dumps(dict(shuffled)).encode()
        columns = tuple(members(archived))
        (spelled,) = Spelling(columns).found([found])
        assert tuple(members(spelled)) == columns
        assert json.loads(rebuilt(archived, columns)) == json.loads(spelled) == row


REFERENCES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.booleans()), max_size=20)


@given(REFERENCES)
def test_arrangement_lets_every_reference_be_written_after_what_it_points_to(
    references: list[tuple[int, int, bool]],
) -> None:
    """Unless it is deferred, or must not be null and is part of a ring of such: then it is named as stuck."""
    columns: dict[int, dict[str, Column]] = {number: {"id": Column("id", "bigint", True)} for number in range(8)}
    keys: dict[int, list[ForeignKey]] = {number: [] for number in range(8)}
    for number, (at, other, required) in enumerate(references):
        columns[at][f"r{number}"] = Column(f"r{number}", "bigint", required)
        keys[at].append(ForeignKey(f"r{number}", f"t{other}", "id"))
    tables = [
        Table(TableName("public", f"t{number}"), tuple(columns[number].values()), ("id",), tuple(keys[number]))
        for number in range(8)
    ]
    found = arrange(tables)
    assert sorted(found.order) == sorted(table.name for table in tables)
    for table in tables:
        for key in table.foreign_keys:
            is_late = found.order.index(TableName("public", key.table)) >= found.order.index(table.name)
            waits = key.column in (*found.deferred[table.name], *found.stuck[table.name])
            assert is_late == waits
            assert (key.column in found.stuck[table.name]) <= columns[int(table.name.name[1:])][key.column].required
    if not _has_ring([(at, other) for at, other, required in references if required]):
        assert not any(found.stuck.values())


def _has_ring(edges: list[tuple[int, int]]) -> bool:
    left = set(range(8))
    while free := {node for node in left if not any(start == node and end in left for start, end in edges)}:
        left -= free
    return bool(left)
