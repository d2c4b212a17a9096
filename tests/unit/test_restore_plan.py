"""What a restore will do, and what stands in its way: decided from values alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from backupd.model import ArchivedTable, Column, Count, ForeignKey, Manifest, Table, TableName, TableStatus
from backupd.project import TargetTable, Unreadable
from backupd.restore import Mode, Plan, WrongTable
from backupd.restore.plan import LARGEST_WHOLE_BYTES, choose_tables, make_plan
from tests.support.archives import make_archived, make_manifest, make_table


def planned(
    *tables: ArchivedTable,
    mode: Mode = Mode.EMPTY,
    answers: dict[str, Any] | None = None,
    begun: Collection[TableName] = (),
    chosen: tuple[str, ...] = (),
    **manifest: Any,
) -> Plan:
    """The plan for these tables; the target has them all, empty, unless its `answers` differ."""
    whole: Manifest = make_manifest(*tables, **manifest)
    survey = {}
    for one in tables:
        said = {"table": one.table, "rows": Count(0, exact=True), **(answers or {}).get(str(one.table.name), {})}
        survey[one.table.name] = TargetTable(one.table.name, **said)
    return make_plan(
        whole,
        choose_tables(whole, chosen, ()),
        "new.supabase.co",
        mode,
        survey,
        lambda one: tuple(column.name for column in one.table.columns),
        begun,
    )


def referring(name: str, *others: str, required: bool = False, **changes: Any) -> Table:
    """A table with one reference to each of the others."""
    columns = (Column("id", "bigint", required=True), *(Column(f"to_{other}", "bigint", required) for other in others))
    keys = tuple(ForeignKey(f"to_{other}", other, "id") for other in others)
    return make_table(name, columns=columns, foreign_keys=keys, **changes)


def rows(count: int) -> dict[str, Count]:
    """That a table of the target has so many rows."""
    return {"rows": Count(count, exact=True)}


def test_plan_writes_referred_tables_first() -> None:
    """Nothing stands in the way, and every table is there."""
    plan = planned(make_archived(referring("a", "b")), make_archived(referring("b")))
    assert [str(one.name) for one in plan.tables] == ["b", "a"]
    assert (plan.obstacles, plan.left_out, plan.rows) == ((), (), 4)


def test_plan_for_tables_with_rows_says_once_how_to_empty_them_together() -> None:
    """Tables that refer to each other cannot be emptied one by one."""
    plan = planned(
        make_archived(referring("a")), make_archived(referring("b")), answers={"a": rows(1), "b": rows(2000)}
    )
    assert [str(one) for one in plan.obstacles] == [
        "a: the target's table has 1 row",
        "b: the target's table has 2,000 rows",
    ]
    assert 'TRUNCATE TABLE "public"."a", "public"."b";' in (plan.obstacles[0].remedy or "")
    assert plan.obstacles[1].remedy is None


def test_plan_to_merge_takes_tables_with_rows_if_they_have_a_key() -> None:
    """Without one nothing tells which row is which."""
    keyless = make_table("log", primary_key=())
    answers = {"a": rows(5), "log": rows(5)}
    plan = planned(make_archived(referring("a")), make_archived(keyless), mode=Mode.MERGE, answers=answers)
    assert [str(one.name) for one in plan.tables] == ["a"]
    assert [one.why for one in plan.obstacles] == ["it has no primary key to merge by, and the target's table has rows"]


def test_plan_goes_on_with_a_table_that_an_earlier_run_began() -> None:
    """Its rows are this restore's own."""
    table = referring("a")
    plan = planned(make_archived(table), answers={"a": rows(1)}, begun={table.name})
    assert plan.tables[0].is_resumed
    assert plan.cautions == ("a was begun by an earlier run, which goes on here",)


