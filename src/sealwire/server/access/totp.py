"""The second factor: codes by time (RFC 6238: SHA-1, six digits, 30 seconds) and recovery codes.

The shared secret is kept sealed with the key that wraps keys; a database alone makes no codes. A code
counts for its own 30 seconds and the ones around them, and once: neither it nor an older one is taken
again. While a second factor is being set up nothing is stored: the secret travels, sealed, with the form.
Recovery codes have 80 bits, are shown once, kept as hashes, and work once each.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import re
import secrets
from dataclasses import dataclass

import pyotp
import segno
import sqlalchemy as sa

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem, SettingsError
from sealwire.server.access import users
from sealwire.server.keyring import Keyring
from sealwire.server.store import people, write
from sealwire.server.store.database import Database
from sealwire.server.store.people import UserRow

STEP_S = 30
WINDOW = 1
RECOVERY_CODES = 10
TO_CONFIRM_MS = 15 * 60 * 1000
ISSUER = "Sealwire"
_DOMAIN = "people"
_PURPOSE = "second factor"
_TICKET = "second factor being set up"
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # 32, without l, o, 0 and 1
_CODE = re.compile(r"[0-9]{6}", re.ASCII)
_RECOVERY = re.compile(f"[{_ALPHABET}]{{16}}", re.ASCII)
_WRONG = "This code is not right. It changes every 30 seconds and works once; is the device's clock right?"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A second factor being set up.

    Attributes:
        secret: Base 32, in groups of four, to be typed.
        uri: What the QR code says.
        qr: The QR code as SVG, dark modules as one path.
        ticket: To be sent back with the first code; sealed, good for this user with the password they have
            now, and a quarter of an hour.
    """

    secret: str
    uri: str
    qr: str
    ticket: str


