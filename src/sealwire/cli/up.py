"""``sealwire up``: control plane, agent and sample shop on one machine, to look at.

Starts the other programs as child processes and knows them by their command lines, ports and the
admin API alone. One data directory holds everything, so a second start goes on where the first
ended; nothing outside it is touched but the user's command line profile, and that only if it is
missing or was written by the same ``up``.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealwire.cli import profile as profiles
from sealwire.cli.agent_settings import Anchors, yaml_quoted, yaml_text
from sealwire.cli.answers import ApiKey, ApiKeys, Clients, typed
from sealwire.cli.api import AdminApi
from sealwire.cli.arguments import Groups, Session, leaf
from sealwire.cli.children import Children, StopRequested, is_important
from sealwire.cli.output import Output
from sealwire.cli.ports import free_port
from sealwire.cli.profile import Profile
from sealwire.cli.root import fetch_anchors
from sealwire.errors import SealwireError, SettingsError

SERVER_READY = "sealwire server ready on "
AGENT_READY = "sealwire agent ready"
READY_TIMEOUT_S = 60.0
# The control plane says this while it has no user: the link works once.
_FIRST_LINK = re.compile(r"Open this once\b.*: (https?://\S+)")
_API_KEY_LINE = re.compile(r"^api_key: '([^']+)'$", re.MULTILINE)
# Longer names do not fit into a socket address.
MAX_SOCKET_PATH = 100


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of one ``up`` is."""

    data: Path
    server_port: int
    agent_port: int
    shop_port: int

    @property
    def server_url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    @property
    def shop_url(self) -> str:
        return f"http://127.0.0.1:{self.shop_port}"

    @property
    def agent_url(self) -> str:
        return f"http://127.0.0.1:{self.agent_port}"

    @property
    def admin_profile(self) -> Path:
        """Written by the control plane at its first start; the one copy that is ours."""
        return self.data / "config" / "cli.toml"

    @property
    def agent_file(self) -> Path:
        return self.data / "agent" / "datadog.yaml"

    @property
    def metrics_socket(self) -> Path | None:
        """Where applications send metrics; None where its name would be too long."""
        path = self.agent_file.parent / "dsd.socket"
        return path if len(str(path)) <= MAX_SOCKET_PATH else None

    @property
    def logs(self) -> Path:
        return self.data / "logs"


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``up`` into the tree."""
    up = leaf(
        groups,
        "up",
        run_up,
        summary="Run control plane, agent and a sample shop on this machine.",
        more="""
