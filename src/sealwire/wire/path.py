"""The path of a config, ``datadog/<org>/<PRODUCT>/<config id>/<name>``, or ``employee/...`` with none.

What the module hides: which place in the text means what. Its invariants:

- ``str(ConfigPath.parse(text)) == text``: a path has one spelling, so it can be a key.
- Two grammars. ``parse`` takes whatever an agent may meet. ``strict`` takes what we emit: the part of it that
  every client, agent and verifier reads in the same way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self

from sealwire.errors import MalformedError
from sealwire.wire.limits import MAX_PATH_BYTES, check_size

# Go holds the organisation in a signed 64-bit integer, Java in one of 32 bits.
_MAX_ORG_ID_MET: Final = 2**63 - 1
_MAX_ORG_ID_EMITTED: Final = 2**31 - 1
_MAX_ORG_DIGITS: Final = 19

# A product is also the name of a delegated role: no dot (the Agent splits `N.role.json` at dots), no slash.
_PRODUCT: Final = re.compile(r"[A-Z0-9][A-Z0-9_-]{0,63}", re.ASCII)
# Mixed case is needed by some products (`logProbe_...`, `symDb`); elsewhere lower case is preferred, because
# Java's optional signature check sorts paths without regard to case.
_CONFIG_ID: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", re.ASCII)
# No dot: the Agent takes everything up to the first one for a hash prefix.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# Names that open a device on Windows, whatever follows the first dot.
_DEVICE: Final = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ConfigPath:
    """Where a config lives in both repositories, and the key it is known by.

    Attributes:
        org_id: The organisation; ``None`` for an ``employee`` path, which belongs to none.
        product: Such as ``ASM_DATA``.
        config_id: Unique within organisation and product.
        name: The file; ``config`` in all we emit.
    """

    org_id: int | None
    product: str
    config_id: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take a path apart, as tolerantly as the agents that are out there.

        A leading zero in the organisation is refused: it would give one path two spellings.

        Args:
            text: As received, unverified.

        Raises:
            MalformedError: It is not of either form, or cannot be written as UTF-8.
            OversizeError: It is longer than ``MAX_PATH_BYTES``.
        """
        check_size("config path", len(text), MAX_PATH_BYTES)
        org_id: int | None
        match text.split("/"):
            case ["datadog", org, product, config_id, name]:
                org_id = _parse_org(org)
            case ["employee", product, config_id, name]:
                org_id = None
            case _:
                raise MalformedError(
                    "A config path is datadog/<org>/<PRODUCT>/<config id>/<name> or "
                    "employee/<PRODUCT>/<config id>/<name>.",
                    detail=repr(text[:200]),
                )
        if not (product and config_id and name):
            raise MalformedError("A config path has an empty part.", detail=repr(text[:200]))
        if not text.isascii():
            _check_encodable(text)
        return cls(org_id, product, config_id, name)

    @classmethod
    def strict(cls, text: str) -> Self:
        """Parse a path that we are about to emit.

        Raises:
            MalformedError: Some client would not take it; see `check_strict`.
        """
        path = cls.parse(text)
        path.check_strict()
        return path

    @classmethod
    def for_org(cls, org_id: int, product: str, config_id: str, name: str = "config") -> Self:
        """Make the path of a config we emit for an organisation.

        Raises:
            MalformedError: Some client would not take it; see `check_strict`.
        """
        path = cls(org_id, product, config_id, name)
        path.check_strict()
        return path

    def check_strict(self) -> None:
        """Hold the path to what every client takes alike.

        No dot in the last part, nothing that JSON must escape, nothing a file system reads otherwise, an
        organisation of 31 bits.

        Raises:
            MalformedError: Names the part and what is allowed there.
        """
        if self.org_id is not None and not 0 < self.org_id <= _MAX_ORG_ID_EMITTED:
            raise MalformedError(f"The organisation of a config path is 1 to {_MAX_ORG_ID_EMITTED}.")
        if not _PRODUCT.fullmatch(self.product):
            raise MalformedError(
                "The product of a config path has 1 to 64 of A-Z, 0-9, _ and -.",
                detail=repr(self.product[:200]),
            )
        if not _CONFIG_ID.fullmatch(self.config_id):
            raise MalformedError(
                "A config id has 1 to 128 of letters, digits, dot, _ and -, and does not begin with a dot.",
                detail=repr(self.config_id[:200]),
            )
        if not _NAME.fullmatch(self.name):
            raise MalformedError(
                "The name at the end of a config path has 1 to 64 of letters, digits, _ and -, and no dot.",
                detail=repr(self.name[:200]),
            )
        for part in (self.product, self.config_id, self.name):
            if _DEVICE.fullmatch(part):
                raise MalformedError("A part of a config path is the name of a device.", detail=repr(part))

    def __str__(self) -> str:
        if self.org_id is None:
            return f"employee/{self.product}/{self.config_id}/{self.name}"
        return f"datadog/{self.org_id}/{self.product}/{self.config_id}/{self.name}"


def _parse_org(text: str) -> int:
    # `isdigit` alone would take the digits of every script.
    if not (text.isascii() and text.isdigit()) or len(text) > _MAX_ORG_DIGITS:
        raise MalformedError("The organisation of a config path is a number.", detail=repr(text[:200]))
    org_id = int(text)
    if org_id > _MAX_ORG_ID_MET:
        raise MalformedError("The organisation of a config path is too large.", detail=repr(text))
    if text[0] == "0" and len(text) > 1:
        # Attack: two spellings of one path, of which only one is looked up.
        raise MalformedError("The organisation of a config path has a leading zero.", detail=repr(text))
    return org_id


def _check_encodable(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise MalformedError("A config path is not text that can be written.", detail=str(error)) from error
    check_size("config path", size, MAX_PATH_BYTES)
