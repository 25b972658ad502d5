"""What a row can be asked for: the names people know, and where each stands in a row.

Invariant: a facet is one attribute of a row, so that the same name means the same to a rule, to the search of
a page and to whoever asks a database.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from sealwire.server.security.rows import SecurityTrace


class Kind(Enum):
    """How the values of a facet compare."""

    TEXT = "text"
    ADDRESS = "address"
    NUMBER = "number"
    FLAG = "flag"
    TEXTS = "texts"


@dataclass(frozen=True, slots=True)
class Facet:
    """Something a row can be asked for.

    Attributes:
        name: As typed, such as ``@http.status_code`` or ``service``.
        attribute: Of a row.
        says: What it is, for whoever types.
        free: Whether a word without a name is looked for here.
    """

    name: str
    attribute: str
    kind: Kind
    says: str
    free: bool = False


_ALL = (
    Facet("service", "service", Kind.TEXT, "the service that was asked", True),
    Facet("env", "env", Kind.TEXT, "its environment"),
    Facet("version", "version", Kind.TEXT, "its version"),
    Facet("host", "host", Kind.TEXT, "where it runs"),
    Facet("@trace_id", "trace_id", Kind.TEXT, "the trace", True),
    Facet("@runtime_id", "runtime_id", Kind.TEXT, "the process"),
    Facet("@language", "lang", Kind.TEXT, "language of the tracer"),
    Facet("@appsec.security_activity", "activities", Kind.TEXTS, "what happened", True),
    Facet("@appsec.rule_id", "rule_ids", Kind.TEXTS, "the engine's rule that matched"),
    Facet("@appsec.type", "rule_types", Kind.TEXTS, "the kind of that rule"),
    Facet("@appsec.exploit", "exploits", Kind.TEXTS, "the kind of vulnerability that was reached"),
    Facet("@appsec.tool_name", "tools", Kind.TEXTS, "the program that gave itself away", True),
    Facet("@appsec.blocked", "blocked", Kind.FLAG, "whether the request was blocked"),
    Facet("@appsec.response_id", "security_response_id", Kind.TEXT, "the id shown to who was blocked", True),
    Facet("@appsec.qualification", "qualification", Kind.TEXT, "safe or harmful"),
    Facet("@appsec.fp.endpoint", "fp_endpoint", Kind.TEXT, "fingerprint of the endpoint"),
    Facet("@appsec.fp.header", "fp_header", Kind.TEXT, "fingerprint of the headers"),
    Facet("@appsec.fp.network", "fp_network", Kind.TEXT, "fingerprint of the network"),
    Facet("@appsec.fp.session", "fp_session", Kind.TEXT, "fingerprint of the session"),
    Facet("@http.client_ip", "actor_ip", Kind.ADDRESS, "who asked", True),
    Facet("@network.client.ip", "peer_ip", Kind.ADDRESS, "who opened the connection"),
    Facet("@actor.listed", "listed", Kind.FLAG, "whether the address stands on a list of bad ones"),
    Facet("@http.method", "method", Kind.TEXT, "the method"),
    Facet("@http.route", "route", Kind.TEXT, "the route", True),
    Facet("@http.target", "target", Kind.TEXT, "the route, or the path where no route took it"),
    Facet("@http.url", "url", Kind.TEXT, "the whole URL", True),
    Facet("@http.status_code", "status", Kind.NUMBER, "the status of the answer"),
    Facet("@http.useragent", "user_agent", Kind.TEXT, "what the asker calls itself", True),
    Facet("@usr.id", "user_id", Kind.TEXT, "the user", True),
    Facet("@usr.login", "user_login", Kind.TEXT, "the name somebody signed in with", True),
    Facet("@usr.account", "account", Kind.TEXT, "the user, or the name somebody tried"),
    Facet("@usr.session_id", "session_id", Kind.TEXT, "the session"),
    Facet("@trace.span_type", "touches", Kind.TEXTS, "kinds of spans below, such as sql"),
    Facet("@duration_ms", "duration_ms", Kind.NUMBER, "how long it took, in milliseconds"),
)

FACETS: Final = MappingProxyType({facet.name: facet for facet in _ALL})

# Names other products and older pages use for the same.
ALIASES: Final = MappingProxyType(
    {
        "@service": "service",
        "@env": "env",
        "@actor.ip": "@http.client_ip",
        "ip": "@http.client_ip",
        "user": "@usr.account",
        "status": "@http.status_code",
        "@status": "@http.status_code",
        "@http.user_agent": "@http.useragent",
        "@usr.name": "@usr.login",
        "@appsec.rule.id": "@appsec.rule_id",
        "@appsec.category": "@appsec.type",
        "activity": "@appsec.security_activity",
    }
)


def find(name: str) -> Facet | None:
    """The facet of that name, in whatever case; None if there is none."""
    name = name.lower()
    return FACETS.get(ALIASES.get(name, name))


def values_of(facet: Facet) -> Callable[[SecurityTrace], tuple[str, ...]]:
    """What a row has of a facet, as texts; nothing where it has none."""
    attribute = facet.attribute
    if facet.kind is Kind.TEXTS:

        def several(row: SecurityTrace) -> tuple[str, ...]:
            found: tuple[str, ...] = getattr(row, attribute)
            return found

        return several

    def one(row: SecurityTrace) -> tuple[str, ...]:
        value = getattr(row, attribute)
        if value is True or value is False:
            return ("true",) if value else ("false",)
        return (str(value),) if value else ()

    return one
