"""`backupd check`: the doctor."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import urlsplit

import click
from rich.text import Text

from backupd.check import (
    Finding,
    Verdict,
    check_catalog,
    check_config,
    check_notifications,
    check_project,
    check_schedule,
    check_store,
    problem,
)
from backupd.cli.building import build_notifier, timetables
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.words import MARKS
from backupd.config import ProjectSettings
from backupd.errors import BackupdError, ConfigError, ExitCode
from backupd.notify import DeliveryFailure, Origin, trial
from backupd.project import Project


@click.command()
@click.option("--notify", "send", is_flag=True, help="Also send a test message to every address in notify.urls.")
@json_option
@click.pass_obj
def check(entrance: Entrance, send: bool) -> ExitCode:
    """Look at everything a backup needs: configuration, key, services, tables, grants, clock, store.

    Each line is ok, a warning or a problem, with what to do about it. Exits with 1 when there is a problem, with 78
    when the configuration itself is wrong.
    """
    findings: list[Finding] = []
    for finding in _findings(entrance, send=send):
        findings.append(finding)
        if not entrance.as_json:
            entrance.console.print(_line(finding))
    problems = [finding for finding in findings if finding.verdict is Verdict.PROBLEM]
    if entrance.as_json:
        entrance.show_json({"ok": not problems, "findings": [_document(finding) for finding in findings]})
    return ExitCode.FAILED if problems else ExitCode.OK


def _findings(entrance: Entrance, *, send: bool) -> Iterator[Finding]:
    """Everything there is to say: one part that is broken does not hide the others."""
    settings = entrance.config.project()
    yield from check_config(entrance.config)
    yield from check_schedule(timetables(entrance.config))
    yield from check_notifications(entrance.config, _test_message(entrance, settings) if send else None)
    yield from _unless_broken("catalog", lambda: check_catalog(entrance.catalog, entrance.clock()))
    yield from _unless_broken("store", lambda: check_store(entrance.store))
    with entrance.stoppable(), Project(settings, log=entrance.log, should_stop=entrance.stop.is_set) as project:
        yield from check_project(project, entrance.clock)


def _test_message(entrance: Entrance, settings: ProjectSettings) -> Callable[[], tuple[DeliveryFailure, ...]]:
    origin = Origin(settings.platform, urlsplit(settings.url).netloc, platform.node())
    return partial(build_notifier(entrance.config, entrance.environ).notify, trial(origin))


def _unless_broken(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except ConfigError:
        raise
    except BackupdError as error:
        yield problem(subject, error)


def _line(finding: Finding) -> Text:
    mark, colour = MARKS[finding.verdict]
    line = Text.assemble("  ", (mark, colour), f" {finding.subject:<20} ", (f"{finding.verdict:<8} ", colour))
    line.append(finding.text)
    if finding.remedy:
        line.append(f"\n{'':<33}{finding.remedy}", style="dim")
    return line


def _document(finding: Finding) -> dict[str, str | None]:
    return {
        "subject": finding.subject,
        "verdict": str(finding.verdict),
        "text": finding.text,
        "remedy": finding.remedy,
    }
