"""Every other command: what it asks, what it prints, how it ends."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwire.__main__ import main
from sealwire.cli.agent_settings import Anchors
from sealwire.cli.main import build_parser
from tests.unit.cli.conftest import Run
from tests.unit.cli.stub import KEY, StubAdmin

pytestmark = pytest.mark.loopback

ON = {"asm": {"enabled": True}}


@pytest.fixture
def payload_file(tmp_path: Path) -> Path:
    path = tmp_path / "payload.json"
    path.write_text(json.dumps(ON))
    return path


# --- config


def test_put_makes_a_config_with_every_kind_of_target(run: Run, admin: StubAdmin, payload_file: Path) -> None:
    words = ["--product", "ASM_FEATURES", "--name", "n", "--file", str(payload_file), "--comment", "why"]
    target = [
        "--service",
        "a",
        "--service",
        "b",
        "--env",
        "prod",
        "--language",
        "python",
        "--app-version",
        "1",
    ]
    target += ["--tracer-version", ">=2,<5", "--host-tag", "role:web", "--client-id", "c1"]

    ran = run("config", "put", *words, *target)

    assert ran.code == 0
    assert admin.only_write().body == {
        "product": "ASM_FEATURES",
        "name": "n",
        "comment": "why",
        "payload": ON,
        "targeting": {
            "service": ["a", "b"],
            "env": ["prod"],
            "language": ["python"],
            "app_version": ["1"],
            "host_tags": ["role:web"],
            "client_id": ["c1"],
            "tracer_version": ">=2,<5",
        },
    }


def test_put_with_an_id_changes_what_is_given_on_the_revision_it_read(
    run: Run, admin: StubAdmin, payload_file: Path
) -> None:
    config = admin.add("ASM_FEATURES", "n", {}, {"service": ["shop"]})
    config["revision"] = 7

    ran = run("config", "put", "--id", config["id"], "--file", str(payload_file), "--json")

    assert admin.only_write().body == {"expected_revision": 7, "payload": ON}
    assert ran.json["revision"] == 8
    assert ran.json["targeting"] == {"service": ["shop"]}


def test_put_with_a_wrong_expected_revision_is_a_conflict_with_both(
    run: Run, admin: StubAdmin, payload_file: Path
) -> None:
    config = admin.add("ASM_FEATURES", "n", {})

    ran = run(
        "config",
        "put",
        "--id",
        config["id"],
        "--expected-revision",
        "5",
        "--file",
        str(payload_file),
        "--json",
    )

    assert ran.code == 4
    assert json.loads(ran.err)["expected_revision"] == 5
    assert json.loads(ran.err)["actual_revision"] == 1
    assert config["payload"] == {}


def test_problems_are_told_at_their_paths(run: Run, admin: StubAdmin, payload_file: Path) -> None:
    problem = {"path": "$.asm.enabled", "message": "Expected true or false."}
    admin.canned["POST /configs"] = (
        422,
        {"status": 422, "detail": "The payload has mistakes.", "problems": [problem]},
    )

    ran = run("config", "put", "--product", "ASM_FEATURES", "--file", str(payload_file))

    assert ran.code == 1
    assert ran.err == "sealwire: The payload has mistakes.\n  $.asm.enabled: Expected true or false.\n"


def test_a_dry_run_checks_and_writes_nothing(run: Run, admin: StubAdmin, payload_file: Path) -> None:
    admin.canned["POST /configs:check"] = {"problems": [], "matches": 3}

    ran = run(
        "config",
        "put",
        "--product",
        "ASM_FEATURES",
        "--service",
        "shop",
        "--file",
        str(payload_file),
        "--dry-run",
    )

    assert ran.code == 0
    assert "It matches 3 clients" in ran.out
    assert [request.path for request in admin.requests] == ["/configs:check"]
    assert admin.requests[0].body["targeting"] == {"service": ["shop"]}


def test_a_dry_run_with_problems_fails(run: Run, admin: StubAdmin, payload_file: Path) -> None:
    admin.canned["POST /configs:check"] = {"problems": [{"path": "$.x", "message": "Unknown."}], "matches": 0}

    ran = run("config", "put", "--product", "ASM_FEATURES", "--file", str(payload_file), "--dry-run")

    assert ran.code == 1
    assert "$.x: Unknown." in ran.err


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, "\xff"])
def test_a_payload_that_is_no_json_object_never_leaves(
    run: Run, admin: StubAdmin, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "payload.json"
    path.write_text(text, encoding="latin-1")

    ran = run("config", "put", "--product", "ASM_FEATURES", "--file", str(path))

    assert ran.code == 1
    assert ran.err.startswith("sealwire: The payload")
    assert admin.requests == []


def test_a_payload_file_that_is_missing_is_not_found(run: Run) -> None:
    assert run("config", "put", "--product", "ASM", "--file", "nowhere.json").code == 3


@pytest.mark.parametrize(
    "words",
    [
        ["config", "put"],
        ["config", "put", "--product", "ASM"],
        ["config", "put", "--id", "x"],
        ["config", "put", "--product", "ASM", "--file", "f", "--expected-revision", "2"],
        ["config", "put", "--id", "x", "--everywhere", "--service", "s"],
        ["key", "update", "1"],
        ["key", "create", "n", "--remote-config", "maybe"],
        ["root", "rotate"],
        ["asm", "block", "ip", "203.0.113.7", "--for", "1fortnight"],
        ["asm", "block", "ip", "203.0.113.7", "--for", "0s"],
        ["nonsense"],
    ],
)
def test_wrong_use_is_two_and_asks_nothing(run: Run, admin: StubAdmin, words: list[str]) -> None:
    assert run(*words).code == 2
    assert admin.requests == []


def test_get_shows_the_payload(run: Run, admin: StubAdmin) -> None:
    config = admin.add("ASM_FEATURES", "n", ON, {"service": ["shop"]})

    ran = run("config", "get", config["id"])

    assert "service shop" in ran.out
    assert '"enabled": true' in ran.out
    assert run("config", "get", config["id"], "--json").json == config


def test_get_of_what_is_not_there(run: Run) -> None:
    assert run("config", "get", "../keys").code == 3


def test_an_id_cannot_leave_its_place_in_the_url(run: Run, admin: StubAdmin) -> None:
    run("config", "get", "../keys?x")

    assert admin.requests[-1].path == "/configs/..%2Fkeys%3Fx"


def test_list_asks_for_what_was_named(run: Run, admin: StubAdmin) -> None:
    admin.add("ASM_FEATURES", "n", ON, {"service": ["shop"]})

    ran = run("config", "list", "--product", "ASM_FEATURES", "--state", "all")

    assert admin.requests[0].query == {"product": "ASM_FEATURES", "state": "all"}
    assert "1 of 2, 1 applying" in ran.out


def test_history_and_retire(run: Run, admin: StubAdmin) -> None:
    config = admin.add("ASM_FEATURES", "n", ON)
    revisions = {"revisions": [{"revision": 1, "by": "ann", "comment": "first"}]}
    admin.canned[f"GET /configs/{config['id']}/history"] = revisions

    assert "ann" in run("config", "history", config["id"]).out
    assert run("config", "retire", config["id"], "--expected-revision", "9").code == 4
    assert run("config", "retire", config["id"]).code == 0
    assert config["state"] == "retired"


# --- clients and hosts

CLIENTS = {
    "clients": [
        {
            "client_id": "c1",
            "service": "shop",
            "env": "prod",
            "language": "python",
            "tracer_version": "4.16.0",
            "last_seen": "2026-11-22T17:04:57Z",
            "products": ["ASM_FEATURES"],
            "state": "in_step",
            "configs": [
                {
                    "product": "ASM_FEATURES",
                    "config_ids": ["aa", "bb"],
                    "path": "datadog/1/ASM_FEATURES/x/config",
                    "version": 3,
                    "state": "in_step",
                    "acknowledged_at": "2026-11-22T17:04:00Z",
                    "error": None,
                    "took_s": 0.834,
                }
            ],
        },
        {"client_id": "c2", "service": "cart\x1b[31m", "state": "silent", "configs": [], "something_new": 1},
    ]
}


def test_client_list_shows_who_has_what_and_how_long_it_took(run: Run, admin: StubAdmin) -> None:
    admin.canned["GET /clients"] = CLIENTS

    ran = run("client", "list", "--service", "shop")

    row = ran.out.splitlines()[1]
    expected = (
        "shop",
        "prod",
        "python 4.16.0",
        "in step",
        "3 s",
        "ASM_FEATURES",
        "aa + bb",
        "acknowledged",
        "0.83 s",
    )
    assert [cell.strip() for cell in row.split("  ") if cell] == list(expected)
    assert "cart" not in ran.out


def test_names_that_clients_chose_cannot_steer_the_terminal(run: Run, admin: StubAdmin) -> None:
    admin.canned["GET /clients"] = CLIENTS

    ran = run("client", "list")

    assert "\x1b" not in ran.out
    assert r"cart\x1b[31m" in ran.out


def test_watch_shows_a_change_once_and_survives_an_outage(
    run: Run, admin: StubAdmin, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = json.loads(json.dumps(CLIENTS).replace("17:04:57", "17:04:59"))
    changed = json.loads(json.dumps(CLIENTS).replace("in_step", "failed"))
    away = (503, {"detail": "Away."})
    steps: Iterator[object] = iter([later, away, away, changed])
    admin.canned["GET /clients"] = CLIENTS

    def sleep(_: float) -> None:
        step = next(steps, None)
        if step is None:
            raise KeyboardInterrupt
        admin.canned["GET /clients"] = step

    monkeypatch.setattr("sealwire.cli.client.time.sleep", sleep)

    ran = run("client", "list", "--watch", "--json")

    assert ran.code == 0
    states = [json.loads(line)["clients"][0]["state"] for line in ran.out.splitlines()]
    assert states == ["in_step", "failed"]
    assert ran.err.count("Away.") == 1


def test_host_list(run: Run, admin: StubAdmin) -> None:
    agent = {
        "agent_id": "a",
        "hostname": "web-1",
        "version": "7.80.0",
        "state": "in_step",
        "clients": 2,
        "waiting": True,
    }
    admin.canned["GET /agents"] = {"agents": [{**agent, "error": "clock skew", "director_version": 4}]}

    ran = run("host", "list")

    assert "web-1" in ran.out
    assert "waits for news" in ran.out
    assert "web-1: clock skew" in ran.out


# --- keys, organisations, roots, audit, status


def test_key_create_prints_the_key_alone_on_standard_output(run: Run, admin: StubAdmin) -> None:
    admin.canned["POST /keys"] = (
        201,
        {"id": "1", "name": "web", "remote_config": False, "key": "secret-key"},
    )

    ran = run("key", "create", "web", "--remote-config", "off")

    assert admin.only_write().body == {"name": "web", "remote_config": False}
    assert ran.out == "secret-key\n"
    assert "without the Remote Configuration scope" in ran.err


def test_key_update_list_revoke(run: Run, admin: StubAdmin) -> None:
    key = {"id": "1", "name": "web", "remote_config": True, "last4": "abcd"}
    admin.canned |= {
        "PATCH /keys/1": key,
        "DELETE /keys/1": key,
        "GET /keys": {"keys": [{**key, "revoked_at": "x"}]},
    }

    assert run("key", "update", "1", "--remote-config", "on").code == 0
    assert admin.only_write().body == {"remote_config": True}
    assert "revoked" in run("key", "list").out
    assert run("key", "revoke", "1").code == 0


def test_org_create_and_list(run: Run, admin: StubAdmin) -> None:
    org = {"org_id": 2, "name": "two", "uuid": "u-u"}
    admin.canned |= {"POST /orgs": (201, org), "GET /orgs": {"orgs": [org]}}

    assert "organisation 2 (two, u-u)" in run("org", "create", "two").out
    assert run("org", "list", "--json").json == {"orgs": [org]}


def test_audit_list(run: Run, admin: StubAdmin) -> None:
    admin.canned["GET /audit"] = {
        "events": [{"id": 9, "at": "2026-11-22T17:00:00Z", "actor": "ann", "action": "config.saved"}]
    }

    assert "config.saved" in run("audit", "list", "--limit", "5", "--before", "10").out
    assert admin.requests[0].query == {"limit": "5", "before": "10"}


def test_audit_list_asks_for_what_is_looked_for(run: Run, admin: StubAdmin) -> None:
    admin.canned["GET /audit"] = {"events": []}

    ran = run("audit", "list", "--actor", "ann*", "--from", "2026-11-01", "--text", "deny")

    assert "Nothing was done yet" in ran.out
    assert admin.requests[0].query == {"limit": "50", "actor": "ann*", "from": "2026-11-01", "text": "deny"}


def test_audit_head_prints_the_hash_alone_on_standard_output(run: Run, admin: StubAdmin) -> None:
    admin.canned["GET /audit/head"] = {"org": "u-u", "events": 3, "sha256": "ab" * 32, "verified": None}

    ran = run("audit", "head")

    assert ran.out == "ab" * 32 + "\n"
    assert "3 events" in ran.err


def test_audit_export_writes_a_whole_file_or_none(run: Run, admin: StubAdmin, tmp_path: Path) -> None:
    file = tmp_path / "trail.jsonl"
    admin.canned["GET /audit/export"] = {"export": {"events": 0}}

    assert run("audit", "export", str(file), "--actor", "ann").code == 0
    assert json.loads(file.read_bytes()) == {"export": {"events": 0}}
    assert admin.requests[0].query == {"format": "jsonl", "actor": "ann"}
    assert run("audit", "export", str(file)).code == 2  # it is there already
    admin.canned["GET /audit/export"] = (403, {"detail": "Not yours.", "code": "not_permitted"})
    other = tmp_path / "other.csv"
    assert run("audit", "export", str(other), "--format", "csv").code == 5
    assert list(tmp_path.glob("other*")) == []


def test_status(run: Run, admin: StubAdmin) -> None:
    admin.canned |= {
        "GET /status": {
            "version": "0.1.0",
            "alarms": [],
            "organisations": [{"id": 1, "director_version": 4}],
        },
        "GET /whoami": {"user": "admin", "org_name": "main", "role": "administrator"},
    }

    ran = run("status")

    assert "admin (administrator) of main" in ran.out
    assert "id 1, director version 4" in ran.out
    assert "Alarms         none" in ran.out


ROOT = '{"signatures":[],"signed":{"_type":"root","note":"it\'s","version":1}}'
CA = """-----BEGIN CERTIFICATE-----
AAECAwQFBgc=
-----END CERTIFICATE-----
"""


@pytest.fixture
def roots(admin: StubAdmin) -> None:
    state = {
        "version": 2,
        "expires": "2027-11-22T17:00:00Z",
        "roots_on_server": True,
        "keys": 3,
        "threshold": 2,
    }
    repositories = {
        name: {**state, "first_root": ROOT.replace("root", name, 1)} for name in ("director", "config")
    }
    admin.canned["GET /roots"] = {"repositories": repositories, "ca_pem": CA}


def test_root_status(run: Run, roots: None) -> None:
    assert "2027-11-22 17:00 UTC  2 of 3  roots on this server" in run("root", "status").out


@pytest.mark.parametrize("action", ["rotate", "recover"])
def test_root_actions_want_a_yes(run: Run, admin: StubAdmin, roots: None, action: str) -> None:
    admin.canned[f"POST /roots/director:{action}"] = {"version": 3}

    assert run("root", action, "--repo", "director").code == 1
    assert admin.writes() == []
    assert "version 3 now" in run("root", action, "--repo", "director", "--yes").out


def test_root_export_as_yaml_is_read_back_by_a_yaml_reader(
    run: Run, admin: StubAdmin, roots: None, tmp_path: Path
) -> None:
    yaml = pytest.importorskip("yaml")

    document = yaml.safe_load(run("root", "export", "--agent", "--dir", str(tmp_path / "d")).out)

    settings = document["remote_configuration"]
    assert settings["enabled"] is True
    assert settings["rc_dd_url"] == admin.url
    assert settings["config_root"] == ROOT.replace("root", "config", 1)
    assert settings["director_root"] == ROOT.replace("root", "director", 1)
    assert Path(settings["ca_file"]).read_text() == CA
    assert (tmp_path / "d" / "config_root.json").read_text() == settings["config_root"]


@pytest.mark.parametrize("with_files", [False, True])
def test_root_export_as_environment_is_understood_by_a_shell(
    run: Run, admin: StubAdmin, roots: None, tmp_path: Path, with_files: bool
) -> None:
    import subprocess

    directory = ["--dir", str(tmp_path / "with space")] if with_files else []
    text = run("root", "export", "--agent", "--format", "env", *directory).out

    shown = subprocess.run(
        [
            "sh",
            "-c",
            text + '\nprintf "%s\\n" "$DD_REMOTE_CONFIGURATION_DIRECTOR_ROOT"; cat "$SSL_CERT_FILE"',
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout == ROOT.replace("root", "director", 1) + "\n" + CA


def test_the_fingerprint_is_that_of_the_certificate() -> None:
    anchors = Anchors("https://x", "{}", "{}", CA)

    # printf '\0\1\2\3\4\5\6\7' | sha256sum
    assert anchors.ca_fingerprint.startswith("8A:85:1F:F8:2E:E7:04:8A:D0:9E:C3:84:7F:1D:DF:44")


# --- the command itself


def leaves(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not nested:
        yield words
    for name, child in nested[0].choices.items() if nested else ():
        yield from leaves(child, (*words, name))


LEAVES = list(leaves(build_parser()))


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_has_help_json_and_profile(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0

    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "--profile" in shown
    assert shown.splitlines()[0].startswith(f"usage: sealwire {' '.join(words)}")


def test_the_tree_has_the_commands_that_the_documentation_names() -> None:
    assert {" ".join(words) for words in LEAVES} >= {
        "up",
        "asm enable",
        "asm disable",
        "asm block ip",
        "asm unblock ip",
        "asm block user",
        "asm list",
        "config put",
        "config get",
        "config list",
        "config history",
        "config retire",
        "client list",
        "key create",
        "key list",
        "key update",
        "key revoke",
        "key withdraw",
        "org create",
        "org off",
        "org on",
        "org list",
        "root status",
        "root rotate",
        "root recover",
        "root export",
        "audit list",
        "audit head",
        "audit export",
        "login",
        "status",
    }


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "everyday" in capsys.readouterr().out.replace("every day", "everyday")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sealwire 0.")
    assert main([]) == 2


def test_an_actor_without_its_packages_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> object:
        raise ModuleNotFoundError("No module named 'litestar'", name="litestar")

    monkeypatch.setattr("sealwire.__main__.importlib.import_module", missing)

    assert main(["server"]) == 1
    assert capsys.readouterr().err == (
        "sealwire: `sealwire server` needs packages that are not installed, such as litestar. "
        "Run: pip install 'sealwire[server]'\n"
    )


@pytest.mark.parametrize(
    ("words", "module", "passed"),
    [
        (["server", "--port", "1"], "sealwire.server.app", ["--port", "1"]),
        (["backup", "f"], "sealwire.server.app", ["backup", "f"]),
        (["restore", "f"], "sealwire.server.app", ["restore", "f"]),
        (["agent", "status"], "sealwire.agent.daemon", ["status"]),
        (["asm", "list"], "sealwire.cli.main", ["asm", "list"]),
        (["help", "asm"], "sealwire.cli.main", ["asm", "--help"]),
    ],
)
def test_only_the_actor_that_is_named_is_imported(
    monkeypatch: pytest.MonkeyPatch, words: list[str], module: str, passed: list[str]
) -> None:
    imported: list[str] = []
    handed: list[list[str]] = []

    class Actor:
        @staticmethod
        def main(argv: list[str]) -> None:
            handed.append(argv)

    def load(name: str) -> type[Actor]:
        imported.append(name)
        return Actor

    monkeypatch.setattr("sealwire.__main__.importlib.import_module", load)

    assert main(words) == 0
    assert imported == [module]
    assert handed == [passed]


def test_the_key_is_sent_as_bearer_and_never_printed(run: Run, admin: StubAdmin) -> None:
    ran = run("config", "list")

    assert admin.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in ran.out + ran.err
