"""Settings: four layers, one value, and nothing that phones home by default."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from sealwire.agent.settings import (
    AgentSettings,
    Destination,
    StatsdPorts,
    is_vendor_host,
    load_settings,
    parse_duration_s,
)
from sealwire.errors import SettingsError

ROOT_V1 = '{"signatures":[],"signed":{"_type":"root","version":1}}'


def load(
    *overrides: str, environ: dict[str, str] | None = None, config_file: Path | None = None
) -> AgentSettings:
    return load_settings(config_file=config_file, environ=environ or {}, overrides=overrides, search=())


def ready(*overrides: str) -> AgentSettings:
    """Settings with which Remote Configuration starts, plus the given."""
    return load(
        "api_key=k",
        "remote_configuration.rc_dd_url=https://rc.example:8443",
        f"remote_configuration.config_root={ROOT_V1}",
        f"remote_configuration.director_root={ROOT_V1}",
        *overrides,
    )


def test_command_line_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    config = tmp_path / "datadog.yaml"
    config.write_text("env: file\nhostname: file\ntags: ['a:b']\napm_config:\n  receiver_port: 1\n")

    settings = load(
        "hostname=line", environ={"DD_ENV": "environment", "DD_HOSTNAME": "environment"}, config_file=config
    )

    assert (settings.hostname, settings.env, settings.receiver_port) == ("line", "environment", 1)
    assert settings.tags == ("a:b",)
    assert settings.rc_enabled
    assert settings.origins == {
        "hostname": "--set hostname",
        "env": "DD_ENV",
        "tags": str(config),
        "apm_config.receiver_port": str(config),
    }


def test_the_first_file_that_exists_is_read_and_none_is_no_mistake(tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.write_text("env: second\n")

    found = load_settings(environ={}, search=(tmp_path / "first.yaml", second))
    nothing = load_settings(environ={}, search=(tmp_path / "first.yaml",))

    assert (found.env, nothing.env) == ("second", "")


def test_without_an_upstream_remote_configuration_does_not_start_and_says_which_line_to_add() -> None:
    settings = load("api_key=k")

    assert not settings.rc_on
    assert settings.upstream_url == ""
    assert "remote_configuration.rc_dd_url" in settings.rc_off_reason


@pytest.mark.parametrize(
    "site",
    ["datadoghq.com", "us3.datadoghq.com", "datadoghq.eu", "ddog-gov.com", "us2.ddog-gov.com", "datad0g.com",
     "DATADOGHQ.COM", "datadoghq.com."],
)  # fmt: skip
def test_the_vendors_sites_are_refused_unless_the_setting_says_so(site: str) -> None:
    refused = ready("remote_configuration.rc_dd_url=", f"site={site}")
    named = ready(f"remote_configuration.rc_dd_url=https://config.{site}")
    allowed = ready("remote_configuration.rc_dd_url=", f"site={site}", "allow_datadog_upstream=true")

    assert not refused.rc_on
    assert not named.rc_on
    assert "allow_datadog_upstream: true" in refused.rc_off_reason
    assert allowed.upstream_url.lower() == f"https://config.{site.rstrip('.').lower()}"


def test_a_host_that_only_resembles_the_vendor_is_not_taken_for_it() -> None:
    assert is_vendor_host("config.datadoghq.com")
    assert not is_vendor_host("rc.mydatadoghq.com")
    assert not is_vendor_host("datadoghq")


def test_a_site_of_ones_own_is_the_upstream_where_no_url_is_given() -> None:
    assert (
        ready("remote_configuration.rc_dd_url=", "site=example.org").upstream_url
        == "https://config.example.org"
    )


def test_the_url_beats_the_site_and_loses_its_last_slash() -> None:
    assert ready("remote_configuration.rc_dd_url=https://a/b/", "site=c.org").upstream_url == "https://a/b"


def test_plain_http_needs_the_setting_that_names_the_risk() -> None:
    refused = ready("remote_configuration.rc_dd_url=http://127.0.0.1:1")
    accepted = ready("remote_configuration.rc_dd_url=http://127.0.0.1:1", "remote_configuration.no_tls=true")

    assert "remote_configuration.no_tls: true" in refused.rc_off_reason
    assert accepted.rc_on


def test_unverified_tls_needs_both_settings() -> None:
    one = ready("skip_ssl_validation=true")
    other = ready("remote_configuration.no_tls_validation=true")
    both = ready("skip_ssl_validation=true", "remote_configuration.no_tls_validation=true")

    assert "remote_configuration.no_tls_validation: true" in one.rc_off_reason
    assert other.verify_tls
    assert (both.rc_on, both.verify_tls) == (True, False)


def test_a_missing_root_or_key_keeps_remote_configuration_off_with_the_line_to_add() -> None:
    assert "config_root" in ready("remote_configuration.config_root=").rc_off_reason
    assert "api_key" in ready("api_key=").rc_off_reason


def test_the_key_of_remote_configuration_beats_the_general_one_and_is_never_printed() -> None:
    settings = ready("remote_configuration.api_key=secret-key")

    assert settings.api_key == "secret-key"
    assert "secret-key" not in repr(settings)


def test_roots_come_as_text_as_a_file_or_as_unquoted_json_in_the_yaml(tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    path.write_text(ROOT_V1)
    config = tmp_path / "datadog.yaml"
    config.write_text(f"remote_configuration:\n  config_root: {ROOT_V1}\n  director_root: '@{path}'\n")

    settings = load(config_file=config)

    assert orjson.loads(settings.config_root or b"") == orjson.loads(ROOT_V1)
    assert settings.director_root == ROOT_V1.encode()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{", "not a signed root document"),
        ('{"signed":{"_type":"root","version":2}}', "version 1"),
        ("@/nowhere/root.json", "cannot be read"),
    ],
)
def test_a_root_that_is_no_first_root_stops_the_start(value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        load(f"remote_configuration.director_root={value}")

    assert "remote_configuration.director_root" in caught.value.public


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("remote_configuration.enabled=perhaps", "true or false"),
        ("apm_config.receiver_port=99999", "a port"),
        ("remote_configuration.refresh_interval=soon", "a duration"),
        ("log_level=loud", "debug, info"),
        ("remote_configuration.ca_file=/nowhere/ca.pem", "no file"),
        ("remote_configuration.enabld=true", "did you mean remote_configuration.enabled"),
        ("nonsense", "key=value"),
    ],
)
def test_a_value_that_cannot_be_read_stops_the_start_and_names_what_is_expected(
    override: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        load(override)


def test_only_slips_of_the_pen_are_warned_about(tmp_path: Path) -> None:
    config = tmp_path / "datadog.yaml"
    config.write_text(
        "logs_enabled: true\nremote_configuration:\n  refresh_intervall: 5s\nproxy: {https: x}\n"
    )

    settings = load(
        config_file=config, environ={"DD_REMOTE_CONFIGURATION_RC_DD_URLS": "x", "DD_SERVICE": "y"}
    )

    assert len(settings.warnings) == 2
    assert "did you mean remote_configuration.refresh_interval?" in settings.warnings[0]
    assert "did you mean DD_REMOTE_CONFIGURATION_RC_DD_URL?" in settings.warnings[1]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("1m", 60), ("1m30s", 90), ("500ms", 0.5), (7, 7), ("2h", 7200), ("3", 3)],
)
def test_durations_are_read_as_the_open_source_agent_writes_them(text: object, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


def test_an_interval_below_five_seconds_is_not_used_and_leaves_the_choice_to_the_control_plane() -> None:
    fixed = ready("remote_configuration.refresh_interval=5s")
    short = ready("remote_configuration.refresh_interval=1s")
    lowered = ready("remote_configuration.refresh_interval=200ms", "sealwire.least_refresh_interval=100ms")

    assert (fixed.refresh_interval_s, short.refresh_interval_s, lowered.refresh_interval_s) == (
        5.0,
        None,
        0.2,
    )
    assert any("below 5 s" in warning for warning in short.warnings)


def test_values_out_of_range_fall_back_as_in_the_open_source_agent() -> None:
    settings = ready(
        "remote_configuration.clients.ttl_seconds=2s",
        "remote_configuration.clients.cache_bypass_limit=50",
        "remote_configuration.max_backoff_interval=1h",
        "remote_configuration.org_status_refresh_interval=1s",
    )

    assert settings.client_ttl_s == 30.0
    assert settings.bypass_limit == 5
    assert settings.max_backoff_s == 300.0
    assert settings.org_status_interval_s == 60.0


def test_the_socket_lies_beside_the_state_may_be_named_and_may_be_none(tmp_path: Path) -> None:
    assert load(f"run_path={tmp_path}").receiver_socket == tmp_path / "apm.socket"
    assert load("apm_config.receiver_socket=").receiver_socket is None
    assert load("apm_config.receiver_socket=/x/y").receiver_socket == Path("/x/y")
    with pytest.raises(SettingsError, match="107 bytes"):
        load("run_path=/" + "a" * 120)


def test_an_explicit_file_must_exist_and_be_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load(config_file=tmp_path / "none.yaml")
    listed = tmp_path / "list.yaml"
    listed.write_text("- a\n")
    with pytest.raises(SettingsError, match="key: value"):
        load(config_file=listed)


def test_a_ca_file_is_looked_for_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    config = tmp_path / "datadog.yaml"
    config.write_text("remote_configuration: {ca_file: ca.pem}\n")

    assert load(config_file=config).ca_file == tmp_path / "ca.pem"


# What is told and passed on --------------------------------------------------------------------------


def test_posts_go_on_while_remote_configuration_is_off_and_each_can_be_switched_off() -> None:
    off = ready("remote_configuration.enabled=false")
    assert (off.inventory_url, off.security_url) == ("https://rc.example:8443",) * 2
    quiet = ready("sealwire.security_reports=false")
    assert (quiet.inventory_url, quiet.security_url) == ("https://rc.example:8443", "")
    assert ready("sealwire.inventory=no").security_url == "https://rc.example:8443"
    assert load("remote_configuration.rc_dd_url=https://rc.example:8443").security_url == "", (
        "there is no key"
    )
    assert load("api_key=k").security_url == ""
    assert ready("api_key=k", "remote_configuration.rc_dd_url=http://rc.example").security_url == ""


def test_nothing_of_attacks_goes_to_the_vendor() -> None:
    settings = load("api_key=k", "site=datadoghq.com", "allow_datadog_upstream=true")

    assert settings.security_url == ""


def test_uploads_of_dynamic_instrumentation_go_to_the_control_plane_unless_told_otherwise() -> None:
    settings = ready("api_key=k")
    assert {name: to.url for name, to in settings.debugger_to.items()} == {
        "logs": "https://rc.example:8443/api/v2/logs",
        "debugger": "https://rc.example:8443/api/v2/debugger",
        "symbols": "https://rc.example:8443/api/v2/debugger",
    }
    assert ready("api_key=k", "sealwire.debugger_uploads=false").debugger_to == {}
    assert load("api_key=k").debugger_to == {}

    other = ready(
        "api_key=k",
        "apm_config.symdb_dd_url=https://symbols.example",
        "apm_config.debugger_diagnostics_dd_url=https://other.example/of/theirs",
        "apm_config.debugger_api_key=d",
    )
    assert other.debugger_to["symbols"] == Destination("https://symbols.example/api/v2/debugger", "k")
    assert other.debugger_to["debugger"] == Destination("https://other.example/of/theirs", "d")


@pytest.mark.parametrize(
    "url",
    [
        "https://debugger-intake.datadoghq.eu/api/v2/debugger",
        "http://clear.example",
        "symbols.example",
        "https://:x",
    ],
)
def test_uploads_go_nowhere_rather_than_to_a_place_that_must_not_be_contacted(url: str) -> None:
    settings = ready("api_key=k", f"apm_config.symdb_dd_url={url}")

    assert sorted(settings.debugger_to) == ["debugger", "logs"]
    assert any("apm_config.symdb_dd_url" in warning for warning in settings.warnings)


def test_the_spool_has_a_size_that_can_be_none() -> None:
    assert load().spool_bytes == 64 * 1024 * 1024
    assert load("sealwire.security_spool_bytes=1000").spool_bytes == 1000
    assert load("sealwire.security_spool_bytes=-1").spool_bytes == 0


def test_uploads_are_passed_on_to_an_agent_and_to_nothing_else() -> None:
    assert load().forward_to == ""
    assert load("sealwire.forward_to=http://other:8126/").forward_to == "http://other:8126"
    assert load("sealwire.forward_to=http://127.0.0.1:8127").forward_to == "http://127.0.0.1:8127"
    assert load(environ={"DD_SEALWIRE_FORWARD_TO": "https://other"}).forward_to == "https://other"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("other:8126", "expected http://host:port"),
        ("unix:///run/x.sock", "expected http://host:port"),
        ("http://", "expected http://host:port"),
        ("http://user:secret@other:8126", "expected http://host:port"),
        ("http://other:99999", "expected http://host:port"),
        ("http://other/?x=1", "expected http://host:port"),
        ("http://localhost:8126", "is this agent itself"),
        ("http://127.0.0.2:8126", "is this agent itself"),
        ("https://trace.agent.datadoghq.com", "allow_datadog_upstream: true"),
    ],
)
def test_an_address_uploads_cannot_go_to_stops_the_start(value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(f"sealwire.forward_to={value}")


def test_metrics_are_listened_for_where_the_open_source_agent_does(tmp_path: Path) -> None:
    usual = load("dogstatsd_socket=").dogstatsd
    assert usual == StatsdPorts("127.0.0.1", 8125)
    assert load("use_dogstatsd=false").dogstatsd is None
    chosen = load(
        "bind_host=192.0.2.1", "dogstatsd_port=9125", f"dogstatsd_socket=unix://{tmp_path / 'd'}",
        "statsd_forward_host=metrics.example", "statsd_forward_port=8225", "dogstatsd_so_rcvbuf=4096",
    ).dogstatsd  # fmt: skip
    assert chosen == StatsdPorts("192.0.2.1", 9125, tmp_path / "d", True, ("metrics.example", 8225), 4096)
    everywhere = load("dogstatsd_socket=", environ={"DD_DOGSTATSD_NON_LOCAL_TRAFFIC": "true"}).dogstatsd
    assert everywhere == StatsdPorts("0.0.0.0", 8125)
    with pytest.raises(SettingsError, match="107 bytes"):
        load(f"dogstatsd_socket=/{'x' * 107}")


def test_what_probes_gave_is_posted_unless_switched_off() -> None:
    assert ready().probes_url == "https://rc.example:8443"
    assert ready("sealwire.probe_reports=false").probes_url == ""
    assert load().probes_url == ""
