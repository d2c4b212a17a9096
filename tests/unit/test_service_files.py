"""The service's files: what the units say, and what `install-service` writes, runs and refuses."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from backupd.cli.entrance import Entrance
from backupd.cli.install_service_command import install_service
from backupd.cli.service_files import Plan, Wanted, plan_service, shipped, unreachable, write
from backupd.config import OPTIONS, PROJECT_KEYS
from backupd.errors import ConfigError, ExitCode

PROGRAM = Path("/opt/backupd/bin/backupd")
UNITS = ("backupd.service", "backupd@.service")
FILES = (*UNITS, "store.conf", "sysusers.conf")


def directives(name: str) -> list[tuple[str, str]]:
    """The assignments of a unit, in order."""
    lines = [line for line in shipped(name).splitlines() if line and line[0] not in "#["]
    return [(key, value) for key, _, value in (line.partition("=") for line in lines)]


def values(name: str, key: str) -> list[str]:
    """What a unit assigns to `key`."""
    return [value for other, value in directives(name) if other == key]


def text_of(plan: Plan, path: str) -> str:
    """What a plan writes into a file."""
    (text,) = (file.text for file in plan.files if str(file.path) == path)
    return text


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    """The umask of a careful root."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.parametrize("unit", UNITS)
def test_unit_exit_codes_are_those_of_the_table(unit: str) -> None:
    """What is not started again, and what is no failure, goes by the one table of exit codes."""
    assert values(unit, "RestartPreventExitStatus") == [str(int(ExitCode.CONFIGURATION))]
    assert values(unit, "SuccessExitStatus") == [str(int(ExitCode.INTERRUPTED))]


@pytest.mark.parametrize("unit", UNITS)
def test_unit_credentials_cover_every_secret(unit: str) -> None:
    """A secret that can be configured can be given as a credential, from a file of this service alone."""
    owner = "backupd@%i" if "@" in unit else "backupd"
    secrets = [f"{option.section}_{option.name}" for option in OPTIONS if option.secret]
    keys = [key.name for key in PROJECT_KEYS if not key.name.startswith("VITE_")]
    assert {f"{name}:{owner}.{name}" for name in (*keys, *secrets)} <= set(values(unit, "LoadCredential"))


@pytest.mark.parametrize("file", FILES)
def test_file_explains_each_directive(file: str) -> None:
    """Whoever reads a unit is told why: each group of directives has a comment above it."""
    lines = shipped(file).splitlines()
    bare = [line for before, line in pairwise(lines) if line[:1] not in {"", "#", "["} and before[:1] in {"", "["}]
    assert [line for line in bare if not line.startswith(("Description=", "WantedBy="))] == []


def test_units_differ_only_in_what_belongs_to_the_instance() -> None:
    """What protects one project protects each of several."""
    alone, instance = (directives(unit) for unit in UNITS)
    own = {"Description", "EnvironmentFile", "Environment", "LoadCredential", "StateDirectory"}
    assert [one for one in alone if one[0] not in own] == [one for one in instance if one[0] not in own]
    common = {value for key, value in alone if key == "Environment"}
    assert all("%i" in value for key, value in instance if key in own and value not in common)


def test_units_spell_out_what_a_dynamic_user_implies() -> None:
    """The drop-in that turns `DynamicUser=` off takes no protection away."""
    implied = {
        "NoNewPrivileges": "yes",
        "RestrictSUIDSGID": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "RemoveIPC": "yes",
    }
    assert ("DynamicUser", "no") in directives("store.conf")
    for unit in UNITS:
        assert implied.items() <= dict(directives(unit)).items()


def test_plan_writes_the_path_of_the_program_into_the_unit() -> None:
    """The shipped unit starts another one than this machine may have."""
    unit = text_of(plan_service(Wanted(Path("/usr/local/bin/backupd"))), "/etc/systemd/system/backupd.service")
    assert "\nExecStart=/usr/local/bin/backupd run\n" in unit
    assert unit.replace("/usr/local/bin/backupd run", "/opt/backupd/bin/backupd run") == shipped("backupd.service")


def test_plan_of_an_instance_has_a_configuration_and_a_key_of_its_own() -> None:
    """The template serves every instance; what is the instance's carries its name."""
    wanted = Wanted(PROGRAM, "shop")
    paths = [str(file.path) for file in plan_service(wanted).files]
    assert paths == ["/etc/systemd/system/backupd@.service", "/etc/backupd/shop.toml"]
    assert str(wanted.key_file) == "/etc/credstore/backupd@shop.SUPABASE_SECRET_KEY"


