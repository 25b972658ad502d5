"""A config somebody is writing, as it travels between browser and server: in the fields of a form.

Nothing of it is kept on the server. The payload travels as fields (``schema_form``), as JSON that is being
typed, or, between the pages of a review, as JSON that is carried; a draft is the same whichever it was.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sealwire.errors import InvalidChangeError, Problem
from sealwire.products import Product
from sealwire.server.store import rows
from sealwire.server.ui import json_text, schema_fields
from sealwire.server.ui.forms import Form

FORM, JSON = "form", "json"
LIST_FIELDS = ("service", "env", "language", "app_version", "host_tags", "client_id")

NEVER, AT = "never", "at"
PERIODS: Mapping[str, tuple[str, timedelta]] = {
    "15m": ("In 15 minutes", timedelta(minutes=15)),
    "1h": ("In an hour", timedelta(hours=1)),
    "1d": ("In a day", timedelta(days=1)),
    "1w": ("In a week", timedelta(weeks=1)),
}

_DRAFT_ID = re.compile(r"[0-9a-f]{16}\Z")
_RANGE = re.compile(r"(?:>=([^,<>=!]*))?,?(?:<([^,<>=!]*))?\Z")


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody has written so far; nothing of it needs to be right.

    Attributes:
        draft_id: Made when the form was first shown; tells one piece of work from the next.
        config_id, revision: The config it changes, and the revision that was looked at; 0 for a new one.
        mode: Whether the payload is shown as fields or as JSON.
        text: JSON as typed; used in that mode when it is none.
        unread: What could not even be read: mistakes of JSON, entries of one name.
        targeting: As ``Targeting.parse`` reads it.
        expiry, expires_at: A key of ``PERIODS``, ``never`` or ``at`` with a time in UTC.
        kept_expiry_ms: When the revision that was looked at is over, to the millisecond.
    """

    draft_id: str
    mode: str = FORM
    config_id: str = ""
    revision: int = 0
    payload: Any = field(default_factory=dict)
    text: str = ""
    unread: tuple[Problem, ...] = ()
    name: str = ""
    targeting: Mapping[str, Any] = field(default_factory=dict)
    comment: str = ""
    expiry: str = NEVER
    expires_at: str = ""
    kept_expiry_ms: int | None = None

    def fields(self, now: datetime) -> dict[str, Any]:
        """What the editor takes, but for the product."""
        return {
            "payload": self.payload,
            "name": self.name,
            "targeting": dict(self.targeting),
            "comment": self.comment,
            "expires_at": self._expires_at(now),
        }

    def _expires_at(self, now: datetime) -> object:
        if self.expiry in PERIODS:
            return (now + PERIODS[self.expiry][1]).replace(microsecond=0).isoformat()
        if self.expiry != AT:
            return None
        if self.kept_expiry_ms is not None and self.expires_at == clock(self.kept_expiry_ms):
            return self.kept_expiry_ms
        return f"{self.expires_at}Z"

    @property
    def expiry_words(self) -> str:
        """When it ends."""
        if self.expiry in PERIODS:
            return PERIODS[self.expiry][0].lower()
        return f"at {self.expires_at.replace('T', ' ')} UTC" if self.expiry == AT else "never"

    @property
    def digest(self) -> str:
        """The same for the same draft: what was reviewed is what is published."""
        said = [
            self.config_id, self.revision, self.payload, dict(self.targeting), self.name, self.comment,
            self.expiry, self.expires_at,
        ]  # fmt: skip
        return hashlib.sha256(json_text.compact(said).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def carried(self) -> tuple[tuple[str, str], ...]:
        """Fields that hold all of it, for a page on which it is not changed."""
        return (
            ("payload", json_text.compact(self.payload)),
            ("targeting", json_text.compact(dict(self.targeting))),
            ("name", self.name),
            ("comment", self.comment),
            ("expiry", self.expiry),
            ("expires_at", self.expires_at),
            *self.always,
        )

    @property
    def always(self) -> tuple[tuple[str, str], ...]:
        """Fields that every page carries."""
        kept = "" if self.kept_expiry_ms is None else str(self.kept_expiry_ms)
        return (
            ("draft", self.draft_id), ("mode", self.mode), ("revision", str(self.revision)),
            ("kept_expiry", kept),
        )  # fmt: skip


def clock(at_ms: int) -> str:
    """A time as a field for one holds it."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def new(product: Product) -> Draft:
    """Nothing yet."""
    return Draft(secrets.token_hex(8), payload=schema_fields.start(product))


def of_row(row: rows.ConfigRow) -> Draft:
    """The present revision, to be changed."""
    return Draft(
        secrets.token_hex(8),
        config_id=row.config_id,
        revision=row.revision,
        payload=json_text.parse(row.payload.decode()),
        name=row.name,
        targeting=dict(row.targeting),
        expiry=NEVER if row.expires_ms is None else AT,
        expires_at="" if row.expires_ms is None else clock(row.expires_ms),
        kept_expiry_ms=row.expires_ms,
    )


def read(product: Product, config_id: str, form: Form) -> Draft:
    """What a browser sent; whatever it is, a draft comes of it."""
    mode = JSON if form.text("mode") == JSON else FORM
    draft_id, kept = form.text("draft"), form.text("kept_expiry")
    expiry = form.text("expiry")
    draft = Draft(
        draft_id if _DRAFT_ID.match(draft_id) else secrets.token_hex(8),
        mode=mode,
        config_id=config_id,
        revision=_number(form.text("revision")) or 0,
        name=form.text("name"),
        targeting=_targeting(form),
        comment=form.raw("comment").replace("\r\n", "\n").strip(),
        expiry=expiry if expiry in PERIODS or expiry == AT else NEVER,
        expires_at=_time(form.text("expires_at")),
        kept_expiry_ms=_number(kept),
    )
    if "payload" in form.fields:
        return replace(draft, payload=_carried(form, "payload"))
    if mode == FORM:
        payload, problems = schema_fields.read(product, form.fields)
        return replace(draft, payload=payload, unread=problems)
    text = form.raw("json").replace("\r\n", "\n")
    try:
        return replace(draft, payload=json_text.parse(text), text=text)
    except InvalidChangeError as error:
        return replace(draft, payload={}, text=text, unread=error.problems)


def _targeting(form: Form) -> dict[str, Any]:
    if "targeting" not in form.fields:
        return read_targeting(form)
    carried = _carried(form, "targeting")
    return carried if isinstance(carried, dict) else {}


def _carried(form: Form, name: str) -> Any:
    try:
        return json_text.parse(form.raw(name))
    except InvalidChangeError:
        return {}


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 16 else None


def _time(text: str) -> str:
    """With seconds, which a browser leaves out when they are zero."""
    return f"{text}:00" if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d", text, re.ASCII) else text[:40]


# Who it is for ------------------------------------------------------------------------------------------


def read_targeting(form: Form) -> dict[str, Any]:
    """Rows of alternatives; a row that is empty says nothing."""
    found: dict[str, Any] = {}
    for name in LIST_FIELDS:
        values = form.all(f"t.{name}")
        if values:
            found[name] = list(values)
    least, below = form.text("t.least"), form.text("t.below")
    whole = form.text("t.tracer_version")
    if whole:
        found["tracer_version"] = whole
    elif least or below:
        parts = [f">={least}" if least else "", f"<{below}" if below else ""]
        found["tracer_version"] = ",".join(filter(None, parts))
    return found


def bounds(targeting: Mapping[str, Any]) -> tuple[str, str] | None:
    """A range of versions as "at least" and "below"; None when it is said in another way."""
    text = targeting.get("tracer_version") or ""
    match = _RANGE.match(text) if isinstance(text, str) else None
    if match is None:
        return None
    least, below = match[1] or "", match[2] or ""
    parts = [f">={least}" if least else "", f"<{below}" if below else ""]
    return (least, below) if ",".join(filter(None, parts)) == text else None


def values_of(targeting: Mapping[str, Any], name: str) -> Sequence[str]:
    """The alternatives of one field."""
    value = targeting.get(name)
    return [str(one) for one in value] if isinstance(value, list | tuple) else []
