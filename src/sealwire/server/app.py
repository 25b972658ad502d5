"""The control plane as a program: `sealwire server`, `sealwire backup`, `sealwire restore`.

One ASGI application: the machine endpoints are matched first and answered by plain handlers, everything
else goes to the framework. One process, one event loop.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from litestar import Litestar, MediaType, Response, get
from litestar.config.app import ExperimentalFeatures
from litestar.datastructures import State
from litestar.types import ASGIApp

from sealwire import __version__
from sealwire.errors import SealwireError, SettingsError
from sealwire.server import access, audit, backup, settings
from sealwire.server.api import admin, fast_lane, openapi, problems, requests
from sealwire.server.api.debugger_intake import DebuggerApi
from sealwire.server.api.inventory import InventoryApi
from sealwire.server.api.probe_intake import ProbeDataApi
from sealwire.server.api.proxies import Proxies, behind
from sealwire.server.api.remote_config import MachineApi, Receive, Scope, Send
from sealwire.server.api.security_intake import SecurityApi
from sealwire.server.control_plane import ControlPlane
from sealwire.server.metrics import render
from sealwire.server.ui import answers
from sealwire.server.ui.live import Viewers
from sealwire.server.ui.render import read_templates
from sealwire.server.ui.resume import KeptForms
from sealwire.server.ui.router import router as pages

log = structlog.get_logger()

# Longer than any poll interval, so that the Go Agent (which closes after 30 s idle) keeps its connection.
KEEP_ALIVE_S = 75
MAX_JSON_BYTES = 4 * 1024 * 1024


def build(plane: ControlPlane) -> tuple[Any, MachineApi]:
    """The ASGI application of a control plane, and its machine endpoints."""
    machine = MachineApi(plane.access, plane.tenants, max_wait_s=plane.settings.max_wait_s)

    @get("/healthz", media_type=MediaType.TEXT, include_in_schema=False)
    async def healthz() -> str:
        return "ok\n"

    @get("/readyz", media_type=MediaType.TEXT, include_in_schema=False)
    async def readyz() -> Response[str]:
        ready = all(tenant.publisher.config is not None for tenant in plane.tenants.values())
        return Response("ready\n" if ready else "not ready\n", status_code=200 if ready else 503)

    @get("/metrics", media_type="text/plain; version=0.0.4", include_in_schema=False)
    async def metrics() -> str:
        return render(plane, machine)

    people: ASGIApp = Litestar(
        route_handlers=[healthz, readyz, metrics, admin.router(), pages()],
        state=State({"plane": plane, "viewers": Viewers(plane.stopping), "kept_forms": KeptForms()}),
        openapi_config=openapi.config(),
        plugins=[openapi.Described()],
        exception_handlers={
            **answers.EXCEPTION_HANDLERS,
            RecursionError: problems.from_depth,
            UnicodeDecodeError: problems.from_bytes,
        },
        before_send=[answers.add_headers],
        request_max_body_size=MAX_JSON_BYTES,
        logging_config=None,
        experimental_features=list[ExperimentalFeatures](),
    )
    inventories = InventoryApi(plane.access, plane.tenants, machine.answers)
    security = SecurityApi(plane.access, plane.tenants, machine.answers)
    debugger = DebuggerApi(plane.access, plane.tenants, machine.answers)
    probes = ProbeDataApi(plane.access, plane.tenants, machine.answers)
    routes = {
        **machine.routes, **inventories.routes, **security.routes, **debugger.routes, **probes.routes,
    }  # fmt: skip
    of_people = requests.in_context(people, plane.trail.refusals)  # type: ignore[arg-type]

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            handler = routes.get(scope["path"])
            if handler is not None:
                await handler(scope, receive, send)
                return
        await of_people(scope, receive, send)

    return behind(application, Proxies(plane.settings.trusted_proxies)), machine


async def serve(plane: ControlPlane) -> None:
    """Listen until told to stop."""
    chosen = plane.settings
    application, machine = build(plane)
    listener = _listen(chosen.listen, chosen.port)
    port = listener.getsockname()[1]
    plane.url = chosen.url(port)
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http=fast_lane.protocol(machine),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # ``proxies`` reads them
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=65536,
        ssl_certfile=chosen.tls_cert_file or (str(plane.tls.cert_file) if plane.tls else None),
        ssl_keyfile=chosen.tls_key_file or (str(plane.tls.key_file) if plane.tls else None),
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
        config.ssl.num_tickets = 0  # agents keep their connection; a ticket each costs 15 % of a handshake
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    await plane.start()
    _spare_long_pauses()
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if not serving.done():
        if not plane.access.has_application_keys:
            _welcome(plane)
        first_run = plane.first_run_url()
        if first_run is not None:
            print(f"Open this once, to set your password and begin: {first_run}", flush=True)  # noqa: T201
        print(f"sealwire server ready on {plane.url}", flush=True)  # noqa: T201 - the line people wait for
        reading = asyncio.create_task(read_templates(), name="templates")
        await stopping.wait()
        log.info("stopping")
        reading.cancel()
        plane.stopping.set()
        for tenant in plane.tenants.values():
            tenant.distributor.release_waiters()
        server.should_exit = True
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await plane.stop()


def _spare_long_pauses() -> None:
    """Keep the garbage collector from walking everything that is published.

    What is loaded stays, so a walk over it finds nothing, and every poll waits for it: 0.1 s with 10,000
    configs. Young garbage is collected as before, if in larger lots.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 100)


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        raise SettingsError(
            f"{address}:{port} cannot be used ({os.strerror(error.errno or 0)}). "
            "Stop what listens there, or choose another with --port."
        ) from error
    listener.listen(2048)
    listener.setblocking(False)
    return listener