def test_plan_of_a_store_brings_its_user_and_its_drop_in() -> None:
    """One directory in every place that has to agree on it."""
    plan = plan_service(Wanted(PROGRAM, store=Path("/mnt/vault")))
    drop_in = text_of(plan, "/etc/systemd/system/backupd.service.d/store.conf")
    for line in ("RequiresMountsFor=/mnt/vault", "ReadWritePaths=/mnt/vault", "BACKUPD_STORE__URL=file:///mnt/vault"):
        assert line in drop_in
    assert "/srv/backupd" not in drop_in
    assert [command[0] for command in plan.commands] == ["systemd-sysusers", "install", "systemctl"]


def test_plan_of_an_existing_store_leaves_its_owner_alone() -> None:
    """A directory that was there before may be somebody's."""
    plan = plan_service(Wanted(PROGRAM, store=Path("/mnt/vault")), store_exists=True)
    assert [command[0] for command in plan.commands] == ["systemd-sysusers", "systemctl"]


@pytest.mark.parametrize(
    ("instance", "store"),
    [
        *((name, None) for name in ("../x", "a b", "-a", "%i", "")),
        *((None, place) for place in ("relative", "/a b", "/a%b", "/a\nUser=root", "/")),
    ],
)
def test_wanted_refuses_what_systemd_would_read_otherwise(instance: str | None, store: str | None) -> None:
    """A blank, a `%` or a line break in a unit file means something else."""
    with pytest.raises(ConfigError):
        Wanted(PROGRAM, instance, Path(store) if store else None)


@pytest.mark.usefixtures("narrow_umask")
def test_write_makes_files_the_service_can_read_and_a_directory_only_root_can(tmp_path: Path) -> None:
    """The service is not root; the place of the keys is root's alone."""
    write(plan_service(Wanted(PROGRAM, "shop", Path("/srv/shop"))), tmp_path)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes.pop("etc/credstore") == 0o700
    assert {mode for path, mode in modes.items() if (tmp_path / path).is_dir()} == {0o755}
    assert {mode for path, mode in modes.items() if (tmp_path / path).is_file()} == {0o644}


def test_write_again_replaces_units_and_never_a_configuration(tmp_path: Path) -> None:
    """A newer version brings its unit; what a person wrote stays."""
    plan = plan_service(Wanted(PROGRAM))
    write(plan, tmp_path)
    unit, config = tmp_path / "etc/systemd/system/backupd.service", tmp_path / "etc/backupd/backupd.toml"
    unit.write_text("old")
    config.write_text("theirs")
    assert [file.verb(tmp_path) for file in plan.files] == ["replace", "leave"]
    write(plan, tmp_path)
    assert (unit.read_text(), config.read_text()) == (shipped("backupd.service"), "theirs")
    assert [file.verb(tmp_path) for file in plan.files] == ["unchanged", "leave"]


@pytest.mark.parametrize(
    "place", [str(Path("/", "root", "venv", "backupd")), "/home/anna/backupd", "/tmp/venv/bin/backupd"]
)
def test_unreachable_names_places_the_unit_hides(place: str) -> None:
    """What `ProtectHome=` and `PrivateTmp=` hide cannot be started, and systemd's own message does not say why."""
    (words,) = unreachable((Path(place),))
    assert place in words
    assert "the service cannot see" in words


def test_unreachable_names_the_directory_others_may_not_enter(tmp_path: Path) -> None:
    """An environment made by a root with a narrow umask is of no use to the service."""
    program = tmp_path / "bin" / "backupd"
    program.parent.mkdir(mode=0o700)
    program.touch(mode=0o755)
    (words,) = unreachable((program,), hidden={})
    assert words == f"{program} cannot be used by the service: others may not enter {program.parent}"


def test_unreachable_has_nothing_against_the_systems_own_places() -> None:
    """What everybody can use, the service can."""
    assert list(unreachable((Path("/usr/bin/env"),))) == []


def test_install_service_dry_run_shows_everything_and_does_nothing(tmp_path: Path) -> None:
    """Every file with its text, every command with its arguments."""
    done = CliRunner().invoke(install_service, ["--dry-run", "--root", str(tmp_path)], obj=Entrance({}))
    assert done.exit_code == 0
    shown = [line.removeprefix("  │ ") for line in done.output.splitlines()]
    assert f"write {tmp_path}/etc/systemd/system/backupd.service" in shown
    assert "WatchdogSec=60s" in shown
    assert list(tmp_path.iterdir()) == []


def test_install_service_below_a_root_writes_and_tells_what_comes_next(tmp_path: Path) -> None:
    """It never asks for the key: it says where to put it, and the two commands after that."""
    done = CliRunner().invoke(
        install_service, ["--yes", "--instance", "shop", "--root", str(tmp_path)], obj=Entrance({})
    )
    assert (tmp_path / "etc/systemd/system/backupd@.service").is_file()
    for line in (
        "install -m 0600 /dev/stdin /etc/credstore/backupd@shop.SUPABASE_SECRET_KEY",
        "systemctl enable --now backupd@shop",
        "journalctl -fu backupd@shop",
    ):
        assert line in done.output
