"""What which tracer can take, and since when: the one table of minimum versions.

A feature is what people switch on; it belongs to a product, or to some members of its payload. For each
language there is the oldest version that takes it and how that is known:

    documented  the vendor's documentation names the version
    seen        the oldest that was run here and took it; older ones were not tried
    source      read in the source of the present release; nobody knows since when, so nothing is too old

A language that is not named does not have the feature.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from sealwire.products import ClientFacts, wording
from sealwire.server.targeting import Targeting

DOCUMENTED, SEEN, SOURCE = "documented", "seen", "source"

#: Oldest Datadog Agent whose Remote Configuration works (documented).
LEAST_AGENT = "7.41.1"

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {"python": "Python", "node": "Node.js", "java": "Java", "go": "Go", "dotnet": ".NET"}
)


@dataclass(frozen=True, slots=True)
class Minimum:
    """Since when a language has a feature.

    Attributes:
        version: The oldest that takes it; empty when that is not known.
        source: One of the words above.
        note: What else is to be known; may be empty.
    """

    version: str
    source: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that can be switched on.

    Attributes:
        product: Its product; one that cannot be configured here is listed all the same.
        members: Keys on the way to the members of the payload that need it; none: the whole product does.
    """

    name: str
    title: str
    product: str
    minimum: Mapping[str, Minimum]
    members: tuple[tuple[str, ...], ...] = field(default=())


def _d(version: str, note: str = "") -> Minimum:
    return Minimum(version, DOCUMENTED, note)


def _r(version: str, note: str = "") -> Minimum:
    return Minimum(version, SEEN, note)


_S = Minimum("", SOURCE)
_SETTINGS = {"python": _r("2.21.11"), "node": _r("5.120.0"), "java": _S, "go": _S, "dotnet": _S}
_ONE_WAY = Minimum("", SOURCE, "off only: it cannot be switched on again before a restart")


def _setting(name: str) -> tuple[tuple[str, ...], ...]:
    return (("lib_config", name),)


FEATURES: tuple[Feature, ...] = (
    Feature(
        "asm_activation", "App and API Protection, switched on and off", "ASM_FEATURES",
        {"python": _r("2.21.11"), "node": _d("3.9.0"), "java": _d("1.4.0"), "go": _S, "dotnet": _d("2.17.0")},
        (("asm",),),
    ),
    Feature(
        "asm_users", "User ids at login, collected by themselves", "ASM_FEATURES",
        {"python": _r("2.21.11"), "node": _r("5.120.0"), "java": _S, "dotnet": _S},
        (("auto_user_instrum",),),
    ),
    Feature(
        "asm_blocking", "Blocking of addresses and users", "ASM_DATA",
        {"python": _r("2.21.11"), "node": _d("3.11.0"), "java": _d("1.4.0"), "go": _d("1.45.1"),
         "dotnet": _d("2.16.0")},
    ),
    Feature(
        "asm_rules", "Own rules, exclusions, blocking answers", "ASM",
        {"python": _r("2.21.11"), "node": _r("5.120.0"), "java": _S, "go": _S, "dotnet": _S},
    ),
    Feature(
        "asm_scanners", "Own scanners and processors", "ASM",
        {"python": _r("4.13.1"), "node": _r("5.132.0"), "java": _S, "go": _S, "dotnet": _S},
        (("processor_overrides",), ("scanners",)),
    ),
    Feature(
        "asm_ruleset", "A ruleset of one's own", "ASM_DD",
        {"python": _r("2.21.11"), "node": _r("5.120.0"), "java": _S, "go": _S, "dotnet": _S},
    ),
    Feature(
        "asm_trace_tagging", "Rules that tag traces", "ASM_DD",
        {"python": _r("4.13.1"), "node": _r("5.132.0"), "java": _S, "go": _S, "dotnet": _S},
        (("rules_compat",),),
    ),
    Feature("apm_settings", "Sampling, tags and tracing of a service", "APM_TRACING", _SETTINGS),
    Feature(
        "apm_tracing_enabled", "Tracing switched off and on", "APM_TRACING", {**_SETTINGS, "go": _ONE_WAY},
        _setting("tracing_enabled"),
    ),
    Feature(
        "apm_logs", "Log injection", "APM_TRACING",
        {name: minimum for name, minimum in _SETTINGS.items() if name != "go"},
        _setting("log_injection_enabled"),
    ),
    Feature(
        "apm_services", "Service mapping", "APM_TRACING", {"java": _S}, _setting("tracing_service_mapping"),
    ),
    Feature(
        "apm_probes", "Dynamic Instrumentation switched on and off", "APM_TRACING",
        {"python": _r("3.19.5"), "node": _r("5.120.0"), "java": _S, "go": _S, "dotnet": _S},
        _setting("dynamic_instrumentation_enabled"),
    ),
    Feature(
        "apm_replay", "Exception replay", "APM_TRACING", {"python": _r("3.19.5"), "java": _S, "dotnet": _S},
        _setting("exception_replay_enabled"),
    ),
    Feature(
        "apm_origin", "Code origin of spans", "APM_TRACING",
        {"python": _r("3.19.5"), "node": _r("5.120.0"), "java": _S, "dotnet": _S},
        _setting("code_origin_enabled"),
    ),
    Feature("apm_llm", "LLM observability", "APM_TRACING", {"python": _r("4.16.0")}, _setting("llmobs")),
    Feature(
        "debugger", "Dynamic Instrumentation: probes", "LIVE_DEBUGGING",
        {"python": _r("2.21.11"), "node": _r("5.132.0", "log probes on a line"), "java": _d("1.5.0"),
         "go": _S, "dotnet": _d("2.22.0")},
    ),
    Feature(
        "debugger_symbols", "Dynamic Instrumentation: symbols for completion", "LIVE_DEBUGGING_SYMBOL_DB",
        {"python": _r("4.16.0"), "java": _S, "go": _S, "dotnet": _S},
    ),
    Feature(
        "flags", "Feature flags", "FFE_FLAGS", {"python": _r("4.16.0"), "node": _r("5.132.0"), "go": _S},
    ),
)  # fmt: skip


