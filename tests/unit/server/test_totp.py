"""Second factors: codes count once, in their time; recovery codes once each; nothing stored makes either."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pyotp
import pytest

from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, SettingsError
from sealwire.server.access import users
from sealwire.server.access.totp import RECOVERY_CODES, STEP_S, TO_CONFIRM_MS, SecondFactors
from sealwire.server.keyring import Keyring
from sealwire.server.store import people
from sealwire.server.store.people import SessionRow, UserRow
from tests.support.parts import Domain

NOW = 1_700_000_010_000  # ten seconds into a step
STEP_MS = STEP_S * 1000


@pytest.fixture
def factors(domain: Domain) -> SecondFactors:
    return SecondFactors(domain.database, domain.keyring)


@pytest.fixture
def ann(domain: Domain) -> UserRow:
    with domain.database.write() as c:
        user = users.create(c, domain.org_id, email="ann@example.org", by="test", now_ms=1)
        return users.activate(c, user, by="test", now_ms=1)


def code(secret: str, at_ms: int) -> str:
    return pyotp.TOTP(secret.replace(" ", "")).at(at_ms // 1000)


def set_up(domain: Domain, factors: SecondFactors, user: UserRow) -> tuple[UserRow, str, tuple[str, ...]]:
    begun = factors.begin(user, now_ms=NOW)
    codes = factors.confirm(user, begun.ticket, code(begun.secret, NOW), but_session_id="", now_ms=NOW)
    with domain.database.read() as c:
        return people.user(c, domain.org_id, user.user_id), begun.secret, codes


def test_setting_up_stores_nothing_until_the_first_code_is_right(
    domain: Domain, factors: SecondFactors, ann: UserRow
) -> None:
    begun = factors.begin(ann, now_ms=NOW)
    wrong = f"{(int(code(begun.secret, NOW)) + 1) % 10**6:06}"
    for bad in (wrong, "", "abcdef", "12345", "１２３４５６", "0" * 500):
        with pytest.raises(InvalidChangeError):
            factors.confirm(ann, begun.ticket, bad, but_session_id="", now_ms=NOW)
    with domain.database.read() as c:
        assert not people.user(c, domain.org_id, ann.user_id).has_second_factor

    user, _, codes = set_up(domain, factors, ann)

    assert user.has_second_factor
    assert len(set(codes)) == RECOVERY_CODES
    assert begun.uri.startswith("otpauth://totp/Sealwire:ann%40example.org?secret=")
    assert "style" not in begun.qr
    assert begun.qr.startswith("<svg")
    assert factors.again(ann, begun.ticket, now_ms=NOW).secret == begun.secret


def test_a_ticket_is_good_for_its_user_and_a_quarter_of_an_hour(factors: SecondFactors, ann: UserRow) -> None:
    begun = factors.begin(ann, now_ms=NOW)
    late = NOW + TO_CONFIRM_MS
    somebody = replace(ann, user_id="f" * 16)
    with_another_password = replace(ann, password_hash="$argon2id$another")
    for user, ticket, at in ((ann, begun.ticket, late), (somebody, begun.ticket, NOW), (ann, "", NOW),
                             (with_another_password, begun.ticket, NOW),
                             (ann, "é%%", NOW), (ann, begun.ticket[:-4], NOW)):  # fmt: skip
        with pytest.raises(ConflictError, match="begin again"):
            factors.confirm(user, ticket, code(begun.secret, at), but_session_id="", now_ms=at)


def test_a_code_counts_around_its_time_and_once(domain: Domain, factors: SecondFactors, ann: UserRow) -> None:
    user, secret, _ = set_up(domain, factors, ann)
    later = NOW + 10 * STEP_MS

    assert not factors.check(user, code(secret, later - 2 * STEP_MS), now_ms=later)
    assert not factors.check(user, code(secret, later + 2 * STEP_MS), now_ms=later)
    assert factors.check(user, code(secret, later - STEP_MS), now_ms=later)
    assert not factors.check(user, code(secret, later - STEP_MS), now_ms=later)
    shown = code(secret, later)
    assert factors.check(user, f" {shown[:3]} {shown[3:]} ", now_ms=later)
    assert not factors.check(user, shown, now_ms=later)
    assert factors.check(user, code(secret, later + STEP_MS), now_ms=later)
    assert not factors.check(user, shown, now_ms=later)


def test_the_code_of_setting_up_is_used_up(domain: Domain, factors: SecondFactors, ann: UserRow) -> None:
    user, secret, _ = set_up(domain, factors, ann)
    assert not factors.check(user, code(secret, NOW), now_ms=NOW)


def test_of_many_who_use_a_code_at_once_one_gets_in(
    domain: Domain, factors: SecondFactors, ann: UserRow
) -> None:
    user, secret, _ = set_up(domain, factors, ann)
    later = NOW + 10 * STEP_MS
    came: list[bool] = []
    threads = [
        threading.Thread(target=lambda: came.append(factors.check(user, code(secret, later), now_ms=later)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(came) == [False] * 7 + [True]


def test_a_recovery_code_works_once_however_it_is_typed(
    domain: Domain, factors: SecondFactors, ann: UserRow
) -> None:
    user, _, codes = set_up(domain, factors, ann)

    assert factors.check(user, codes[0], now_ms=NOW)
    assert not factors.check(user, codes[0], now_ms=NOW)
    assert factors.check(user, codes[1].upper().replace("-", " "), now_ms=NOW)
    assert not factors.check(user, "aaaa-aaaa-aaaa-aaaa", now_ms=NOW)
    assert factors.recovery_codes_left(user) == RECOVERY_CODES - 2

    fresh = factors.new_recovery_codes(user, now_ms=NOW)
    assert not factors.check(user, codes[2], now_ms=NOW)
    assert factors.check(user, fresh[0], now_ms=NOW)


def test_what_is_stored_makes_no_codes(
    domain: Domain, factors: SecondFactors, ann: UserRow, tmp_path: Path
) -> None:
    user, secret, codes = set_up(domain, factors, ann)
    raw = b"".join(file.read_bytes() for file in domain.settings.data_dir.iterdir())
    assert b"ann@example.org" in raw
    for said in (secret.replace(" ", ""), *codes, *(one.replace("-", "") for one in codes)):
        assert said.encode() not in raw
    stolen = SecondFactors(domain.database, Keyring(tmp_path / "elsewhere"))
    with pytest.raises(SettingsError):
        stolen.check(user, "123456", now_ms=NOW)
    moved = replace(user, user_id="f" * 16)  # Attack: one's own row put into another's place
    with pytest.raises(SettingsError):
        factors.check(moved, code(secret, NOW), now_ms=NOW)


def test_there_is_one_second_factor_and_removing_it_ends_sessions(
    domain: Domain, factors: SecondFactors, ann: UserRow
) -> None:
    user, _, codes = set_up(domain, factors, ann)
    with pytest.raises(ConflictError, match="already"):
        set_up(domain, factors, ann)
    with domain.database.write() as c:
        for number in "12":
            people.add_session(
                c,
                SessionRow(
                    number * 64, f"s{number}", ann.org_id, ann.user_id, None, NOW, NOW, "", "", "oidc"
                ),
            )

    factors.remove(ann.org_id, ann.user_id, by="test", but_session_id="s2", now_ms=NOW)

    with domain.database.read() as c:
        assert [one.session_id for one in people.sessions_of(c, ann.user_id)] == ["s2"]
        assert not people.user(c, ann.org_id, ann.user_id).has_second_factor
    assert not factors.check(user, codes[0], now_ms=NOW)
    with pytest.raises(NotFoundError):
        factors.remove(ann.org_id, ann.user_id, by="test", now_ms=NOW)
    with pytest.raises(ConflictError):
        factors.new_recovery_codes(user, now_ms=NOW)
