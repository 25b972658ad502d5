"""Whom a config is for, on the command line.

Hides how targeting is written: the flags, the JSON of the API, the words. The control plane decides
what matches; here targetings are only built, compared and told.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

_LISTS = ("service", "env", "language", "app_version", "host_tags", "client_id")
_WORDS = {
    "service": "service",
    "env": "env",
    "language": "language",
    "app_version": "app version",
    "host_tags": "host tag",
    "client_id": "client",
    "tracer_version": "tracer version",
}
# What the control plane compares without regard to case.
_CASELESS = ("service", "env", "language")


def add_service_and_env(parser: argparse.ArgumentParser) -> None:
    """The flags of the everyday commands."""
    target = parser.add_argument_group("for whom")
    target.add_argument("--service", action="append", metavar="S", help="service name; repeat for several")
    target.add_argument("--env", action="append", metavar="E", help="environment; repeat for several")


def add_all(parser: argparse.ArgumentParser) -> None:
    """Every flag that narrows a config to some clients. Several of one kind mean any of them."""
    add_service_and_env(parser)
    target = parser.add_argument_group("for whom, in more detail")
    target.add_argument("--language", action="append", metavar="L", help="python, node, java, go, dotnet ...")
    target.add_argument("--tracer-version", metavar="RANGE", help="such as '>=2.8.0,<5'")
    target.add_argument("--app-version", action="append", metavar="V", help="the application's own version")
    target.add_argument(
        "--host-tag", action="append", dest="host_tags", metavar="TAG", help="tag of the agent's host"
    )
    target.add_argument("--client-id", action="append", metavar="ID", help="one running tracer")


def from_arguments(arguments: argparse.Namespace) -> dict[str, object]:
    """The targeting that the flags say; empty for the whole organisation."""
    given: dict[str, object] = {}
    for field in (*_LISTS, "tracer_version"):
        if value := getattr(arguments, field, None):
            given[field] = value
    return given


def normal(targeting: Mapping[str, object] | None) -> dict[str, object]:
    """One form for equal targetings: empty fields gone, single values in lists, sorted, case folded."""
    out: dict[str, object] = {}
    for field, value in (targeting or {}).items():
        if value is None or value == "" or value == []:
            continue
        if field in _LISTS:
            values = {str(item) for item in value} if isinstance(value, list) else {str(value)}
            out[field] = sorted({item.casefold() for item in values} if field in _CASELESS else values)
        else:
            out[field] = value
    return out


def in_words(targeting: Mapping[str, object] | None) -> str:
    """``the whole organisation``, or ``service shop, env prod``."""
    parts = []
    for field, value in normal(targeting).items():
        word = _WORDS.get(field, field)
        if isinstance(value, list):
            parts.append(f"{word} {' or '.join(str(item) for item in value)}")
        else:
            parts.append(f"{word} {value}")
    return ", ".join(parts) or "the whole organisation"


def as_flags(targeting: Mapping[str, object] | None) -> str:
    """The flags that say the same, ready to paste after a command; empty for everybody."""
    parts = []
    for field, value in normal(targeting).items():
        flag = "--" + ("host-tag" if field == "host_tags" else field.replace("_", "-"))
        for item in value if isinstance(value, list) else [value]:
            parts.append(f"{flag} {item}")
    return "".join(" " + part for part in parts)
