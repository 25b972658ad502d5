"""What every product has: its checks, how several configs become one file, and how it prints.

A product file defines one ``PRODUCT``; the package finds it by being there. This module holds the type
and the plain values that go in and out, and nothing of any single product.

Invariants: pure (no I/O, no clock); the same arguments give the same bytes; checks never raise on JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NewType, TypeAlias

import orjson

from sealwire.errors import Problem
from sealwire.products.schema import MAX_PROBLEMS, Record, Report, at, kind, quote

ConfigId = NewType("ConfigId", str)

MAX_PAYLOAD_BYTES = 1_000_000  # one config; a Java tracer reads 5 MiB per answer, all configs together

Payload: TypeAlias = Mapping[str, object]
Others: TypeAlias = Mapping[ConfigId, Payload]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFacts:
    """What a tracer said of itself, as far as a decision may rest on it.

    Attributes:
        client_id: One per tracer instance; the key of a client.
        runtime_id: One per process; a new one means that remote values were forgotten.
        language: As reported: ``python``, ``node``, ``go``, ``java``, ``dotnet``.
        host_tags: Tags of the agent's host, ``key:value``.
        capabilities: Capability bits that are set.
    """

    client_id: str
    runtime_id: str = ""
    service: str = ""
    env: str = ""
    language: str = ""
    tracer_version: str = ""
    app_version: str = ""
    host_tags: frozenset[str] = frozenset()
    products: frozenset[str] = frozenset()
    capabilities: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One author's config on its way into a merged file.

    Attributes:
        priority: Specificity of its targeting, 1 (organisation) to 5 (service and env).
    """

    config_id: ConfigId
    revision: int
    priority: int
    payload: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """One file made of several configs.

    Attributes:
        payload: What the client gets; empty means: no file.
        provenance: JSON path of each setting -> the config it comes from.
        released: JSON path -> value that no config asks for any more and that is sent once so that the
            client gives an earlier remote value back.
    """

    payload: dict[str, object]
    provenance: dict[str, ConfigId]
    released: dict[str, object] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.payload)


class Published(NamedTuple):
    """The file of a config.

    Attributes:
        file_id, name: The last parts of its path.
    """

    file_id: str
    payload: Payload
    name: str = "config"


Merge: TypeAlias = Callable[[Sequence[Source], ClientFacts, Mapping[str, object]], Merged]
Compare: TypeAlias = Callable[[Payload, Others], Iterable[Problem]]
Sticky: TypeAlias = Callable[[Payload, str, str], dict[str, object]]
Tell: TypeAlias = Callable[[str, object, object], Sequence[str] | None]
Publish: TypeAlias = Callable[[ConfigId, Payload], "Published"]
Succeed: TypeAlias = Callable[[Payload | None, Payload], Payload]
Demand: TypeAlias = Callable[[Payload], tuple[str, ...]]
Aim: TypeAlias = Callable[[Mapping[str, object]], Iterable[Problem]]
Last: TypeAlias = Callable[[Payload], int | None]


def _nothing(_payload: Payload, _others: Others) -> Iterable[Problem]:
    return ()


def _nothing_to_tell(_place: str, _before: object, _after: object) -> Sequence[str] | None:
    return None


def _as_it_is(config_id: ConfigId, payload: Payload) -> Published:
    return Published(config_id, payload)


def _the_same(_before: Payload | None, payload: Payload) -> Payload:
    return payload


def _nothing_more(_payload: Payload) -> tuple[str, ...]:
    return ()


def _anywhere(_targeting: Mapping[str, object]) -> Iterable[Problem]:
    return ()


def _for_ever(_payload: Payload) -> int | None:
    return None


