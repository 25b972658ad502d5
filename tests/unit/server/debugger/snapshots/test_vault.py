"""Values at rest: they open in their place only."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwire.errors import SettingsError
from sealwire.server.debugger.snapshots.vault import DOCUMENT, MESSAGE, Vault
from sealwire.server.keyring import Keyring

NOW_MS = 1_795_357_418_562
SECRET = b'{"card":"4111 1111 1111 1111"}' * 20


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path)


def test_what_is_sealed_opens_again_and_is_smaller_and_unreadable(keyring: Keyring, tmp_path: Path) -> None:
    sealed = Vault(keyring, "org").seal(SECRET, snapshot_id="s", part=DOCUMENT, at_ms=NOW_MS)

    assert b"4111" not in sealed
    assert len(sealed) < len(SECRET) / 2
    # As after a restart.
    assert Vault(Keyring(tmp_path), "org").open(sealed, snapshot_id="s", part=DOCUMENT) == SECRET


def test_a_moved_or_damaged_one_does_not_open(keyring: Keyring, tmp_path: Path) -> None:
    vault = Vault(keyring, "org")
    sealed = vault.seal(SECRET, snapshot_id="s", part=DOCUMENT, at_ms=NOW_MS)
    other = Vault(Keyring(tmp_path / "other"), "org")

    for opener, found, snapshot_id, part in (
        (vault, sealed, "another", DOCUMENT),
        (vault, sealed, "s", MESSAGE),
        (Vault(keyring, "another"), sealed, "s", DOCUMENT),
        (other, sealed, "s", DOCUMENT),
        (vault, sealed[:-1], "s", DOCUMENT),
        (vault, sealed[:-1] + bytes([sealed[-1] ^ 1]), "s", DOCUMENT),
        (vault, sealed[:3], "s", DOCUMENT),
        (vault, b"", "s", DOCUMENT),
        (vault, b"\x09" + sealed[1:], "s", DOCUMENT),
    ):
        with pytest.raises(SettingsError):
            opener.open(found, snapshot_id=snapshot_id, part=part)


def test_the_same_twice_is_sealed_differently(keyring: Keyring) -> None:
    vault = Vault(keyring, "org")
    days = [NOW_MS, NOW_MS, NOW_MS + 86_400_000]
    sealed = [vault.seal(SECRET, snapshot_id="s", part=DOCUMENT, at_ms=at_ms) for at_ms in days]

    assert len(set(sealed)) == 3
    assert {vault.open(one, snapshot_id="s", part=DOCUMENT) for one in sealed} == {SECRET}
