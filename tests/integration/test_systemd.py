"""backupd as a service of a real systemd: the installed wheel, the shipped units, and what an operator does to them."""

from __future__ import annotations

import re
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from backupd.errors import ExitCode
from backupd.sandbox.postgres import Postgres
from tests.support.faults import Hang, answer
from tests.support.http_recorder import http_recorder
from tests.support.processes import SAMPLE_ROWS, SampleProject, sample_project
from tests.support.proxy import FaultProxy, path
from tests.support.systemd import BACKUPD, PLACE, Machine, Service, booted, install_wheel, require_systemd

USERS = path("/rest/v1/users")
HIGHEST_EXPOSURE = 1.5
STOP_SECONDS = 10.0
# What a run takes for sixty seconds is one, so that a hang is noticed within the test's patience.
HURRY = """
import sys, time
real = time.monotonic
time.monotonic = lambda: real() * 60
from backupd.cli import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted systemd where the installed wheel has made itself a service, and an instance with a store elsewhere."""
    require_systemd()
    directory = tmp_path_factory.mktemp("systemd")
    with booted(directory / "machine", install_wheel(directory)) as running:
        running(BACKUPD, "install-service", "--yes")
        running(BACKUPD, "install-service", "--yes", "--instance", "shop", "--store", "/srv/shop")
        yield running


@pytest.fixture(scope="module")
def project(postgres: Postgres) -> Iterator[SampleProject]:
    """A small project that all tests of this file only read."""
    with sample_project(postgres) as running:
        yield running


@pytest.fixture
def proxy(project: SampleProject) -> Iterator[FaultProxy]:
    """What stands between the daemon and the project."""
    with FaultProxy(project.gateway.project_url) as running:
        yield running


@pytest.fixture
def service(machine: Machine, project: SampleProject, proxy: FaultProxy) -> Iterator[Service]:
    """The service, configured for the project and not yet started; afterwards everything of it is gone."""
    service = Service.now(machine)
    service.configure(proxy.url)
    service.give_secret("SUPABASE_SECRET_KEY", project.gateway.keys.secret)
    yield service
    proxy.clear()
    proxy.release()
    machine.run("systemctl", "stop", service.name)
    machine.run("systemctl", "reset-failed", service.name)
    machine.run("systemctl", "clean", "--what=state", service.name)


def microseconds(iso: str) -> int:
    """An instant in microseconds, from the daemon's log or from `Sun 2026-11-22 17:41:35.855551 UTC`."""
    text = iso if iso.endswith("Z") else "T".join(iso.split()[1:3]) + "Z"
    return int(datetime.fromisoformat(text).timestamp() * 1_000_000)


def in_status(service: Service, words: str) -> None:
    """Wait until the status line holds these words."""
    service.wait_until(lambda: words in service.show("StatusText"), f"a status line with {words!r}")


def completed(service: Service, count: int = 1) -> None:
    """Wait until so many backups have come to their end and nothing is under way."""
    service.wait_until(
        lambda: sum(event["operation"] == "backup" for event in service.events("run.finished")) == count,
        f"{count} finished backups",
    )
    in_status(service, "idle")


def test_units_verified_by_systemd_have_nothing_to_complain_about(machine: Machine) -> None:
    """`systemd-analyze verify` returns 0 for unknown keys, so what counts is that it says nothing."""
    for unit in ("backupd.service", "backupd@shop.service"):
        done = machine.run("systemd-analyze", "verify", unit)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("unit", ["backupd.service", "backupd@.service"])
def test_unit_exposure_stays_low(machine: Machine, unit: str) -> None:
    """`systemd-analyze security` finds little that the daemon could do to its host."""
    said = machine("systemd-analyze", "security", "--no-pager", "--offline=true", f"/etc/systemd/system/{unit}")
    (exposure,) = re.findall(r"Overall exposure level .*: ([\d.]+) ", said)
    assert float(exposure) <= HIGHEST_EXPOSURE


def test_install_service_without_root_is_refused(machine: Machine) -> None:
    """It says so at once, with the command that would do, instead of failing at the first file."""
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    done = machine.run(*nobody, BACKUPD, "install-service", "--yes")
    assert done.returncode == ExitCode.FAILED
    assert "installing a service needs root" in done.stderr
    assert f"sudo {BACKUPD} install-service" in done.stderr


