"""The path of a config: what is taken from others, and what we emit ourselves."""

from __future__ import annotations

import pytest

from sealwire.errors import MalformedError, OversizeError
from sealwire.wire.path import ConfigPath


def test_a_path_of_an_organisation_is_taken_apart() -> None:
    path = ConfigPath.parse("datadog/2/ASM_DATA/blocked_ips-1/config")

    assert path == ConfigPath(2, "ASM_DATA", "blocked_ips-1", "config")


def test_an_employee_path_has_no_organisation() -> None:
    path = ConfigPath.parse("employee/ASM_DD/recommended/config")

    assert path == ConfigPath(None, "ASM_DD", "recommended", "config")


@pytest.mark.parametrize(
    "text",
    [
        "datadog/2/ASM_FEATURES-third/testname/config",
        "datadog/2/LIVE_DEBUGGING/logProbe_8f1c2d34-aaaa-4bbb-8ccc-0123456789ab/config",
        "datadog/0/P/i/n",
        "datadog/9223372036854775807/APM_SAMPLING/dynamic_rates/any name.json",
        "datadog/2/lower/./..",
        "datadog/2/ÄRGER/größe/文",
        'datadog/2/P/quote"and\\backslash/config',
        "employee/CWS_DD/4.default.policy/4.default.policy",
    ],
)
def test_every_path_an_agent_meets_is_taken_and_printed_as_it_came(text: str) -> None:
    assert str(ConfigPath.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "datadog",
        "datadog/2/ASM_DATA/config",
        "datadog/2/ASM_DATA/a/b/config",
        "/datadog/2/ASM_DATA/a/config",
        "datadog/2/ASM_DATA/a/config/",
        "datadog/2//a/config",
        "datadog/2/ASM_DATA//config",
        "datadog/2/ASM_DATA/a/",
        "datadog//ASM_DATA/a/config",
        "datadog/two/ASM_DATA/a/config",
        "datadog/-2/ASM_DATA/a/config",
        "datadog/+2/ASM_DATA/a/config",
        "datadog/ 2/ASM_DATA/a/config",
        "datadog/2_0/ASM_DATA/a/config",
        "datadog/٢/ASM_DATA/a/config",
        "datadog/²/ASM_DATA/a/config",
        "datadog/9223372036854775808/ASM_DATA/a/config",
        "datadog/" + "9" * 3000 + "/ASM_DATA/a/config",
        "employee/2/ASM_DATA/a/config",
        "employee/ASM_DATA/a",
        "employee//a/config",
        "Datadog/2/ASM_DATA/a/config",
        "datadog\\2\\ASM_DATA\\a\\config",
        "other/2/ASM_DATA/a/config",
        "datadog/2/ASM_DATA/\ud800/config",
    ],
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        ConfigPath.parse(text)


def test_a_second_spelling_of_an_organisation_is_refused() -> None:
    with pytest.raises(MalformedError, match="leading zero"):
        ConfigPath.parse("datadog/02/ASM_DATA/a/config")


@pytest.mark.parametrize("filler", ["a", "é"])
def test_a_path_that_is_too_long_is_refused(filler: str) -> None:
    with pytest.raises(OversizeError):
        ConfigPath.parse(f"datadog/2/ASM_DATA/{filler * 4090}/config")


def test_the_path_we_make_has_the_usual_name() -> None:
    assert (
        str(ConfigPath.for_org(2, "ASM_DATA", "0123456789abcdef"))
        == "datadog/2/ASM_DATA/0123456789abcdef/config"
    )


@pytest.mark.parametrize(
    "text",
    [
        "datadog/1/APM_TRACING/0123456789abcdef/config",
        "datadog/2147483647/K8S_INJECTION_DD/a.b-c_d/config",
        "datadog/2/LIVE_DEBUGGING/logProbe_8f1c2d34-aaaa-4bbb-8ccc-0123456789ab/config",
        "datadog/2/LIVE_DEBUGGING_SYMBOL_DB/symDb/config",
        "employee/ASM_DD/recommended/config",
    ],
)
def test_what_every_client_takes_is_emitted(text: str) -> None:
    assert str(ConfigPath.strict(text)) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("datadog/0/P/a/config", "organisation"),
        ("datadog/2147483648/P/a/config", "organisation"),
        ("datadog/2/asm/a/config", "product"),
        ("datadog/2/ASM.DATA/a/config", "product"),
        ("datadog/2/ASM DATA/a/config", "product"),
        ("datadog/2/" + "P" * 65 + "/a/config", "product"),
        ("datadog/2/P/./config", "config id"),
        ("datadog/2/P/../config", "config id"),
        ("datadog/2/P/.hidden/config", "config id"),
        ("datadog/2/P/größe/config", "config id"),
        ("datadog/2/P/a\nb/config", "config id"),
        ("datadog/2/P/a\n/config", "config id"),
        ("datadog/2/P/a b/config", "config id"),
        ('datadog/2/P/a"b/config', "config id"),
        ("datadog/2/P/a\\b/config", "config id"),
        ("datadog/2/P/a:b/config", "config id"),
        ("datadog/2/P/a?b*c<d>e|f/config", "config id"),
        ("datadog/2/P/" + "a" * 129 + "/config", "config id"),
        # The Agent takes `policy` for a hash prefix.
        ("datadog/2/P/a/policy.json", "no dot"),
        ("datadog/2/P/a/" + "n" * 65, "1 to 64"),
        ("datadog/2/P/con/config", "device"),
        ("datadog/2/P/Nul.txt/config", "device"),
        ("datadog/2/P/a/COM1", "device"),
        ("datadog/2/AUX/a/config", "device"),
    ],
)
def test_what_some_client_would_not_take_is_not_emitted(text: str, says: str) -> None:
    with pytest.raises(MalformedError, match=says):
        ConfigPath.strict(text)


def test_a_slash_in_a_config_id_makes_no_path() -> None:
    with pytest.raises(MalformedError):
        ConfigPath.for_org(2, "ASM_DATA", "a/b")
