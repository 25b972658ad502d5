"""The line that the page gives, pasted: a plain ``sealwire server``, an empty home, and an agent at its end.

pip goes to whatever index it is set up for here; everything else comes from the server of the test.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sealwire.clock import utc_now
from sealwire.server import certificate
from tests.support.processes import wait_until
from tests.support.stack import Api, ControlPlane, free_port

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]

needs = pytest.mark.skipif(
    shutil.which("curl") is None or shutil.which("sha256sum") is None, reason="curl or sha256sum is missing"
)


@dataclass(frozen=True)
class Ended:
    """What became of a pasted line."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


@dataclass(frozen=True)
class Host:
    """A user's home on a host, with nothing in it, and a shell there."""

    home: Path
    port: int

    @property
    def folder(self) -> Path:
        return self.home / "agent of mine"

    @property
    def command(self) -> Path:
        return self.folder / "sealwire-agent"

    def paste(self, line: str, more: str = "", *, env: Mapping[str, str] | None = None) -> Ended:
        options = f"--dir '{self.folder}' --port {self.port} --hostname host-of-the-test"
        return self.shell(f"{line} {options} {more}", env=env)

    def shell(self, line: str, *, env: Mapping[str, str] | None = None) -> Ended:
        # pip's own settings are the environment's; nothing else of ours is let through.
        kept = {
            name: value
            for name, value in os.environ.items()
            if name == "PATH" or name.startswith("PIP_") or name.upper().endswith("_PROXY")
        }
        environment = {**kept, "HOME": str(self.home), "NO_PROXY": "127.0.0.1,localhost", **(env or {})}
        done = subprocess.run(
            ["/bin/sh", "-c", line],
            env=environment, cwd=self.home, capture_output=True, text=True, timeout=300, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def status(self) -> dict[str, object]:
        found: dict[str, object] = (
            Api(f"http://127.0.0.1:{self.port}").request("GET", "/sealwire/v1/status").expect(200)
        )
        return found


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path / "home", free_port())
    made.home.mkdir()
    yield made
    if made.command.exists():
        made.shell(f"'{made.command}' uninstall")


def line_of(plane: ControlPlane, name: str = "first agents") -> str:
    """The line as the page shows it."""
    page = Api(
        plane.url, ca_file=plane.ca_file, headers={"DD-Application-Key": plane.application_key}
    ).request("POST", "/start", f"name={name.replace(' ', '+')}".encode(), {"Accept": "text/html"})
    assert page.status == 200, page.body
    found = re.search(r'<code id="command">(.+?)</code>', page.body.decode(), re.S)
    assert found is not None
    return html.unescape(found[1])


@needs
def test_the_line_of_the_page_installs_an_agent_that_shows_in_the_fleet(tmp_path: Path, host: Host) -> None:
    with ControlPlane(tmp_path / "plane") as plane:
        line = line_of(plane)
        tried = host.paste(line, "--dry-run")
        assert tried.code == 0, tried
        assert "nothing was changed" in tried.out
        assert not host.folder.exists()

        done = host.paste(line, '--env prod --tag "role:it\'s"')

        assert done.code == 0, done
        assert f"connected to {plane.url}" in done.out
        agent = plane.api.wait_for_agent("host-of-the-test", lambda one: one["state"] == "in_step", "in step")
        assert "role:it's" in agent["tags"]
        settings = host.folder / "datadog.yaml"
        assert stat.S_IMODE(settings.stat().st_mode) == 0o600
        told = yaml.safe_load(settings.read_text())
        assert told["api_key"] in line
        assert told["remote_configuration"]["rc_dd_url"] == plane.url
        key = plane.api.get("/keys")["keys"][-1]
        assert (key["name"], key["last4"]) == ("first agents", told["api_key"][-4:])

        again = host.paste(line)
        assert again.code == 0, again
        assert "restarted" in again.out
        assert "Installing" not in again.out
        assert len(list((host.folder / "versions").iterdir())) == 1

        assert "connected" in host.shell(f"'{host.command}' status").out
        assert host.shell(f"'{host.command}' stop && '{host.command}' is-running").code != 0
        assert host.shell(f"'{host.command}' start").code == 0
        wait_until(lambda: host.status()["agent"], "it answers after a start")
        assert host.shell(f"'{host.command}' uninstall").code == 0
        assert not host.folder.exists()
        with pytest.raises(ConnectionRefusedError):
            host.status()
        assert not [name for name in (".local", ".config", host.folder.name) if (host.home / name).exists()]


