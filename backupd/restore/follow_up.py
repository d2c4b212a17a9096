"""The SQL that a restore cannot do by itself: the API has no words for sequences, identity columns and triggers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from backupd.model import TableName
from backupd.restore.sql import identifier, literal, qualified

_SEQUENCES = """\
-- 2. Let every serial and identity column go on after its highest value, or the next insert takes a number in use.
--    Sequences only ever move forward here.
do $$
declare
  one record;
begin
  for one in
    select s.oid::regclass as sequence, a.attname as column_name, d.refobjid::regclass as table_name
    from pg_class s
    join pg_depend d on d.objid = s.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i')
      and d.refclassid = 'pg_class'::regclass
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    where s.relkind = 'S' and d.refobjid = any (array[{tables}]::regclass[])
  loop
    execute format(
      'select setval(%L, greatest(max(%I), (select last_value from %s))) from %s having max(%2$I) is not null',
      one.sequence, one.column_name, one.sequence, one.table_name);
  end loop;
end $$;
"""

_TRIGGERS = """\
-- 3. Triggers fired for every row that was written. If a table did not come out equal, one of these may have changed
--    it: this lists them, with what switches them off before another try and on again after it.
select tgrelid::regclass as table_name, tgname as trigger_name,
  format('ALTER TABLE %s DISABLE TRIGGER USER;', tgrelid::regclass) as before,
  format('ALTER TABLE %s ENABLE TRIGGER USER;', tgrelid::regclass) as after
from pg_trigger
where not tgisinternal and tgrelid = any (array[{tables}]::regclass[]);
"""


def follow_up_sql(tables: Sequence[TableName], always_identity: Collection[tuple[TableName, str]] = ()) -> str:
    """What to run in the SQL editor of the target, in this order; nothing without tables.

    `always_identity` are columns that were made to take values for the restore.
    """
    return "\n".join(_parts(tables, always_identity)) if tables else ""


def _parts(tables: Sequence[TableName], always_identity: Collection[tuple[TableName, str]]) -> Iterator[str]:
    listed = ", ".join(literal(qualified(name)) for name in tables)
    yield "-- Run this in the SQL editor of the target when the restore is through."
    yield ""
    yield "-- 1. Give back to the database what it makes itself."
    for name, column in sorted(always_identity):
        yield f"ALTER TABLE {qualified(name)} ALTER COLUMN {identifier(column)} SET GENERATED ALWAYS;"
    if not always_identity:
        yield "--    Nothing to do: no identity column had to be changed."
    yield ""
    yield _SEQUENCES.format(tables=listed)
    yield _TRIGGERS.format(tables=listed)