def _welcome(plane: ControlPlane) -> None:
    """First start: make the administrator's key and say once what was made.

    The profile is there before the key counts: after a crash in between, the next start does it again.
    """
    tenant = next(iter(plane.tenants.values()))
    profile = plane.settings.profile_path
    secret = access.new_application_key()
    ca_file = plane.settings.config_dir / "tls" / "ca.pem"
    lines = [f'url = "{plane.url}"']
    if plane.tls is not None:
        lines.append(f"ca_file = {json.dumps(str(ca_file))}")
    lines.append(f'application_key = "{secret}"')
    profile.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = profile.with_name(f"{profile.name}.new")
    aside.unlink(missing_ok=True)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write("\n".join(lines) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(profile)
    plane.access.add_application_key(
        secret, tenant.organisation.org_id, user="admin", role="admin", now_ms=plane.now_ms()
    )
    made = [
        f"Made organisation {tenant.organisation.org_id} ({tenant.organisation.name}), roots on this server.",
        f"  root keys      {plane.keyring.root_folder(tenant.organisation.uuid)}  (keep a copy offline)",
        f"  wrapping key   {plane.settings.config_dir / 'kek'}",
        f"  certificate    from a private CA: {ca_file}"
        if plane.tls
        else "  certificate    your own, or none",
        f"  command line   {profile}  (administrator's application key inside)",
    ]
    print("\n".join(made), flush=True)  # noqa: T201 - said once, to whoever started it


def main(argv: Sequence[str]) -> int:
    """The commands of the control plane; returns the exit code."""
    try:
        return _main(argv)
    except SealwireError as error:
        print(f"sealwire: {error.public}", file=sys.stderr)  # noqa: T201 - the command's answer
        if error.detail:
            log.error("not done", code=error.code, detail=error.detail)
        return 1


def _main(argv: Sequence[str]) -> int:
    parser = _parser()
    arguments = parser.parse_args(list(argv))
    overrides = {
        key: value
        for key, value in vars(arguments).items()
        if key in {"data_dir", "config_dir", "listen", "port", "profile", "log_level", "database_url"}
    }
    chosen = settings.load(overrides, os.environ)
    _configure_logging(chosen.log_level)
    if arguments.command in ("backup", "restore"):
        audit.on_the_command_line()
    if arguments.command == "backup":
        print(backup.backup(chosen, arguments.file))  # noqa: T201 - the command's answer
        return 0
    if arguments.command == "restore":
        print(backup.restore(chosen, arguments.file, force=arguments.force))  # noqa: T201
        return 0
    if chosen.plain_http_sends_api_keys_unencrypted:
        log.warning("plain HTTP: API keys and configs travel unencrypted", listen=chosen.listen)
    plane = ControlPlane(chosen)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(plane))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sealwire server", description="Run the control plane.")
    parser.add_argument("--version", action="version", version=f"sealwire {__version__}")
    parser.set_defaults(command="server")
    commands = parser.add_subparsers(dest="command")
    run = commands.add_parser("run", help="run the control plane (also without the word)")
    save = commands.add_parser("backup", help="write database and root keys to one file")
    back = commands.add_parser("restore", help="put a backup back, with every version moved forward")
    for command in (parser, run, save, back):
        command.add_argument("--data-dir", type=Path, default=argparse.SUPPRESS, help="the database's folder")
        command.add_argument("--config-dir", type=Path, default=argparse.SUPPRESS, help="keys and settings")
        command.add_argument("--database-url", default=argparse.SUPPRESS, help="PostgreSQL, for replicas")
        command.add_argument("--log-level", default=argparse.SUPPRESS, help="debug, info, warning, error")
    for command in (parser, run):
        command.add_argument("--listen", default=argparse.SUPPRESS, help="address, 127.0.0.1 by default")
        command.add_argument("--port", type=int, default=argparse.SUPPRESS, help="8443 by default; 0: any")
        command.add_argument(
            "--profile",
            type=Path,
            default=argparse.SUPPRESS,
            help="where the CLI profile goes at first start",
        )
    save.add_argument("file", type=Path)
    back.add_argument("file", type=Path)
    back.add_argument("--force", action="store_true", help="replace a database that is there")
    return parser


def _configure_logging(level: str) -> None:
    number = getattr(logging, level.upper())
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(
                key_order=["timestamp", "level", "event"], bool_as_flag=False
            ),
        ],
    )
