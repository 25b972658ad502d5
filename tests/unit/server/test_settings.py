"""Settings: layers, mistakes told by name, and what follows from them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sealwire.errors import SettingsError
from sealwire.server.settings import ServerSettings, load


def loaded(
    folder: Path, text: str = "", environ: dict[str, str] | None = None, **overrides: Any
) -> ServerSettings:
    (folder / "server.toml").write_text(text)
    return load({"config_dir": folder, "data_dir": folder / "data", **overrides}, environ or {})


def test_defaults_are_safe(tmp_path: Path) -> None:
    chosen = loaded(tmp_path)

    assert (chosen.listen, chosen.port) == ("127.0.0.1", 8443)
    assert not chosen.plain_http_sends_api_keys_unencrypted
    assert chosen.url(8443) == "https://127.0.0.1:8443"
    assert chosen.engine_url == f"sqlite:///{tmp_path / 'data' / 'sealwire.db'}"
    assert chosen.refresh_interval_s == 25
    assert chosen.profile_path == tmp_path / "cli.toml"


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    text = 'port = 1\nrefresh_interval_s = 1\nlog_level = "debug"\n'
    environ = {"SEALWIRE_PORT": "2", "SEALWIRE_REFRESH_INTERVAL_S": "2"}

    chosen = loaded(tmp_path, text, environ, port=3)

    assert (chosen.port, chosen.refresh_interval_s, chosen.log_level) == (3, 2, "debug")


def test_the_folder_of_settings_can_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text("port = 7")

    chosen = load({}, {"SEALWIRE_CONFIG_DIR": str(tmp_path), "SEALWIRE_DATA_DIR": str(tmp_path / "d")})

    assert (chosen.config_dir, chosen.port) == (tmp_path, 7)


@pytest.mark.parametrize("empty", ["", None])
def test_what_is_empty_is_not_given(tmp_path: Path, empty: str | None) -> None:
    assert loaded(tmp_path, environ={"SEALWIRE_PORT": ""}, listen=None).port == 8443


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("refresh_intervall_s = 5", "Did you mean refresh_interval_s?"),
        ("zzz = 1", "zzz is not a setting"),
        ("port = ", "is not TOML"),
        ("[tls]\ncert = 1", "tls is not a setting"),
        ('port = "high"', "port takes a whole number"),
        ("port = true", "port takes a whole number"),
        ("port = 70000", "port must be between"),
        ("port = -1", "port must be between"),
        ('plain_http_sends_api_keys_unencrypted = "maybe"', "takes true or false"),
        ("plain_http_sends_api_keys_unencrypted = 2", "takes true or false"),
        ("refresh_interval_s = 0", "between 1 and 60"),
        ("refresh_interval_s = 61", "between 1 and 60"),
        ("timestamp_lifetime_s = 3599", "timestamp_lifetime_s must be between"),
        ("timestamp_lifetime_s = 1209601", "timestamp_lifetime_s must be between"),
        ("max_wait_s = -1", "max_wait_s must be between"),
        ("max_wait_s = 61", "max_wait_s must be between"),
        ('tls_cert_file = "x"', "go together"),
        ('tls_key_file = "x"', "go together"),
        ('listen = "localhost"', "listen takes an IP address"),
        ('log_level = "loud"', "log_level is one of"),
    ],
)
def test_a_mistake_is_told_by_the_name_of_the_setting(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(tmp_path, text)
    assert says in caught.value.public


def test_a_file_that_is_no_text_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"server\.toml"):
        load({"config_dir": tmp_path}, {})


@pytest.mark.parametrize(("word", "means"), [("1", True), ("TRUE", True), ("off", False), ("no", False)])
def test_switches_in_words(tmp_path: Path, word: str, means: bool) -> None:
    chosen = loaded(tmp_path, environ={"SEALWIRE_PLAIN_HTTP_SENDS_API_KEYS_UNENCRYPTED": word})

    assert chosen.plain_http_sends_api_keys_unencrypted is means
    assert chosen.url(80).startswith("http:" if means else "https:")


def test_names_as_a_list_or_with_commas(tmp_path: Path) -> None:
    assert loaded(tmp_path, 'tls_names = ["a", "b"]').tls_names == ("a", "b")
    assert loaded(tmp_path, environ={"SEALWIRE_TLS_NAMES": "a, b,"}).tls_names == ("a", "b")


@pytest.mark.parametrize(
    ("lifetime_s", "targets", "resign"),
    [
        (10 * 86400, timedelta(days=14), timedelta(days=1)),
        (14 * 86400, timedelta(days=14), timedelta(days=1)),
        (3600, timedelta(seconds=5040), timedelta(minutes=6)),
    ],
)
def test_lifetimes_follow_from_one_setting(
    tmp_path: Path, lifetime_s: int, targets: timedelta, resign: timedelta
) -> None:
    chosen = loaded(tmp_path, f"timestamp_lifetime_s = {lifetime_s}")

    assert (chosen.targets_lifetime, chosen.resign_after) == (targets, resign)
    assert chosen.resign_after < chosen.timestamp_lifetime <= chosen.targets_lifetime


def test_the_address_people_use_and_the_names_a_certificate_needs(tmp_path: Path) -> None:
    public = loaded(tmp_path, 'public_url = "https://config.example.org:8443/"\ntls_names = ["inner"]')
    v6 = loaded(tmp_path, 'listen = "::1"')
    everywhere = loaded(tmp_path, 'listen = "0.0.0.0"')

    assert public.url(1) == "https://config.example.org:8443"
    assert public.certificate_names == ("inner", "127.0.0.1", "config.example.org")
    assert v6.url(8443) == "https://[::1]:8443"
    assert v6.certificate_names == ("::1",)
    assert everywhere.url(8443) == f"https://{everywhere.certificate_names[0]}:8443"
