"""Checks a dashboard against the types of Grafana's own npm package, with the TypeScript compiler."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.lite import cache_directory
from tests.support.skips import require, require_tool

_HERE = Path(__file__).parent / "grafana"
_INSTALL_SECONDS = 60
_CHECK_SECONDS = 60
_TYPES = {
    "stat": "StatPanel",
    "bargauge": "BarGaugePanel",
    "timeseries": "TimeSeriesPanel",
    "table": "TablePanel",
    "row": "Row",
}


def check_types(dashboard: dict[str, Any], directory: Path) -> str:
    """Give what the compiler has to say against the dashboard; nothing when it fits. Skips loudly without npm."""
    installed = _require_types()
    source = directory / "dashboard.ts"
    source.write_text((_HERE / "types.ts").read_text() + "\n".join(_pieces(dashboard)))
    (directory / "node_modules").symlink_to(installed / "node_modules")
    compiler = installed / "node_modules" / "typescript" / "bin" / "tsc"
    options = ["--noEmit", "--strict", "--skipLibCheck", "--ignoreConfig", "--module", "nodenext", "--target", "es2022"]
    done = subprocess.run(
        ["node", compiler, *options, source],
        cwd=directory,
        capture_output=True,
        encoding="utf-8",
        timeout=_CHECK_SECONDS,
        check=False,
    )
    assert done.returncode == 0 or done.stdout, done.stderr
    return done.stdout


def _pieces(dashboard: dict[str, Any]) -> Iterator[str]:
    """Each part of the dashboard as a constant of its own: in one union the compiler is lenient with unknown keys."""
    for panel in dashboard["panels"]:
        inner = panel.get("panels", [])
        yield _constant(f"panel{panel['id']}", _TYPES[panel["type"]], {**panel, "panels": []} if inner else panel)
        for one in inner:
            yield _constant(f"panel{one['id']}", _TYPES[one["type"]], one)
    for number, variable in enumerate(dashboard["templating"]["list"]):
        yield _constant(f"variable{number}", "Variable", variable)
    for number, annotation in enumerate(dashboard["annotations"]["list"]):
        yield _constant(f"annotation{number}", "Annotation", annotation)
    rest = {key: value for key, value in dashboard.items() if key not in ("panels", "templating", "annotations")}
    yield _constant("rest", "Rest", rest)


def _constant(name: str, type_name: str, value: object) -> str:
    return f"export const {name}: {type_name} = {json.dumps(value, indent=1)};"


def _require_types() -> Path:
    """Install the pinned packages into the cache, 33 MB and a few seconds, unless they are there."""
    require_tool("npm", "npm")
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    pins = hashlib.sha256((_HERE / "package.json").read_bytes()).hexdigest()[:12]
    installed = cache / f"grafana-{pins}"
    with (cache / "grafana.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        trouble = "" if installed.exists() else _install(cache, installed)
    require(installed.exists(), f"@grafana/schema ({trouble})", "npm and a registry it can reach")
    return installed


def _install(cache: Path, installed: Path) -> str:
    """Install beside the final name and rename; gives what npm said when it could not."""
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error"]
    with tempfile.TemporaryDirectory(prefix="grafana-", dir=cache) as scratch:
        building = Path(scratch) / "grafana"
        building.mkdir()
        shutil.copy(_HERE / "package.json", building)
        try:
            done = subprocess.run(
                command, cwd=building, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"npm install took longer than {_INSTALL_SECONDS} s"
        if done.returncode == 0:
            building.rename(installed)
        return done.stderr.strip()[-300:]
