"""One's own account: password, second factor, sessions. What pages and the API offer, once.

Everything here is of whoever asks and of nobody else. What would let somebody else in for good, or keep the
owner out (another password, a second factor, none any more, fresh recovery codes) is asked for with the
present password, and wrong ones are counted like those of signing in: a browser left open is not enough.
A key cut down to scopes may not.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sealwire.errors import (
    ConflictError,
    InvalidChangeError,
    NotFoundError,
    NotPermittedError,
    Problem,
    TooOftenError,
)
from sealwire.server.access import users
from sealwire.server.access.passwords import Passwords
from sealwire.server.access.permissions import Principal
from sealwire.server.access.sessions import Seen, Sessions
from sealwire.server.access.throttle import Throttle
from sealwire.server.access.totp import Enrolment, SecondFactors
from sealwire.server.store import people
from sealwire.server.store.database import Database
from sealwire.server.store.people import UserRow

_NOBODYS = "This application key belongs to no user, so it has no account. Sign in with email and password."
_NO_PASSWORD = (
    "You have no password here, because you sign in with a provider. An administrator can make you a link to "
    "set one."
)
_WRONG = "This is not your password."


@dataclass(frozen=True, slots=True)
class From:
    """Where a request came from, as ``throttle`` counts it."""

    address: str
    device: str = ""


class Accounts:
    """What people do with their own account."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        sessions: Sessions,
        second_factors: SecondFactors,
        throttle: Throttle,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._sessions = sessions
        self._second_factors = second_factors
        self._throttle = throttle

    async def user(self, by: Principal) -> UserRow:
        """Who asks.

        Raises:
            NotFoundError: An application key that is nobody's.
        """
        if not by.user_id:
            raise NotFoundError(_NOBODYS)
        return await asyncio.to_thread(self._user, by)

    async def sessions(self, by: Principal, *, now_ms: int) -> list[Seen]:
        """One's sessions that are alive, the present one first; none for a key that is nobody's."""
        if not by.user_id:
            return []
        return await asyncio.to_thread(
            self._sessions.of_user, by.user_id, present_id=by.session_id, now_ms=now_ms
        )

    async def recovery_codes_left(self, user: UserRow) -> int:
        """How many recovery codes still work."""
        return await asyncio.to_thread(self._second_factors.recovery_codes_left, user)

    async def rename(self, by: Principal, name: str, *, now_ms: int) -> UserRow:
        """Take another name.

        Raises:
            InvalidChangeError: It cannot be used.
        """
        user = await self._to_change(by)

        def write() -> UserRow:
            with self._database.write() as c:
                return users.rename(c, user.org_id, user.user_id, name, by=by.user, now_ms=now_ms)

        return await asyncio.to_thread(write)

    async def change_password(
        self, by: Principal, *, current: str, new: str, where: From, now_ms: int
    ) -> None:
        """Another password; every other session ends.

        Raises:
            InvalidChangeError: The present one is wrong, or the new one cannot be used.
            TooOftenError: Too many wrong ones, or too many people at this moment.
        """
        user = await self._to_change(by)
        await self._prove(user, current, where, field="current_password")
        if current == new:
            raise InvalidChangeError(
                "This is the password you have.", problems=(Problem("$.new_password", "Choose another one."),)
            )
        try:
            new_hash = await self._passwords.hash(new, (user.email, user.name))
        except InvalidChangeError as error:
            raise InvalidChangeError(
                error.public, problems=(Problem("$.new_password", error.public),)
            ) from error

        def write() -> None:
            with self._database.write() as c:
                users.set_password_hash(
                    c, user, new_hash, by=by.user, now_ms=now_ms, but_session_id=by.session_id
                )

        await asyncio.to_thread(write)

    async def begin_second_factor(
        self, by: Principal, *, password: str, where: From, now_ms: int
    ) -> Enrolment:
        """A second factor to be set up; nothing is stored yet. Its ticket says that the password was right.

        Raises:
            ConflictError: There is one already.
            InvalidChangeError: The password is wrong.
            TooOftenError: Too many wrong ones, or too many people at this moment.
        """
        user = await self._to_change(by)
        if user.has_second_factor:
            raise ConflictError("There is a second factor already: remove it first.")
        await self._prove(user, password, where, field="password")
        return self._second_factors.begin(user, now_ms=now_ms)

    async def same_second_factor(self, by: Principal, ticket: str, *, now_ms: int) -> Enrolment:
        """The same again, after a code that was not right."""
        return self._second_factors.again(await self._to_change(by), ticket, now_ms=now_ms)

    async def confirm_second_factor(
        self, by: Principal, ticket: str, code: str, *, now_ms: int
    ) -> tuple[str, ...]:
        """Switch the second factor on; returns the recovery codes, which are not kept.

        Raises:
            InvalidChangeError: The code is not right.
            ConflictError: It took too long, or there is one already.
        """
        user = await self._to_change(by)
        return await asyncio.to_thread(
            self._second_factors.confirm, user, ticket, code, but_session_id=by.session_id, now_ms=now_ms
        )

    async def remove_second_factor(self, by: Principal, *, password: str, where: From, now_ms: int) -> None:
        """Sign in with the password alone again.

        Raises:
            InvalidChangeError: The password is wrong.
            NotFoundError: There is none.
        """
        user = await self._to_change(by)
        await self._prove(user, password, where, field="password")
        await asyncio.to_thread(
            self._second_factors.remove, user.org_id, user.user_id, by=by.user,
            but_session_id=by.session_id, now_ms=now_ms,
        )  # fmt: skip

    async def new_recovery_codes(
        self, by: Principal, *, password: str, where: From, now_ms: int
    ) -> tuple[str, ...]:
        """Fresh recovery codes instead of those before; they are not kept.

        Raises:
            InvalidChangeError: The password is wrong.
            ConflictError: There is no second factor.
        """
        user = await self._to_change(by)
        await self._prove(user, password, where, field="password")
        return await asyncio.to_thread(self._second_factors.new_recovery_codes, user, now_ms=now_ms)

    async def _to_change(self, by: Principal) -> UserRow:
        if by.scopes is not None:
            raise NotPermittedError(
                "An application key that is cut down to scopes cannot change the account."
            )
        return await self.user(by)

    async def _prove(self, user: UserRow, password: str, where: From, *, field: str) -> None:
        if user.password_hash is None:
            raise InvalidChangeError(_NO_PASSWORD, problems=(Problem(f"$.{field}", _NO_PASSWORD),))
        begun = self._throttle.try_from(where.address, account=user.email_key, device=where.device)
        try:
            compared = await self._passwords.compare(user.password_hash, password)
        except TooOftenError:
            begun.does_not_count()
            raise
        if not compared.matches:
            raise InvalidChangeError(_WRONG, problems=(Problem(f"$.{field}", _WRONG),))
        begun.succeeded()

    def _user(self, by: Principal) -> UserRow:
        with self._database.read() as c:
            return people.user(c, by.org_id, by.user_id)
