"""What is in force in a tracer, against what it was sent. Pure decisions.

A tracer tells in its telemetry which value each setting has and where that came from. Here that is laid
beside what Remote Configuration sent, key by key. Which key of which product is which setting is a table:
tracers call the same thing by several names, and some tell one thing as another (Python tells a sampling rate
as a sampling rule).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sealwire.server.fleet.explain import FileState
from sealwire.wire.inventory import Known

REMOTE = "remote_config"
#: Origins that say that somebody chose a value.
CHOSEN = frozenset(
    {
        "app.config", "code", "dd_config", "env_var", "fleet_stable_config", "gateway_vars", "jvm_prop",
        "local_stable_config", "managed_stable_config", REMOTE,
    }
)  # fmt: skip
#: In the words of the pages.
ORIGINS: Mapping[str, str] = {
    "": "",
    "app.config": "configuration file",
    "calculated": "calculated",
    "code": "code",
    "dd_config": "configuration file",
    "default": "default",
    "env_var": "environment",
    "fleet_stable_config": "fleet file",
    "jvm_prop": "JVM property",
    "local_stable_config": "host file",
    REMOTE: "Remote Configuration",
    "unknown": "unknown",
}

# Product, JSON path below it -> names of the setting, without DD_, as ``_plain`` makes them.
_NAMES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("APM_TRACING", "tracing_sampling_rate"): ("TRACE_SAMPLE_RATE", "TRACE_SAMPLING_RATE", "SAMPLE_RATE"),
    ("APM_TRACING", "tracing_sampling_rules"): ("TRACE_SAMPLING_RULES",),
    ("APM_TRACING", "log_injection_enabled"): ("LOGS_INJECTION", "LOGS_INJECTION_ENABLED", "LOG_INJECTION"),
    ("APM_TRACING", "tracing_tags"): ("TAGS", "TRACE_TAGS", "TRACE_GLOBAL_TAGS"),
    ("APM_TRACING", "tracing_header_tags"): ("TRACE_HEADER_TAGS", "HEADER_TAGS"),
    ("APM_TRACING", "tracing_enabled"): ("TRACE_ENABLED", "TRACING_ENABLED"),
    ("APM_TRACING", "tracing_debug"): ("TRACE_DEBUG", "TRACE_DEBUG_ENABLED"),
    ("APM_TRACING", "runtime_metrics_enabled"): ("RUNTIME_METRICS_ENABLED",),
    ("APM_TRACING", "data_streams_enabled"): ("DATA_STREAMS_ENABLED",),
    ("APM_TRACING", "dynamic_instrumentation_enabled"): ("DYNAMIC_INSTRUMENTATION_ENABLED",),
    ("APM_TRACING", "exception_replay_enabled"): (
        "EXCEPTION_REPLAY_ENABLED", "EXCEPTION_DEBUGGING_ENABLED",
    ),
    ("APM_TRACING", "code_origin_enabled"): ("CODE_ORIGIN_FOR_SPANS_ENABLED",),
    ("APM_TRACING", "live_debugging_enabled"): ("LIVE_DEBUGGING_ENABLED",),
    ("ASM_FEATURES", "asm.enabled"): ("APPSEC_ENABLED",),
    ("ASM_FEATURES", "auto_user_instrum.mode"): (
        "APPSEC_AUTO_USER_INSTRUMENTATION_MODE", "APPSEC_AUTOMATED_USER_EVENTS_TRACKING",
    ),
}  # fmt: skip
# Told as this instead where the tracer knows no setting of the first name that came from afar.
_ALSO: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("APM_TRACING", "tracing_sampling_rate"): ("TRACE_SAMPLING_RULES",),
}
_VARIABLES = "sdk_config.config."  # below it APM_TRACING names settings as they are


@dataclass(frozen=True, slots=True)
class Sent:
    """A value that Remote Configuration sent.

    Attributes:
        key: Below the product, such as ``tracing_sampling_rate``; or the name of a setting.
        config_id: Whose value it is; empty when the file is made of one config that is not named here.
    """

    product: str
    key: str
    value: str
    config_id: str
    path: str


@dataclass(frozen=True, slots=True)
class InForce:
    """A setting of a tracer.

    Attributes:
        value: As text; None is "not set".
        sent: What Remote Configuration sent for it; None when nothing.
        others: Values of other origins, the next one in line first.
        may_be_sent: Remote Configuration has a key for it.
    """

    name: str
    value: str | None
    origin: str
    error: str
    seq_id: int
    sent: Sent | None
    others: tuple[Known, ...]
    may_be_sent: bool

    @property
    def is_chosen(self) -> bool:
        """Whether somebody chose it, here or anywhere."""
        return self.sent is not None or self.origin in CHOSEN


def sent_values(files: Iterable[tuple[FileState, bytes]]) -> list[Sent]:
    """Every value of these files that has a setting of its own."""
    found: list[Sent] = []
    for file, raw in files:
        if not any(product == file.product for product, _ in _NAMES):
            continue
        try:
            payload = orjson.loads(raw)
        except orjson.JSONDecodeError:
            continue
        for path, value in _leaves(payload):
            key = path.removeprefix("lib_config.").removeprefix(_VARIABLES)
            if value is None or not (path.startswith(_VARIABLES) or (file.product, key) in _NAMES):
                continue
            if any(one.product == file.product and one.key == key for one in found):
                continue  # sdk_config says what lib_config said
            config_id = file.provenance.get(f"$.{path}", "")
            if not config_id and len(file.config_ids) == 1:
                config_id = file.config_ids[0]
            found.append(Sent(file.product, key, _text(value), config_id, file.path))
    return found


def settings_in_force(settings: Mapping[str, list[Known]], sent: Iterable[Sent]) -> list[InForce]:
    """Every setting a tracer told of: first what Remote Configuration sends, then what somebody chose."""
    plain = {_plain(name): name for name in settings}
    by_name: dict[str, Sent] = {}
    for one in sent:
        place = (one.product, one.key)
        names = [plain[name] for name in _NAMES.get(place, (_plain(one.key),)) if name in plain]
        more = [plain[name] for name in _ALSO.get(place, ()) if name in plain]
        known = next((name for name in (*names, *more) if settings[name][0].origin == REMOTE), None)
        if known is None:
            known = next(iter((*names, *more)), None)
        if known is not None:
            by_name.setdefault(known, one)
    may_be_sent = {plain[name] for names in _NAMES.values() for name in names if name in plain}
    found = []
    for name, values in settings.items():
        first, *others = values
        found.append(
            InForce(
                name=name,
                value=first.value,
                origin=first.origin,
                error=first.error,
                seq_id=first.seq_id,
                sent=by_name.get(name),
                others=tuple(others),
                may_be_sent=name in may_be_sent,
            )
        )
    found.sort(key=lambda one: (one.sent is None, one.origin != REMOTE, not one.is_chosen, one.name))
    return found


def origin_words(origin: str) -> str:
    """Where a value comes from, for people."""
    return ORIGINS.get(origin, origin.replace("_", " "))


def _leaves(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """Every value of a document that is no object, with its path of keys."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}" if path else str(name))
    else:
        yield path, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _plain(name: str) -> str:
    """A name as the table has it: ``DD_LOGS_INJECTION``, ``logs_injection`` and ``logsInjection`` are one."""
    return re.sub(r"[^A-Z0-9]+", "_", _CAMEL.sub("_", name).upper()).removeprefix("DD_")