Ctrl-C stops all of it; the next start goes on with the same data. A port that is taken makes way for
the next free one. --profile says where to keep the command line's profile (default: your own, unless
that belongs to another control plane).""",
    )
    up.add_argument("--data-dir", type=Path, metavar="D", help="default: ~/.local/share/sealwire/up")
    up.add_argument("--no-shop", action="store_true", help="control plane and agent only")
    up.add_argument("--server-port", type=_port, default=8443, metavar="N", help="default: 8443")
    up.add_argument("--agent-port", type=_port, default=8126, metavar="N", help="default: 8126")
    up.add_argument("--shop-port", type=_port, default=8080, metavar="N", help="default: 8080")


def run_up(arguments: argparse.Namespace, session: Session) -> int:
    output = session.output
    data = (arguments.data_dir or _default_data(session.environ)).absolute()

    def show(line: str) -> None:
        output.say(line)
        output.flush()

    with _only_one(data):
        places = _pick_places(data, arguments, output)
        children = Children(places.logs, show)
        with children.signals_as_events():
            code = 0
            try:
                _start(children, places, arguments, session)
                children.watch()
            except StopRequested:
                show("Stopping.")
            except SealwireError as error:
                output.note(f"sealwire: {error.public}")
                code = 1
            finally:
                children.stop_all()
        show(f"Everything is stopped. The data stays in {data}.")
        return code


def _start(children: Children, places: Places, arguments: argparse.Namespace, session: Session) -> None:
    """Start the programs, each when the one before it is ready, and say what now."""
    output = session.output
    environ = child_environment(session.environ)
    python = [sys.executable, "-m", "sealwire"]

    output.say(f"Starting the control plane on {places.server_url} (data in {places.data}) ...")
    output.flush()
    server = children.start(
        "server",
        [
            *python,
            "server",
            *("--data-dir", str(places.data / "server")),
            *("--config-dir", str(places.data / "config")),
            *("--listen", "127.0.0.1"),
            *("--port", str(places.server_port)),
            *("--profile", str(places.admin_profile)),
        ],
        env=environ,
        ready_line=SERVER_READY,
    )
    children.wait_ready(server, timeout_s=READY_TIMEOUT_S)
    admin = _settle_profile(places)
    api = AdminApi(admin)
    chosen = _share_profile(places, admin, arguments.profile, session.environ)

    write_agent_file(places, api)
    agent = children.start(
        "agent",
        [*python, "agent", "--config", str(places.agent_file)],
        env=environ,
        ready_line=AGENT_READY,
    )
    children.wait_ready(agent, timeout_s=READY_TIMEOUT_S)

    if not arguments.no_shop:
        opened_s = time.monotonic()
        _start_shop(children, places, environ)
        output.say("Waiting for the shop's tracer to ask for its configuration ...")
        output.flush()
        if not children.wait_until(lambda: _shop_is_seen(api, since_s=opened_s), timeout_s=READY_TIMEOUT_S):
            output.note(f"The shop's tracer was not seen yet; the logs are in {places.logs}.")
    first_link = next((found[1] for line in server.tail if (found := _FIRST_LINK.search(line))), "")
    has_shop = not arguments.no_shop
    for line in what_now(places, chosen, session.environ, has_shop=has_shop, first_link=first_link):
        output.say(line)
    output.flush()


def _start_shop(children: Children, places: Places, environ: Mapping[str, str]) -> None:
    traced = {
        **environ,
        "DD_SERVICE": "shop",
        "DD_ENV": "prod",
        "DD_VERSION": "1.0.0",
        "DD_TRACE_AGENT_URL": places.agent_url,
        "DD_REMOTE_CONFIG_POLL_INTERVAL_SECONDS": "1",
        # Its telemetry goes to our agent and no further: pages show by it what is in force.
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "true",
        "DD_CRASHTRACKING_ENABLED": "false",
    }
    if places.metrics_socket is not None:
        traced["DD_DOGSTATSD_URL"] = f"unix://{places.metrics_socket}"
    shop = children.start(
        "shop",
        [
            *(sys.executable, "-m", "ddtrace.commands.ddtrace_run"),
            *(sys.executable, "-m", "sealwire.demo", "--port", str(places.shop_port)),
        ],
        env=traced,
        ready_line="shop is open on ",
    )
    children.wait_ready(shop, timeout_s=READY_TIMEOUT_S)
    children.start(
        "visits",
        [sys.executable, "-m", "sealwire.demo.traffic", "--url", places.shop_url],
        env=environ,
        is_shown=lambda line: is_important(line) or " gets " in line,
    )


def _shop_is_seen(api: AdminApi, *, since_s: float) -> bool:
    """Whether this start's shop asked already; the one of the last start is listed for a while."""
    try:
        clients = typed(api.get("/clients"), Clients).clients
    except SealwireError:
        return False  # asked again; a control plane that is gone is noticed as a child that ended
    longest_age_s = time.monotonic() - since_s
    return any(client.service == "shop" and (client.age_s or 0.0) < longest_age_s for client in clients)


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for the programs: ours without anybody's agent and profile settings.

    A ``DD_SITE`` or ``DD_API_KEY`` of the shell belongs to another installation; with it in place the
    demonstration would not be of this one.
    """
    dropped = (
        "DD_",
        "_DD_",
        "SEALWIRE_URL",
        "SEALWIRE_APPLICATION_KEY",
        "SEALWIRE_CA_FILE",
        "SEALWIRE_PROFILE",
    )
    kept = {name: value for name, value in environ.items() if not name.startswith(dropped)}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _pick_places(data: Path, arguments: argparse.Namespace, output: Output) -> Places:
    picked: list[int] = []
    for what, wanted in (
        ("control plane", arguments.server_port),
        ("agent", arguments.agent_port),
        ("shop", arguments.shop_port),
    ):
        port = free_port(wanted, taken=picked)
        if port != wanted and not (what == "shop" and arguments.no_shop):
            output.say(f"Port {wanted} is taken; the {what} takes {port}.")
        picked.append(port)
    return Places(data, *picked)


def _settle_profile(places: Places) -> Profile:
    """The administrator's profile, with the address of this start: the port may be another than last time."""
    try:
        stored = profiles.read(places.admin_profile)
    except SettingsError as error:
        raise SettingsError(
            f"{error.public} The control plane writes it once, at its first start. To begin anew, "
            f"move {places.data} away."
        ) from error
    settled = Profile(places.server_url, stored.application_key, stored.ca_file)
    if settled != stored:
        profiles.write(places.admin_profile, settled)
    return settled


def _share_profile(places: Places, admin: Profile, named: Path | None, environ: Mapping[str, str]) -> Path:
    """Put the profile where the command line looks, and tell where that is.

    A profile of the user's that belongs to another control plane is left alone.
    """
    path = named or profiles.default_path(environ)
    if named is None and path.exists():
        try:
            other = profiles.read(path)
        except SettingsError:
            return places.admin_profile
        is_ours = other.ca_file is not None and other.ca_file.is_relative_to(places.data)
        if not is_ours:
            return places.admin_profile
    if path.absolute() != places.admin_profile:
        profiles.write(path, admin)
    return path


