"""Passwords: what may be one, and how they are kept and compared.

argon2id (RFC 9106, its second choice with one lane: 64 MiB, three passes; about 0.1 s here). Hashes made
with other parameters are made anew at the next sign-in. A comparison costs the same whether there is such
a user or not: without one, the password is compared with that of nobody.

Hashing is heavy on purpose, so it has one thread of its own, of low priority, and a short queue: a flood of
sign-ins never takes more than one core from the polls of agents, and is told to come back.

What may be a password is decided by its length and by what others use too, never by classes of characters.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import threading
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn import zxcvbn  # type: ignore[import-untyped]

from sealwire.errors import InvalidChangeError, Problem, TooOftenError

MIN_CHARS = 12
MAX_CHARS = 200
TIME_COST = 3
MEMORY_KIB = 64 * 1024
LANES = 1
MAX_WAITING = 16  # some two seconds' worth
NICENESS = 10

# A guess is as good as a hundred million: what zxcvbn finds sooner is a listed password, a name, a word or
# two, a row of the keyboard, a date, a repetition, or any of these with the usual letters exchanged.
MIN_GUESSES_LOG10 = 8.0
# Its time grows fast with length. Where both ends of something longer are weak, so is all of it.
ESTIMATED_CHARS = 24
MIN_OWN_WORD_CHARS = 3
MIN_OTHER_CHARS = 8  # besides one's own words
_REPEATED = re.compile(r"(.+?)\1+.{0,3}", re.DOTALL)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of comparing a password.

    Attributes:
        new_hash: To be kept instead of the one compared with; None when that is as it should be.
    """

    matches: bool
    new_hash: str | None = None


def normalised(password: str) -> str:
    """A password as it is hashed: NFC, so that it is the same from every keyboard."""
    return unicodedata.normalize("NFC", password)


def check(password: str, own_words: Iterable[str] = ()) -> None:
    """Refuse what others would guess.

    Args:
        own_words: What belongs to the user, such as email and name.

    Raises:
        InvalidChangeError: Too short, too long, or too easy to guess.
    """
    chosen = normalised(password)
    if len(chosen) < MIN_CHARS:
        _refuse(f"A password has at least {MIN_CHARS} characters; three or four words that do not belong "
                "together are good.")  # fmt: skip
    if len(chosen) > MAX_CHARS:
        _refuse(f"A password has at most {MAX_CHARS} characters.")
    words = _words(own_words)
    folded = chosen.casefold()
    rest = folded
    for word in sorted(words, key=len, reverse=True):
        rest = rest.replace(word, "")
    if rest != folded and len(rest) < MIN_OTHER_CHARS:
        _refuse("This is little more than your name, your email or ours. Choose something that has nothing "
                "to do with you.")  # fmt: skip
    repeated = _REPEATED.fullmatch(folded)
    ends = {chosen[:ESTIMATED_CHARS], chosen[-ESTIMATED_CHARS:]}
    if (repeated and len(repeated[1]) < MIN_CHARS) or all(
        _guesses_log10(end, words) < MIN_GUESSES_LOG10 for end in ends
    ):
        _refuse("This is among the first that are tried: it is in lists of passwords of others, or made of "
                "common words, names, dates or rows of keys. Add words that do not belong.")  # fmt: skip


def _refuse(why: str) -> None:
    raise InvalidChangeError(why, problems=(Problem("$.password", why),))


def _words(own_words: Iterable[str]) -> list[str]:
    found = {"sealwire"}
    for text in own_words:
        folded = normalised(text).casefold()
        found.add(folded)
        parts = "".join(one if one.isalnum() else " " for one in folded).split()
        found.update(parts)
        found.add("".join(parts))
    return [word for word in found if len(word) >= MIN_OWN_WORD_CHARS]


def _guesses_log10(password: str, words: list[str]) -> float:
    return float(zxcvbn(password, user_inputs=words)["guesses_log10"])


class Passwords:
    """Hashes and compares, one at a time.

    Args:
        time_cost, memory_kib: Of argon2id; less only where nothing depends on it.
    """

    def __init__(self, *, time_cost: int = TIME_COST, memory_kib: int = MEMORY_KIB) -> None:
        self._hasher = PasswordHasher(
            time_cost=time_cost, memory_cost=memory_kib, parallelism=LANES, type=Type.ID
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="passwords", initializer=_be_nice)
        self._waiting = 0
        self._of_nobody: str | None = None

    async def hash(self, password: str, own_words: Iterable[str] = ()) -> str:
        """What is kept of a new password.

        Raises:
            InvalidChangeError: It cannot be one; see ``check``.
            TooOftenError: Too many are waiting.
        """
        return await self._run(self._checked_hash, password, tuple(own_words))

    async def compare(self, kept: str | None, password: str) -> Compared:
        """Whether a password is the one that is kept; as slow without one.

        Raises:
            TooOftenError: Too many are waiting.
        """
        return await self._run(self._compare, kept, password)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _checked_hash(self, password: str, own_words: tuple[str, ...]) -> str:
        check(password, own_words)
        return self._hasher.hash(normalised(password))

    def _compare(self, kept: str | None, password: str) -> Compared:
        password = normalised(password[: 4 * MAX_CHARS])
        if kept is None or len(password) > MAX_CHARS:
            if self._of_nobody is None:
                self._of_nobody = self._hasher.hash(secrets.token_urlsafe())
            with contextlib.suppress(VerificationError):
                self._hasher.verify(self._of_nobody, password[:MAX_CHARS])
            return Compared(matches=False)
        try:
            self._hasher.verify(kept, password)
        except (VerificationError, InvalidHashError):
            return Compared(matches=False)
        renewed = self._hasher.hash(password) if self._hasher.check_needs_rehash(kept) else None
        return Compared(matches=True, new_hash=renewed)

    async def _run(self, call: Callable[..., T], *arguments: object) -> T:
        if self._waiting >= MAX_WAITING:
            raise TooOftenError(
                "Many people sign in at this moment. Try again in a few seconds.", retry_after_s=3
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        finally:
            self._waiting -= 1


def _be_nice() -> None:
    """Give way to every other thread, where the system has priorities of threads."""
    with contextlib.suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
