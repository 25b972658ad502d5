"""Is a config meant for a client, as the signed ``custom`` of its target says?

What the module hides: the form of ``tracer-predicates`` and ``expires``. The control plane writes them, the
agent asks here for each of its clients. Its invariants:

- Pure: the client, the custom object and the time are handed in.
- A custom object that cannot be read raises `MalformedError`, even where another part of it would have
  decided: a config is never delivered on a guess.
- Whether the client asked for the product is not asked here. It is the caller's first question.

Source: agent-backend.md 6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sealwire.errors import MalformedError
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.semver import Constraint, Version

# The field of a predicate and that of the tracer it must equal, to the letter and in the same case.
_TRACER_FIELDS: Final = (
    ("runtimeID", "runtime_id"),
    ("service", "service"),
    ("environment", "env"),
    ("language", "language"),
    ("appVersion", "app_version"),
)
_FIELDS: Final = ("clientID", "tracerVersion", *(name for name, _ in _TRACER_FIELDS))
_MAX_SECONDS: Final = 2**63


def matches(custom: Mapping[str, object], client: pb.Client, *, now_s: int) -> bool:
    """Whether a target with this custom object is for this client, now.

    A target without predicates is for every client. With predicates one of them must match; a predicate
    matches when each of its fields that is not empty does. Who is no tracer is asked for ``clientID`` only.

    Args:
        custom: Of the director's target; parsed JSON.
        client: As it introduced itself at this poll.
        now_s: Unix seconds.

    Raises:
        MalformedError: The custom object cannot be read, or a version is compared that cannot be.
        OversizeError: A version or constraint is longer than any that means something.
    """
    expires_s = _expires(custom)
    predicates = _predicates(custom)
    if expires_s != 0 and expires_s < now_s:
        return False
    return not predicates or any(_predicate_matches(each, client) for each in predicates)


def _predicate_matches(predicate: Mapping[str, str], client: pb.Client) -> bool:
    client_id = predicate.get("clientID")
    if client_id and client_id != client.id:
        return False
    if not client.is_tracer:
        return True
    tracer = client.client_tracer
    for name, attribute in _TRACER_FIELDS:
        wanted = predicate.get(name)
        if wanted and wanted != getattr(tracer, attribute):
            return False
    constraint = predicate.get("tracerVersion")
    return not constraint or Constraint.parse(constraint).admits(Version.parse(tracer.tracer_version))


def _expires(custom: Mapping[str, object]) -> int:
    expires_s = custom.get("expires")
    if expires_s is None:
        return 0
    # A bool is an int to Python; a float or a text is refused by the Agent.
    if type(expires_s) is not int or not -_MAX_SECONDS <= expires_s < _MAX_SECONDS:
        raise MalformedError(
            "The expires of a target is a whole number of seconds.", detail=type(expires_s).__name__
        )
    return expires_s


def _predicates(custom: Mapping[str, object]) -> Sequence[Mapping[str, str]]:
    holder = custom.get("tracer-predicates")
    if holder is None:
        return ()
    if not isinstance(holder, Mapping):
        raise MalformedError("The tracer-predicates of a target are an object.")
    predicates = holder.get("tracer_predicates_v1")
    if predicates is None:
        return ()
    if not isinstance(predicates, list | tuple):
        raise MalformedError("tracer_predicates_v1 is a list.")
    # All are read before one is believed.
    return [_checked(each) for each in predicates]


def _checked(predicate: object) -> Mapping[str, str]:
    if not isinstance(predicate, Mapping):
        raise MalformedError("A tracer predicate is an object.")
    for name in _FIELDS:
        value = predicate.get(name)
        if value is not None and not isinstance(value, str):
            raise MalformedError(f"The {name} of a tracer predicate is a text.")
    return predicate
