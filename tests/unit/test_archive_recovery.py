"""RECOVERY.md and the order tables are loaded in."""

from __future__ import annotations

import re

import pytest

from backupd.archive.order import load_order
from backupd.archive.recovery import recovery_text
from backupd.model import ForeignKey, Status, Table, TableName, TableStatus
from tests.support.archives import USERS, make_archived, make_manifest, make_table

COMMANDS = {"backup", "list", "show", "verify", "rescan", "delete", "pin", "check", "demo", "config", "restore"}


def referring(name: str, *others: str, schema: str = "public") -> Table:
    """A table with a foreign key to each of the others."""
    keys = tuple(ForeignKey("id", other, "id") for other in others)
    return make_table(name, schema=schema, foreign_keys=keys)


def names(tables: tuple[TableName, ...]) -> list[str]:
    """As people write them."""
    return [str(name) for name in tables]


def test_load_order_with_foreign_keys_puts_referred_tables_first() -> None:
    """A row comes after the rows it refers to."""
    order = load_order([referring("a", "b"), referring("b", "c"), referring("c"), referring("d", "a", "gone")])
    assert (names(order.tables), order.cycles, order.self_references) == (["c", "b", "a", "d"], (), ())


def test_load_order_of_a_table_that_refers_to_itself_names_it() -> None:
    """A self reference is no ring of tables."""
    order = load_order([USERS])
    assert (names(order.tables), order.cycles, names(order.self_references)) == (["users"], (), ["users"])


def test_load_order_of_rings_names_each_and_still_holds_every_table() -> None:
    """No order is right for a ring, but every table is in it once."""
    order = load_order([referring("a", "b"), referring("b", "a"), referring("x", "y", "a"), referring("y", "x")])
    assert sorted(names(order.tables)) == ["a", "b", "x", "y"]
    assert sorted(sorted(names(cycle)) for cycle in order.cycles) == [["a", "b"], ["x", "y"]]
    assert order.tables.index(TableName("public", "x")) > order.tables.index(TableName("public", "a"))


def test_load_order_over_schemas_prefers_the_same_schema() -> None:
    """A foreign key names a table without its schema: the nearest is meant, or the only one."""
    order = load_order([referring("b", "a", "c", schema="z"), referring("a", schema="z"), referring("c", schema="zz")])
    assert names(order.tables)[-1] == "z.b"


def test_load_order_with_two_tables_that_could_be_meant_assumes_neither() -> None:
    """A guess could put a table into the wrong place as well as into the right one."""
    order = load_order([referring("a", "b"), referring("b", "a", schema="x"), referring("b", "a", schema="y")])
    assert names(order.tables) == ["a", "x.b", "y.b"]


def test_recovery_text_lists_every_table_and_what_is_wrong_with_it() -> None:
    """Whoever opens the archive sees at once what it holds and what it lacks."""
    failed = make_archived(
        make_table("secrets"), status=TableStatus.FAILED, file=None, rows=0, message="permission\ndenied"
    )
    short = make_archived(make_table("log"), status=TableStatus.INCOMPLETE, rows=12034)
    text = recovery_text(make_manifest(make_archived(), failed, short, status=Status.PARTIAL, warnings=("short",)))
    assert "- `users`: 2 rows in `tables/public/users.json`\n" in text
    assert "- `secrets`: **not in this archive** (permission\\ndenied)\n" in text
    assert "- `log`: 12,034 rows, **incomplete** in `tables/public/log.json`\n" in text
    assert "- short\n" in text


def test_recovery_text_names_only_commands_that_exist() -> None:
    """A person in trouble is never sent to a command there is not."""
    text = recovery_text(make_manifest(make_archived()))
    assert set(re.findall(r"`backupd (\w+)", text)) == {"rescan", "restore", "show", "verify"} <= COMMANDS


def test_recovery_text_of_an_archive_without_tables_can_be_made() -> None:
    """A project without tables is no reason to fail."""
    text = recovery_text(make_manifest())
    assert "0 tables, 0 rows" in text
    assert "\\gexec" not in text


def test_recovery_text_of_a_ring_switches_foreign_keys_off() -> None:
    """Where no order is right, the script says so and does what is needed."""
    ring = recovery_text(make_manifest(make_archived(referring("a", "b")), make_archived(referring("b", "a"))))
    assert "\nset session_replication_role = replica;\n" in ring
    assert re.search(r"^- `[ab]`, `[ab]`$", ring, re.MULTILINE)
    assert "\n-- set session_replication_role = replica;\n" in recovery_text(make_manifest(make_archived()))


@pytest.mark.parametrize("name", ["a\n```\nb", "a\u2028b", "`"])
def test_recovery_text_with_a_hostile_table_name_keeps_its_fences(name: str) -> None:
    """No name ends the script early or starts one of its own."""
    text = recovery_text(make_manifest(make_archived(make_table(name), file="tables/public/x.json")))
    assert [line for line in text.splitlines() if line.startswith("```")] == ["```python", "```", "```sql", "```"]


def test_recovery_text_with_a_backtick_in_a_name_keeps_it_in_its_code() -> None:
    """A name cannot break out of the list either."""
    text = recovery_text(make_manifest(make_archived(make_table("a`b"), file="tables/public/x.json")))
    assert "- `a\\x60b`: 2 rows in `tables/public/x.json`\n" in text
