"""Serves a daemon's pages: builds the site over the daemon and its configuration."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from backupd.cli.entrance import Entrance
from backupd.config import Config, Secret
from backupd.daemon import Daemon, Joined
from backupd.figures import Figures
from backupd.metrics import Metrics
from backupd.model import BackupType, Trigger
from backupd.project import Traffic, Users
from backupd.web import (
    Address,
    Admins,
    Admission,
    Asked,
    Downloads,
    Errands,
    Exposure,
    Listener,
    Pages,
    Signer,
    Site,
    Sources,
    Transport,
    View,
    Workplace,
    exposure_of,
    make_app,
)

_ERRAND_SECONDS = 5.0


class Serving:
    """The pages of one daemon. What may change at a reload is asked for anew at each request."""

    def __init__(self, entrance: Entrance, traffic: Traffic) -> None:
        self._entrance = entrance
        self._traffic = traffic
        self._view: View | None = None
        self._admission = Admission()
        self.metrics = Metrics(self._figures)

    def use(self, config: Config) -> None:
        """Let in whom this configuration lets in. Raises ConfigError for one that would show too much."""
        web = config.section("web")
        exposure_of(web)
        rule, token = web["admin_rule"], web["admin_token"]
        clock = self._entrance.clock
        users = Users(config.project(), rule, id_column=web["admin_rule_id"], clock=clock) if rule else None
        self._admission = Admission(Secret(token) if token else None, users)

    @contextmanager
    def serve(self, daemon: Daemon) -> Iterator[None]:
        """Serve while the block lasts. Raises BackupdError when the address is taken."""
        config = self._entrance.config
        self._view = View(self._sources(daemon, config))
        exposure = exposure_of(config.section("web"))
        if exposure is None:
            yield
            return
        with self._listening(config, self._site(daemon, self._view, exposure)) as listener:
            daemon.services.log.info("listener.started", address=str(listener.address))
            yield

    @contextmanager
    def _listening(self, config: Config, site: Site) -> Iterator[Listener]:
        token = config.section("web")["metrics_token"]
        pages = Pages(site.view, self.metrics, metrics_token=Secret(token) if token else None)
        place = site.exposure
        listener = Listener(
            make_app(pages, site),
            Address(place.host, place.port),
            transport=Transport(place.certificate, place.key, place.trusted_proxies),
            on_stop=site.stopping.set,
        )
        listener.start()
        try:
            yield listener
        finally:
            listener.stop()
            site.errands.close(_ERRAND_SECONDS)

    def _site(self, daemon: Daemon, view: View, exposure: Exposure) -> Site:
        clock = self._entrance.clock
        return Site(
            view=view,
            place=lambda: self._workplace(daemon),
            admins=Admins(view.catalog, lambda: self._admission, clock=clock, log=lambda: daemon.services.log),
            errands=Errands(clock=clock, log=lambda: daemon.services.log),
            downloads=Downloads(Signer(secrets.token_bytes(32)), clock),
            exposure=exposure,
        )

    def _workplace(self, daemon: Daemon) -> Workplace:
        services = daemon.services
        return Workplace(
            catalog=services.catalog,
            store=services.store,
            runner=services.runner,
            policy=services.policy,
            timetables=services.timetables,
            drill_reports=services.drill_reports,
            platform=services.platform,
            project=services.origin.project,
            request_backup=lambda kind, trigger: _asked(daemon, kind, trigger),
            clock=self._entrance.clock,
            log=services.log,
        )

    def _sources(self, daemon: Daemon, config: Config) -> Sources:
        return Sources(
            catalog_file=self._entrance.catalog_file,
            clock=self._entrance.clock,
            log=daemon.services.log,
            daemon=daemon.state,
            store=lambda: daemon.services.store,
            key_kind=lambda: daemon.services.key_kind,
            stale_after=lambda: daemon.services.stale_after,
            traffic=self._traffic,
            count_catalog_error=self.metrics.catalog_errors.inc,
            show_tables=config.section("web")["table_metrics"],
        )

    def _figures(self) -> Figures:
        if self._view is None:
            message = "nothing is served yet"
            raise RuntimeError(message)
        return self._view.figures()


def _asked(daemon: Daemon, kind: BackupType, trigger: Trigger) -> Asked:
    """Ask the daemon for a backup, in the words of the pages."""
    answer = daemon.request_backup(kind, trigger)
    return Asked(answer.backup_id, joined=True) if isinstance(answer, Joined) else Asked(answer, joined=False)
