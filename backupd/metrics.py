"""What Prometheus is told: names, help and labels of every metric, and the figures they are made from.

What matters after a restart is not counted here: it is read from the catalog at every scrape and comes in as
`Figures`. Timestamps, not ages; base units; every label value there is from the start (Prometheus, "Instrumentation").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from backupd.figures import CatalogFigures, Figures, LastBackup, LiveFigures
from backupd.model import BackupType, Status

OPERATIONS = ("backup", "verify", "cleanup", "rescan", "restore", "drill", "delete")
RESULTS = ("completed", "partial", "failed", "interrupted")
_ENDED = (Status.COMPLETED, Status.PARTIAL, Status.FAILED)
_RETRY_REASONS = ("connect", "timeout", "network", "malformed", "rate_limited", "too_slow", "server_error")


class Metrics:
    """The registry of one daemon. `read` is asked at every scrape; it must not block and must not raise."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self.registry = CollectorRegistry()
        self.retention_deleted = self._counter("backupd_retention_deleted", "Backups that cleanups deleted.")
        self.retention_refused = self._counter(
            "backupd_retention_refused", "Backups that a cleanup wanted to delete and could not."
        )
        self.notification_failures = self._counter(
            "backupd_notification_failures", "Messages and pings that could not be delivered."
        )
        self.catalog_errors = self._counter("backupd_catalog_errors", "Times the catalog could not be read or written.")
        self.registry.register(_FiguresCollector(read))
        for standard in (ProcessCollector, PlatformCollector, GCCollector):
            standard(registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self.registry)


