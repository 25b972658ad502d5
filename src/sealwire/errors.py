"""Every error of Sealwire.

    SealwireError
    ├── UntrustedError      what arrived is refused: keep the last good, report it, raise the alarm
    │   ├── MalformedError      not the document it claims to be
    │   ├── OversizeError       larger than its limit
    │   ├── ThresholdError      too few valid signatures from distinct keys
    │   ├── RollbackError       older than what is trusted, or a listed role is gone
    │   ├── ExpiredError        at or past its expiry
    │   ├── DigestError         bytes differ from the signed length or hash
    │   ├── DisagreementError   director and config repository do not say the same
    │   └── MissingError        a document or file that is needed did not come
    ├── InvalidChangeError  an author's mistake; carries problems at their JSON paths   -> 422
    ├── ConflictError       somebody changed it first; carries both revisions           -> 409
    ├── NotPermittedError   not allowed, or not visible; told apart only in the log     -> 403
    ├── NotFoundError       there is no such thing here                                 -> 404
    ├── UnauthenticatedError  no key, or one that is not known                          -> 401
    ├── UnavailableError    try again; carries retry_after_s                            -> 503
    │   └── TooOftenError       asked too often; wait as long as it says                -> 429
    ├── SettingsError       a setting is missing or wrong; says which line to add
    └── ApplyError          a handler did not take a config; becomes an apply state

Each has a stable ``code`` (API, metrics, docs), a ``public`` sentence that is safe to show, and
``detail`` for logs only. Misuse by a programmer is ``RuntimeError`` or ``TypeError``, not in this tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class SealwireError(Exception):
    """The root of the tree.

    Args:
        public: A sentence that is safe to show to whoever caused it; says what to do where it can.
        detail: For logs only.
    """

    code: ClassVar[str] = "error"

    def __init__(self, public: str, *, detail: str = "") -> None:
        super().__init__(public)
        self.public = public
        self.detail = detail


class UntrustedError(SealwireError):
    """What arrived is refused."""

    code = "untrusted"


class MalformedError(UntrustedError):
    """Not the document it claims to be."""

    code = "malformed"


class OversizeError(UntrustedError):
    """Larger than its limit."""

    code = "oversize"


class ThresholdError(UntrustedError):
    """Too few valid signatures from distinct keys."""

    code = "threshold"


class RollbackError(UntrustedError):
    """Older than what is trusted, or a role that was listed is gone."""

    code = "rollback"


class ExpiredError(UntrustedError):
    """At or past its expiry."""

    code = "expired"


class DigestError(UntrustedError):
    """The bytes differ from the signed length or hash."""

    code = "digest"


class DisagreementError(UntrustedError):
    """Director and config repository do not say the same of a path."""

    code = "disagreement"


class MissingError(UntrustedError):
    """A document or file that is needed did not come and is not held."""

    code = "missing"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in what an author wrote.

    Attributes:
        path: JSON path of the value, such as ``$.rules_data[0].data[3].value``; ``$`` is the document.
        message: What was expected there, as a sentence.
    """

    path: str
    message: str


class InvalidChangeError(SealwireError):
    """An author's mistake; nothing was changed."""

    code = "invalid_change"

    def __init__(self, public: str, *, problems: tuple[Problem, ...] = (), detail: str = "") -> None:
        super().__init__(public, detail=detail)
        self.problems = problems


class ConflictError(SealwireError):
    """Somebody changed it first; nothing was changed."""

    code = "conflict"

    def __init__(
        self, public: str, *, expected_revision: int | None = None, actual_revision: int | None = None
    ) -> None:
        super().__init__(public)
        self.expected_revision = expected_revision
        self.actual_revision = actual_revision


class NotPermittedError(SealwireError):
    """Not allowed, or not visible; ``permission`` is the one that is missing, if it is one."""

    code = "not_permitted"

    def __init__(self, public: str, *, permission: str = "", detail: str = "") -> None:
        super().__init__(public, detail=detail)
        self.permission = permission


class NotFoundError(SealwireError):
    """There is no such thing here."""

    code = "not_found"


class UnauthenticatedError(SealwireError):
    """No key, or one that is not known."""

    code = "unauthenticated"


class UnavailableError(SealwireError):
    """Try again later."""

    code = "unavailable"

    def __init__(self, public: str, *, retry_after_s: float = 1.0, detail: str = "") -> None:
        super().__init__(public, detail=detail)
        self.retry_after_s = retry_after_s


class TooOftenError(UnavailableError):
    """Asked too often by the same one."""

    code = "too_often"


class SettingsError(SealwireError):
    """A setting is missing or wrong; the sentence says which line to add or change."""

    code = "settings"


class ApplyError(SealwireError):
    """A handler did not take a config; becomes an apply state."""

    code = "apply"
