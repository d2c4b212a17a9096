"""A real systemd, booted in a container of its own with this machine's programs, and backupd in it as a service.

The container sees this machine's files and can change none of them; it shares the network, and so the loopback.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import wait_until
from tests.support.skips import require, require_tool

CHECKOUT = Path(__file__).parent.parent.parent
PYTHON = Path("/usr/bin/python3")
PLACE = Path("/opt/backupd")
"""Where the container has the installed wheel."""

BACKUPD = PLACE / "bin" / "backupd"
_BOOT_SECONDS = 30.0
_HALT_SECONDS = 20.0
_POLL_SECONDS = 0.1  # a question costs a process or two: no oftener

# Everything is mounted in a name space that dies with it. No /bin/kill: a minimal Debian has none. What this machine
# starts at boot is left out, and so is what an earlier backupd may have left in /etc.
_BOOT = """
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/merged"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/merged"
rm -rf "$1"/merged/etc/systemd/system/* "$1/merged/etc/backupd" "$1/merged/etc/credstore" "$1"/merged/var/lib/backupd*
rm -f "$1/merged/bin/kill" "$1/merged/usr/bin/kill"
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$2"
echo $$ > "/sys/fs/cgroup/$2/cgroup.procs"
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec systemd-nspawn -q -D "$1/merged" "--bind-ro=$3:$4" --boot --register=no --keep-unit -M "$2" \
  --console=pipe --link-journal=no systemd.unit=basic.target
"""
# The signal stays with the process through every exec: a test run that is killed leaves nothing running.
_MORTAL = ("setpriv", "--pdeathsig", "TERM")
_APART = ("unshare", "-m", "--propagation", "private")
_FORGET = """
mount -t cgroup2 cgroup2 /sys/fs/cgroup
if [ -d "/sys/fs/cgroup/$1" ]; then find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +; fi
"""


def require_systemd() -> None:
    """Go on only where a systemd can be booted in a container."""
    require_tool("systemd-nspawn", "systemd-container")
    require_tool("systemd-analyze", "systemd")
    require_tool("unshare", "util-linux")
    require(os.geteuid() == 0, "root, to boot a systemd in a container", "sudo, or a container that is --privileged")
    probe = subprocess.run([*_APART, "mount", "-t", "cgroup2", "none", "/mnt"], capture_output=True, check=False)
    require(probe.returncode == 0, "the right to mount a cgroup2 file system", "a container that is --privileged")
    require(_python_is_new_enough(), "a /usr/bin/python3 of 3.11 or newer", "apt-get install python3 python3-venv")


def _python_is_new_enough() -> bool:
    asked = [str(PYTHON), "-c", "import sys, venv; sys.exit(sys.version_info < (3, 11))"]
    return PYTHON.exists() and subprocess.run(asked, capture_output=True, check=False).returncode == 0


def install_wheel(directory: Path) -> Path:
    """Build the wheel and install it into a new environment of the system's Python; gives the environment.

    Its scripts expect it to be at `PLACE`.
    """
    environment = directory / "backupd"
    _run(PYTHON, "-m", "venv", "--without-pip", environment)
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
    quiet = ("--quiet", "--disable-pip-version-check", "--root-user-action=ignore")
    _run(*pip, "install", *quiet, "--constraint", CHECKOUT / "constraints.txt", CHECKOUT)
    script = environment / "bin" / "backupd"
    script.write_text(script.read_text().replace(str(environment), str(PLACE)))
    return environment


def _run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Machine:
    """A booted systemd. `leader` is its process 1, as this machine numbers it."""

    leader: int

    def run(self, *command: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as root."""
        inside = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}
        return subprocess.run(
            [*inside, *map(str, command)], input=stdin, capture_output=True, text=True, check=False, env=environ
        )

    def __call__(self, *command: str | Path, stdin: str = "") -> str:
        """Run a command that must succeed; gives what it printed."""
        done = self.run(*command, stdin=stdin)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def path(self, inside: str | Path) -> Path:
        """A file of the container, as this machine sees it."""
        return Path(f"/proc/{self.leader}/root") / Path(inside).relative_to("/")

    def write(self, inside: str | Path, text: str) -> None:
        """Write a file of the container."""
        self.path(inside).parent.mkdir(parents=True, exist_ok=True)
        self.path(inside).write_text(text)


@contextmanager
def booted(directory: Path, environment: Path) -> Iterator[Machine]:
    """Boot a systemd that has `environment` at `PLACE`; it is halted at the end, and when this process dies."""
    name = f"backupd-test-{os.getpid()}"
    directory.mkdir()
    with (directory.parent / "console.log").open("w+") as console:
        process = subprocess.Popen(
            [*_MORTAL, *_APART, "sh", "-c", _BOOT, "boot", str(directory), name, str(environment), str(PLACE)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
        leader = None
        try:
            leader = _wait_for_leader(process, Path(console.name))
            machine = Machine(leader)
            is_up = ("systemctl", "is-active", "--quiet", "basic.target")
            wait_until(lambda: machine.run(*is_up).returncode == 0, "basic.target", seconds=_BOOT_SECONDS)
            yield machine
        finally:
            _halt(process, leader)
            _run(*_APART, "sh", "-c", _FORGET, "forget", name)


def _wait_for_leader(process: subprocess.Popen[bytes], console: Path) -> int:
    deadline = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                return int(child)
        time.sleep(0.05)
    raise AssertionError(f"systemd did not boot:\n{console.read_text()}")


def _halt(process: subprocess.Popen[bytes], leader: int | None) -> None:
    if leader is not None and process.poll() is None:
        os.kill(leader, signal.SIGRTMIN + 4)  # systemd(1): start poweroff.target
    try:
        process.wait(_HALT_SECONDS if leader is not None else 1)
    except subprocess.TimeoutExpired:
        process.kill()  # nspawn's children go with it
        process.wait()


@dataclass(frozen=True)
class Service:
    """backupd as a service of a container."""

    machine: Machine
    cursor: str
    name: str = "backupd"

    @classmethod
    def now(cls, machine: Machine, name: str = "backupd") -> Service:
        """The service from now on: its journal begins here."""
        shown = machine("journalctl", "--no-pager", "-n", "0", "--show-cursor")
        return cls(machine, shown.rpartition("cursor: ")[2].strip(), name)

    @property
    def state(self) -> Path:
        """Its state directory, inside."""
        return Path("/var/lib") / self.name

    def systemctl(self, verb: str, *arguments: str) -> str:
        """`systemctl VERB … NAME`, which must succeed; the journal is in the message when it does not."""
        done = self.machine.run("systemctl", verb, *arguments, self.name)
        assert done.returncode == 0, f"systemctl {verb} {self.name}: {done.stderr}\n{self.journal()}"
        return done.stdout

    def configure(self, url: str, *, daily_backup: str = "00:00", more: str = "") -> None:
        """Write its configuration; `more` is TOML."""
        settings = f"""
        [project]
        url = "{url}"
        [web]
        listen = "127.0.0.1:0"
        [schedule]
        timezone = "UTC"
        daily_backup = "{daily_backup}"
        catch_up = false
        stall_minutes = 1
        {more}
        """
        self.machine.write(self.config_file, re.sub("^ +", "", settings, flags=re.MULTILINE))

    @property
    def config_file(self) -> Path:
        """Its configuration, inside."""
        return Path("/etc/backupd") / f"{self.name.partition('@')[2] or 'backupd'}.toml"

    def give_secret(self, name: str, value: str) -> None:
        """Put a secret where README says: through the command that `install-service` shows."""
        file = f"/etc/credstore/{self.name}.{name}"
        self.machine("install", "-m", "0600", "/dev/stdin", file, stdin=value + "\n")

    def drop_in(self, name: str, text: str) -> None:
        """Change the unit, as `systemctl edit` does; an empty text takes the change back."""
        file = f"/etc/systemd/system/{self.name}.service.d/{name}.conf"
        if text:
            self.machine.write(file, text)
        else:
            self.machine.path(file).unlink()
        self.machine("systemctl", "daemon-reload")

    def show(self, name: str) -> str:
        """A property, as `systemctl show` tells it; times in microseconds."""
        return self.systemctl("show", "--value", "--timestamp=us+utc", "-p", name).strip()

    def signal(self, name: str) -> None:
        """`systemctl kill -s NAME`, to the daemon."""
        self.systemctl("kill", "-s", name, "--kill-whom=main")

    def journal(self) -> str:
        """What it and systemd have said of it since the test began."""
        return self.machine(
            "journalctl", "--no-pager", "-a", "-o", "cat", "-u", self.name, f"--after-cursor={self.cursor}"
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log events of that name."""
        lines = [json.loads(line) for line in self.journal().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def wait_for_event(self, name: str) -> dict[str, Any]:
        """Wait until it has logged that event; gives the first of that name."""
        self.wait_until(lambda: self.events(name), name)
        return self.events(name)[0]

    def wait_until(self, condition: Callable[[], object], what: str, *, seconds: float = 30.0) -> None:
        """Wait until `condition` holds; the journal is in the message when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                status = self.machine.run("systemctl", "status", "-n", "0", self.name).stdout
                raise AssertionError(f"not within {seconds} s: {what}\n{status}\n{self.journal()}")
            time.sleep(_POLL_SECONDS)

    def backupd(self, *arguments: str) -> Any:
        """Run a command of backupd on its state; gives its JSON."""
        places = ("--state", str(self.state), "--config", str(self.config_file))
        return json.loads(self.machine(BACKUPD, *places, *arguments, "--json"))

    def backups(self) -> list[dict[str, Any]]:
        """Its backups, newest first."""
        found: list[dict[str, Any]] = self.backupd("list")["backups"]
        return found

    def leftovers(self) -> list[str]:
        """Every file in the state directory that is neither the catalog's, nor a lock, nor an archive with its row."""
        usual = re.compile(r"catalog\.sqlite(-wal|-shm)?|daemon|lock|archives")
        known = {backup["archive"] for backup in self.backups() if backup["archive"]}
        known |= {f"{archive}.manifest.json" for archive in known}
        state = self.machine.path(self.state)
        top = [file.name for file in state.iterdir() if not usual.fullmatch(file.name)]
        return sorted(top + [file.name for file in (state / "archives").iterdir() if file.name not in known])
