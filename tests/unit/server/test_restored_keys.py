"""A restore makes keys live again that were revoked since: it says which."""

from __future__ import annotations

from pathlib import Path

from sealwire.server import backup
from sealwire.server.access import Access
from sealwire.server.settings import ServerSettings
from tests.support.parts import Domain


def backed_up(folder: Path) -> tuple[Domain, Path]:
    """A database with two keys, of which one is revoked after it was backed up."""
    domain = Domain(folder)
    file = folder / "backup.tar.gz"
    made = {
        name: domain.access.create_api_key(1, name=name, remote_config=True, by="test", now_ms=1)[0]
        for name in ("staying", "revoked since")
    }
    backup.backup(domain.settings, file)
    domain.access.revoke_api_key(1, made["revoked since"].key_id, by="test", now_ms=2)
    domain.database.close()
    return domain, file


def test_a_key_that_was_revoked_after_the_backup_lives_again_and_is_named_first(tmp_path: Path) -> None:
    domain, file = backed_up(tmp_path)

    said = backup.restore(domain.settings, file, force=True).splitlines()

    (again,) = [n for n, line in enumerate(said) if "LIVE AGAIN" in line]
    assert said[again + 1].endswith("revoked since")
    (others,) = [n for n, line in enumerate(said) if line.startswith("API keys that live")]
    assert others > again
    assert said[others + 1].endswith("staying")
    assert all(key.revoked_ms is None for key in Access(domain.database).api_key_rows)


def test_on_another_machine_all_live_keys_are_named(tmp_path: Path) -> None:
    _, file = backed_up(tmp_path / "one")
    other = tmp_path / "other"

    said = backup.restore(
        ServerSettings(data_dir=other / "data", config_dir=other / "config"), file, force=False
    )

    assert "LIVE AGAIN" not in said
    assert "staying" in said
    assert "revoked since" in said


def test_without_keys_there_is_nothing_to_revoke(tmp_path: Path) -> None:
    domain = Domain(tmp_path)
    backup.backup(domain.settings, tmp_path / "backup.tar.gz")
    domain.database.close()

    said = backup.restore(domain.settings, tmp_path / "backup.tar.gz", force=True)

    assert "no live API key" in said