@lru_cache(maxsize=4096)
def is_older(reported: str, minimum: str) -> bool:
    """Whether a version is before another; only the numbers that it begins with count."""
    return Targeting(tracer_version=f"<{minimum}").matches(ClientFacts(client_id="", tracer_version=reported))


@lru_cache(maxsize=256)
def least(product: str, language: str) -> str:
    """The oldest version of a language that takes anything of a product; empty when that is not known."""
    known = [
        feature.minimum[language].version
        for feature in FEATURES
        if feature.product == product and language in feature.minimum and feature.minimum[language].version
    ]
    oldest = known[0] if known else ""
    for version in known[1:]:
        if is_older(version, oldest):
            oldest = version
    return oldest


def needed_by(product: str, payload: Mapping[str, object] | None) -> tuple[Feature, ...]:
    """The features that a config uses; without its payload those that all of the product needs."""
    return tuple(
        feature
        for feature in FEATURES
        if feature.product == product
        and (not feature.members or any(_has(payload, member) for member in feature.members))
    )


def _has(payload: object, member: tuple[str, ...]) -> bool:
    for key in member:
        if not isinstance(payload, Mapping) or payload.get(key) is None:
            return False
        payload = payload[key]
    return True


@dataclass(frozen=True, slots=True)
class Finding:
    """Clients that a config is aimed at and that ignore it, or a part of it.

    Attributes:
        minimum: What they would need; empty when no version of their language has it.
        words: All of it as a sentence.
    """

    feature: Feature
    language: str
    minimum: str
    clients: tuple[ClientFacts, ...]
    words: str


def too_old(
    product: str, payload: Mapping[str, object] | None, clients: Sequence[ClientFacts]
) -> tuple[Finding, ...]:
    """Who of those a config is aimed at will ignore it, a finding for each feature and language."""
    alike: dict[tuple[str, str], list[ClientFacts]] = {}
    for one in clients:
        alike.setdefault((one.language, one.tracer_version), []).append(one)
    found = []
    for feature in needed_by(product, payload):
        for language, name in LANGUAGES.items():
            minimum = feature.minimum.get(language)
            those: list[ClientFacts] = []
            for (spoken, version), same in alike.items():
                if spoken == language and not takes(minimum, version):
                    those += same
            if those:
                words = _words(feature, name, minimum, len(those), len(clients))
                needed = "" if minimum is None else minimum.version
                found.append(Finding(feature, language, needed, tuple(those), words))
    return tuple(found)


def takes(minimum: Minimum | None, version: str) -> bool:
    """Whether a version has a feature, as far as is known."""
    return minimum is not None and not (minimum.version and is_older(version, minimum.version))


def _words(feature: Feature, name: str, minimum: Minimum | None, count: int, total: int) -> str:
    who = f"{count} of {wording.counted(total, 'client')} it is aimed at {'is' if count == 1 else 'are'}"
    what = f"({feature.title})"
    if minimum is None:
        return f"{who} {name}, where this does not exist {what}, and will ignore it."
    if minimum.source == SEEN:
        return f"{who} older than {name} {minimum.version} and may ignore it {what}: nothing older was tried."
    return f"{who} older than {name} {minimum.version} and will ignore it {what}."


@dataclass(frozen=True, slots=True)
class Tally:
    """How many clients of one language take a feature.

    Attributes:
        of: All of that language.
        old: Versions that are there and do not take it.
    """

    meet: int
    of: int
    old: tuple[str, ...]


def tally(feature: Feature, language: str, versions: Mapping[str, int]) -> Tally:
    """Count a feature over the versions of a language that are there."""
    minimum = feature.minimum.get(language)
    old = sorted(version for version in versions if not takes(minimum, version))
    total = sum(versions.values())
    return Tally(total - sum(versions[version] for version in old), total, tuple(old))


def versions_of(clients: Iterable[Mapping[str, object]]) -> dict[str, dict[str, int]]:
    """Language -> version -> how many clients, of what clients say of themselves."""
    found: dict[str, dict[str, int]] = {name: {} for name in LANGUAGES}
    for facts in clients:
        counts = found.get(str(facts.get("language", "")))
        if counts is not None:
            version = str(facts.get("tracer_version", ""))
            counts[version] = counts.get(version, 0) + 1
    return found
