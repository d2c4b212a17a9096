"""A real Prometheus and a real Alertmanager on loopback, with the configuration that backupd ships, made quick."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

import backupd.monitoring
from tests.support.http_recorder import Recorder
from tests.support.processes import wait_until
from tests.support.skips import require_tool

SHIPPED = Path(backupd.monitoring.__file__).parent
"""Where the files are that `backupd monitoring` writes out."""

KNOWN_METRICS = frozenset(
    re.findall(r"^# TYPE (\w+)", (Path(__file__).parents[1] / "data" / "metrics.txt").read_text(), re.MULTILINE)
)
"""The names of the metrics as agreed, from the golden page."""

_HOLD = re.compile(r"for: \d+[mh]\n")
_START_SECONDS = 20.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of an answer: its labels and its value now."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus."""

    url: str
    log: Path

    def query(self, expression: str) -> list[Sample]:
        """What an expression gives now. Raises AssertionError with Prometheus's words when it is none."""
        result = self._get("query", query=expression)["result"]
        return [Sample(one["metric"], float(one["value"][1])) for one in result]

    def value(self, expression: str) -> float | None:
        """The only value an expression gives, None when it gives nothing."""
        found = self.query(expression)
        assert len(found) <= 1, f"{expression} gives {found}"
        return found[0].value if found else None

    def history(self, selector: str) -> list[float]:
        """Every value that was scraped of one series in the last five minutes, in order."""
        (series,) = self._get("query", query=f"{selector}[5m]")["result"]
        return [float(value) for _, value in series["values"]]

    def wait_for(self, expression: str, *, seconds: float = 30.0) -> list[Sample]:
        """Wait until an expression gives something."""
        wait_until(lambda: self.query(expression), f"Prometheus has {expression}", seconds=seconds)
        return self.query(expression)

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        return {sample.labels["alertname"] for sample in self.query('ALERTS{alertstate="firing"}')}

    def _get(self, what: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{what}", params=parameters, timeout=10).json()
        assert answer["status"] == "success", answer.get("error")
        return answer["data"]


@dataclass(frozen=True, slots=True)
class Told:
    """One alert as the webhook of Alertmanager got it. `status` is `firing` or `resolved`."""

    status: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def told(recorder: Recorder) -> list[Told]:
    """Every alert that a webhook has been told of, in order."""
    alerts = [alert for received in recorder.received for alert in json.loads(received.body)["alerts"]]
    return [Told(one["status"], one["labels"]["alertname"], one["labels"], one["annotations"]) for one in alerts]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def hurried_rules(**thresholds: str) -> str:
    """The shipped alert rules with every `for` cut to a second.

    `thresholds` are spans of the rules as they are written there, spaces left out, and what to write instead:
    `hurried_rules(**{"30*3600": "10"})`. Everything else, expressions above all, stays to the letter.
    """
    rules = _HOLD.sub("for: 1s\n", (SHIPPED / "alerts.yml").read_text())
    for before, after in thresholds.items():
        spaced = before.replace("*", " * ")
        assert f"> {spaced}\n" in rules, f"no rule has the threshold {spaced}"
        rules = rules.replace(f"> {spaced}\n", f"> {after}\n")
    return rules


@contextmanager
def running_alertmanager(directory: Path, webhook_url: str) -> Iterator[str]:
    """Alertmanager with the shipped example, its webhook led to `webhook_url` and its waits cut; gives its URL."""
    require_tool("prometheus-alertmanager", "prometheus-alertmanager")
    configuration = _changed(
        (SHIPPED / "alertmanager.yml").read_text(),
        {
            "http://127.0.0.1:9095/alerts": webhook_url,
            "group_wait: 30s": "group_wait: 0s",
            "group_interval: 5m": "group_interval: 1s",
        },
    )
    (directory / "alertmanager.yml").write_text(configuration)
    command = [
        "prometheus-alertmanager",
        f"--config.file={directory / 'alertmanager.yml'}",
        f"--storage.path={directory / 'alertmanager'}",
        "--cluster.listen-address=",
    ]
    with _serving(command, directory / "alertmanager.log") as url:
        yield url


@contextmanager
def running_prometheus(
    directory: Path, target: str, *, rules: str, alertmanager_url: str = "http://127.0.0.1:1"
) -> Iterator[Prometheus]:
    """Prometheus with the shipped configuration, scraping `target` (`host:port`) and thinking every second."""
    require_tool("prometheus", "prometheus")
    configuration = _changed(
        (SHIPPED / "prometheus.yml").read_text(),
        {
            "127.0.0.1:8787": target,
            "127.0.0.1:9093": alertmanager_url.removeprefix("http://"),
            "scrape_interval: 30s": "scrape_interval: 1s",
            "evaluation_interval: 30s": "evaluation_interval: 1s",
        },
    )
    (directory / "prometheus.yml").write_text(configuration)
    (directory / "alerts.yml").write_text(rules)
    command = [
        "prometheus",
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        "--rules.alert.resend-delay=1s",
        "--log.level=warn",
    ]
    with _serving(command, directory / "prometheus.log") as url:
        yield Prometheus(url, directory / "prometheus.log")


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for before, after in changes.items():
        assert text.count(before) == 1, f"{before} is there {text.count(before)} times"
        text = text.replace(before, after)
    return text


@contextmanager
def _serving(command: list[str], log: Path) -> Iterator[str]:
    """A server of the Prometheus family while the block lasts; gives its URL once it says that it is ready."""
    address = f"127.0.0.1:{free_port()}"
    with log.open("w") as output:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=output, stderr=output)
    try:
        wait_until(lambda: _is_ready(address, process, log), f"{command[0]} is ready", seconds=_START_SECONDS)
        yield f"http://{address}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(address: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"ended with {process.returncode}; it said:\n{log.read_text()}"
    try:
        return httpx.get(f"http://{address}/-/ready", timeout=1).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