class SecondFactors:
    """Sets up, checks and removes second factors."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    def begin(self, user: UserRow, *, now_ms: int) -> Enrolment:
        """A fresh secret to be put into an authenticator, for who proved themselves; nothing is stored."""
        secret = pyotp.random_base32(32)
        uri = pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=ISSUER)
        said = json.dumps(
            {"secret": secret, "until_ms": now_ms + TO_CONFIRM_MS, "password": _password_of(user)}
        ).encode()
        sealed = self._keyring.seal(said, domain=_DOMAIN, purpose=_TICKET, name=user.user_id)
        return _enrolment(secret, uri, base64.urlsafe_b64encode(sealed).decode())

    def again(self, user: UserRow, ticket: str, *, now_ms: int) -> Enrolment:
        """The same second factor being set up, after a code that was not right.

        Raises:
            ConflictError: Too late, or not theirs.
        """
        secret = self._secret_of(user, ticket, now_ms)
        return _enrolment(
            secret, pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=ISSUER), ticket
        )

    def confirm(
        self, user: UserRow, ticket: str, code: str, *, but_session_id: str, now_ms: int
    ) -> tuple[str, ...]:
        """Switch a second factor on with its first code; returns the recovery codes, which are not kept.

        Raises:
            InvalidChangeError: The code is not right.
            ConflictError: Too late, or there is one already.
        """
        secret = self._secret_of(user, ticket, now_ms)
        step = _step_of(secret, code, now_ms)
        if step is None:
            raise InvalidChangeError(_WRONG, problems=(Problem("$.code", _WRONG),))
        wrapped = self._keyring.seal(secret.encode(), domain=_DOMAIN, purpose=_PURPOSE, name=user.user_id)
        with self._database.write() as c:
            present = people.user(c, user.org_id, user.user_id)
            if present.has_second_factor:
                raise ConflictError("There is a second factor already: remove it first.")
            people.change_user(c, user.org_id, user.user_id, totp_wrapped=wrapped, totp_last_step=step)
            codes = _put_recovery_codes(c, user, now_ms)
            ended = people.end_sessions_of(
                c, user.user_id, now_ms=now_ms, but=(but_session_id,) if but_session_id else ()
            )
            write.add_audit(
                c, user.org_id, at_ms=now_ms, actor=user.email, action="user.second_factor_set",
                subject=f"user {user.user_id}",
                summary=f"{users.title_of(user)} signs in with a second factor from now on",
                detail={"sessions_ended": ended},
            )  # fmt: skip
        return codes

    def check(self, user: UserRow, code: str, *, now_ms: int) -> bool:
        """Take a code or a recovery code, once."""
        typed = re.sub(r"[\s-]", "", code[:100]).lower()
        if _RECOVERY.fullmatch(typed):
            return self._take_recovery_code(user, typed, now_ms)
        if user.totp_wrapped is None:
            return False
        secret = self._keyring.unseal(
            user.totp_wrapped, domain=_DOMAIN, purpose=_PURPOSE, name=user.user_id
        ).decode()
        step = _step_of(secret, typed, now_ms)
        if step is None:
            return False
        # Attack: replay of a code that was seen over a shoulder or on the way.
        with self._database.write() as c:
            return people.take_totp_step(c, user.user_id, step)

    def new_recovery_codes(self, user: UserRow, *, now_ms: int) -> tuple[str, ...]:
        """Fresh recovery codes instead of those before; they are not kept.

        Raises:
            ConflictError: There is no second factor.
        """
        with self._database.write() as c:
            if not people.user(c, user.org_id, user.user_id).has_second_factor:
                raise ConflictError("There is no second factor: recovery codes come with it.")
            codes = _put_recovery_codes(c, user, now_ms)
            write.add_audit(
                c, user.org_id, at_ms=now_ms, actor=user.email, action="user.recovery_codes_made",
                subject=f"user {user.user_id}", summary=f"{users.title_of(user)} made new recovery codes",
            )  # fmt: skip
        return codes

    def recovery_codes_left(self, user: UserRow) -> int:
        """How many recovery codes still work."""
        with self._database.read() as c:
            return people.recovery_codes_left(c, user.user_id)

    def remove(self, org_id: int, user_id: str, *, by: str, but_session_id: str = "", now_ms: int) -> UserRow:
        """Let the password alone be enough again, and end their sessions.

        Args:
            but_session_id: The session that goes on: the one in which they do it themselves.

        Raises:
            NotFoundError: No such user, or no second factor.
        """
        with self._database.write() as c:
            user = people.user(c, org_id, user_id)
            if not user.has_second_factor:
                raise NotFoundError(f"{users.title_of(user)} has no second factor.")
            people.change_user(c, org_id, user_id, totp_wrapped=None, totp_last_step=None)
            people.put_recovery_codes(c, user_id, (), now_ms=now_ms)
            ended = people.end_sessions_of(
                c, user_id, now_ms=now_ms, but=(but_session_id,) if but_session_id else ()
            )
            write.add_audit(
                c, org_id, at_ms=now_ms, actor=by, action="user.second_factor_removed",
                subject=f"user {user_id}", summary=f"Removed the second factor of {users.title_of(user)}",
                detail={"sessions_ended": ended},
            )  # fmt: skip
        return user

    def _secret_of(self, user: UserRow, ticket: str, now_ms: int) -> str:
        try:
            sealed = base64.urlsafe_b64decode(ticket[:1000].encode("ascii", "replace"))
            said = json.loads(
                self._keyring.unseal(sealed, domain=_DOMAIN, purpose=_TICKET, name=user.user_id)
            )
        except (ValueError, SettingsError):
            said = {"secret": "", "until_ms": 0, "password": ""}
        # Attack: somebody who knew the password before it was changed comes back with an old ticket.
        if now_ms >= said["until_ms"] or said["password"] != _password_of(user):
            raise ConflictError("This took too long: begin again with a new code to scan.")
        return str(said["secret"])

    def _take_recovery_code(self, user: UserRow, typed: str, now_ms: int) -> bool:
        with self._database.write() as c:
            if not people.take_recovery_code(c, user.user_id, _hash(user, typed), now_ms=now_ms):
                return False
            left = people.recovery_codes_left(c, user.user_id)
            write.add_audit(
                c, user.org_id, at_ms=now_ms, actor=user.email, action="user.recovery_code_used",
                subject=f"user {user.user_id}",
                summary=f"{users.title_of(user)} used a recovery code; {left} left", detail={"left": left},
            )  # fmt: skip
        return True


def _password_of(user: UserRow) -> str:
    """The password a user has, to be compared and nothing else."""
    return hashlib.sha256((user.password_hash or "").encode()).hexdigest()


def _put_recovery_codes(c: sa.Connection, user: UserRow, now_ms: int) -> tuple[str, ...]:
    raw = ["".join(secrets.choice(_ALPHABET) for _ in range(16)) for _ in range(RECOVERY_CODES)]
    people.put_recovery_codes(c, user.user_id, [_hash(user, one) for one in raw], now_ms=now_ms)
    return tuple("-".join(one[at : at + 4] for at in range(0, 16, 4)) for one in raw)


def _hash(user: UserRow, code: str) -> str:
    return hashlib.sha256(f"{user.user_id} {code}".encode()).hexdigest()


def _step_of(secret: str, code: str, now_ms: int) -> int | None:
    """The time step whose code this is, or None."""
    typed = re.sub(r"\s", "", code[:20])
    if not _CODE.fullmatch(typed):
        return None
    now = now_ms // 1000 // STEP_S
    totp = pyotp.TOTP(secret)
    found = None
    for step in range(now - WINDOW, now + WINDOW + 1):
        if hmac.compare_digest(totp.generate_otp(step), typed):
            found = step
    return found


def _enrolment(secret: str, uri: str, ticket: str) -> Enrolment:
    out = io.BytesIO()
    segno.make(uri, error="m", micro=False).save(
        out, kind="svg", xmldecl=False, svgns=False, omitsize=True, border=3, dark="#000", light="#fff",
        svgclass="qr", lineclass=None, title="QR code of the second factor",
    )  # fmt: skip
    typed = " ".join(secret[at : at + 4] for at in range(0, len(secret), 4))
    return Enrolment(typed, uri, out.getvalue().decode(), ticket)
