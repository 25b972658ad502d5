"""Our own programs as they are shipped: a control plane and agents as real processes, driven from outside.

A ``ControlPlane`` and an ``Agent`` each live in a folder and on a port that stay the same over ``restart``
and ``kill9``, as on a real host. A test speaks to the control plane through the admin API, and to an agent
the way a tracer does.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import ssl
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.support.processes import Program, clean_environment, explanations, wait_until

ADMIN = "/api/admin/v1"

_chance = random.SystemRandom()


_PORTS = range(15_000, 32_000)


def free_port() -> int:
    """A TCP port of this machine that nobody listens on now.

    None of those that the system gives to who connects somewhere (32768 and up): such a one may be taken
    before our program listens on it, or while it is down in the middle of a test.
    """
    for _ in range(200):
        port = _chance.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def free_udp_port() -> int:
    """The same for UDP."""
    for _ in range(200):
        port = _chance.choice(_PORTS)
        with socket.socket(type=socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@dataclass(frozen=True)
class Reply:
    """An HTTP answer.

    Attributes:
        document: The body as JSON; None when it is not.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def expect(self, *statuses: int) -> Any:
        """The document, if the status is one of these."""
        assert self.status in statuses, (
            f"{self.status}, not {statuses}: {self.body[:2000].decode(errors='replace')}"
        )
        return self.document


