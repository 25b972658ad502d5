"""Profiles, and what becomes of errors on the way to the control plane."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path

import pytest

from sealwire.cli import profile
from sealwire.cli.api import AdminApi, problem_error
from sealwire.cli.main import exit_code
from sealwire.cli.profile import Profile
from sealwire.errors import SettingsError
from tests.unit.cli.conftest import Run
from tests.unit.cli.stub import KEY, StubAdmin

pytestmark = pytest.mark.loopback


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_profile_is_written_for_its_owner_alone_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cli.toml"
    written = Profile('https://h"o\\st:8443', "k\x01ey", tmp_path / "ca é.pem")
    before = os.umask(0)
    try:
        profile.write(path, written)
    finally:
        os.umask(before)

    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert profile.read(path) == written
    assert "k\x01ey" not in repr(written)


def test_writing_over_an_open_profile_closes_it(tmp_path: Path) -> None:
    path = tmp_path / "cli.toml"
    path.write_text("")
    path.chmod(0o644)

    profile.write(path, Profile("https://h", "k"))

    assert mode(path) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_profile_others_can_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "cli.toml"
    profile.write(path, Profile("https://h", "k"))
    path.chmod(0o640)
    warnings: list[str] = []

    profile.read(path, warn=warnings.append)

    assert warnings == [f"Others can read the key in {path}. Run: chmod 600 {path}"]


@pytest.mark.parametrize(
    "text", ["url = ", 'url = "https://h"', 'application_key = "k"', 'url = 3\napplication_key = "k"', "\xff"]
)
def test_a_profile_that_says_too_little_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cli.toml"
    path.write_text(text, encoding="latin-1")

    with pytest.raises(SettingsError):
        profile.read(path)


def test_without_any_profile_the_way_to_one_is_told(run_alone: Run) -> None:
    ran = run_alone("config", "list")

    assert ran.code == 2
    assert "sealwire up" in ran.err


def test_environment_beats_the_users_file_and_a_named_file_beats_both(tmp_path: Path) -> None:
    file, named = tmp_path / "sealwire" / "cli.toml", tmp_path / "named.toml"
    profile.write(file, Profile("https://file", "file-key", tmp_path / "ca.pem"))
    profile.write(named, Profile("https://named", "named-key"))
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    both = {**environ, "SEALWIRE_URL": "https://env/", "SEALWIRE_APPLICATION_KEY": "env-key"}

    assert profile.resolve(None, environ) == Profile("https://file", "file-key", tmp_path / "ca.pem")
    assert profile.resolve(None, both) == Profile("https://env", "env-key", None)
    assert profile.resolve(named, both) == Profile("https://named", "named-key", None)
    assert profile.resolve(None, {**environ, "SEALWIRE_PROFILE": str(named)}).url == "https://named"


def test_the_key_of_the_file_is_not_carried_to_another_url(tmp_path: Path) -> None:
    profile.write(tmp_path / "sealwire" / "cli.toml", Profile("https://file", "file-key"))

    with pytest.raises(SettingsError, match="belongs to https://file"):
        profile.resolve(None, {"XDG_CONFIG_HOME": str(tmp_path), "SEALWIRE_URL": "https://evil"})


# --- login


def test_login_tries_the_key_and_keeps_it(
    run_alone: Run, admin: StubAdmin, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.canned["GET /whoami"] = {"user": "ann", "org_name": "main", "role": "administrator"}
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY + "\n"))

    ran = run_alone("login", "--url", admin.url + "/", "--key", "-")

    path = home / "config" / "sealwire" / "cli.toml"
    assert ran.code == 0
    assert "ann (administrator) of main" in ran.out
    assert profile.read(path) == Profile(admin.url, KEY)
    assert run_alone("config", "list").code == 0


def test_login_with_a_wrong_key_writes_nothing(run_alone: Run, admin: StubAdmin, home: Path) -> None:
    ran = run_alone("login", "--url", admin.url, "--key", "wrong")

    assert ran.code == 5
    assert ran.err == "sealwire: This application key is not known.\n"
    assert not (home / "config").exists()


# --- reaching the control plane


def test_nobody_listening_is_six(run_alone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALWIRE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SEALWIRE_APPLICATION_KEY", "k")

    ran = run_alone("config", "list", "--json")

    assert ran.code == 6
    assert ran.out == ""
    assert json.loads(ran.err)["code"] == "unavailable"
    assert "connection refused" in ran.err


@pytest.mark.parametrize("url", ["http://sealwire.example", "ftp://h", "https://", "h:1", "https://h:port"])
def test_an_address_that_would_show_the_key_or_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        AdminApi(Profile(url, "k"))


def test_a_ca_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file"):
        AdminApi(Profile("https://h", "k", tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("status", "code"),
    [(302, 1), (400, 1), (401, 5), (403, 5), (404, 3), (409, 4), (413, 1), (422, 1), (500, 1), (503, 6)],
)
@pytest.mark.parametrize("document", [None, [], {"detail": 3, "problems": "x"}, {"problems": [1, {}]}])
def test_every_status_has_its_exit_code_whatever_the_body(status: int, code: int, document: object) -> None:
    error = problem_error(status, document, retry_after="soon")

    assert exit_code(error) == code
    assert error.public


@pytest.mark.parametrize("body", [b"<html>", b'{"configs": 3}', b"null"])
def test_an_answer_that_is_no_answer_is_an_error_not_a_traceback(
    run: Run, admin: StubAdmin, body: bytes
) -> None:
    admin.canned["GET /configs"] = (200, body)

    ran = run("config", "list")

    assert ran.code == 1
    assert ran.err.startswith("sealwire: ")
