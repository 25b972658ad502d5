"""What the agent was told: one frozen value, made from four layers.

Hides where a setting came from and how it was spelled. The layers are default < ``datadog.yaml`` <
``DD_*`` environment < command line; a later layer replaces a value whole. The names are those of the
open-source Agent, so a ``datadog.yaml`` written for it is read as it is: keys that mean nothing here
are no mistake, but one that is a letter away from a key of ours is named in ``warnings``.

Two invariants. A value that cannot be read stops the start (:class:`SettingsError`, with the line to
change). A value that is readable but must not be acted on (no upstream, the vendor's own site, plain
HTTP) leaves Remote Configuration off with ``rc_refusal`` saying which line to add: what does not
start cannot send an API key anywhere.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from sealwire.errors import SettingsError

DEFAULT_REFRESH_INTERVAL_S = 60.0
LEAST_REFRESH_INTERVAL_S = 5.0
DEFAULT_SPOOL_BYTES = 64 * 1024 * 1024
_STATSD_SOCKET = Path("/var/run/datadog/dsd.socket")
# A path of a Unix socket has 108 bytes in the kernel, the closing zero included.
_MAX_SOCKET_PATH_BYTES = 107
# Second-level names of the vendor: a host below any of them, under any top-level domain, is theirs.
_VENDOR_NAMES = frozenset({"datadoghq", "datad0g", "ddog-gov"})
_TRUE = frozenset({"true", "1", "yes", "on", "t"})
_FALSE = frozenset({"false", "0", "no", "off", "f"})
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class _Key:
    """One setting we know.

    Attributes:
        name: As in ``datadog.yaml``, dots between the levels.
        kind: ``text``, ``bool``, ``port``, ``duration``, ``count``, ``tags``, ``root`` or ``ignored``
            (known to the open-source Agent, without meaning here).
        default: The value when no layer has one.
        env: Environment names besides ``DD_`` + the name in capitals.
    """

    name: str
    kind: str
    default: object = None
    env: tuple[str, ...] = ()


_RC = "remote_configuration."
_KEYS: tuple[_Key, ...] = (
    _Key("api_key", "text", ""),
    _Key("site", "text", ""),
    _Key("hostname", "text", ""),
    _Key("env", "text", ""),
    _Key("tags", "tags", ()),
    _Key("log_level", "text", "info"),
    _Key("run_path", "text", ""),
    _Key("skip_ssl_validation", "bool", False),
    _Key("allow_datadog_upstream", "bool", False),
    _Key("apm_config.receiver_port", "port", 8126, ("DD_APM_RECEIVER_PORT", "DD_RECEIVER_PORT")),
    _Key("apm_config.receiver_socket", "text", None, ("DD_APM_RECEIVER_SOCKET",)),
    _Key("apm_config.apm_non_local_traffic", "bool", False, ("DD_APM_NON_LOCAL_TRAFFIC",)),
    _Key("apm_config.env", "text", "", ("DD_APM_ENV",)),
    _Key("use_dogstatsd", "bool", True),
    _Key("bind_host", "text", "localhost"),
    _Key("dogstatsd_port", "port", 8125),
    _Key("dogstatsd_socket", "text"),
    _Key("dogstatsd_non_local_traffic", "bool", False),
    _Key("dogstatsd_so_rcvbuf", "count", 0),
    _Key("statsd_forward_host", "text", ""),
    _Key("statsd_forward_port", "port", 0),
    _Key("apm_config.debugger_dd_url", "text", "", ("DD_APM_DEBUGGER_DD_URL",)),
    _Key("apm_config.debugger_diagnostics_dd_url", "text", "", ("DD_APM_DEBUGGER_DIAGNOSTICS_DD_URL",)),
    _Key("apm_config.debugger_api_key", "text", "", ("DD_APM_DEBUGGER_API_KEY",)),
    _Key("apm_config.symdb_dd_url", "text", "", ("DD_APM_SYMDB_DD_URL",)),
    _Key("apm_config.symdb_api_key", "text", "", ("DD_APM_SYMDB_API_KEY",)),
    _Key(_RC + "enabled", "bool", True),
    _Key(_RC + "rc_dd_url", "text", ""),
    _Key(_RC + "api_key", "text", ""),
    _Key(_RC + "key", "ignored"),
    _Key(_RC + "config_root", "root"),
    _Key(_RC + "director_root", "root"),
    _Key(_RC + "ca_file", "text", ""),
    _Key(_RC + "no_tls", "bool", False),
    _Key(_RC + "no_tls_validation", "bool", False),
    _Key(_RC + "refresh_interval", "duration"),
    _Key(_RC + "org_status_refresh_interval", "duration", 60.0),
    _Key(_RC + "max_backoff_interval", "duration", 120.0),
    _Key(_RC + "clients.ttl_seconds", "duration", 30.0),
    _Key(_RC + "clients.cache_bypass_limit", "count", 5),
    _Key(_RC + "apm_sampling.enabled", "ignored"),
    _Key(_RC + "agent_config.enabled", "ignored"),
    _Key(_RC + "apm_semantics.enabled", "ignored"),
    _Key(_RC + "agent_integrations.enabled", "ignored"),
    _Key(_RC + "agent_integrations.allow_list", "ignored"),
    _Key(_RC + "agent_integrations.block_list", "ignored"),
    _Key(_RC + "agent_integrations.allow_log_config_scheduling", "ignored"),
    _Key(_RC + "no_websocket_echo", "ignored"),
    _Key("sealwire.wait", "bool", True),
    _Key("sealwire.data_dir", "text", ""),
    _Key("sealwire.inventory", "bool", True),
    _Key("sealwire.security_reports", "bool", True),
    _Key("sealwire.security_spool_bytes", "count", DEFAULT_SPOOL_BYTES),
    _Key("sealwire.debugger_uploads", "bool", True),
    _Key("sealwire.probe_reports", "bool", True),
    _Key("sealwire.forward_to", "text", ""),
    # For tests: lets refresh_interval go below the 5 s every agent keeps.
    _Key("sealwire.least_refresh_interval", "duration", LEAST_REFRESH_INTERVAL_S),
)
_BY_NAME: Mapping[str, _Key] = {key.name: key for key in _KEYS}


@dataclass(frozen=True, slots=True)
class Told:
    """What one layer said of a setting.

    Attributes:
        source: ``file``, ``env_var``, ``command_line`` or ``default``.
        origin: The file, the variable or the option; empty for a default.
        value: As it was read, or as the default is.
    """

    source: str
    origin: str
    value: object


@dataclass(frozen=True, slots=True)
class Destination:
    """Where uploads go: a whole URL, and the key that is shown there."""

    url: str
    api_key: str = field(repr=False)


class StatsdPorts(NamedTuple):
    """Where to listen for DogStatsD and where to pass it on.

    Attributes:
        port: 0 is no UDP.
        socket: None is no Unix socket.
        is_named: The socket was asked for, so that it is worth a word when it cannot be had.
        forward_to: Host and port of a statsd server.
        receive_bytes: Of the buffer of the system; 0 for no wish.
    """

    host: str
    port: int
    socket: Path | None = None
    is_named: bool = False
    forward_to: tuple[str, int] | None = None
    receive_bytes: int = 0


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Everything the agent was told, checked.

    Attributes:
        hostname: Who this host is; the system's name where nothing is set.
        tags: Host tags as ``key:value``, as set (ours are added by ``upstream``).
        default_env: ``apm_config.env``, else ``env``, else the ``env:`` tag, else "".
        run_path: Where state is kept; may turn out to be read-only.
        receiver_port: 0 is no TCP.
        receiver_socket: None is no Unix socket.
        rc_enabled: The operator's switch.
        rc_refusal: Why Remote Configuration must not start although it is enabled, as a sentence with the
            line to add; "" when it may.
        upstream_url: Without a slash at the end; "" unless Remote Configuration may start.
        refresh_interval_s: Fixed by the operator, or None: 1 min unless the control plane says otherwise.
        config_root: The first root of the config repository, version 1, unverified bytes.
        inventory_url: Where to post what is here, without a slash at the end; "" where nothing is posted.
        security_url: Where to post what was seen of attacks; "" where nothing is.
        spool_bytes: The most that is kept on disk of what could not be posted; 0 keeps nothing.
        probes_url: Where to post what probes gave in numbers and in traces; "" where nothing is.
        dogstatsd: Where to listen for metrics; None for nowhere.
        debugger_to: Where ``logs``, ``debugger`` (statuses and snapshots) and ``symbols`` of Dynamic
            Instrumentation go; what is missing goes nowhere.
        forward_to: The agent every upload is passed on to, without a slash at the end; "" for none.
        origins: For each setting that is not a default, where it came from.
        told: For each setting that means something here, what each layer said; the first one counts.
    """

    api_key: str = field(repr=False)
    hostname: str
    env: str
    default_env: str
    tags: tuple[str, ...]
    log_level: str
    run_path: Path
    receiver_port: int
    receiver_socket: Path | None
    listen_everywhere: bool
    rc_enabled: bool
    rc_refusal: str
    upstream_url: str
    ca_file: Path | None
    verify_tls: bool
    config_root: bytes | None = field(repr=False)
    director_root: bytes | None = field(repr=False)
    refresh_interval_s: float | None
    org_status_interval_s: float
    max_backoff_s: float
    client_ttl_s: float
    bypass_limit: int
    allow_vendor: bool
    wait: bool
    inventory_url: str = ""
    security_url: str = ""
    spool_bytes: int = DEFAULT_SPOOL_BYTES
    probes_url: str = ""
    dogstatsd: StatsdPorts | None = None
    debugger_to: Mapping[str, Destination] = field(default_factory=dict)
    forward_to: str = ""
    warnings: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, tuple[Told, ...]] = field(default_factory=dict, repr=False)

    @property
    def rc_on(self) -> bool:
        """Whether Remote Configuration starts."""
        return self.rc_enabled and not self.rc_refusal

    @property
    def rc_off_reason(self) -> str:
        """Why Remote Configuration is off, as a sentence; "" when it is on."""
        if not self.rc_enabled:
            return "switched off: remote_configuration.enabled is false"
        return self.rc_refusal


