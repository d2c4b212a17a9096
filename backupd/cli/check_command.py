"""`backupd check`: the doctor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import click
from rich.text import Text

from backupd.check import Finding, Verdict, check_catalog, check_config, check_project, check_store, problem
from backupd.cli.entrance import Entrance, json_option
from backupd.cli.words import MARKS
from backupd.errors import BackupdError, ConfigError, ExitCode
from backupd.project import Project


@click.command()
@json_option
@click.pass_obj
def check(entrance: Entrance) -> ExitCode:
    """Look at everything a backup needs: configuration, key, services, tables, grants, clock, store.

    Each line is ok, a warning or a problem, with what to do about it. Exits with 1 when there is a problem, with 78
    when the configuration itself is wrong.
    """
    findings: list[Finding] = []
    for finding in _findings(entrance):
        findings.append(finding)
        if not entrance.as_json:
            entrance.console.print(_line(finding))
    problems = [finding for finding in findings if finding.verdict is Verdict.PROBLEM]
    if entrance.as_json:
        entrance.show_json({"ok": not problems, "findings": [_document(finding) for finding in findings]})
    return ExitCode.FAILED if problems else ExitCode.OK


def _findings(entrance: Entrance) -> Iterator[Finding]:
    """Everything there is to say: one part that is broken does not hide the others."""
    settings = entrance.config.project()
    yield from check_config(entrance.config)
    yield from _unless_broken("catalog", lambda: check_catalog(entrance.catalog, entrance.clock()))
    yield from _unless_broken("store", lambda: check_store(entrance.store))
    with entrance.stoppable(), Project(settings, log=entrance.log, should_stop=entrance.stop.is_set) as project:
        yield from check_project(project, entrance.clock)


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