def _nothing_sticks(_payload: Payload, _language: str, _tracer_version: str) -> dict[str, object]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A kind of config with its own type.

    Attributes:
        name: As on the wire, such as ``ASM_DATA``; its file has the same name in lower case.
        summary: What it changes in an application, one sentence.
        shape: The payload.
        example: A payload that passes the check and is fit to start from.
        merger: How several configs become the one file of a client; None if clients take many files.
        comparer: Problems between this payload and other active configs of the product.
        warner: What the author should know, though it is not a mistake.
        sticker: Settings that some tracers keep after their file has gone.
        gives_up_first: Languages whose tracer must lose a file before it may get one at another path:
            taking both in one update, it drops what other products gave it and does not say so (ADR 3).
        capability: JSON path of a setting -> the capability bit of clients that have it. For
            explanations: delivery must not depend on it, older Python hides bits it honours.
        labels: What people call a member, by its place: its JSON path with ``[]`` for any index, such as
            ``$.rules_data[].data``; ``label`` makes one of the key where none stands here. The label of a
            place that ends in ``[]`` is for one element of the list.
        beginning: What the form of a new config begins with; what is required where it is empty.
        rare: Places of members that are hardly ever set; the form tucks them away.
        teller: Says in words what the change of the member at a place means, when there are better ones than
            "label before → after"; None: there are not. An absent member is None.
        reads, writes: Permissions of people to see and to change its configs.
        writes_outside_production: A lesser permission, enough for a config whose targeting names its
            environments and none of production; empty: there is none.
        demander: Permissions a writer needs besides, for what the payload says.
        moves: Whether the targeting of a config may change once it is made.
        aimer: What is wrong with a targeting for it, at paths below ``$.targeting``.
        lasting: Minutes until a config is over whose author says nothing of its end; None: it has none.
        file_prefixes: What the ids of its files may begin with, in front of the config's own id or what is
            made of it; the two characters behind the prefix are those the id of the config begins with.
        publisher: The file of a config; of products that are not merged.
        successor: The payload as it is kept, given the one before it: a version in it, for instance.
    """

    name: str
    title: str
    summary: str
    shape: Record
    example: Payload
    merger: Merge | None = None
    comparer: Compare = _nothing
    warner: Compare = _nothing
    sticker: Sticky = _nothing_sticks
    gives_up_first: frozenset[str] = frozenset()
    capability: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    beginning: Payload = field(default_factory=dict)
    rare: frozenset[str] = frozenset()
    teller: Tell = _nothing_to_tell
    reads: str
    writes: str
    writes_outside_production: str = ""
    demander: Demand = _nothing_more
    moves: bool = True
    aimer: Aim = _anywhere
    lasting: Last = _for_ever
    file_prefixes: tuple[str, ...] = ("",)
    publisher: Publish = _as_it_is
    successor: Succeed = _the_same

    @property
    def single_file(self) -> bool:
        """Whether a client gets one merged file, as it could not merge several itself."""
        return self.merger is not None

    def check(self, payload: object) -> tuple[Problem, ...]:
        """Find what is wrong with a payload: every problem, at most 50; none means it may be published."""
        if not isinstance(payload, Mapping):
            return (Problem(path="$", message=f"Expected an object, not {kind(payload)}."),)
        try:
            size = len(self.render(payload))
        except (TypeError, RecursionError) as error:
            return (Problem(path="$", message=f"This cannot be written as JSON: {error}."),)
        if size > MAX_PAYLOAD_BYTES:
            message = (
                f"The config has {size} bytes; one config may have {MAX_PAYLOAD_BYTES} (1 MB). Split it."
            )
            return (Problem(path="$", message=message),)
        report = Report()
        self.shape.check(payload, "$", report)
        return report.problems

    def conflicts(self, payload: Payload, others: Others) -> tuple[Problem, ...]:
        """Find what cannot stand beside other active configs of this product.

        ``payload`` passed the check. ``others`` are those that may reach the same clients.
        """
        return _capped(self.comparer(payload, others))

    def warn(self, payload: Payload, others: Others) -> tuple[Problem, ...]:
        """Say what the author should know, though it is allowed; ``payload`` passed the check."""
        return _capped(self.warner(payload, others))

    def merge(
        self, sources: Sequence[Source], client: ClientFacts, *, held: Mapping[str, object] | None = None
    ) -> Merged:
        """Make the one file of a client.

        Args:
            sources: Lowest to highest priority; empty when nothing matches any more.
            held: What this process may still keep: ``sticky_values`` of the last file it reported and of
                each one sent since.

        Raises:
            RuntimeError: The product is not merged; a client gets its configs as they are.
        """
        if self.merger is None:
            raise RuntimeError(f"{self.name} is not merged")
        return self.merger(sources, client, held or {})

    def publish(self, config_id: ConfigId, payload: Payload) -> Published:
        """The file of a config; of products that are not merged."""
        return self.publisher(config_id, payload)

    def succeed(self, before: Payload | None, payload: Payload) -> Payload:
        """The payload as it is kept.

        Args:
            before: Of the revision before; None: the config is new.
            payload: As its author wants it; it passed the check.
        """
        return self.successor(before, payload)

    def demands(self, payload: Payload) -> tuple[str, ...]:
        """Permissions a writer needs besides ``writes``, for what the payload says."""
        return self.demander(payload)

    def misaimed(self, targeting: Mapping[str, object]) -> tuple[Problem, ...]:
        """What is wrong with a targeting for configs of this product; paths are below ``$.targeting``."""
        return _capped(self.aimer(targeting))

    def lasts(self, payload: Payload) -> int | None:
        """Minutes until a config is over whose author says nothing of its end; None: it has none."""
        return self.lasting(payload)

    def sticky_values(self, payload: Payload, language: str, tracer_version: str = "") -> dict[str, object]:
        """Settings in a delivered file that its tracer keeps when the file goes; null where any value is.

        To be kept per runtime id and passed to the next merges as ``held``: added when the file is sent,
        put in place of all that was kept when the client reports the file.
        """
        return self.sticker(payload, language, tracer_version)

    def label(self, place: str) -> str:
        """What people call the member at a place, as ``labels`` has it or made of its key."""
        known = self.labels.get(place)
        if known is not None:
            return known
        if place.endswith("[]"):
            return _singular(self.label(place.removesuffix("[]")))
        key = place.rpartition(".")[2]
        if not key.islower():
            return key  # an environment variable, or a key that somebody made up
        words = key.removesuffix("_enabled").replace("_", " ").strip()
        return words[:1].upper() + words[1:] or key

    def render(self, payload: Payload) -> bytes:
        """The bytes of a file: UTF-8 JSON, sorted keys, no spaces."""
        return orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)

    def json_schema(self) -> dict[str, object]:
        """The payload as JSON Schema, draft 2020-12."""
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": self.title,
            "description": self.summary,
            **{key: value for key, value in self.shape.json_schema().items() if key != "description"},
            "examples": [dict(self.example)],
        }


def _singular(words: str) -> str:
    if words.endswith("ies"):
        return words.removesuffix("ies") + "y"
    return words if words.endswith("ss") else words.removesuffix("s")


def _capped(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(problem for problem, _ in zip(problems, range(MAX_PROBLEMS), strict=False))


def elements(payload: Payload, *arrays: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Path and value of each object in the named top-level lists; skips what is not there."""
    for array in arrays:
        items = payload.get(array)
        for index, item in enumerate(items if isinstance(items, list | tuple) else ()):
            if isinstance(item, Mapping):
                yield at(at("$", array), index), item


def repeated_ids(payload: Payload, others: Others, *arrays: str) -> Iterator[Problem]:
    """A problem for each element id of ``payload`` that another active config already uses.

    The named lists share one space of ids.
    """
    taken: dict[object, ConfigId] = {}
    for config_id, other in others.items():
        for _, element in elements(other, *arrays):
            if isinstance(element.get("id"), str):
                taken.setdefault(element["id"], config_id)
    for path, element in elements(payload, *arrays):
        owner = taken.get(element.get("id"))
        if owner is not None:
            message = (
                f"{quote(element['id'])} is already used by config {owner}; clients drop the second one."
            )
            yield Problem(path=at(path, "id"), message=message)
