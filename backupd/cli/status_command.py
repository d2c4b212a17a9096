"""`backupd status`: is the daemon alive, what is it doing, when did it last succeed?"""

from __future__ import annotations

from datetime import timedelta

import click
from rich.text import Text

from backupd.catalog import Catalog, health_facts
from backupd.cli.building import stale_after
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.words import MARKS, age, instant, plural, size
from backupd.daemon.heartbeat import Sign, living_daemon, read_sign
from backupd.errors import ExitCode
from backupd.health import Health, HealthState, assess
from backupd.model import Backup

_HUNG_AFTER = timedelta(minutes=5)


@click.command()
@json_option
@click.pass_obj
def status(entrance: Entrance) -> ExitCode:
    """Tell whether the daemon is alive, what it is doing, and when a backup last succeeded.

    Exits with 1 when no daemon is alive, when it hangs, or when the last success is too old.
    """
    sign = living_daemon(entrance.state_directory)
    now = entrance.clock()
    hung = sign is not None and (sign.hung or now - sign.ticked_at > _HUNG_AFTER)
    if not entrance.as_json:
        # Before the catalog is asked: that it cannot be read is no reason to say nothing of the daemon.
        _show_daemon(entrance, sign, hung=hung)
    facts = health_facts(entrance.catalog, stale_after(entrance.config))
    last = facts.last_success
    stale = last is None or now - last.created_at > facts.stale_after
    health = assess(facts, now)
    if entrance.as_json:
        entrance.show_json(_document(sign, last, hung=hung, stale=stale) | _health_document(health))
    else:
        _show_last(entrance, entrance.catalog, last, stale=stale)
        _show_health(entrance, health)
    return ExitCode.FAILED if sign is None or hung or stale else ExitCode.OK


def _show_daemon(entrance: Entrance, sign: Sign | None, *, hung: bool) -> None:
    if sign is None:
        _show_absence(entrance)
        return
    mark, colour = MARKS["problem" if hung else "ok"]
    state = "is alive"
    if hung:
        why = "its run does not move" if sign.hung else f"its last tick was {age(sign.ticked_at, entrance.clock())}"
        state = f"hangs: {why}"
    since = f"process {sign.pid}, version {sign.version}, since {instant(sign.started_at)}"
    entrance.console.print(Text.assemble((mark, colour), f" the daemon {state} ({since})"))
    entrance.console.print(f"  {sign.doing}", markup=False)
    for job, at in sorted(sign.next_runs.items(), key=lambda item: item[1]):
        entrance.console.print(f"  next {job:<16} {instant(at)}", markup=False)


def _show_absence(entrance: Entrance) -> None:
    words = f" no daemon runs on {entrance.state_directory}: systemctl start backupd, or backupd run"
    entrance.console.print(Text.assemble(("✗", "red"), words))
    before = read_sign(entrance.state_directory)
    if before is not None:
        entrance.console.print(f"  the last one was seen {age(before.ticked_at, entrance.clock())}", markup=False)


def _show_last(entrance: Entrance, catalog: Catalog, last: Backup | None, *, stale: bool) -> None:
    mark, colour = MARKS["problem" if stale else "ok"]
    if last is None:
        entrance.console.print(Text.assemble((mark, colour), " no backup has ever completed: backupd backup"))
    else:
        facts = f"{plural(last.total_rows, 'row')}, {size(last.size_bytes)}, {last.type}, {last.backup_id[:8]}"
        limit = stale_after(entrance.config) / timedelta(hours=1)
        wanted = f"; there should be one every {limit:g} hours" if stale else ""
        since = f"{age(last.created_at, entrance.clock())} ({instant(last.created_at)}; {facts})"
        words = f" last good backup {since}{wanted}"
        entrance.console.print(Text.assemble((mark, colour), words))
    newest = next(iter(catalog.backups(limit=1)), None)
    if newest is not None and (last is None or newest.backup_id != last.backup_id):
        mark, colour = MARKS[newest.status]
        reason = f": {newest.error}" if newest.error else ""
        words = f" newest backup {newest.backup_id[:8]} {age(newest.created_at, entrance.clock())}: {newest.status}"
        entrance.console.print(Text.assemble((mark, colour), words + reason))


def _show_health(entrance: Entrance, health: Health) -> None:
    """The same words as the health page's."""
    for reason in health.reasons:
        mark, colour = MARKS["problem" if reason.state is HealthState.UNHEALTHY else "warning"]
        entrance.console.print(Text.assemble((mark, colour), f" {reason.text} {reason.remedy}"))


def _health_document(health: Health) -> dict[str, object]:
    return {
        "state": str(health.state),
        "reasons": [{"text": reason.text, "remedy": reason.remedy} for reason in health.reasons],
    }


def _document(sign: Sign | None, last: Backup | None, *, hung: bool, stale: bool) -> dict[str, object]:
    return {
        "alive": sign is not None,
        "hung": hung,
        "pid": sign.pid if sign else None,
        "started_at": sign.started_at.isoformat() if sign else None,
        "ticked_at": sign.ticked_at.isoformat() if sign else None,
        "doing": sign.doing if sign else None,
        "next_runs": {job: at.isoformat() for job, at in sign.next_runs.items()} if sign else {},
        "last_success_at": last.created_at.isoformat() if last else None,
        "last_success_id": last.backup_id if last else None,
        "stale": stale,
    }