@needs
def test_with_a_certificate_of_ones_own_the_hosts_authorities_decide(tmp_path: Path, host: Host) -> None:
    folder = tmp_path / "tls"
    made = certificate.prepare(folder, ("localhost",), now=utc_now() - timedelta(days=1))
    settings = {"tls_cert_file": made.cert_file, "tls_key_file": made.key_file}
    ca_file = folder / "ca.pem"
    with ControlPlane(tmp_path / "plane", settings=settings) as plane:
        plane.ca_file = ca_file
        line = line_of(plane)
        assert "ca.pem" not in line
        assert "-k" not in line.split()

        strange = host.paste(line)
        assert strange.code != 0
        assert "curl" in strange.err
        assert not host.folder.exists()

        system = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile or ""
        bundle = tmp_path / "authorities.pem"
        bundle.write_text(Path(system).read_text() + ca_file.read_text())
        names = ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT")
        done = host.paste(line, env=dict.fromkeys(names, str(bundle)))
        assert done.code == 0, done
        assert "ca_file" not in (host.folder / "datadog.yaml").read_text()


@needs
def test_over_plain_http_the_script_itself_is_pinned_and_it_says_that_nothing_is_encrypted(
    tmp_path: Path, host: Host
) -> None:
    with ControlPlane(
        tmp_path / "plane", settings={"plain_http_sends_api_keys_unencrypted": "true"}
    ) as plane:
        line = line_of(plane)
        digest = hashlib.sha256(fetch(plane, "/install/install.sh")).hexdigest()
        assert f'echo "{digest}  $d/install.sh" | sha256sum -c' in line

        done = host.paste(line)

        assert done.code == 0, done
        assert "unencrypted" in done.out
        assert yaml.safe_load((host.folder / "datadog.yaml").read_text())["remote_configuration"]["no_tls"]
        forged = host.paste(line.replace(digest, "0" * 64))
        assert forged.code != 0
        assert "FAILED" in forged.out


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    from tests.support import processes

    running = ControlPlane(tmp_path_factory.mktemp("plane"))
    processes.of_this_test.remove(running.program)
    yield running
    running.stop()


@needs
def test_a_strangers_ca_is_refused_before_anything_is_run(plane: ControlPlane, host: Host) -> None:
    """Attack: somebody in the middle shows a certificate of their own."""
    line = line_of(plane)
    pinned = hashlib.sha256(fetch(plane, "/install/ca.pem")).hexdigest()
    assert pinned in line

    done = host.paste(line.replace(pinned, "0" * 64))

    assert done.code != 0
    assert "ca.pem: FAILED" in done.out
    assert "install.sh" not in done.err
    assert not host.folder.exists()


@needs
def test_the_pinned_ca_is_the_only_one_curl_believes(plane: ControlPlane, host: Host) -> None:
    """Attack: a certificate of some public authority. With another CA in the folder nothing is fetched."""
    other = certificate.prepare(host.home / "other", (), now=utc_now()).ca_pem
    (host.home / "other.pem").write_text(other)
    line = line_of(plane)
    swapped = re.sub(
        r'echo "[0-9a-f]{64}  \$d/ca\.pem" \| sha256sum -c', f'cp {host.home}/other.pem "$d/ca.pem"', line
    )

    done = host.paste(swapped)

    assert done.code != 0
    assert "certificate" in done.err
    assert not host.folder.exists()


@needs
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--config-root ", "--config-root 00"), "SHA-256 of a first root"),
        (("--director-root [0-9a-f]{8}", "--director-root 00000000"), "did not give the first root"),
        (("DD_API_KEY=[0-9a-f]+", "DD_API_KEY=00000000000000000000000000000000"), "would not be served"),
        (("DD_API_KEY=[0-9a-f]+", "DD_API_KEY="), "holds no API key"),
        (('sh "\\$d', 'SEALWIRE_X=1 sh "$d'), None),
    ],
    ids=["no hash", "another root", "a key nobody knows", "no key", "nothing"],
)
def test_what_is_wrong_is_said_and_nothing_is_started(
    plane: ControlPlane, host: Host, change: tuple[str, str], said: str | None
) -> None:
    line = re.sub(*change, line_of(plane))
    done = host.paste(line, "--dry-run" if said is None else "")

    if said is None:
        assert done.code == 0, done
        return
    assert done.code == 1, done
    assert said in done.err
    assert not (host.folder / "agent.pid").exists()