def write_agent_file(places: Places, api: AdminApi) -> None:
    """Write the agent's ``datadog.yaml``: a live API key, the roots, the CA, the ports; mode 0600."""
    anchors, _ = fetch_anchors(api)
    api_key = _live_key(places, api)
    ca_file: Path | None = None
    places.agent_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if anchors.ca_pem:
        ca_file = places.agent_file.parent / "ca.pem"
        ca_file.write_text(anchors.ca_pem, encoding="utf-8")
    profiles.write_private(places.agent_file, agent_file_text(places, anchors, api_key, ca_file))


def agent_file_text(places: Places, anchors: Anchors, api_key: str, ca_file: Path | None) -> str:
    """The text of the agent's settings file."""
    directory = places.agent_file.parent
    lines = [
        "# Written by `sealwire up` at each start; it holds an API key, keep it private.",
        yaml_text(anchors, api_key=api_key, ca_file=ca_file).rstrip("\n"),
        "apm_config:",
        f"  receiver_port: {places.agent_port}",
    ]
    socket_path = directory / "apm.socket"
    if len(str(socket_path)) <= MAX_SOCKET_PATH:
        lines.append(f"  receiver_socket: {yaml_quoted(str(socket_path))}")
    if places.metrics_socket is not None:
        # The UDP port may be that of an agent people have already.
        lines += [f"dogstatsd_socket: {yaml_quoted(str(places.metrics_socket))}", "dogstatsd_port: 0"]
    lines.append(f"run_path: {yaml_quoted(str(directory / 'run'))}")
    return "\n".join(lines) + "\n"


def _live_key(places: Places, api: AdminApi) -> str:
    """The API key of the last start if it still works, else a new one."""
    try:
        found = _API_KEY_LINE.search(places.agent_file.read_text(encoding="utf-8"))
    except OSError:
        found = None
    if found:
        held = found[1]
        for key in typed(api.get("/keys"), ApiKeys).keys:
            if key.last4 == held[-4:] and key.remote_config and not key.revoked_at:
                return held
    made = typed(
        api.post("/keys", {"name": "sealwire up: agent on this machine", "remote_config": True}), ApiKey
    )
    if not made.key:
        raise SealwireError("The control plane made an API key but did not show it.")
    return made.key


def what_now(
    places: Places, chosen: Path, environ: Mapping[str, str], *, has_shop: bool, first_link: str = ""
) -> list[str]:
    """What a newcomer can do next: the page to open, and commands to paste.

    Args:
        first_link: Makes the first user; empty when there is one.
    """
    sealwire = command_name(environ)
    lines = [
        "",
        "Everything runs.",
        f"  control plane  {places.server_url}",
        f"  agent          {places.agent_url}",
    ]
    if has_shop:
        lines.append(f"  shop           {places.shop_url}")
    lines += [f"  logs           {places.logs}", ""]
    if first_link:
        lines += ["Open this once in a browser, to set your password and begin:", f"  {first_link}"]
    else:
        lines += ["Open it in a browser:", f"  {places.server_url}"]
    lines += ["  (It asks about the certificate: that is of a private CA, made on this machine.)", ""]
    lines.append("Or the same in a second terminal:")
    if chosen != profiles.default_path(environ):
        lines.append(f"  export SEALWIRE_PROFILE={shlex.quote(str(chosen))}")
    lines.append(f"  {sealwire} client list")
    if has_shop:
        attack = f"curl -i -H 'X-Forwarded-For: 203.0.113.7' {places.shop_url}/"
        lines += [
            f"  {sealwire} asm enable --service shop",
            f"  {sealwire} asm block ip 203.0.113.7 --for 1h",
            f"  {attack}      # 403 within seconds",
            f"  {sealwire} client list                    # acknowledged, and how long it took",
            f"  {sealwire} asm unblock ip 203.0.113.7",
            f"  {attack}      # 200 again",
        ]
    return [*lines, "", "Ctrl-C stops everything.", ""]


def command_name(environ: Mapping[str, str]) -> str:
    """How the second terminal calls this command: by name if it is on the path, else by its file."""
    beside = Path(sys.executable).parent / "sealwire"
    if not beside.exists():
        return (
            "sealwire"
            if shutil.which("sealwire", path=environ.get("PATH"))
            else f"{sys.executable} -m sealwire"
        )
    if environ.get("PATH") and shutil.which("sealwire", path=environ["PATH"]) == str(beside):
        return "sealwire"
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))


@contextmanager
def _only_one(data: Path) -> Iterator[None]:
    """Hold the data directory for ourselves; two would fight over it."""
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(data / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"The data directory {data} cannot be used: {error.strerror}.") from error
    with os.fdopen(descriptor, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = lock.read().strip() or "another process"
            raise SealwireError(f"`sealwire up` already runs on {data} (process {holder}).") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _default_data(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_DATA_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".local" / "share")
    return Path(base) / "sealwire" / "up"


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)
