"""What one client is told: the verified state, cut down to what is meant for it.

Hides how the answer to ``/v0.7/config`` is found. Pure: state, request and time in, message out. The rule
is that of wanting and having: a client is told something exactly when its targets version is not ours, or
when what it holds is not what it should hold. Comparing versions alone is not enough, as a client that
adds a product at an unchanged version would never get its files.

Invariants: files of other products or other clients are never in an answer; an answer that is not empty
names every config that applies to the client, also the unchanged ones; nothing verified is altered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from sealwire.errors import MalformedError, UntrustedError
from sealwire.trust.canonical import MAX_INTEGER
from sealwire.trust.uptane import TrustedState, VerifiedTarget
from sealwire.wire import remoteconfig_pb2 as pb
from sealwire.wire.path import ConfigPath
from sealwire.wire.predicates import matches

_NEVER_S = float("inf")


@dataclass(frozen=True, slots=True)
class ServedTarget:
    """A verified file, and what is asked of it at every poll.

    Attributes:
        version: ``custom.v``, which clients report back.
        expires_s: After this Unix second it is nobody's; 0 is never.
    """

    path: str
    product: str
    config_id: str
    version: int
    expires_s: int
    target: VerifiedTarget


@dataclass(frozen=True, slots=True)
class Served:
    """A verified state, arranged for answering.

    Attributes:
        expires: When the director's timestamp expires; from then on clients are told so and nothing else.
    """

    state: TrustedState
    version: int
    raw_targets: bytes
    expires: datetime | None
    by_product: Mapping[str, Sequence[ServedTarget]]

    @classmethod
    def of(cls, state: TrustedState, *, before: Served | None = None) -> Self:
        """Arrange a state.

        Args:
            state: Verified.
            before: What was served until now; saves the work where the targets are the same.

        Raises:
            MalformedError: A path or custom object that clients would fail on. The state must then not be
                served: one such path makes every poll of every client fail.
        """
        raw_targets = state.director_targets_raw or b""
        if before is not None and before.raw_targets == raw_targets:
            by_product = before.by_product
        else:
            by_product = _arrange(state.targets)
        return cls(state, state.director_version, raw_targets, state.director_timestamp_expires, by_product)

    def is_expired(self, now: datetime) -> bool:
        """Whether the control plane has been silent for longer than its timestamp allows."""
        return self.expires is not None and now >= self.expires

    def next_turn_s(self, now: datetime) -> float:
        """The next Unix second at which time alone may change an answer."""
        now_s = int(now.timestamp())
        turns = [
            float(each.expires_s + 1)
            for served in self.by_product.values()
            for each in served
            if each.expires_s and each.expires_s >= now_s
        ]
        if self.expires is not None and now < self.expires:
            turns.append(self.expires.timestamp())
        return min(turns, default=_NEVER_S)


def answer(
    served: Served | None, request: pb.ClientGetConfigsRequest, *, now: datetime
) -> pb.ClientGetConfigsResponse:
    """Answer one poll.

    Args:
        served: None before anything was verified.
        request: Validated.
        now: UTC.

    Returns:
        An empty message where there is nothing new.

    Raises:
        MalformedError: A predicate cannot be decided for this client; it keeps what it has.

    Source: tracer-agent.md 0; agent-backend.md 7.2.
    """
    # 1. Nothing verified yet: nothing to say. The client keeps what it has.
    if served is None or served.version == 0:
        return pb.ClientGetConfigsResponse()

    # 2. Attack: freeze. A control plane that fell silent must not keep old configs alive for ever.
    if served.is_expired(now):
        return pb.ClientGetConfigsResponse(
            targets=served.raw_targets, config_status=pb.ConfigStatus.CONFIG_STATUS_EXPIRED
        )

    # 3. What the client should hold, and what it says it holds.
    client = request.client
    wanted = wanted_by(served, client, now=now)
    having = _having(request, wanted)
    complete = len(having.missing) == 0 and not having.superfluous
    if client.state.targets_version == served.version and complete:
        return pb.ClientGetConfigsResponse()

    # 4. All that applies, the bytes it lacks, and the roots since its own.
    response = pb.ClientGetConfigsResponse(
        targets=served.raw_targets,
        client_configs=[each.path for each in wanted],
        target_files=[pb.File(path=each.path, raw=each.target.raw) for each in having.missing],
    )
    if client.state.root_version < served.state.director_root_version:
        response.roots.extend(served.state.director_roots_after(client.state.root_version))
    return response


def wanted_by(served: Served, client: pb.Client, *, now: datetime) -> list[ServedTarget]:
    """The files meant for a client, by path: of its products, matching its predicates, not expired.

    Raises:
        MalformedError: A predicate cannot be decided for this client.
    """
    now_s = int(now.timestamp())
    normal: pb.Client | None = None
    wanted = []
    for product in sorted(set(client.products)):
        for each in served.by_product.get(product, ()):
            custom = each.target.custom
            if not matches(custom, client, now_s=now_s):
                # Predicates are written for the names a trace-agent would forward.
                normal = normal if normal is not None else _normalised(client)
                if normal is client or not matches(custom, normal, now_s=now_s):
                    continue
            wanted.append(each)
    wanted.sort(key=lambda each: each.path)
    return wanted


@dataclass(frozen=True, slots=True)
class _Having:
    missing: list[ServedTarget]
    superfluous: bool


def _having(request: pb.ClientGetConfigsRequest, wanted: Sequence[ServedTarget]) -> _Having:
    """Compare what a client holds with what it should.

    A client without a file cache names no files; for it the states it reports say what it holds.
    """
    states = request.client.state.config_states
    if not request.cached_target_files and states:
        held_states = {(each.product, each.id, each.version) for each in states}
        wanted_states = {(each.product, each.config_id, each.version): each for each in wanted}
        missing = [each for key, each in wanted_states.items() if key not in held_states]
        return _Having(missing, superfluous=not held_states <= wanted_states.keys())
    held = {
        each.path: (each.length, {hashed.algorithm: hashed.hash for hashed in each.hashes}.get("sha256"))
        for each in request.cached_target_files
    }
    missing = [each for each in wanted if held.get(each.path) != (each.target.length, each.target.sha256)]
    return _Having(missing, superfluous=not held.keys() <= {each.path for each in wanted})


def _arrange(targets: Mapping[str, VerifiedTarget]) -> dict[str, list[ServedTarget]]:
    by_product: dict[str, list[ServedTarget]] = {}
    for path, target in targets.items():
        parsed = _parsed(path)
        version, expires_s = target.custom.get("v"), target.custom.get("expires", 0)
        # Attack: a number that a client takes and cannot tell us again; its polls would not be read any more.
        if type(version) is not int or not 0 <= version <= MAX_INTEGER:
            raise MalformedError(
                f"The target {path} has no whole number that all clients can carry as its version (custom.v)."
            )
        if type(expires_s) is not int or abs(expires_s) > MAX_INTEGER:
            raise MalformedError(
                f"The target {path} has an expiry that is no whole number all clients can carry."
            )
        by_product.setdefault(parsed.product, []).append(
            ServedTarget(path, parsed.product, parsed.config_id, version, expires_s, target)
        )
    return by_product


def _parsed(path: str) -> ConfigPath:
    """Take a path of the director apart.

    Raises:
        UntrustedError: It is none, or reads as another one where somebody makes a file or a line of it.
    """
    try:
        parsed = ConfigPath.parse(path)
    except UntrustedError as error:
        raise type(error)(f"The director lists {path[:200]!a}: {error.public}") from error
    for part in (parsed.product, parsed.config_id, parsed.name):
        # Attack: a path out of its place, in hands less careful than ours.
        if part in (".", "..") or "\\" in part or not part.isprintable():
            raise MalformedError(
                f"The director lists {path[:200]!a}, which is no path that anybody should read."
            )
    return parsed


_NOT_IN_A_TAG = re.compile(r"[^\w:./-]+")
_MAX_SERVICE_CHARS = 100
_MAX_ENV_CHARS = 200


def normalise(name: str, *, most: int = _MAX_ENV_CHARS) -> str:
    """A service or environment as the open-source trace-agent forwards it.

    Lower case; what a tag cannot hold becomes one underscore; it begins with a letter and does not end with
    an underscore.
    """
    text = _NOT_IN_A_TAG.sub("_", name.strip().lower())
    text = re.sub(r"_+", "_", text)
    start = next((index for index, char in enumerate(text) if char.isalpha() or char == ":"), len(text))
    return text[start : start + most].rstrip("_")


def _normalised(client: pb.Client) -> pb.Client:
    """The client under its normalised names; itself where they are normal already."""
    tracer = client.client_tracer
    service, env = normalise(tracer.service, most=_MAX_SERVICE_CHARS), normalise(tracer.env)
    if (service, env) == (tracer.service, tracer.env):
        return client
    normal = pb.Client()
    normal.CopyFrom(client)
    normal.client_tracer.service = service
    normal.client_tracer.env = env
    return normal
