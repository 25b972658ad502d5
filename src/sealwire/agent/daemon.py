"""``sealwire agent``: put the parts together, run them, stop them cleanly.

Hides nothing but order: settings, state, who is here, the conversation upstream, the face to local
applications. What cannot start says so in one sentence and leaves with an exit code: 0 stopped as asked,
1 could not start or failed, 2 used wrongly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog
import uvloop

from sealwire import __version__
from sealwire.agent.cache import Belonging, Cache
from sealwire.agent.dogstatsd import DogStatsd
from sealwire.agent.exchange import ApiError, ControlPlane
from sealwire.agent.forward import Forwarder
from sealwire.agent.identity import agent_uuid
from sealwire.agent.inventory import Inventory, Poster
from sealwire.agent.local import LocalServer, Polls
from sealwire.agent.probes import Gatherer, ProbeReporter
from sealwire.agent.relay import Relay
from sealwire.agent.reporter import Reporter
from sealwire.agent.roster import Roster
from sealwire.agent.security import Collector
from sealwire.agent.settings import AgentSettings, load_settings
from sealwire.agent.sights import Sights
from sealwire.agent.spool import Spool
from sealwire.agent.status import Parts, metrics_text, status_document, status_text
from sealwire.agent.trusted import Trusted
from sealwire.agent.uploads import Uploads, uploads_to
from sealwire.agent.upstream import Upstream
from sealwire.clock import utc_now
from sealwire.errors import SealwireError, SettingsError, UntrustedError
from sealwire.trust.uptane import TrustedState

log = structlog.get_logger("sealwire.agent")

# Name look-ups, verification of large answers, writes to the disk: one each.
WORKER_THREADS = 3


class Agent:
    """One agent, put together and not yet running.

    Args:
        settings: Checked.

    Raises:
        SettingsError: Another agent works in the same folder, or a first root is none.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self.settings = settings
        self.roster = Roster(ttl_s=settings.client_ttl_s)
        self.relay = Relay()
        security = Collector() if settings.security_url else None
        self.gatherer: Gatherer | None = None
        if settings.probes_url:
            self.gatherer = Gatherer(dropped=security.dropped if security is not None else None)
        self.sights = Sights(secrets=(settings.api_key,), security=security, probes=self.gatherer)
        self.agent_uuid = agent_uuid(settings.run_path, hostname=settings.hostname)
        self.cache: Cache | None = None
        self.trusted: Trusted | None = None
        self.upstream: Upstream | None = None
        self.polls: Polls | None = None
        self.poster: Poster | None = None
        self.reporter: Reporter | None = None
        self.probe_reporter: ProbeReporter | None = None
        self.dogstatsd: DogStatsd | None = None
        self.forwarder: Forwarder | None = None
        self.uploads: Uploads | None = None
        self._started = time.time()
        self._plane: ControlPlane | None = None
        url = settings.inventory_url or settings.security_url or settings.probes_url or settings.upstream_url
        if url:
            self._plane = ControlPlane(
                url=url,
                api_key=settings.api_key,
                ca_file=settings.ca_file,
                verify_tls=settings.verify_tls,
            )
        if settings.rc_on:
            self._put_together()
        if settings.inventory_url and self._plane is not None:
            inventory = Inventory(
                settings, agent_uuid=self.agent_uuid, sights=self.sights, roster=self.roster,
                upstream=self.upstream, started=self._started,
            )  # fmt: skip
            self.poster = Poster(inventory, plane=self._plane)
        if self.sights.security is not None and self._plane is not None:
            self.reporter = Reporter(
                self.sights.security,
                plane=self._plane,
                open_spool=lambda: Spool.open(
                    settings.run_path,
                    limit=settings.spool_bytes,
                    api_key=settings.api_key,
                    url=settings.security_url,
                ),
                hostname=settings.hostname,
                agent_uuid=self.agent_uuid,
                started_ms=int(self._started * 1000),
            )
        if self.gatherer is not None and self._plane is not None:
            self.probe_reporter = ProbeReporter(
                self.gatherer,
                post=self._plane.post_probes,
                hostname=settings.hostname,
                agent_uuid=self.agent_uuid,
                started_ms=int(self._started * 1000),
            )
        if self.gatherer is not None and settings.dogstatsd is not None:
            self.dogstatsd = DogStatsd(
                settings.dogstatsd, take=self.gatherer.take_line, dropped=self.gatherer.dropped
            )
        self._upload_planes: list[ControlPlane] = []
        if settings.debugger_to:
            self.uploads, self._upload_planes = uploads_to(settings)
        if settings.forward_to:
            self.forwarder = Forwarder(settings.forward_to)
        self.server = LocalServer(
            settings,
            polls=self.polls,
            relay=self.relay,
            sights=self.sights if self._looks_at_uploads() else None,
            forwarder=self.forwarder,
            uploads=self.uploads,
            dogstatsd=self.dogstatsd,
            status=self.status_json,
            metrics=self.metrics_text,
            ready=self.is_ready,
        )

    def _looks_at_uploads(self) -> bool:
        return any(each is not None for each in (self.poster, self.reporter, self.probe_reporter))

    def _put_together(self) -> None:
        settings = self.settings
        if settings.director_root is None or settings.config_root is None or self._plane is None:
            raise TypeError("Remote Configuration starts with both roots only")
        anchors = {"director_root": settings.director_root, "config_root": settings.config_root}
        self.cache = Cache.open(settings.run_path)
        try:
            self.trusted = Trusted(
                cache=self.cache,
                belonging=Belonging.of(api_key=settings.api_key, url=settings.upstream_url, **anchors),
                **anchors,
            )
            self.trusted.restore(now=utc_now())
        except UntrustedError as error:
            self.cache.close()
            raise SettingsError(
                f"a first root is not to be believed: {error.public}; "
                "`sealwire root export --agent` prints the lines"
            ) from error
        self.upstream = Upstream(
            settings,
            plane=self._plane,
            trusted=self.trusted,
            roster=self.roster,
            agent_uuid=self.agent_uuid,
        )
        self._plane.on_skew = self.upstream.note_skew
        self.polls = Polls(trusted=self.trusted, roster=self.roster, news=self.upstream)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set.

        Raises:
            SettingsError: The port or the socket is somebody else's.
        """
        talking: list[asyncio.Task[None]] = []
        try:
            await self.server.start()
            if self.upstream is not None:
                talking.append(asyncio.create_task(self.upstream.run()))
            if self.poster is not None:
                talking.append(asyncio.create_task(self.poster.run()))
            if self.reporter is not None:
                talking.append(asyncio.create_task(self.reporter.run()))
            if self.dogstatsd is not None:
                await self.dogstatsd.start()
            if self.probe_reporter is not None:
                talking.append(asyncio.create_task(self.probe_reporter.run()))
            if self.uploads is not None:
                talking.append(asyncio.create_task(self.uploads.run()))
            log.info(
                "sealwire agent ready",
                listening=" ".join(self.server.listening),
                upstream=self.settings.upstream_url or "none",
            )
            await stop.wait()
        finally:
            await self.server.stop()
            if self.dogstatsd is not None:
                self.dogstatsd.stop()
            await self.sights.close()
            if self.forwarder is not None:
                await self.forwarder.close()
            for task in talking:
                task.cancel()
            for task in talking:
                with suppress(asyncio.CancelledError):
                    await task
            if self._plane is not None:
                await self._plane.close()
            for plane in self._upload_planes:
                await plane.close()
            if self.cache is not None:
                self.cache.close()

    def is_ready(self) -> bool:
        """Whether applications get what they should: a verified state, unless there is none to get."""
        return self.trusted is None or self.trusted.state.director_version > 0

    def parts(self) -> Parts:
        """What has something to tell."""
        return Parts(
            self.settings,
            self.agent_uuid,
            self.roster,
            self.relay,
            self.trusted,
            self.upstream,
            self.server.listening,
            self._started,
            self.sights,
            self.poster,
            self.reporter,
            self.forwarder,
            self.uploads,
            self.probe_reporter,
            self.dogstatsd,
        )

    def status_json(self) -> bytes:
        """The status document."""
        return orjson.dumps(status_document(self.parts(), now=utc_now()))

    def metrics_text(self) -> str:
        """The metrics."""
        answered = self.polls.answered if self.polls is not None else {}
        return metrics_text(self.parts(), answered=answered, now=utc_now())


def run(settings: AgentSettings) -> int:
    """Run an agent until it is told to stop.

    Returns:
        The exit code.
    """
    _start_logging(settings.log_level)
    for warning in settings.warnings:
        log.warning("setting not used", reason=warning)
    if settings.rc_refusal:
        log.warning("Remote Configuration does not start", reason=settings.rc_refusal)
    elif not settings.rc_enabled:
        log.info("Remote Configuration is off", reason=settings.rc_off_reason)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except SealwireError as error:
        log.error("sealwire agent cannot start", reason=error.public)
        return 1
    log.info("sealwire agent stopped")
    return 0


async def _serve(settings: AgentSettings) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="agent"))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await Agent(settings).run(stop)


def _start_logging(level: str) -> None:
    number = logging.getLevelNamesMapping()[level.upper()]
    # Libraries tell at INFO what we tell in our own words.
    others = number if number == logging.DEBUG else max(number, logging.WARNING)
    logging.basicConfig(
        level=others, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    # It logs each malformed request of a local program as an error; those are not ours.
    logging.getLogger("aiohttp").setLevel(max(number, logging.CRITICAL))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _one_line,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _one_line(_: Any, __: str, event: structlog.typing.EventDict) -> str:
    """``2026-11-22T12:00:00Z info event key=value``: readable, and one line even for hostile texts."""
    head = f"{event.pop('timestamp')} {event.pop('level')} {event.pop('event')}"
    exception = event.pop("exception", None)
    fields = "".join(f" {name}={_quoted(value)}" for name, value in event.items() if value is not None)
    return f"{head}{fields}" + (f"\n{exception}" if exception else "")


def _quoted(value: object) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(char in ' "=' for char in text)
    return text if plain else json.dumps(text, ensure_ascii=False)


# --- command line ---------------------------------------------------------------------------------

_MORE = """\
Settings come from datadog.yaml (--config, else ~/.config/sealwire/datadog.yaml, else
/etc/datadog-agent/datadog.yaml), then DD_* variables, then --set; the last one wins. Enough to start:

  api_key: <key>                          from `sealwire key create`
  remote_configuration:                   the rest is printed by `sealwire root export --agent`
    rc_dd_url: https://<control plane>:8443
    config_root: ...
    director_root: ...
    ca_file: ...

