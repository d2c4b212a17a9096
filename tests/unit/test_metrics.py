"""The metrics page: names, types and help as agreed, every label there from the start, figures as given."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from backupd.figures import CatalogFigures, Figures, LastBackup, LiveFigures
from backupd.metrics import Metrics
from backupd.model import BackupType, Status

GOLDEN = Path(__file__).parent.parent / "data" / "metrics.txt"
NIGHT = datetime(2026, 11, 22, 2, tzinfo=UTC)
AUTOMATIC, MANUAL = BackupType.AUTOMATIC, BackupType.MANUAL

LIVE = LiveFigures(
    version="0.1.0",
    running_operation="backup",
    running_since=NIGHT,
    progress_ratio=0.61,
    next_runs={"daily_backup": NIGHT},
    ticked_at=NIGHT,
    requests={"200": 12},
    retries={"timeout": 2},
    received_bytes=4096,
    store_free_bytes=10**9,
    legacy_api_key=False,
)
CATALOG = CatalogFigures(
    last_success_at={AUTOMATIC: NIGHT, MANUAL: None},
    last_attempt_at={AUTOMATIC: NIGHT, MANUAL: None},
    last={AUTOMATIC: LastBackup(Status.PARTIAL, 14.2, 18_400_000, 697_221, 5)},
    backups={(kind, status): 3 for kind in BackupType for status in Status},
    size_bytes={AUTOMATIC: 55, MANUAL: 0},
    oldest_at={AUTOMATIC: NIGHT, MANUAL: None},
    runs={("backup", "completed"): 30, ("backup", "interrupted"): 1},
    verified_at=NIGHT,
    mismatches=0,
    tables_disappeared=1,
    drilled=(NIGHT, 42.0),
    table_rows={"users": 12_034},
)


def page(figures: Figures) -> str:
    """The page as Prometheus reads it."""
    return generate_latest(Metrics(lambda: figures).registry).decode()


def samples(figures: Figures) -> dict[str, float]:
    """Every sample of ours by name and labels, written as Prometheus does."""
    found = {}
    for family in text_string_to_metric_families(page(figures)):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_metrics_page_names_types_and_help_are_the_golden_ones() -> None:
    """Dashboards and alerts are built on these names: changing one is a decision, not an accident."""
    ours = [
        line
        for line in page(Figures(LIVE, CATALOG)).splitlines()
        if line.startswith(("# HELP backupd", "# TYPE backupd"))
    ]
    assert "\n".join(line for line in ours if "_created" not in line) + "\n" == GOLDEN.read_text()


def test_metrics_never_succeeded_is_zero() -> None:
    """0 means never: the alert for it needs a series that is there."""
    assert samples(Figures(LIVE, CATALOG))['backupd_backup_last_success_timestamp_seconds{type="manual"}'] == 0


def test_metrics_last_success_is_its_instant_in_seconds() -> None:
    """A timestamp, not an age."""
    found = samples(Figures(LIVE, CATALOG))
    assert found['backupd_backup_last_success_timestamp_seconds{type="automatic"}'] == NIGHT.timestamp()


def test_metrics_runs_are_there_for_every_operation_and_result() -> None:
    """A counter that appears only when something fails cannot be alerted on the first time."""
    found = samples(Figures(LIVE, CATALOG))
    runs = {name: value for name, value in found.items() if name.startswith("backupd_runs_total")}
    assert len(runs) == 7 * 4
    assert runs['backupd_runs_total{operation="backup",result="completed"}'] == 30
    assert runs['backupd_runs_total{operation="drill",result="failed"}'] == 0


def test_metrics_last_status_is_one_for_the_status_and_zero_for_the_others() -> None:
    """The state of an enum, as Prometheus likes it."""
    found = samples(Figures(LIVE, CATALOG))
    assert [
        found[f'backupd_backup_last_status{{status="{status}",type="automatic"}}']
        for status in ("completed", "partial", "failed")
    ] == [0, 1, 0]


def test_metrics_no_archive_gives_no_oldest() -> None:
    """An oldest backup of 1970 would be a lie."""
    assert 'backupd_backup_oldest_timestamp_seconds{type="manual"}' not in samples(Figures(LIVE, CATALOG))


def test_metrics_without_a_catalog_leave_its_figures_out() -> None:
    """An unreadable catalog is no zero: the series end, and alerts for absence fire."""
    found = samples(Figures(LIVE, None))
    assert not any(name.startswith("backupd_backup") for name in found)
    assert found["backupd_catalog_errors_total"] == 0


def test_metrics_idle_daemon_shows_no_run() -> None:
    """Zero for every operation while nothing runs."""
    idle = replace(LIVE, running_operation=None, running_since=None, progress_ratio=None)
    found = samples(Figures(idle, CATALOG))
    assert {value for name, value in found.items() if name.startswith("backupd_run_")} == {0}


def test_metrics_page_has_the_process_metrics() -> None:
    """Memory, descriptors and start time of the process are what every dashboard looks for."""
    found = samples(Figures(LIVE, CATALOG))
    assert {"process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"} <= found.keys()


def test_metrics_have_no_label_that_grows_with_backups() -> None:
    """No id, no file name, nothing called `job`: fewer than thirty series a metric."""
    text = page(Figures(LIVE, CATALOG))
    assert "job=" not in text
    assert "backup_id" not in text
