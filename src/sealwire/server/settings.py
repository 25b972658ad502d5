"""The control plane's settings: one frozen value, read once at start.

Layers, lowest first: defaults, ``server.toml`` in the configuration folder, ``SEALWIRE_*`` in the
environment, the command line. An unknown key in the file is an error that names the nearest known one.
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import os
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sealwire.errors import SettingsError

MIN_LIFETIME_S = 3600
MAX_LIFETIME_S = 14 * 86400
LOOPBACK = ("127.0.0.0/8", "::1/128")
_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything the control plane can be told.

    Attributes:
        data_dir: Holds the database and nothing secret in the clear.
        config_dir: Holds ``server.toml``, the key that wraps keys (mode 0400), the root keys and the CA.
        database_url: SQLAlchemy URL; empty means SQLite (WAL) in ``data_dir``.
        listen: Address to bind. Anything but loopback is a decision: say it here.
        port: TCP port; 0 takes a free one.
        profile: Where the administrator's CLI profile is written at first start.
        tls_cert_file, tls_key_file: Own certificate; empty means one from the private CA.
        tls_names: More names and addresses for the certificate of the private CA.
        plain_http_sends_api_keys_unencrypted: Must be true for plain HTTP; the name is the risk.
        refresh_interval_s: Handed to agents, 1..60. Below 30 s the Go Agent keeps its connection.
        timestamp_lifetime_s: How long agents keep what they have while the control plane is away.
        max_wait_s: Longest held answer, 0..60; 0 holds none.
        inventory_every_s: How often agents tell what they are and see, 1..3600.
        security_retention_days: How long security traces are kept, 1..365.
        security_max_traces: How many are kept of each organisation; beyond, the oldest go first.
        debugger_max_snapshots, debugger_max_bytes: So many snapshots of probes, and bytes of them, are kept
            of each organisation; beyond, the oldest go first.
        organisation: Name of the organisation made at first start.
        public_url: How agents and people reach this server; empty means from ``listen`` and ``port``.
        webhook_networks: Networks besides public addresses that webhooks may call, such as 10.0.0.0/8.
        own_networks: Networks of one's own, such as proxies and offices: blocking them is asked about first.
        trusted_proxies: Networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed, such as
            10.0.0.5/32: the last address in it that is none of theirs is who asks. ``none`` believes nobody.
        ddwaf_library: A libddwaf 2 to try rules with; empty: the one in an installed ddtrace, if any.
        log_level: debug, info, warning, error.
        oidc_issuer: A provider of OpenID Connect people may sign in with, as its URL; empty: none.
        oidc_client_id, oidc_client_secret, oidc_client_secret_file: As registered there, with the redirect
            address ``<public_url>/sign-in/oidc/callback``; a public client has no secret.
        oidc_name: What the button calls it.
        oidc_default_role: ``read_only``, ``standard`` or the id of a role: whom nobody invited joins the
            first organisation with it. Empty: only people who were invited come in.
        oidc_allowed_domains: Who comes has a verified email of one of these; empty: of any. With
            oidc_default_role it must be set; ``*`` is any.
    """

    data_dir: Path
    config_dir: Path
    database_url: str = ""
    listen: str = "127.0.0.1"
    port: int = 8443
    profile: Path | None = None
    tls_cert_file: str = ""
    tls_key_file: str = ""
    tls_names: tuple[str, ...] = ()
    plain_http_sends_api_keys_unencrypted: bool = False
    refresh_interval_s: int = 25
    timestamp_lifetime_s: int = 10 * 86400
    max_wait_s: int = 55
    inventory_every_s: int = 60
    security_retention_days: int = 15
    security_max_traces: int = 500_000
    debugger_max_snapshots: int = 200_000
    debugger_max_bytes: int = 2 * 1024**3
    organisation: str = "main"
    public_url: str = ""
    webhook_networks: tuple[str, ...] = ()
    own_networks: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = LOOPBACK
    ddwaf_library: str = ""
    log_level: str = "info"
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: str = field(default="", repr=False)
    oidc_client_secret_file: str = ""
    oidc_name: str = "single sign-on"
    oidc_default_role: str = ""
    oidc_allowed_domains: tuple[str, ...] = ()

    @property
    def engine_url(self) -> str:
        """SQLAlchemy URL of the database in use."""
        return self.database_url or f"sqlite:///{self.data_dir / 'sealwire.db'}"

    @property
    def profile_path(self) -> Path:
        """Where the CLI profile goes."""
        return self.profile or self.config_dir / "cli.toml"

    @property
    def targets_lifetime(self) -> timedelta:
        """Snapshot and targets outlive the timestamp, up to the longest lifetime."""
        return timedelta(seconds=min(MAX_LIFETIME_S, self.timestamp_lifetime_s * 14 // 10))

    @property
    def timestamp_lifetime(self) -> timedelta:
        """Lifetime of both repositories' timestamps: how long the control plane may be away."""
        return timedelta(seconds=self.timestamp_lifetime_s)

    @property
    def resign_after(self) -> timedelta:
        """Age at which signed documents are renewed: a day, or a tenth of a shorter lifetime."""
        return timedelta(seconds=min(86400, self.timestamp_lifetime_s / 10))

    @property
    def networks_of_ours(self) -> tuple[str, ...]:
        """Networks that the settings name as one's own: proxies elsewhere are among them."""
        elsewhere = (text for text in self.trusted_proxies if not ipaddress.ip_network(text).is_loopback)
        return tuple(dict.fromkeys([*self.own_networks, *elsewhere]))

    @property
    def certificate_names(self) -> tuple[str, ...]:
        """Every name and address this server may be called by, as far as the settings tell."""
        called = [*self.tls_names]
        if self.listen in _EVERYWHERE:
            called.append(socket.getfqdn())
        else:
            called.append(self.listen)
        host = urlsplit(self.public_url).hostname
        if host:
            called.append(host)
        return tuple(dict.fromkeys(called))

    def url(self, port: int) -> str:
        """The address agents and people use."""
        if self.public_url:
            return self.public_url.rstrip("/")
        scheme = "http" if self.plain_http_sends_api_keys_unencrypted else "https"
        host = self.listen if self.listen not in _EVERYWHERE else socket.getfqdn()
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def default_data_dir() -> Path:
    """The data folder of a person's own installation."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "sealwire"


def default_config_dir() -> Path:
    """The configuration folder of a person's own installation."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "sealwire"


def load(overrides: Mapping[str, object], environ: Mapping[str, str]) -> ServerSettings:
    """Read all layers.

    Raises:
        SettingsError: An unknown key, a value of the wrong kind, or a combination that is refused.
    """
    config_dir = Path(
        str(overrides.get("config_dir") or environ.get("SEALWIRE_CONFIG_DIR") or default_config_dir())
    ).expanduser()
    values: dict[str, object] = {}
    known = {field.name for field in fields(ServerSettings)}
    file = config_dir / "server.toml"
    if file.is_file():
        try:
            document = tomllib.loads(file.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{file} is not TOML: {error}.") from error
        except OSError as error:
            raise SettingsError(f"{file} cannot be read: {error.strerror}.") from error
        for key, value in document.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f" Did you mean {near[0]}?" if near else ""
                raise SettingsError(f"{file}: {key} is not a setting.{hint}")
            values[key] = value
    for key in known:
        name = f"SEALWIRE_{key.upper()}"
        if name in environ and environ[name] != "":
            values[key] = environ[name]
    values.update({key: value for key, value in overrides.items() if value is not None})
    values["config_dir"] = config_dir
    values.setdefault("data_dir", default_data_dir())
    defaults = ServerSettings(data_dir=Path(), config_dir=Path())
    chosen: dict[str, Any] = {
        key: _coerce(key, getattr(defaults, key), value) for key, value in values.items()
    }
    settings = replace(defaults, **chosen)
    _check(settings)
    return settings


def _coerce(key: str, default: object, value: object) -> object:
    if key in ("data_dir", "config_dir", "profile"):
        return Path(str(value)).expanduser()
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("1", "true", "yes", "on"):
            return True
        if str(value).lower() in ("0", "false", "no", "off"):
            return False
        raise SettingsError(f"{key} takes true or false, not {value!r}.")
    if isinstance(default, int):
        try:
            return int(str(value))
        except ValueError as error:
            raise SettingsError(f"{key} takes a whole number, not {value!r}.") from error
    if isinstance(default, tuple):
        parts = value if isinstance(value, list | tuple) else str(value).split(",")
        if key == "trusted_proxies" and [str(part).strip() for part in parts] == ["none"]:
            return ()
        return tuple(str(part).strip() for part in parts if str(part).strip())
    return str(value)


def _check(settings: ServerSettings) -> None:
    if not 1 <= settings.refresh_interval_s <= 60:
        raise SettingsError("refresh_interval_s must be between 1 and 60: agents ignore anything else.")
    if not MIN_LIFETIME_S <= settings.timestamp_lifetime_s <= MAX_LIFETIME_S:
        raise SettingsError(
            "timestamp_lifetime_s must be between 3600 (1 hour) and 1209600 (14 days): "
            "it is how long agents keep their configs while the control plane is away."
        )
    if not 0 <= settings.max_wait_s <= 60:
        raise SettingsError("max_wait_s must be between 0 (never hold an answer) and 60 seconds.")
    if not 1 <= settings.inventory_every_s <= 3600:
        raise SettingsError("inventory_every_s must be between 1 and 3600 seconds.")
    if not 1 <= settings.security_retention_days <= 365:
        raise SettingsError("security_retention_days must be between 1 and 365.")
    if not 1_000 <= settings.security_max_traces <= 100_000_000:
        raise SettingsError("security_max_traces must be between 1000 and 100000000.")
    if not 1_000 <= settings.debugger_max_snapshots <= 100_000_000:
        raise SettingsError("debugger_max_snapshots must be between 1000 and 100000000.")
    if not 1024**2 <= settings.debugger_max_bytes <= 1024**4:
        raise SettingsError("debugger_max_bytes must be between 1048576 (1 MiB) and 1099511627776 (1 TiB).")
    if bool(settings.tls_cert_file) != bool(settings.tls_key_file):
        raise SettingsError("tls_cert_file and tls_key_file go together: set both, or neither.")
    if not 0 <= settings.port <= 65535:
        raise SettingsError(f"port must be between 0 and 65535, not {settings.port}.")
    for name in ("webhook_networks", "own_networks"):
        for network in getattr(settings, name):
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise SettingsError(f"{name} takes networks such as 10.0.0.0/8, not {network!r}.") from error
    _check_proxies(settings)
    try:
        ipaddress.ip_address(settings.listen)
    except ValueError as error:
        raise SettingsError(f"listen takes an IP address, not {settings.listen!r}.") from error
    if settings.log_level not in ("debug", "info", "warning", "error"):
        raise SettingsError("log_level is one of debug, info, warning, error.")
    _check_oidc(settings)


def _check_proxies(settings: ServerSettings) -> None:
    for text in settings.trusted_proxies:
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            raise SettingsError(_no_proxies(text)) from None
        if network.prefixlen == 0:
            raise SettingsError(
                f"trusted_proxies must not have {text}: anybody could then say to be anybody else. "
                "Name the networks of your proxies."
            )
        if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
            raise SettingsError(f"trusted_proxies takes IPv4 networks as such, 10.0.0.0/8, not {text}.")


def _no_proxies(text: str) -> str:
    says = f"trusted_proxies takes addresses and networks such as 10.0.0.5 or 10.0.0.0/8, not {text!r}."
    with contextlib.suppress(ValueError):
        says += f" Did you mean {ipaddress.ip_network(text, strict=False)}?"
    return says


def _check_oidc(settings: ServerSettings) -> None:
    if not settings.oidc_issuer:
        given = [name for name in ("oidc_client_id", "oidc_default_role") if getattr(settings, name)]
        if given:
            raise SettingsError(f"{given[0]} is set, and oidc_issuer is not: set it to the provider's URL.")
        return
    parts = urlsplit(settings.oidc_issuer)
    on_this_machine = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if not parts.hostname or parts.query or parts.fragment or "@" in parts.netloc:
        raise SettingsError("oidc_issuer takes the provider's URL, such as https://id.example.org.")
    if parts.scheme != "https" and not (parts.scheme == "http" and on_this_machine):
        raise SettingsError("oidc_issuer begins with https: whoever is on the way could be anybody else.")
    if not settings.oidc_client_id:
        raise SettingsError("oidc_issuer needs oidc_client_id: register this server with the provider.")
    if settings.oidc_client_secret and settings.oidc_client_secret_file:
        raise SettingsError("Set oidc_client_secret or oidc_client_secret_file, not both.")
    if settings.oidc_default_role == "admin":
        raise SettingsError("oidc_default_role must not be admin: give that role to people one by one.")
    if settings.oidc_default_role and not settings.oidc_allowed_domains:
        raise SettingsError(
            "oidc_default_role lets people in whom nobody invited: say of which domains their email is in "
            'oidc_allowed_domains, such as example.org, or "*" for all that the provider lets in.'
        )
