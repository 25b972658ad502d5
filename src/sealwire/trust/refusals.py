"""Every refusal of a document, as one of our errors and a sentence.

The reference library says what is wrong in its own classes; people read a sentence that names the
repository, the role and the versions, and programs read the code. The library's words go to ``detail``.
"""

from __future__ import annotations

from typing import Final

import orjson
from securesystemslib.exceptions import Error as SecuresystemslibError
from tuf.api.exceptions import (
    BadVersionNumberError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Signed  # type: ignore[attr-defined] # the library's documented import

from sealwire.errors import (
    DigestError,
    ExpiredError,
    MalformedError,
    MissingError,
    OversizeError,
    RollbackError,
    ThresholdError,
    UntrustedError,
)

HOSTILE: Final = (
    RepositoryError,
    SecuresystemslibError,
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What the reference library may raise on the bytes of a stranger.

It documents ``RepositoryError``; the others come from values of an unexpected type deep in a document.
"""


def whose(repository: str) -> str:
    """A repository's name as the beginning of a sentence."""
    return "The director's" if repository == "director" else f"The {repository} repository's"


def claimed_version(raw: bytes) -> int | None:
    """The version a document says it has; nothing of it is verified."""
    try:
        version = orjson.loads(raw)["signed"]["version"]
    except (ValueError, TypeError, KeyError):
        return None
    return version if type(version) is int else None


def check_size(repository: str, role: str, raw: bytes, limit: int) -> None:
    """Refuse a document before it is parsed.

    Raises:
        OversizeError: It has more bytes than the limit.
    """
    if len(raw) > limit:
        raise OversizeError(f"{whose(repository)} {role} has {len(raw)} bytes; {limit} are allowed.")


def expired(repository: str, role: str, signed: Signed) -> ExpiredError:
    """The refusal of a document that is past its expiry."""
    when = signed.expires.strftime("%Y-%m-%d %H:%M:%S UTC")
    return ExpiredError(f"{whose(repository)} {role}, version {signed.version}, expired at {when}.")


def missing(repository: str, role: str, version: int | None) -> MissingError:
    """The refusal of an answer that lacks a document."""
    which = f" of version {version}" if version is not None else ""
    return MissingError(f"{whose(repository)} {role}{which} did not come and is not held.")


def refusal(
    error: Exception,
    repository: str,
    role: str,
    raw: bytes,
    *,
    trusted: int | None = None,
    listed: int | None = None,
) -> UntrustedError:
    """Our error for one of the reference library's.

    Args:
        error: What it raised.
        repository: ``director`` or ``config``.
        role: Of the document.
        raw: The document.
        trusted: The version of this role that is trusted already.
        listed: The version that the timestamp or snapshot signs for.
    """
    detail = f"{type(error).__name__}: {error}"
    came = claimed_version(raw)
    what = f"{whose(repository)} {role}" + (f", version {came}," if came is not None else "")
    if isinstance(error, UnsignedMetadataError):
        return ThresholdError(f"{what} does not have enough valid signatures.", detail=detail)
    if isinstance(error, ExpiredMetadataError):
        return ExpiredError(f"{what} has expired.", detail=detail)
    if isinstance(error, LengthOrHashMismatchError):
        pinned = f" of version {listed}" if listed is not None else ""
        return DigestError(
            f"{what} is not the document{pinned} whose length and hash are signed.", detail=detail
        )
    if isinstance(error, BadVersionNumberError):
        return _wrong_version(whose(repository), role, came, trusted, listed, detail)
    if "missing info" in detail:
        return RollbackError(f"{what} no longer lists a role that version {trusted} lists.", detail=detail)
    return MalformedError(f"{what} cannot be read as the {role} document.", detail=detail)


def _wrong_version(
    owner: str, role: str, came: int | None, trusted: int | None, listed: int | None, detail: str
) -> UntrustedError:
    if listed is not None and came is not None and came != listed:
        sentence = (
            f"{owner} {role} came as version {came}, and version {listed} is the one that is signed for."
        )
        return (RollbackError if came < listed else MissingError)(sentence, detail=detail)
    if came is not None and trusted is not None and came < trusted:
        sentence = f"{owner} {role} came as version {came}, and version {trusted} is trusted already."
    else:
        sentence = f"{owner} {role}, version {came}, lists an older document than version {trusted} does."
    return RollbackError(sentence, detail=detail)
