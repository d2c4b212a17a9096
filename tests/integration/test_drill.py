"""Rehearsed restores against a real PostgreSQL: what is well passes, and what must fail does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backupd.archive.manifest import SIDECAR_SUFFIX, sidecar_to_json
from backupd.catalog import Catalog, backup_from_sidecar
from backupd.drill import DrillReport, DrillSettings, Rehearsal, run_drill
from backupd.drill.report import document, keep, page, text
from backupd.errors import BackupNotFound, Interrupted
from backupd.model import Backup, Column, ForeignKey, Sidecar, Status, Table, ignore_progress, never_stop, utc_now
from backupd.sandbox.postgres import Postgres
from tests.support.archives import USERS, make_table, repacked, write_archive
from tests.support.stores import MemoryStore, file_with

ROWS = [b'{"id":1,"email":"a@b.c","boss":null}', b'{"id":2,"email":"d@e.f","boss":1}']
ARCHIVE = "car-audio_manual_20261122T152429Z_b7f3c2a1.zip"


@dataclass
class Place:
    """A store and a catalog with one backup, and a PostgreSQL to rehearse on."""

    directory: Path
    database_url: str
    store: MemoryStore = field(default_factory=MemoryStore)

    def keep(self, data: bytes, sidecar: Sidecar) -> None:
        """Put an archive and its sidecar into the store, as a backup does."""
        self.store.put(ARCHIVE, file_with(self.directory, data))
        self.store.put(ARCHIVE + SIDECAR_SUFFIX, file_with(self.directory, sidecar_to_json(sidecar)))

    def drill(self, tables: Mapping[Table, Sequence[bytes]], **settings: object) -> DrillReport:
        """Drill an archive of these rows."""
        data, manifest = write_archive(tables)
        sidecar = Sidecar(manifest, ARCHIVE, len(data), hashlib.sha256(data).hexdigest())
        self.keep(data, sidecar)
        return self.run(backup_from_sidecar(sidecar), **settings)

    def run(self, backup: Backup, **settings: object) -> DrillReport:
        """Drill a backup that is in the store."""
        with Catalog.open(self.directory / "catalog.sqlite") as catalog:
            catalog.save(backup)
            wanted = DrillSettings(database_url=self.database_url, **settings)  # type: ignore[arg-type]
            rehearsal = Rehearsal(utc_now, ignore_progress, never_stop)
            return run_drill(self.store, catalog, backup, wanted, self.directory, rehearsal)


@pytest.fixture
def place(tmp_path: Path, postgres: Postgres) -> Iterator[Place]:
    """Somewhere to drill."""
    return Place(tmp_path, postgres.url())  # type: ignore[return-value]


def test_drill_of_a_good_archive_passes(place: Place) -> None:
    """Tables are built, rows loaded, compared, and references followed."""
    report = place.drill({USERS: ROWS})
    assert (report.ok, report.problems, report.rows) == (True, (), 2)


def test_drill_keeps_every_digit(place: Place) -> None:
    """Numbers, bytes, json with odd spacing and double keys, arrays and ranges come back as they went in."""
    names = {
        "id": "bigint",
        "n": "numeric",
        "b": "bytea",
        "j": "json",
        "d": "jsonb",
        "a": "text[]",
        "r": "int4range",
        "c": "character",
        "f": "double precision",
        "t": "timestamp with time zone",
    }
    table = make_table("types", columns=tuple(Column(name, kind) for name, kind in names.items()))
    row = (
        b'{"id":1,"n":12345678901234567890.123456789012345678901234567890,"b":"\\\\x00deadbeefff",'
        b'"j":{"b": 1.0,  "b": 12345678901234567890.10},"d":{"n": 12345678901234567890.123},"a":["a","b,c",null],'
        b'"r":"[1,10)","c":"ab  ","f":"Infinity","t":"0044-03-15T00:00:00+00:00 BC"}'
    )
    assert place.drill({table: [row]}).problems == ()


def test_drill_of_a_type_this_server_lacks_keeps_it_as_json_and_says_so(place: Place) -> None:
    """An enum of the project is unknown here: its values are kept exactly, and the report names the column."""
    table = make_table("entries", columns=(Column("id", "bigint"), Column("class", "public.competition_class")))
    report = place.drill({table: [b'{"id":1,"class":"street"}']})
    assert report.ok
    assert [str(one) for one in report.tables[0].stand_ins] == ["class (public.competition_class)"]


def test_drill_with_a_dangling_reference_fails(place: Place) -> None:
    """A row that refers to one that is not there: pages are separate requests, and this is how it shows."""
    report = place.drill({USERS: [*ROWS, b'{"id":3,"email":null,"boss":99}']})
    assert not report.ok
    assert "1 rows of users refer by boss to a users.id that is not there" in report.problems[0]


def test_drill_with_a_reference_across_tables_that_dangles_fails(place: Place) -> None:
    """The same between two tables."""
    payments = make_table(
        "payments",
        columns=(Column("id", "bigint"), Column("user_id", "bigint")),
        foreign_keys=(ForeignKey("user_id", "users", "id"),),
    )
    report = place.drill({USERS: ROWS, payments: [b'{"id":1,"user_id":2}', b'{"id":2,"user_id":7}']})
    assert [dangling.rows for dangling in report.dangling] == [1]


def test_drill_with_a_doubled_key_fails(place: Place) -> None:
    """A backup that holds a row twice cannot be restored, and the table says so."""
    report = place.drill({USERS: [*ROWS, ROWS[0]]})
    assert not report.ok
    assert "users" in report.problems[0]


def test_drill_of_an_archive_a_row_was_taken_from_fails(place: Place) -> None:
    """A row removed and every checksum in the archive recomputed: the sidecar and the catalog still know."""
    data, manifest = write_archive({USERS: ROWS})
    sidecar = Sidecar(manifest, ARCHIVE, len(data), hashlib.sha256(data).hexdigest())
    forged, _ = write_archive({USERS: ROWS[:1]})
    place.keep(forged, sidecar)
    report = place.run(backup_from_sidecar(sidecar))
    assert not report.ok
    assert "the archive is damaged" in report.problems[0]


def test_drill_of_a_damaged_member_fails_and_names_it(place: Place) -> None:
    """A row changed inside a member: verification says so before anything is loaded."""
    data, manifest = write_archive({USERS: ROWS})
    changed = repacked(data, {"tables/public/users.json": b"[\n" + b",\n".join(ROWS).replace(b"a@", b"x@") + b"\n]\n"})
    sidecar = Sidecar(manifest, ARCHIVE, len(changed), hashlib.sha256(changed).hexdigest())
    place.keep(changed, sidecar)
    report = place.run(backup_from_sidecar(sidecar))
    assert any("tables/public/users.json" in problem for problem in report.problems)


def test_drill_check_command_gets_the_restored_database(place: Place) -> None:
    """The owner's own test looks into the scratch database."""
    command = f"{_psql()} \"$DATABASE_URL\" -Atc 'select count(*) from public.users' | grep -x 2"
    assert place.drill({USERS: ROWS}, check_command=command).problems == ()


