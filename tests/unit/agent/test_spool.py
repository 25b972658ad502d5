"""Batches on disk: whole or not there, bounded, and not believed when they come back changed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sealwire.agent import spool as module
from sealwire.agent.spool import Entry, Spool
from sealwire.wire.security_batch import Batch, encode

LIMIT = 1024 * 1024
URL = "https://plane.example:8443"


def opened(folder: Path, *, limit: int = LIMIT, api_key: str = "key", url: str = URL) -> Spool:
    return Spool.open(folder, limit=limit, api_key=api_key, url=url)


def packed(number: int) -> bytes:
    return encode(Batch(hostname="h", agent_uuid="u", number=number, started_ms=1, sent_ms=1))


def files(folder: Path) -> list[Path]:
    return sorted((folder / "security-spool").glob("*.batch"))


def test_what_is_kept_comes_back_oldest_first_in_another_run(tmp_path: Path) -> None:
    first = opened(tmp_path)
    for entry in (Entry(5, 2, 30), Entry(5, 10, 1), Entry(4, 7, 2)):
        assert first.put(entry, packed(entry.number))
    first.close()

    second = opened(tmp_path)
    came = []
    while (kept := second.oldest()) is not None:
        came.append(kept[0])
        assert kept[1] == packed(kept[0].number)
        second.remove(kept[0])

    assert came == [Entry(4, 7, 2), Entry(5, 2, 30), Entry(5, 10, 1)]
    assert (second.size, second.entries, second.requests, files(tmp_path)) == (0, 0, 0, [])
    assert not second.dropped


def test_nobody_else_may_look_into_it(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.put(Entry(1, 1, 1), packed(1))

    (file,) = files(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_oldest_goes_when_there_is_no_room_and_is_counted(tmp_path: Path) -> None:
    size = len(packed(1)) + 90
    spool = opened(tmp_path, limit=5 * size)
    for number in range(1, 9):
        assert spool.put(Entry(1, number, 10), packed(number))
        assert spool.size <= 5 * size

    kept = spool.oldest()
    assert kept is not None
    assert kept[0].number == 9 - spool.entries
    assert spool.dropped == {"security_spool_full": 10 * (8 - spool.entries)}
    assert spool.size == sum(file.stat().st_size for file in files(tmp_path))


def test_a_limit_that_became_smaller_is_kept_at_the_start(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for number in range(1, 20):
        spool.put(Entry(1, number, 1), packed(number))
    spool.close()

    assert opened(tmp_path, limit=1000).size <= 1000


def test_files_are_bounded_in_number_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    spool = opened(tmp_path)
    for number in range(1, 10):
        spool.put(Entry(1, number, 1), packed(number))

    assert len(files(tmp_path)) == spool.entries == 3


def test_a_batch_larger_than_all_the_room_is_not_kept(tmp_path: Path) -> None:
    spool = opened(tmp_path, limit=50)

    assert not spool.put(Entry(1, 1, 1), packed(1))
    assert files(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "strange", "long"])
def test_what_came_to_harm_is_given_up(tmp_path: Path, damage: str) -> None:
    spool = opened(tmp_path)
    spool.put(Entry(1, 1, 7), packed(1))
    spool.put(Entry(1, 2, 1), packed(2))
    harmed = files(tmp_path)[0]
    raw = harmed.read_bytes()
    harmed.write_bytes(
        {
            "cut": raw[:-3],
            "flip": raw[:-1] + bytes([raw[-1] ^ 1]),
            "empty": b"",
            "strange": b"x" * 500,
            "long": raw + b"\0" * 5_000_000,
        }[damage]
    )

    kept = spool.oldest()

    assert kept is not None
    assert kept[0] == Entry(1, 2, 1)
    assert spool.dropped == {"security_spool_damaged": 7}
    assert len(files(tmp_path)) == 1


def test_what_does_not_decode_is_not_delivered_though_its_digest_is_right(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.put(Entry(1, 1, 1), b"no batch")

    assert spool.oldest() is None
    assert spool.dropped == {"security_spool_damaged": 1}


@pytest.mark.parametrize("other", [{"api_key": "another"}, {"url": "https://other.example:8443"}])
def test_what_was_seen_for_one_organisation_goes_to_no_other(tmp_path: Path, other: dict[str, str]) -> None:
    first = opened(tmp_path)
    first.put(Entry(1, 1, 3), packed(1))
    first.close()

    second = opened(tmp_path, **other)  # type: ignore[arg-type]

    assert second.oldest() is None
    assert second.dropped == {"security_spool_of_another_key": 3}
    assert files(tmp_path) == []


def test_links_and_other_files_are_not_followed_nor_touched(tmp_path: Path) -> None:
    folder = tmp_path / "security-spool"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    (folder / Entry(1, 1, 1).file).symlink_to(tmp_path / "secret")
    (folder / "mine.txt").write_text("mine")
    (folder / "batch.new").write_text("half")

    spool = opened(tmp_path)

    assert spool.oldest() is None
    assert sorted(file.name for file in folder.iterdir() if not file.is_symlink()) == ["lock", "mine.txt"]
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_second_agent_in_the_same_folder_keeps_nothing(tmp_path: Path) -> None:
    first = opened(tmp_path)
    second = opened(tmp_path)

    assert "another agent" in second.why_not
    assert not second.put(Entry(1, 1, 1), packed(1))
    first.close()
    assert opened(tmp_path).put(Entry(1, 1, 1), packed(1))


def test_a_disk_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    spool = opened(tmp_path / "plain")

    assert "plain" in spool.why_not
    assert not spool.put(Entry(1, 1, 1), packed(1))
    assert spool.oldest() is None
    spool.close()


def test_a_folder_that_is_a_link_elsewhere_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "security-spool")

    assert not opened(tmp_path).put(Entry(1, 1, 1), packed(1))
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_switched_off_it_makes_no_folder(tmp_path: Path) -> None:
    spool = opened(tmp_path, limit=0)

    assert not spool.put(Entry(1, 1, 1), packed(1))
    assert list(tmp_path.iterdir()) == []
