"""Changing a config that may or may not be there: read, modify, write.

Every write carries the revision that was read; if somebody else was faster the whole change is done
again on what they left, so no writer undoes another's work unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sealwire.cli import targeting
from sealwire.cli.answers import Config, Configs, typed
from sealwire.cli.api import AdminApi, segment
from sealwire.cli.arguments import Session
from sealwire.errors import ConflictError, NotFoundError

ATTEMPTS = 5

# A config as the API answered it, and read.
Held = tuple[dict[str, object], Config]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change came to.

    Attributes:
        raw: The config as the API answered it; None if there is none.
        was_changed: Whether something was written.
        sentence: What was done, for people.
        notes: What else they should know.
    """

    raw: dict[str, object] | None
    was_changed: bool
    sentence: str
    notes: tuple[str, ...] = ()


def until_nobody_interferes(change: Callable[[], Outcome]) -> Outcome:
    """Do a change that reads first; again, from the reading on, when somebody else was faster."""
    for _ in range(ATTEMPTS - 1):
        try:
            return change()
        except ConflictError:
            continue
    return change()


def active(api: AdminApi, product: str) -> list[Held]:
    document = api.get("/configs", {"product": product, "state": "active"})
    configs = typed(document, Configs).configs
    raws = document["configs"] if isinstance(document, dict) else []
    return list(zip(raws, configs, strict=True))


def exactly(listed: list[Held], name: str, target: Mapping[str, object]) -> Held | None:
    """The config of that name for exactly that target; the oldest, should there be several."""
    found = [
        pair
        for pair in listed
        if pair[1].name == name and targeting.normal(pair[1].targeting) == targeting.normal(target)
    ]
    return min(found, key=lambda pair: (pair[1].created_at or "", pair[1].id)) if found else None


def save(
    api: AdminApi,
    existing: Held | None,
    product: str,
    name: str,
    target: Mapping[str, object],
    payload: Mapping[str, object],
    reason: str | None,
) -> Held:
    """Change the config that is there, or make one.

    Raises:
        ConflictError: Somebody changed or retired it since it was read.
    """
    comment = {"comment": reason} if reason else {}
    written: dict[str, object] = {"payload": dict(payload), **comment}
    if existing is None:
        body = {"product": product, "name": name, "targeting": dict(target), **written}
        made = _read(api.post("/configs", body))
        _give_way_to_a_twin(api, made[1])
        return made
    config = existing[1]
    body = {"expected_revision": config.revision, **written}
    try:
        return _read(api.put(f"/configs/{segment(config.id)}", body))
    except NotFoundError as error:
        raise ConflictError(f"Config {config.id} was retired meanwhile.") from error


def _give_way_to_a_twin(api: AdminApi, made: Config) -> None:
    """Keep one config per name and target: should two people make it at once, the older one stays."""
    oldest = exactly(active(api, made.product), made.name, made.targeting or {})
    if oldest is not None and oldest[1].id != made.id:
        retire(api, made)
        raise ConflictError(f"Config {oldest[1].id} was made meanwhile.")


def retire(api: AdminApi, config: Config) -> Held:
    """Take the config back.

    Raises:
        ConflictError: Somebody changed or retired it since it was read.
    """
    try:
        return _read(api.delete(f"/configs/{segment(config.id)}", {"expected_revision": config.revision}))
    except NotFoundError as error:
        raise ConflictError(f"Config {config.id} was retired meanwhile.") from error


def _read(document: object) -> Held:
    config = typed(document, Config)
    return (document if isinstance(document, dict) else {}), config


def report(outcome: Outcome, session: Session, hint: str = "") -> int:
    """Tell what was done, and what else is worth knowing; gives the exit code."""
    notes = [*outcome.notes, hint] if hint else [*outcome.notes]
    output = session.output
    if output.as_json:
        output.document({"changed": outcome.was_changed, "config": outcome.raw, "notes": notes})
        return 0
    output.say(outcome.sentence)
    for note in notes:
        output.note(note)
    return 0


def sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]