def test_service_start_is_active_only_when_ready(service: Service) -> None:
    """To systemd it is active only after catalog and store have been compared, and then the status page answers."""
    service.systemctl("start")
    compared = service.wait_for_event("run.finished")
    assert compared["operation"] == "rescan"
    assert microseconds(service.show("InactiveExitTimestamp")) < microseconds(compared["timestamp"])
    assert microseconds(compared["timestamp"]) <= microseconds(service.show("ActiveEnterTimestamp"))
    address = service.events("listener.started")[0]["address"]
    with urllib.request.urlopen(f"http://{address}/healthz") as page:
        assert page.status == 200


def test_service_start_shows_the_next_run_in_its_status(service: Service, proxy: FaultProxy) -> None:
    """`systemctl status` tells when the next backup is due."""
    service.configure(proxy.url, daily_backup="23:57")
    service.systemctl("start")
    in_status(service, "23:57")
    assert "daily_backup" in service.show("StatusText")


@pytest.mark.parametrize(
    ("change", "reason"),
    [("nonsense = 1", "schedule.nonsense is not a setting"), ("", "SUPABASE_SECRET_KEY is not set")],
    ids=["unknown setting", "no key"],
)
def test_service_start_wrong_configuration_is_final_and_explained(
    service: Service, proxy: FaultProxy, change: str, reason: str
) -> None:
    """Exit code 78: systemd does not try again what only a person can mend, and the journal says what it is."""
    service.configure(proxy.url, more=change)
    if not change:
        service.machine.path(f"/etc/credstore/{service.name}.SUPABASE_SECRET_KEY").unlink()
    assert service.machine.run("systemctl", "start", service.name).returncode != 0
    assert (service.show("ActiveState"), service.show("ExecMainStatus")) == ("failed", "78")
    assert reason in service.journal()


def test_sigusr1_makes_a_manual_backup(service: Service) -> None:
    """`systemctl kill -s USR1 backupd` backs up now, every row, into the state directory."""
    service.systemctl("start")
    service.signal("USR1")
    completed(service)
    (backup,) = service.backups()
    assert (backup["status"], backup["type"], backup["trigger"]) == ("completed", "manual", "signal")
    assert backup["total_rows"] == sum(SAMPLE_ROWS.values())
    assert service.leftovers() == []


def test_sigusr1_twice_makes_one_backup(service: Service, proxy: FaultProxy) -> None:
    """A second signal while a backup runs joins that one."""
    proxy.once(when=USERS, do=Hang())
    service.systemctl("start")
    service.signal("USR1")
    proxy.wait_for(USERS)
    service.signal("USR1")
    joined = service.wait_for_event("backup.joined")
    proxy.release()
    completed(service)
    assert [backup["backup_id"] for backup in service.backups()] == [joined["backup_id"]]


def test_reload_takes_a_changed_schedule(service: Service, proxy: FaultProxy) -> None:
    """`systemctl reload` works without /bin/kill, and the same process then goes by the new time."""
    service.systemctl("start")
    before = service.show("MainPID")
    service.configure(proxy.url, daily_backup="23:58")
    service.systemctl("reload")
    in_status(service, "23:58")
    assert service.show("MainPID") == before
    assert not service.machine.path("/usr/bin/kill").exists()


def test_reload_bad_configuration_keeps_the_old_one_and_says_why(service: Service, proxy: FaultProxy) -> None:
    """A daemon that runs is not brought down by a typing error."""
    service.configure(proxy.url, daily_backup="23:57")
    service.systemctl("start")
    service.configure(proxy.url, daily_backup="24:99")
    service.systemctl("reload")
    rejected = service.wait_for_event("config.rejected")
    assert "schedule.daily_backup is '24:99'" in rejected["error"]
    in_status(service, "23:57")
    assert service.show("ActiveState") == "active"


def test_worker_that_hangs_is_killed_by_the_watchdog_and_the_restart_recovers(
    service: Service, proxy: FaultProxy
) -> None:
    """The loop still turns, but says so no longer; the journal tells where it hung, and the next process is sound."""
    service.machine.write("/etc/backupd/hurry.py", HURRY)
    service.drop_in("hurry", f"[Service]\nExecStart=\nExecStart={PLACE}/bin/python /etc/backupd/hurry.py run\n")
    service.drop_in("watchdog", "[Service]\nWatchdogSec=2s\nRestartSec=1s\n")
    proxy.once(when=USERS, do=Hang())
    try:
        service.systemctl("start")
        service.signal("USR1")
        proxy.wait_for(USERS)
        service.drop_in("hurry", "")
        service.wait_until(lambda: service.show("NRestarts") == "1", "a restart", seconds=40)
        service.wait_until(lambda: service.show("ActiveState") == "active", "the restarted daemon")
        assert "Watchdog timeout" in service.journal()
        assert "Fatal Python error: Aborted" in service.journal()
        service.signal("USR1")
        completed(service)
    finally:
        service.drop_in("watchdog", "")
    assert [backup["status"] for backup in service.backups()] == ["completed", "failed"]
    assert service.leftovers() == []