def load_settings(
    *,
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    search: Sequence[Path] | None = None,
) -> AgentSettings:
    """Read all layers into one value.

    Args:
        config_file: Given by name, so it must exist; None tries ``search`` in order and may find nothing.
        environ: The process environment where nothing else is given.
        overrides: ``key=value`` texts of the command line; the last of a key wins.
        search: Where to look without ``config_file``; the user's folder, then the system's.

    Raises:
        SettingsError: A value cannot be read; names key, origin and what is expected.
    """
    environ = os.environ if environ is None else environ
    warnings: list[str] = []
    layers = {
        "file": _from_file(config_file, _default_files() if search is None else search, warnings),
        "env_var": _from_environment(environ, warnings),
        "command_line": _from_command_line(overrides),
    }
    return _settle(layers, warnings)


def _default_files() -> tuple[Path, ...]:
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return (Path(base).expanduser() / "sealwire" / "datadog.yaml", Path("/etc/datadog-agent/datadog.yaml"))


def _from_file(
    config_file: Path | None, search: Sequence[Path], warnings: list[str]
) -> dict[str, tuple[object, str]]:
    if config_file is None:
        config_file = next((path for path in search if path.is_file()), None)
        if config_file is None:
            return {}
    import yaml  # Only hosts with a file pay for the parser.

    try:
        document = yaml.safe_load(config_file.read_bytes())
    except OSError as error:
        raise SettingsError(f"{config_file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config_file} is not YAML: {' '.join(str(error).split())}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SettingsError(f"{config_file} must be a list of `key: value` lines")
    found: dict[str, tuple[object, str]] = {}
    unknown: list[str] = []
    _flatten(document, "", found, unknown, str(config_file))
    ca_file = found.get(_RC + "ca_file")
    if ca_file is not None and isinstance(ca_file[0], str) and ca_file[0]:
        # Beside the file that names it, wherever the agent is started from.
        beside = config_file.absolute().parent / Path(ca_file[0]).expanduser()
        found[_RC + "ca_file"] = (str(beside), ca_file[1])
    warnings.extend(_near_misses(unknown, _BY_NAME, where=str(config_file)))
    return found


def _flatten(
    node: Mapping[Any, Any],
    prefix: str,
    found: dict[str, tuple[object, str]],
    unknown: list[str],
    origin: str,
) -> None:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if name in _BY_NAME:
            if value is not None:
                found[name] = (value, origin)
        elif isinstance(value, dict):
            _flatten(value, name + ".", found, unknown, origin)
        else:
            unknown.append(name)


def _env_names(key: _Key) -> tuple[str, ...]:
    return ("DD_" + key.name.upper().replace(".", "_"), *key.env)


def _from_environment(environ: Mapping[str, str], warnings: list[str]) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    known: dict[str, str] = {}
    for key in _KEYS:
        # The first name is ours and the file's; the others are what the open-source Agent also reads.
        for name in reversed(_env_names(key)):
            known[name] = key.name
            if name in environ:
                found[key.name] = (environ[name], name)
    ours = [name for name in environ if name.startswith("DD_") and name not in known]
    warnings.extend(_near_misses(ours, known, where="environment"))
    return found


def _from_command_line(overrides: Sequence[str]) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for text in overrides:
        name, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set {text}: expected key=value")
        if name not in _BY_NAME:
            close = difflib.get_close_matches(name, _BY_NAME, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SettingsError(f"--set {name}: there is no such setting{hint}")
        found[name] = (value, f"--set {name}")
    return found


def _near_misses(names: Sequence[str], known: Mapping[str, object], *, where: str) -> list[str]:
    """Only what looks like a slip of the pen: a datadog.yaml has hundreds of keys that are not ours."""
    slips = []
    for name in names:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.88)
        if close:
            slips.append(f"{where}: {name} is not a setting; did you mean {close[0]}?")
    return slips


# --- values ---------------------------------------------------------------------------------------


def parse_duration_s(text: object) -> float:
    """Seconds of a duration such as ``5s``, ``1m30s``, ``500ms``; a bare number is seconds.

    Raises:
        ValueError: Anything else.
    """
    if isinstance(text, bool):
        raise ValueError("not a duration")
    if isinstance(text, int | float):
        return float(text)
    if not isinstance(text, str):
        raise ValueError("not a duration")
    text = text.strip()
    try:
        return float(text)
    except ValueError:
        pass
    if not text or _DURATION.sub("", text):
        raise ValueError("not a duration")
    return sum(float(number) * _UNIT_S[unit] for number, unit in _DURATION.findall(text))


def _bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("not a truth value")


def _port(value: object) -> int:
    port = int(str(value).strip())
    if isinstance(value, bool) or not 0 <= port <= 65535:
        raise ValueError("not a port")
    return port


def _tags(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(tag for tag in re.split(r"[\s,]+", value) if tag)
    if isinstance(value, list | tuple):
        return tuple(str(tag).strip() for tag in value if str(tag).strip())
    raise ValueError("not a list of tags")


def _root(value: object) -> bytes:
    """A root as text, as a file path after ``@``, or as the mapping YAML makes of unquoted JSON."""
    if isinstance(value, dict):
        raw = orjson.dumps(value)
    else:
        text = str(value).strip()
        if text.startswith("@"):
            try:
                raw = Path(text[1:]).expanduser().read_bytes()
            except OSError as error:
                raise ValueError(f"{text[1:]} cannot be read: {error.strerror}") from error
        else:
            raw = text.encode()
    try:
        signed = orjson.loads(raw)["signed"]
        kind, version = signed["_type"], signed["version"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError("it is not a signed root document") from error
    if kind != "root" or version != 1:
        raise ValueError(f"it must be the first root (version 1), this is {kind} version {version}")
    return raw


_READERS: Mapping[str, tuple[Any, str]] = {
    "bool": (_bool, "true or false"),
    "port": (_port, "a port from 0 to 65535; 0 is off"),
    "duration": (parse_duration_s, "a duration such as 5s or 1m"),
    "count": (lambda value: int(str(value).strip()), "a whole number"),
    "tags": (_tags, "a list of key:value"),
    "text": (lambda value: str(value).strip(), "a text"),
}


def _read(key: _Key, value: object, origin: str) -> object:
    if key.kind == "root":
        try:
            return _root(value) if value != "" else None
        except ValueError as error:
            raise SettingsError(
                f"{key.name} ({origin}): {error}; `sealwire root export --agent` prints the line"
            ) from error
    reader, expected = _READERS[key.kind]
    try:
        return reader(value)
    except ValueError as error:
        raise SettingsError(f"{key.name} ({origin}): expected {expected}, got {value!r}") from error


# --- all together ---------------------------------------------------------------------------------


def _settle(layers: Mapping[str, Mapping[str, tuple[object, str]]], warnings: list[str]) -> AgentSettings:
    """All layers, lowest first, as one value."""
    values: dict[str, Any] = {key.name: key.default for key in _KEYS}
    origins: dict[str, str] = {}
    told: dict[str, tuple[Told, ...]] = {
        key.name: (Told("default", "", key.default),) for key in _KEYS if key.kind != "ignored"
    }
    for source, layer in layers.items():
        for name, (value, origin) in layer.items():
            if name in told:
                origins[name] = origin
                told[name] = (Told(source, origin, value), *told[name])
    for name, origin in origins.items():
        values[name] = _read(_BY_NAME[name], told[name][0].value, origin)

    rc_enabled = values[_RC + "enabled"]
    url, refusal = _upstream(values)
    rootless = "" if refusal else _rootless(values)
    run_path = _run_path(values)
    # Both go on while Remote Configuration is off; the vendor's site knows of neither.
    posts_url = url if not refusal and not _is_vendor_url(url) else ""
    tags = values["tags"]
    env_tag = next((tag[4:] for tag in tags if tag.startswith("env:")), "")
    debugger_to = _debugger_to(values, posts_url, warnings)
    return AgentSettings(
        api_key=values[_RC + "api_key"] or values["api_key"],
        hostname=values["hostname"] or socket.gethostname(),
        env=values["env"],
        default_env=values["apm_config.env"] or values["env"] or env_tag,
        tags=tags,
        log_level=_log_level(values["log_level"], origins),
        run_path=run_path,
        receiver_port=values["apm_config.receiver_port"],
        receiver_socket=_socket_path(values["apm_config.receiver_socket"], run_path),
        listen_everywhere=values["apm_config.apm_non_local_traffic"],
        rc_enabled=rc_enabled,
        rc_refusal=(refusal or rootless) if rc_enabled else "",
        upstream_url=url if rc_enabled and not refusal and not rootless else "",
        ca_file=_ca_file(values[_RC + "ca_file"]),
        verify_tls=not (values["skip_ssl_validation"] and values[_RC + "no_tls_validation"]),
        config_root=values[_RC + "config_root"],
        director_root=values[_RC + "director_root"],
        refresh_interval_s=_refresh_interval(values, warnings),
        org_status_interval_s=_within(values[_RC + "org_status_refresh_interval"], least=5.0, otherwise=60.0),
        max_backoff_s=min(max(values[_RC + "max_backoff_interval"], 120.0), 300.0),
        client_ttl_s=_within(values[_RC + "clients.ttl_seconds"], least=5.0, most=60.0, otherwise=30.0),
        bypass_limit=int(_within(values[_RC + "clients.cache_bypass_limit"], least=1, most=10, otherwise=5)),
        allow_vendor=values["allow_datadog_upstream"],
        wait=values["sealwire.wait"],
        inventory_url=posts_url if values["sealwire.inventory"] else "",
        security_url=posts_url if values["sealwire.security_reports"] else "",
        spool_bytes=max(0, values["sealwire.security_spool_bytes"]),
        probes_url=posts_url if values["sealwire.probe_reports"] else "",
        dogstatsd=_dogstatsd(values),
        debugger_to=debugger_to,
        forward_to=_forward_to(values, origins),
        warnings=tuple(warnings),
        origins=origins,
        told=told,
    )


def _within(value: float, *, least: float, otherwise: float, most: float = float("inf")) -> float:
    """The value, or what the open-source Agent takes instead of one out of range."""
    return value if least <= value <= most else otherwise


def is_vendor_host(host: str) -> bool:
    """Whether a host belongs to the vendor of the open-source Agent, under any top-level domain."""
    return bool(_VENDOR_NAMES.intersection(host.lower().rstrip(".").split(".")[:-1]))


def _is_vendor_url(url: str) -> bool:
    return is_vendor_host(urlsplit(url).hostname or "")


def _upstream(values: Mapping[str, Any]) -> tuple[str, str]:
    """Where the control plane is, or why nothing may be contacted."""
    url = values[_RC + "rc_dd_url"].rstrip("/")
    if not url and values["site"]:
        url = f"https://config.{values['site'].strip('.')}"
    if not url:
        return "", (
            "no control plane is named: add `remote_configuration.rc_dd_url: https://<control plane>:8443` "
            "(`sealwire root export --agent` prints all lines)"
        )
    try:
        parts = urlsplit(url)
        host, scheme = parts.hostname or "", parts.scheme
        _ = parts.port
    except ValueError:
        host, scheme = "", ""
    if not host or scheme not in ("http", "https"):
        return "", f"`remote_configuration.rc_dd_url: {url}` must be https://host or https://host:port"
    if is_vendor_host(host) and not values["allow_datadog_upstream"]:
        return "", (
            f"{host} is the vendor's own site, which is not contacted unless told so: "
            "name your control plane in `remote_configuration.rc_dd_url`, "
            "or add `allow_datadog_upstream: true`"
        )
    if scheme == "http" and not values[_RC + "no_tls"]:
        return "", (
            f"{url} would send the API key in clear: use https, or accept that with "
            "`remote_configuration.no_tls: true`"
        )
    if values["skip_ssl_validation"] and not values[_RC + "no_tls_validation"]:
        return "", (
            "`skip_ssl_validation: true` would talk to anybody: "
            "name the CA in `remote_configuration.ca_file`, "
            "or accept that with `remote_configuration.no_tls_validation: true`"
        )
    if not (values[_RC + "api_key"] or values["api_key"]):
        return "", "there is no API key: add `api_key: <key>` (`sealwire key create` makes one)"
    return url, ""


# What goes there -> the settings that say where, the path at a control plane.
_DEBUGGER: Mapping[str, tuple[str, str, str]] = {
    "logs": ("apm_config.debugger_dd_url", "apm_config.debugger_api_key", "/api/v2/logs"),
    "debugger": (
        "apm_config.debugger_diagnostics_dd_url",
        "apm_config.debugger_api_key",
        "/api/v2/debugger",
    ),
    "symbols": ("apm_config.symdb_dd_url", "apm_config.symdb_api_key", "/api/v2/debugger"),
}


def _debugger_to(values: Mapping[str, Any], posts_url: str, warnings: list[str]) -> dict[str, Destination]:
    """Where uploads of Dynamic Instrumentation go; a place that must not be contacted is warned about."""
    found: dict[str, Destination] = {}
    if not values["sealwire.debugger_uploads"]:
        return found
    for name, (url_key, api_key_key, path) in _DEBUGGER.items():
        api_key = values[api_key_key] or values[_RC + "api_key"] or values["api_key"]
        url = values[url_key]
        if not url:
            if posts_url:
                found[name] = Destination(posts_url + path, api_key)
            continue
        why_not = _why_not_to(url, values) or ("" if api_key else "there is no API key")
        if why_not:
            warnings.append(f"{url_key}: {why_not}; these uploads go nowhere")
        else:
            has_path = urlsplit(url).path.strip("/")
            found[name] = Destination(url if has_path else url.rstrip("/") + path, api_key)
    return found


def _why_not_to(url: str, values: Mapping[str, Any]) -> str:
    """Why nothing is sent to a URL; empty where it may be."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return "it must be https://host or https://host:port"
    if (
        not host
        or parts.scheme not in ("http", "https")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        return "it must be https://host or https://host:port"
    if is_vendor_host(host) and not values["allow_datadog_upstream"]:
        return f"{host} is the vendor's own site (`allow_datadog_upstream: true` would allow it)"
    if parts.scheme == "http" and not values[_RC + "no_tls"]:
        return "the API key would go in clear (`remote_configuration.no_tls: true` would allow it)"
    return ""


def _default_statsd_socket() -> Path | None:
    """The Unix socket that tracers look for, where there is its folder and it may be written."""
    return _STATSD_SOCKET if os.access(_STATSD_SOCKET.parent, os.W_OK) else None


def _dogstatsd(values: Mapping[str, Any]) -> StatsdPorts | None:
    """Where metrics are listened for."""
    if not values["use_dogstatsd"]:
        return None
    host = values["bind_host"]
    if values["dogstatsd_non_local_traffic"]:
        host = "0.0.0.0"
    elif host in ("", "localhost"):  # tracers mean the first of its addresses, and so do we
        host = "127.0.0.1"
    named = values["dogstatsd_socket"]
    path = _default_statsd_socket() if named is None else None
    if named:
        path = Path(named.removeprefix("unix://").removeprefix("unixgram://")).expanduser()
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
            raise SettingsError(
                f"{path} is longer than a Unix socket's name may be (107 bytes): set a shorter "
                "`dogstatsd_socket`, or an empty one for none"
            )
    to = (values["statsd_forward_host"], values["statsd_forward_port"] or 8125)
    return StatsdPorts(
        host=host,
        port=values["dogstatsd_port"],
        socket=path,
        is_named=bool(named),
        forward_to=to if to[0] else None,
        receive_bytes=max(0, values["dogstatsd_so_rcvbuf"]),
    )


def _forward_to(values: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    """The agent uploads are passed on to.

    Raises:
        SettingsError: It is no address, this agent itself, or the vendor's site.
    """
    url: str = values["sealwire.forward_to"].rstrip("/")
    if not url:
        return ""
    named = f"sealwire.forward_to ({origins.get('sealwire.forward_to', 'default')})"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts, host, port = urlsplit(""), "", None
    if (
        not host
        or parts.scheme not in ("http", "https")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        got = "" if "@" in url else f", got {url!r}"
        raise SettingsError(f"{named}: expected http://host:port of another agent{got}")
    own = {
        "localhost",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        socket.gethostname().lower(),
        values["hostname"].lower(),
    }
    port = port or (443 if parts.scheme == "https" else 80)
    if port == values["apm_config.receiver_port"] and (host.lower() in own or host.startswith("127.")):
        raise SettingsError(
            f"{named}: {url} is this agent itself; give one of the two another `apm_config.receiver_port:`"
        )
    if is_vendor_host(host) and not values["allow_datadog_upstream"]:
        raise SettingsError(
            f"{named}: {host} is the vendor's own site and not an agent; name an agent, "
            "or add `allow_datadog_upstream: true`"
        )
    return url


def _rootless(values: Mapping[str, Any]) -> str:
    """Why nothing that arrives could be believed; "" when it can."""
    for name in (_RC + "config_root", _RC + "director_root"):
        if values[name] is None:
            return (
                f"`{name}` is missing, so nothing that arrives could be believed: add the line "
                "`sealwire root export --agent` prints"
            )
    return ""


def _run_path(values: Mapping[str, Any]) -> Path:
    if values["run_path"]:
        return Path(values["run_path"]).expanduser().absolute()
    if values["sealwire.data_dir"]:
        base = Path(values["sealwire.data_dir"])
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share") / "sealwire"
    return base.expanduser().absolute() / "agent"


def _socket_path(value: str | None, run_path: Path) -> Path | None:
    """The socket beside the state unless another is named; an empty text is none."""
    if value == "":
        return None
    path = run_path / "apm.socket" if value is None else Path(value.removeprefix("unix://")).expanduser()
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
        raise SettingsError(
            f"{path} is longer than a Unix socket's name may be (107 bytes): set a shorter "
            "`apm_config.receiver_socket`, or an empty one for none"
        )
    return path


def _ca_file(value: str) -> Path | None:
    if not value:
        return None
    path = Path(value).expanduser()
    if not path.is_file():
        raise SettingsError(
            f"remote_configuration.ca_file: there is no file {path}; `sealwire root export --agent` writes it"
        )
    return path


def _log_level(value: str, origins: Mapping[str, str]) -> str:
    levels = {"trace": "debug", "debug": "debug", "info": "info", "warn": "warning", "warning": "warning"}
    levels |= {"error": "error", "critical": "critical", "off": "critical"}
    if value.lower() not in levels:
        raise SettingsError(
            f"log_level ({origins.get('log_level', 'default')}): "
            f"expected debug, info, warn or error, got {value!r}"
        )
    return levels[value.lower()]


def _refresh_interval(values: Mapping[str, Any], warnings: list[str]) -> float | None:
    value = values[_RC + "refresh_interval"]
    least = values["sealwire.least_refresh_interval"]
    if value is None or value == 0:
        return None
    if value < least:
        warnings.append(
            f"remote_configuration.refresh_interval: {value:g} s is below {least:g} s and not used; "
            "the interval stays the control plane's to choose"
        )
        return None
    return float(value)