def test_plan_leaves_out_views_and_what_the_archive_lacks() -> None:
    """Neither is in the way."""
    failed = make_archived(referring("gone"), status=TableStatus.FAILED, file=None, rows=0, message="no grant")
    plan = planned(make_archived(referring("seen")), failed, answers={"seen": {"is_view": True}})
    assert {str(one) for one in plan.left_out} == {
        "gone: not in the archive: no grant",
        "seen: it is a view in the target: its rows are those of its tables",
    }
    assert plan.obstacles == ()


def test_plan_for_a_table_the_target_lacks_hands_on_the_remedy() -> None:
    """An empty one that is not there is no matter."""
    refusal = Unreadable(TableName("public", "a"), "no such table in the project", "make it")
    answers = {name: {"table": None, "rows": None, "refusal": refusal} for name in ("a", "b")}
    plan = planned(make_archived(referring("a")), make_archived(referring("b"), rows=0), answers=answers)
    assert [(str(one), one.remedy) for one in plan.obstacles] == [
        ("a: in the target no such table in the project", "make it")
    ]
    assert [str(one.name) for one in plan.left_out] == ["b"]


def test_plan_for_a_target_that_lacks_columns_names_them_with_their_types() -> None:
    """More columns than the archive has are no matter: they get their defaults."""
    smaller = make_table("a", columns=(Column("id", "bigint"), Column("new", "text")))
    plan = planned(make_archived(make_table("a")), answers={"a": {"table": smaller}})
    assert [str(one) for one in plan.obstacles] == ["a: the target's table lacks v (text)"]


def test_plan_defers_a_self_reference_that_may_be_null() -> None:
    """It is filled in by a second pass."""
    plan = planned(make_archived(referring("a", "a")))
    assert (plan.tables[0].deferred, plan.tables[0].whole) == (("to_a",), False)


@pytest.mark.parametrize("table", [referring("a", "a", required=True), referring("a", "a", primary_key=())])
def test_plan_writes_a_self_reference_that_cannot_wait_in_one_request(table: Table) -> None:
    """As long as it is small enough for one; the database looks at references when a statement ends."""
    assert planned(make_archived(table)).tables[0].whole
    plan = planned(make_archived(table, bytes=LARGEST_WHOLE_BYTES + 1))
    assert "rows that come later" in plan.obstacles[0].why


def test_plan_for_a_ring_that_must_not_be_null_gives_the_sql() -> None:
    """Neither table can be first."""
    plan = planned(make_archived(referring("a", "b", required=True)), make_archived(referring("b", "a", required=True)))
    (obstacle,) = plan.obstacles
    assert "must not be null" in obstacle.why
    assert obstacle.remedy is not None
    assert obstacle.remedy.endswith("DROP NOT NULL;")


@pytest.mark.parametrize(
    "words", ["it may also show rows of b, which are in the backup twice then; the project does not tell (x)",
              "it shows the same rows as b, and nothing tells whose they are: both have them"],
)  # fmt: skip
def test_plan_for_a_parent_whose_rows_may_be_in_the_archive_twice_asks_to_choose(words: str) -> None:
    """Writing both would double them."""
    tables = (make_archived(referring("a")), make_archived(referring("b")))
    (obstacle,) = planned(*tables, warnings=(f"a: {words}",)).obstacles
    assert obstacle.remedy == "Choose between them: --exclude a"
    assert planned(*tables, warnings=(f"a: {words}",), chosen=("a",)).obstacles == ()


def test_choice_of_a_table_the_archive_lacks_says_what_was_meant() -> None:
    """A typing mistake restores nothing else instead."""
    with pytest.raises(WrongTable, match=r"no table userz; did you mean users\?"):
        choose_tables(make_manifest(make_archived()), ("userz",), ())


def test_choice_of_tables_takes_qualified_and_bare_names() -> None:
    """As they are written everywhere else, and without those that are excluded."""
    manifest = make_manifest(
        make_archived(), make_archived(make_table("notes", schema="extra")), make_archived(make_table("log"))
    )
    chosen = choose_tables(manifest, ("public.users", "notes", "log"), ("log",))
    assert [str(one.table.name) for one in chosen] == ["users", "extra.notes"]