class _FiguresCollector(Collector):
    """Turns figures into metric families at every scrape."""

    def __init__(self, read: Callable[[], Figures]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: what is there depends on the scrape, and the names are fixed below."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything a scrape shows beside the counters of this process."""
        figures = self._read()
        yield from _live_metrics(figures.live)
        if figures.catalog is not None:
            yield from _catalog_metrics(figures.catalog)


def _live_metrics(live: LiveFigures) -> Iterator[Metric]:
    yield _gauge("backupd_build_info", "The version that runs; always 1.", ["version"], {(live.version,): 1})
    yield _gauge(
        "backupd_run_in_progress",
        "Whether this operation is under way.",
        ["operation"],
        {(operation,): int(operation == live.running_operation) for operation in OPERATIONS},
    )
    yield _plain("backupd_run_started_timestamp_seconds", "When the present run began, 0 for none.", live.running_since)
    yield _plain(
        "backupd_run_progress_ratio", "How far the present run is, from 0 to 1; 0 for none.", live.progress_ratio or 0.0
    )
    yield _gauge(
        "backupd_schedule_next_run_timestamp_seconds",
        "When a job falls due next.",
        ["name"],
        {(name,): at.timestamp() for name, at in live.next_runs.items()},
    )
    yield _plain("backupd_scheduler_last_tick_timestamp_seconds", "When the daemon's loop last turned.", live.ticked_at)
    yield _counters("backupd_project_requests", "Requests to the project, by status code.", "code", live.requests)
    retries = {**dict.fromkeys(_RETRY_REASONS, 0), **live.retries}
    yield _counters("backupd_project_retries", "Requests that were sent again, by reason.", "reason", retries)
    received = CounterMetricFamily("backupd_project_received_bytes", "Bytes pulled from the project: billed as egress.")
    received.add_metric([], live.received_bytes)
    yield received
    if live.store_free_bytes is not None:
        yield _plain("backupd_store_free_bytes", "Bytes free in the store.", live.store_free_bytes)
    yield _plain(
        "backupd_legacy_api_key",
        "Whether the project is read with a legacy service_role key.",
        int(live.legacy_api_key),
    )


def _catalog_metrics(catalog: CatalogFigures) -> Iterator[Metric]:
    yield _by_type(
        "backupd_backup_last_success_timestamp_seconds",
        "When the last completed backup was finished, 0 for never.",
        {kind: _seconds(at) for kind, at in catalog.last_success_at.items()},
    )
    yield _by_type(
        "backupd_backup_last_attempt_timestamp_seconds",
        "When a backup was last begun, 0 for never.",
        {kind: _seconds(at) for kind, at in catalog.last_attempt_at.items()},
    )
    yield from _last_metrics(catalog.last)
    yield _gauge(
        "backupd_backups",
        "Backups on record.",
        ["type", "status"],
        {(kind, status): count for (kind, status), count in catalog.backups.items()},
    )
    yield _by_type("backupd_backups_size_bytes", "What the archives take in the store.", catalog.size_bytes)
    yield _by_type(
        "backupd_backup_oldest_timestamp_seconds",
        "When the oldest backup in the store was begun.",
        {kind: at.timestamp() for kind, at in catalog.oldest_at.items() if at is not None},
    )
    runs = CounterMetricFamily("backupd_runs", "Runs that have ended, by how.", labels=["operation", "result"])
    for operation in OPERATIONS:
        for result in RESULTS:
            runs.add_metric([operation, result], catalog.runs.get((operation, result), 0))
    yield runs
    yield _plain(
        "backupd_verify_last_success_timestamp_seconds",
        "When an archive was last read back and found right, 0 for never.",
        catalog.verified_at,
    )
    if catalog.drilled is not None:
        at, seconds = catalog.drilled
        yield _plain("backupd_drill_last_success_timestamp_seconds", "When a drill last found nothing wrong.", at)
        yield _plain("backupd_drill_last_duration_seconds", "How long that drill took.", seconds)
    yield _plain(
        "backupd_catalog_mismatches", "Places where the catalog and the store do not agree.", catalog.mismatches
    )
    yield _plain(
        "backupd_tables_disappeared",
        "Tables that the newest backup lacks and the one before had.",
        catalog.tables_disappeared,
    )
    if catalog.table_rows:
        rows: dict[tuple[str, ...], float] = {(table,): count for table, count in catalog.table_rows.items()}
        yield _gauge("backupd_table_last_rows", "Rows of a table in the newest backup.", ["table"], rows)


def _last_metrics(last: Mapping[BackupType, LastBackup]) -> Iterator[Metric]:
    yield _by_type(
        "backupd_backup_last_duration_seconds",
        "How long the last ended backup took.",
        {kind: one.duration_seconds for kind, one in last.items()},
    )
    yield _by_type(
        "backupd_backup_last_size_bytes",
        "Size of the last ended backup's archive.",
        {kind: one.size_bytes for kind, one in last.items()},
    )
    yield _by_type(
        "backupd_backup_last_rows", "Rows in the last ended backup.", {kind: one.rows for kind, one in last.items()}
    )
    yield _by_type(
        "backupd_backup_last_tables",
        "Tables in the last ended backup.",
        {kind: one.tables for kind, one in last.items()},
    )
    yield _gauge(
        "backupd_backup_last_status",
        "How the last ended backup ended: 1 for its status.",
        ["type", "status"],
        {(kind, status): int(kind in last and last[kind].status is status) for kind in BackupType for status in _ENDED},
    )


def _gauge(name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for own, value in values.items():
        family.add_metric([str(label) for label in own], value)
    return family


def _by_type(name: str, text: str, values: Mapping[BackupType, float]) -> Metric:
    return _gauge(name, text, ["type"], {(str(kind),): value for kind, value in values.items()})


def _counters(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for own, value in values.items():
        family.add_metric([own], value)
    return family


def _plain(name: str, text: str, value: float | datetime | None) -> Metric:
    seconds = _seconds(value) if value is None or isinstance(value, datetime) else value
    return GaugeMetricFamily(name, text, value=seconds)


def _seconds(at: datetime | None) -> float:
    return 0.0 if at is None else at.timestamp()