def test_stop_during_a_backup_ends_in_time_and_leaves_nothing_half_done(service: Service, proxy: FaultProxy) -> None:
    """Even where the project does not answer: the backup is recorded as interrupted, and the next start is clean."""
    proxy.once(when=USERS, do=Hang())
    service.systemctl("start")
    service.signal("USR1")
    proxy.wait_for(USERS)
    began = time.monotonic()
    service.systemctl("stop")
    assert time.monotonic() - began < STOP_SECONDS
    assert service.show("Result") == "success"
    (backup,) = service.backups()
    assert (backup["status"], backup["archive"]) == ("failed", None)
    assert "interrupted" in backup["error"]
    assert service.leftovers() == []
    service.systemctl("start")
    assert service.show("ActiveState") == "active"


def test_credential_is_used_and_appears_nowhere(service: Service, project: SampleProject, tmp_path: Path) -> None:
    """Neither in the environment nor the command line, the journal, the catalog, the archive or what systemd tells."""
    service.systemctl("start")
    service.signal("USR1")
    completed(service)
    key = project.gateway.keys.secret.encode()
    process = service.machine.path("/proc") / service.show("MainPID")
    places = {name: (process / name).read_bytes() for name in ("environ", "cmdline")}
    assert b"CREDENTIALS_DIRECTORY=" in places["environ"]
    places["journal"] = service.machine("journalctl", "--no-pager", "-a", "-o", "export").encode()
    places["systemctl show"] = service.systemctl("show").encode()
    state = service.machine.path(service.state)
    for file in (file for file in state.rglob("*") if file.is_file()):
        places[file.name] = file.read_bytes()
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                places |= {member: archive.read(member) for member in archive.namelist()}
    assert {"manifest.json", "catalog.sqlite", "tables/public/users.json"} <= places.keys()
    assert [name for name, content in places.items() if key in content] == []


def test_notification_is_delivered_from_inside_the_unit(service: Service, machine: Machine, proxy: FaultProxy) -> None:
    """The child process that sends messages works under all the restrictions, with its URL from a credential."""
    proxy.always(when=USERS, do=answer(404, body='{"code": "PGRST205", "message": "gone"}'))
    with http_recorder() as receiver:
        service.give_secret("notify_urls", f"json://127.0.0.1:{receiver.port}/alarm")
        service.systemctl("start")
        service.signal("USR1")
        service.wait_until(lambda: receiver.targets, "a message")
        machine.path("/etc/credstore/backupd.notify_urls").unlink()
    assert receiver.targets == ["/alarm"]
    assert service.events("notification.failed") == []


def test_service_sees_a_read_only_system(service: Service, machine: Machine) -> None:
    """From inside the unit even root cannot write outside of the state directory."""
    service.systemctl("start")
    inside = ("nsenter", "-t", service.show("MainPID"), "-m", "--")
    denied = machine.run(*inside, "touch", "/etc/backupd/written", "/usr/written", "/srv/written")
    assert denied.stderr.count("Read-only file system") == 3
    machine(*inside, "touch", f"{service.state}/archives/written")


def test_store_elsewhere_is_refused_without_its_drop_in(service: Service, proxy: FaultProxy) -> None:
    """Where the unit may not write there is no store; the message names the place."""
    service.configure(proxy.url, more='[store]\nurl = "file:///srv/elsewhere"')
    service.machine.run("systemctl", "start", service.name)
    assert "/srv/elsewhere" in service.journal()
    assert "read-only" in service.journal().lower()


def test_instance_with_a_store_elsewhere_works_beside_the_other_service(
    service: Service, machine: Machine, project: SampleProject, proxy: FaultProxy
) -> None:
    """Two projects on one host: own configuration, key and state, and archives that belong to a lasting user."""
    shop = Service.now(machine, "backupd@shop")
    shop.configure(proxy.url)
    shop.give_secret("SUPABASE_SECRET_KEY", project.gateway.keys.secret)
    service.systemctl("start")
    shop.systemctl("start")
    try:
        shop.signal("USR1")
        completed(shop)
        (archive,) = machine.path("/srv/shop").glob("*.zip")
        assert shop.backups()[0]["archive"] == archive.name
        assert machine("stat", "-c", "%U %a", f"/srv/shop/{archive.name}").split() == ["backupd", "600"]
        assert service.backups() == []
    finally:
        shop.systemctl("stop")
