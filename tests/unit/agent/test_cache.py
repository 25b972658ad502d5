"""The cache: the old state or the new one, never a mixture, and never somebody else's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sealwire.agent.cache import Belonging, Cache, Held
from sealwire.agent.identity import agent_uuid
from sealwire.errors import SettingsError


def belonging(
    key: str = "k", url: str = "https://a", director: bytes = b"d", config: bytes = b"c"
) -> Belonging:
    return Belonging.of(api_key=key, url=url, director_root=director, config_root=config)


OURS = belonging()
HELD = Held({"config/root/2": b"\x00root", "files/datadog/1/ASM/x/config": b"{}"}, {"2": "uuid"})


def test_what_was_saved_is_loaded_again(tmp_path: Path) -> None:
    first = Cache.open(tmp_path)
    first.save(OURS, HELD)
    first.close()

    second = Cache.open(tmp_path)

    assert second.load(OURS) == HELD
    assert second.mode == "disk"
    assert (tmp_path / "remote-config" / "state").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "remote-config" / "state.new").exists()
    second.close()


def test_nothing_kept_is_nothing_loaded(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path)

    assert cache.load(OURS) is None
    assert cache.mode == "disk"
    cache.close()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (belonging(key="K"), "the API key changed"),
        (belonging(url="https://b"), "address changed"),
        (belonging(director=b"D"), "first roots changed"),
        (belonging(director=b"c", config=b"d"), "first roots changed"),
    ],
)
def test_a_state_of_another_key_upstream_or_root_is_set_aside_and_says_why(
    tmp_path: Path, other: Belonging, said: str
) -> None:
    cache = Cache.open(tmp_path)
    cache.save(OURS, HELD)

    with capture_logs() as logs:
        loaded = cache.load(other)

    assert loaded is None
    assert said in logs[0]["reason"]
    assert (tmp_path / "remote-config" / "state.set-aside").exists()
    assert cache.load(OURS) is None
    cache.close()


@pytest.mark.parametrize(
    "damage",
    [lambda raw: raw[:-1], lambda raw: raw[:40] + b"\x00" + raw[41:], lambda raw: b"", lambda raw: b"{}"],
)
def test_a_damaged_file_is_set_aside_and_the_agent_starts_from_nothing(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    cache = Cache.open(tmp_path)
    cache.save(OURS, HELD)
    state = tmp_path / "remote-config" / "state"
    state.write_bytes(damage(state.read_bytes()))

    with capture_logs() as logs:
        loaded = cache.load(OURS)

    assert loaded is None
    assert logs[0]["reason"] == "it is damaged"
    cache.save(OURS, HELD)
    assert cache.load(OURS) == HELD
    cache.close()


def test_a_file_whose_checksum_is_right_and_content_is_not_is_set_aside(tmp_path: Path) -> None:
    import hashlib

    cache = Cache.open(tmp_path)
    body = b"\x93\x01\x02\x03"
    (tmp_path / "remote-config" / "state").write_bytes(
        b"sealwire agent state 1\n" + hashlib.sha256(body).digest() + body
    )

    assert cache.load(OURS) is None
    assert (tmp_path / "remote-config" / "state.set-aside").exists()
    cache.close()


def test_a_second_agent_in_the_same_folder_refuses_to_start_and_says_who_is_there(tmp_path: Path) -> None:
    first = Cache.open(tmp_path)
    script = (
        "import sys; from pathlib import Path; from sealwire.agent.cache import Cache\n"
        "from sealwire.errors import SettingsError\n"
        "try: Cache.open(Path(sys.argv[1]))\n"
        "except SettingsError as error: print(error.public)\n"
    )

    def try_from_another_process() -> str:
        return subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
        ).stdout

    refused = try_from_another_process()
    first.close()
    taken = try_from_another_process()

    assert "another agent (pid" in refused
    assert "run_path" in refused
    assert taken == ""


def test_the_lock_also_holds_within_a_process(tmp_path: Path) -> None:
    first = Cache.open(tmp_path)
    with pytest.raises(SettingsError):
        Cache.open(tmp_path)
    first.close()


def test_a_folder_that_cannot_be_made_is_memory_only_with_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with capture_logs() as logs:
        cache = Cache.open(tmp_path / "file" / "run")
        cache.save(OURS, HELD)
        cache.save(OURS, HELD)

    assert cache.mode == "memory"
    assert cache.load(OURS) is None
    assert [entry["event"] for entry in logs] == ["state is kept in memory only"]
    assert "remote-config" in cache.why_memory
    cache.close()


def test_a_disk_that_fails_later_is_memory_only_until_it_works_again(tmp_path: Path) -> None:
    cache = Cache.open(tmp_path)
    cache.save(OURS, HELD)
    in_the_way = tmp_path / "remote-config" / "state.new"
    in_the_way.mkdir()

    with capture_logs() as logs:
        cache.save(OURS, Held({}))
        cache.save(OURS, Held({}))
        failed = (cache.mode, cache.load(OURS))
        in_the_way.rmdir()
        cache.save(OURS, Held({}))

    assert failed == ("memory", HELD)
    assert cache.mode == "disk"
    assert cache.load(OURS) == Held({})
    assert [entry["event"] for entry in logs] == [
        "state is kept in memory only",
        "state is kept on disk again",
    ]
    cache.close()


def test_an_agent_keeps_its_id_over_restarts_and_a_copied_folder_on_another_machine_draws_its_own(
    tmp_path: Path,
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.write_text("machine-a\n")
    there.write_text("machine-b\n")
    run = tmp_path / "run"

    first = agent_uuid(run, hostname="h", machine_id_files=(here,))

    assert agent_uuid(run, hostname="h", machine_id_files=(here,)) == first
    assert agent_uuid(run, hostname="h", machine_id_files=(there,)) != first


def test_without_a_folder_the_id_is_derived_from_machine_and_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    one, other = tmp_path / "file" / "a", tmp_path / "file" / "b"

    assert agent_uuid(one, hostname="h") == agent_uuid(one, hostname="h")
    assert agent_uuid(one, hostname="h") != agent_uuid(other, hostname="h")