@needs
def test_a_host_that_lacks_something_is_told_what(plane: ControlPlane, host: Host) -> None:
    line = line_of(plane)
    tools = host.home / "bin"
    tools.mkdir()
    for name in (
        "curl",
        "sha256sum",
        "mktemp",
        "sed",
        "id",
        "uname",
        "rm",
        "mkdir",
        "ls",
        "cut",
        "cat",
        "sh",
    ):
        (tools / name).symlink_to(shutil.which(name) or "/missing")
    assert "needs Python 3.11 or newer" in host.paste(line, env={"PATH": str(tools)}).err

    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    assert "needs Python 3.11 or newer" in host.paste(line, env={"PATH": str(tools)}).err

    bare = tools / "python3.11"
    bare.write_text('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; *print*) echo 3.11;; esac\n')
    bare.chmod(0o755)
    told = host.paste(line, env={"PATH": str(tools)}).err
    assert "has no venv module" in told
    assert "apt install python3-venv" in told


@needs
def test_a_taken_port_and_a_folder_of_somebody_else_are_said(plane: ControlPlane, host: Host) -> None:
    line = line_of(plane)

    taken = host.shell(f"{line} --dir '{host.folder}' --port {plane.port}")
    assert (taken.code, f"Port {plane.port} is taken" in taken.err) == (1, True), taken
    host.folder.mkdir()
    (host.folder / "theirs").touch()
    assert "is not of an agent installed by this script" in host.paste(line).err
    assert sorted(path.name for path in host.folder.iterdir()) == ["theirs"]


@needs
def test_a_lock_that_is_not_the_one_of_the_script_is_refused(plane: ControlPlane, host: Host) -> None:
    line = line_of(plane).replace(
        " && DD_API_KEY",
        """ && sed -i "s/^LOCK_SHA256='..../LOCK_SHA256='0000/" "$d/install.sh" && DD_API_KEY""",
    )

    done = host.paste(line)

    assert done.code == 1
    assert "is not what it must be: nothing was installed" in done.err
    assert not host.folder.exists()


def fetch(plane: ControlPlane, path: str) -> bytes:
    """What anybody gets, without any key."""
    context = None if plane.ca_file is None else ssl.create_default_context(cafile=str(plane.ca_file))
    with urllib.request.urlopen(plane.url + path, context=context, timeout=30) as answer:
        found: bytes = answer.read()
        return found


def test_the_wheel_is_whole_and_the_lock_names_it(plane: ControlPlane) -> None:
    key = {"DD-Application-Key": plane.application_key}
    told = (
        Api(plane.url, ca_file=plane.ca_file, headers=key).request("GET", "/api/admin/v1/install").expect(200)
    )
    named = {file["path"]: file for file in told["files"]}
    path = next(path for path in named if path.endswith(".whl"))
    content = fetch(plane, path)
    assert hashlib.sha256(content).hexdigest() == named[path]["sha256"]
    assert f"--hash=sha256:{named[path]['sha256']}" in fetch(plane, "/install/agent.lock").decode()

    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        names = wheel.namelist()
        assert wheel.testzip() is None
        record = next(name for name in names if name.endswith(".dist-info/RECORD"))
        lines = wheel.read(record).decode().splitlines()
    assert names == sorted(names)
    assert {line.split(",")[0] for line in lines} == set(names)
    assert "sealwire/agent/daemon.py" in names
    assert "sealwire/server/install.sh" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_anybody_gets_what_is_not_secret_and_nothing_else(plane: ControlPlane) -> None:
    anybody = Api(plane.url, ca_file=plane.ca_file)
    roots = plane.api.get("/roots")["repositories"]
    for repository in ("config", "director"):
        raw = roots[repository]["first_root"].encode()
        digest = hashlib.sha256(raw).hexdigest()
        assert fetch(plane, f"/install/roots/{digest}.json") == raw
        assert json.loads(raw)["signed"]["version"] == 1
    ca = x509.load_pem_x509_certificate(fetch(plane, "/install/ca.pem"))
    fingerprint = hashlib.sha256(ca.public_bytes(serialization.Encoding.DER)).hexdigest().upper()
    told = plane.api.get("/install")
    assert told["ca_fingerprint"].replace(":", "") == fingerprint

    for path in ("ca.key", "../tls/ca.key", "roots/", f"roots/{'0' * 64}.json", "%2e%2e/kek", "", "cli.toml"):
        assert anybody.request("GET", f"/install/{path}").status == 404, path
    assert anybody.request("POST", "/api/admin/v1/install/commands", {}).status == 401
    assert anybody.request("GET", "/api/admin/v1/install").status == 401


def test_a_server_that_was_installed_from_the_wheel_packs_the_same_wheel(
    plane: ControlPlane, tmp_path: Path
) -> None:
    path = next(file["path"] for file in plane.api.get("/install")["files"] if file["path"].endswith(".whl"))
    content = fetch(plane, path)
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        wheel.extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from sealwire.server import install\n"
        "assert install.__file__.startswith(sys.path[0]), install.__file__\n"
        "print(install.wheel().sha256)"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == hashlib.sha256(content).hexdigest(), done.stderr