class Api:
    """Requests to one server, a connection each.

    Args:
        url: ``https://host:port``, or ``http://...``.
        ca_file: The CA of an HTTPS server.
        headers: Sent with every request.
    """

    def __init__(
        self, url: str, *, ca_file: Path | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = url
        self._headers = dict(headers or {})
        self._context = None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 30,
    ) -> Reply:
        """Send ``body`` (bytes as they are, anything else as JSON) and take what comes back."""
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        kind = {} if raw is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, raw, {**self._headers, **kind, **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()


class AdminApi(Api):
    """The admin API with one application key; each method wants success."""

    def __init__(self, url: str, *, ca_file: Path | None, application_key: str) -> None:
        super().__init__(url, ca_file=ca_file, headers={"Authorization": f"Bearer {application_key}"})

    def get(self, path: str) -> Any:
        return self.request("GET", ADMIN + path).expect(200)

    def post(self, path: str, body: object = None) -> Any:
        return self.request("POST", ADMIN + path, {} if body is None else body).expect(200, 201, 202, 204)

    def put(self, path: str, body: object) -> Any:
        return self.request("PUT", ADMIN + path, body).expect(200)

    def patch(self, path: str, body: object) -> Any:
        return self.request("PATCH", ADMIN + path, body).expect(200)

    def delete(self, path: str) -> Any:
        return self.request("DELETE", ADMIN + path).expect(200, 204)

    # What tests do again and again.

    def create(self, product: str, payload: object, *, name: str = "", **targeting: object) -> dict[str, Any]:
        """Author a config for the clients that ``targeting`` names: ``service="shop"`` or a list of them."""
        targeting = {
            field: [value] if isinstance(value, str) and field != "tracer_version" else value
            for field, value in targeting.items()
        }
        body = {
            "product": product,
            "payload": payload,
            "name": name or product.lower(),
            "targeting": targeting,
        }
        created: dict[str, Any] = self.post("/configs", body)
        return created

    def change(self, config: Mapping[str, Any], payload: object) -> dict[str, Any]:
        """Give a config, as last seen, a new payload."""
        changed: dict[str, Any] = self.put(
            f"/configs/{config['id']}", {"expected_revision": config["revision"], "payload": payload}
        )
        return changed

    def retire(self, config: Mapping[str, Any]) -> dict[str, Any]:
        retired: dict[str, Any] = self.delete(
            f"/configs/{config['id']}?expected_revision={config['revision']}"
        )
        return retired

    def clients(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.get("/clients")["clients"]
        return listed

    def agents(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.get("/agents")["agents"]
        return listed

    def new_api_key(self, name: str = "test", *, remote_config: bool = True) -> str:
        key: str = self.post("/keys", {"name": name, "remote_config": remote_config})["key"]
        return key

    def client_of(self, service: str) -> dict[str, Any] | None:
        """The live client of a service, if one was seen."""
        return next((client for client in self.clients() if client["service"] == service), None)

    def wait_for_client(
        self,
        service: str,
        wanted: Callable[[dict[str, Any]], object] = bool,
        what: str = "the client is seen",
        *,
        timeout_s: float = 30,
    ) -> dict[str, Any]:
        """Wait until the control plane knows of a client of ``service`` that is ``wanted``."""
        return wait_until(
            lambda: next((c for c in self.clients() if c["service"] == service and wanted(c)), None),
            f"{what} ({service})",
            timeout_s=timeout_s,
            every_s=0.1,
        )

    def wait_for_agent(
        self, hostname: str, wanted: Callable[[dict[str, Any]], object], what: str, *, timeout_s: float = 30
    ) -> dict[str, Any]:
        return wait_until(
            lambda: next((a for a in self.agents() if a["hostname"] == hostname and wanted(a)), None),
            f"{what} ({hostname})",
            timeout_s=timeout_s,
            every_s=0.1,
        )

    def wait_until_acknowledged(
        self, service: str, config: Mapping[str, Any], *, timeout_s: float = 30
    ) -> Any:
        """Wait until a client of ``service`` reports that it applied ``config``; returns that delivery."""

        def applied() -> Any:
            for client in self.clients():
                if client["service"] == service:
                    for delivery in client["configs"]:
                        if config["id"] in delivery["config_ids"] and delivery["acknowledged_at"]:
                            return delivery
            return None

        return wait_until(applied, f"{service} acknowledges {config['id']}", timeout_s=timeout_s, every_s=0.1)


class _Ours:
    """A program of ours in its folder: start, stop, restart, kill."""

    program: Program

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str] | None) -> None:
        self.name = name
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        home = folder / "home"
        home.mkdir(exist_ok=True)
        self.environment = {"HOME": str(home), **(environment or {})}
        self._ends = ""
        explanations.append((f"what {name} knows", lambda: self._ends or self._tell()))

    def _tell(self) -> str:
        """What it knows now, for the report of a failure."""
        raise NotImplementedError

    def _note_failure(self, kind: object) -> None:
        """A test fails while we are still there: keep what there is to tell."""
        if kind is not None:
            try:
                self._ends = self._tell()
            except (OSError, AssertionError) as error:
                self._ends = f"(nothing to tell: {error!r})"

    def _launch(self, arguments: Sequence[str | Path]) -> None:
        self.program = Program(
            [sys.executable, "-m", "sealwire", *arguments],
            name=self.name,
            log=self.folder / "log",
            environment=clean_environment(self.environment),
        )

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> int:
        """End it as an operator would; returns its exit code."""
        return self.program.stop()

    def kill9(self) -> None:
        """End it as a power cut would."""
        self.program.kill9()

    def restart(self) -> None:
        self.stop()
        self.start()

    def log(self) -> str:
        """All it ever said, over restarts."""
        return (self.folder / "log").read_text(errors="replace")


class ControlPlane(_Ours):
    """``sealwire server`` on this machine, running once constructed.

    Args:
        folder: Everything of it goes below.
        settings: ``SEALWIRE_*`` settings by their lower-case name, e.g. ``refresh_interval_s``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        name: str = "control-plane",
    ) -> None:
        given = {f"SEALWIRE_{key.upper()}": str(value) for key, value in (settings or {}).items()}
        super().__init__(name, folder, {**given, **(environment or {})})
        self.port = free_port()
        self.data_dir = folder / "data"
        self.config_dir = folder / "config"
        self.profile = folder / "cli.toml"
        self.start()

    def start(self) -> None:
        self._launch(
            [
                "server",
                *("--data-dir", self.data_dir),
                *("--config-dir", self.config_dir),
                *("--port", str(self.port)),
                *("--profile", self.profile),
            ]
        )
        self.url = self.program.wait_for_line(r"sealwire server ready on (https?://\S+)", timeout_s=60)[1]
        stored = tomllib.loads(self.profile.read_text())
        self.application_key: str = stored["application_key"]
        self.ca_file = Path(stored["ca_file"]) if stored.get("ca_file") else None
        self.api = AdminApi(self.url, ca_file=self.ca_file, application_key=self.application_key)

    def _tell(self) -> str:
        return json.dumps({"agents": self.api.agents(), "clients": self.api.clients()}, indent=1)

    def machine(self, api_key: str) -> Api:
        """The machine endpoints with an API key."""
        return Api(self.url, ca_file=self.ca_file, headers={"DD-Api-Key": api_key})

    def cli(self, *arguments: str, timeout_s: float = 60) -> Program:
        """Run a ``sealwire`` command as the administrator and wait for its end."""
        program = Program(
            [sys.executable, "-m", "sealwire", *arguments],
            name="sealwire " + " ".join(arguments),
            log=self.folder / "cli.log",
            environment=clean_environment({**self.environment, "SEALWIRE_PROFILE": str(self.profile)}),
        )
        program.wait_for_end(timeout_s=timeout_s)
        return program

    def __enter__(self) -> ControlPlane:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._note_failure(kind)
        self.stop()


class Agent(_Ours):
    """``sealwire agent`` on this machine, running once constructed.

    Args:
        folder: Everything of it goes below.
        control_plane: Whose roots, CA and API key it gets.
        api_key: One of its own; None makes one.
        settings: More of ``datadog.yaml``, dotted names; None as a value leaves a line out.
    """

    def __init__(
        self,
        folder: Path,
        control_plane: ControlPlane,
        *,
        hostname: str = "host-a",
        api_key: str | None = None,
        settings: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"agent {hostname}", folder, environment)
        self.hostname = hostname
        self.port = free_port()
        self.dogstatsd_port = free_udp_port()
        self.run_path = folder / "run"
        self.config_file = folder / "datadog.yaml"
        # A socket's path has at most 107 bytes, which a test's own folder may use up alone.
        self.socket_folder = tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp")
        self.socket = Path(self.socket_folder.name) / "apm.socket"
        self.api_key = api_key or control_plane.api.new_api_key(f"agent on {hostname}")
        roots = control_plane.api.get("/roots")
        self.settings: dict[str, object] = {
            "api_key": self.api_key,
            "hostname": hostname,
            "run_path": str(self.run_path),
            "apm_config.receiver_port": self.port,
            "apm_config.receiver_socket": str(self.socket),
            "dogstatsd_port": self.dogstatsd_port,
            "remote_configuration.enabled": True,
            "remote_configuration.rc_dd_url": control_plane.url,
            "remote_configuration.config_root": roots["repositories"]["config"]["first_root"],
            "remote_configuration.director_root": roots["repositories"]["director"]["first_root"],
        }
        if control_plane.ca_file is not None:
            self.settings["remote_configuration.ca_file"] = str(control_plane.ca_file)
        self.settings.update(settings or {})
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        self.config_file.write_text(yaml.safe_dump(_nested(self.settings), sort_keys=False))
        self.config_file.chmod(0o600)
        self._launch(["agent", "run", "--config", self.config_file])
        wait_until(
            lambda: Api(self.url).request("GET", "/info").status == 200,
            "the agent answers /info",
            program=self.program,
        )

    def _tell(self) -> str:
        return json.dumps(self.status(), indent=1)

    def status(self) -> dict[str, Any]:
        """What it says about itself."""
        told: dict[str, Any] = Api(self.url).request("GET", "/sealwire/v1/status").expect(200)
        return told

    def wait_for_status(
        self, wanted: Callable[[dict[str, Any]], object], what: str, *, timeout_s: float = 30
    ) -> dict[str, Any]:
        def seen() -> dict[str, Any] | None:
            status = self.status()
            return status if wanted(status) else None

        return wait_until(seen, f"{self.name}: {what}", timeout_s=timeout_s, program=self.program)

    def poll(self, request: object) -> Reply:
        """Ask as a tracer would: ``POST /v0.7/config``."""
        return Api(self.url).request("POST", "/v0.7/config", request)

    def keeps(self, wanted: bytes) -> list[Path]:
        """The files under its folder, log included, in which ``wanted`` occurs."""
        return [path for path in self.folder.rglob("*") if path.is_file() and wanted in path.read_bytes()]

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._note_failure(kind)
        self.stop()
        self.socket_folder.cleanup()


def _nested(flat: Mapping[str, object]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        if value is None:
            continue
        *above, last = name.split(".")
        level = nested
        for part in above:
            level = level.setdefault(part, {})
        level[last] = value
    return nested