def test_drill_check_command_that_fails_fails_the_drill(place: Place) -> None:
    """With its exit code and the last line it printed."""
    report = place.drill({USERS: ROWS}, check_command="echo looked; echo the totals are wrong >&2; exit 4")
    assert report.problems == ("the check command ended with 4: the totals are wrong",)


def test_drill_check_command_that_hangs_is_ended(place: Place) -> None:
    """With everything it started, and the drill has failed."""
    report = place.drill({USERS: ROWS}, check_command="sleep 600 & sleep 600", check_seconds=0.5)
    assert report.problems[0].startswith("the check command took too long")


def test_drill_leaves_no_database_behind(place: Place, postgres: Postgres) -> None:
    """What was made for it is dropped, also when it fails."""
    place.drill({USERS: [*ROWS, ROWS[0]]})
    from backupd.sandbox.driver import connect

    with connect(postgres.url()) as connection:
        left = connection.execute("select datname from pg_database where datname like 'backupd_drill%'").fetchall()
    assert left == []


def test_drill_without_a_server_given_starts_its_own(place: Place) -> None:
    """An embedded PostgreSQL, in the work directory, gone afterwards."""
    place.database_url = None  # type: ignore[assignment]
    assert place.drill({USERS: ROWS}).ok


def test_drill_of_a_backup_without_an_archive_is_refused(place: Place) -> None:
    """A failed backup has nothing to rehearse."""
    data, manifest = write_archive({USERS: ROWS})
    backup = backup_from_sidecar(Sidecar(manifest, ARCHIVE, len(data), "0" * 64))
    failed = Backup(
        backup.backup_id, backup.created_at, backup.type, Status.FAILED, backup.trigger, backup.platform, backup.project
    )
    with pytest.raises(BackupNotFound, match="no archive was published"):
        place.run(failed)


def test_drill_told_to_stop_ends_its_check_command(place: Place) -> None:
    """The daemon stops within seconds, whatever the owner's command does."""
    from backupd.drill.checking import run_check_command

    with pytest.raises(Interrupted):
        run_check_command("sleep 600", "postgresql://nowhere", 600.0, lambda: True)


def test_report_is_kept_as_text_json_and_page(place: Place, tmp_path: Path) -> None:
    """Each says the same, and names of tables cannot break out of the page."""
    table = make_table("<script>")
    report = place.drill({table: [b'{"id":1,"v":"x"}']})
    kept = keep(report, tmp_path / "drills")
    assert kept.read_text() == text(report)
    assert json.loads(kept.with_suffix(".json").read_text()) == document(report)
    assert kept.with_suffix(".html").read_text() == page(report)
    assert "<script>" not in page(report)
    assert report.started_at <= datetime.now(UTC)


def _psql() -> str:
    from backupd.sandbox.binaries import find_binaries

    return str(find_binaries() / "psql")