Exit codes: 0 stopped as asked or all is well, 1 could not start or is not well, 2 used wrongly.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """``sealwire agent [run|status|check]``; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["run", *words]
    arguments = _parser().parse_args(words)
    try:
        if arguments.command == "status":
            return _status(arguments)
        settings = load_settings(config_file=arguments.config, overrides=arguments.set)
        return run(settings) if arguments.command == "run" else _check(settings)
    except SealwireError as error:
        sys.stderr.write(f"sealwire agent: {error.public}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sealwire agent",
        description="The daemon of a host: fetches, verifies and hands out configuration.",
        epilog=_MORE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    settings = argparse.ArgumentParser(add_help=False)
    settings.add_argument("--config", type=Path, metavar="FILE", help="datadog.yaml to read")
    settings.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; may be repeated"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("run", parents=[settings], help="run in the foreground (the default)")
    status = commands.add_parser(
        "status", parents=[settings], help="ask the agent that runs on this host how it is"
    )
    status.add_argument("--json", action="store_true", help="as JSON")
    status.add_argument("--url", help="of the agent; default: the port in the settings")
    commands.add_parser("check", parents=[settings], help="read the settings and try the control plane")
    parser.add_argument("--version", action="version", version=f"sealwire {__version__}")
    return parser


def _status(arguments: argparse.Namespace) -> int:
    url = arguments.url
    if url is None:
        settings = load_settings(config_file=arguments.config, overrides=arguments.set)
        url = f"http://127.0.0.1:{settings.receiver_port}"
    parts = urlsplit(url if "//" in url else f"http://{url}")
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 8126, timeout=5)
    try:
        connection.request("GET", "/sealwire/v1/status")
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise SealwireError(f"{url} does not answer as a Sealwire agent ({response.status})")
        document = orjson.loads(body)
    except (OSError, HTTPException, ValueError) as error:
        raise SealwireError(f"no agent answers at {url}: {error}") from error
    finally:
        connection.close()
    sys.stdout.write(body.decode() + "\n" if arguments.json else status_text(document))
    return 0


def _check(settings: AgentSettings) -> int:
    """Say what would happen, and try the control plane once."""
    say = sys.stdout.write
    for name, origin in sorted(settings.origins.items()):
        say(f"{name}: from {origin}\n")
    for warning in settings.warnings:
        say(f"warning: {warning}\n")
    say(f"state: {settings.run_path}\n")
    if not settings.rc_on:
        say(f"Remote Configuration is off: {settings.rc_off_reason}\n")
        return 1 if settings.rc_refusal else 0
    say(f"control plane: {settings.upstream_url}\n")
    try:
        TrustedState.bootstrap(
            director_root=settings.director_root or b"", config_root=settings.config_root or b""
        )
    except UntrustedError as error:
        say(f"a first root is not to be believed: {error.public}\n")
        return 1
    try:
        enabled, authorized = asyncio.run(_try_status(settings))
    except (ApiError, UntrustedError) as error:
        say(f"it does not answer as it should: {error.public}\n")
        return 1
    say(f"organization enabled: {'yes' if enabled else 'no'}\n")
    say(f"API key: {'authorized' if authorized else 'not authorized for Remote Configuration'}\n")
    return 0 if enabled and authorized else 1


async def _try_status(settings: AgentSettings) -> tuple[bool, bool]:
    plane = ControlPlane(
        url=settings.upstream_url,
        api_key=settings.api_key,
        ca_file=settings.ca_file,
        verify_tls=settings.verify_tls,
    )
    try:
        return await plane.org_status()
    finally:
        await plane.close()


if __name__ == "__main__":
    sys.exit(main())
