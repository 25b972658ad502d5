"""What a host needs to install an agent from this server, and the one command that does it.

The server hands out its own wheel, packed from the files it runs from; the lock of exactly what an agent
needs; its CA; first roots by their hash; and ``install.sh``. Nothing of it is secret, so anybody may have it.
The command carries what is secret (a fresh API key) and what everything else is checked against, and people
get it on a page over a connection they trust.

What holds, so that nothing unverified is ever run or believed:

    command      pins the CA by SHA-256 of its file, and fetches the script over TLS that this CA vouches for;
                 without TLS it pins the script itself
    script       pins the lock by SHA-256
    lock         pins the wheel and every package by SHA-256; nothing is built on the host
    command      pins both first roots by SHA-256: all that agents believe follows from them

The same files give the same wheel, byte for byte: names sorted, one date, nothing compressed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import ipaddress
import re
import shlex
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes

import sealwire
from sealwire.errors import InvalidChangeError, NotFoundError, UnavailableError
from sealwire.server.control_plane import ControlPlane
from sealwire.server.tenant import Tenant

DISTRIBUTION = "sealwire"
PREFIX = "/install"
_HERE = Path(__file__).parent
_PACKED_AT = (1980, 1, 1, 0, 0, 0)  # the first moment a zip file knows
_ROOT_FILE = re.compile(r"([0-9a-f]{64})\.json", re.ASCII)


@dataclass(frozen=True, slots=True)
class Download:
    """A file under ``/install/``."""

    name: str
    content: bytes
    media_type: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True, slots=True)
class Command:
    """What people paste.

    Attributes:
        line: One line for a POSIX shell; holds the API key.
        encrypted: Whether the key travels under TLS.
        this_machine_only: The server listens on loopback, so other hosts cannot reach it.
    """

    line: str
    encrypted: bool
    this_machine_only: bool


# Files ------------------------------------------------------------------------------------------------


@cache
def wheel() -> Download:
    """Our own wheel, packed from the files that run now; the same one as long as this process lives.

    Raises:
        UnavailableError: This program runs from files that were never installed.
    """
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError as error:
        raise UnavailableError("This server runs from files that were not installed with pip.") from error
    info = f"{DISTRIBUTION}-{distribution.version}.dist-info"
    files = {
        f"{DISTRIBUTION}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for root in map(Path, sealwire.__path__)
        for path in _package_files(root)
    }
    files[f"{info}/METADATA"] = _without_description(distribution.read_text("METADATA") or "")
    files[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: {DISTRIBUTION} {distribution.version}\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n"
    ).encode()
    files[f"{info}/entry_points.txt"] = (distribution.read_text("entry_points.txt") or "").encode()
    for name in ("licenses/LICENSE", "LICENSE"):
        text = distribution.read_text(name)
        if text:
            files[f"{info}/{name}"] = text.encode()
    content = _zipped(files, record=f"{info}/RECORD")
    return Download(f"{DISTRIBUTION}-{distribution.version}-py3-none-any.whl", content, "application/zip")


def _package_files(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield path


def _without_description(text: str) -> bytes:
    """The headers alone: the README of whenever this was installed has no say in the hash."""
    headers = text.partition("\n\n")[0].splitlines()
    kept = [line for line in headers if not line.startswith("Description-Content-Type:")]
    return ("\n".join(kept) + "\n").encode()


def _zipped(files: dict[str, bytes], *, record: str) -> bytes:
    lines = [
        f"{name},sha256={_record_digest(content)},{len(content)}" for name, content in sorted(files.items())
    ]
    everything = {**files, record: ("\n".join([*lines, f"{record},,"]) + "\n").encode()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(everything.items()):
            entry = zipfile.ZipInfo(name, _PACKED_AT)
            entry.create_system = 3  # Unix, whatever this runs on
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return out.getvalue()


def _record_digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


@cache
def lock() -> Download:
    """What an agent needs, each by hash: the packages, and our own wheel."""
    ours = wheel()
    version = ours.name.split("-")[1]
    text = (_HERE / "agent.lock").read_text()
    line = f"{DISTRIBUTION}[agent]=={version} \\\n    --hash=sha256:{ours.sha256}\n"
    return Download("agent.lock", (text + line).encode(), "text/plain; charset=utf-8")


@cache
def script() -> Download:
    """``install.sh`` with the hash of the lock in it."""
    text = (_HERE / "install.sh").read_text()
    for name, value in (("LOCK_SHA256", lock().sha256), ("WHEEL", wheel().name)):
        text = text.replace(f"@{name}@", value)
    return Download("install.sh", text.encode(), "text/plain; charset=utf-8")


def download(plane: ControlPlane, name: str) -> Download:
    """A file under ``/install/`` by its path there.

    Raises:
        NotFoundError: There is none of that name.
        UnavailableError: As ``wheel``.
    """
    if name == "ca.pem" and plane.ca_pem:
        return Download(name, plane.ca_pem.encode(), "application/x-pem-file")
    if name == "install.sh":
        return script()
    if name == "agent.lock":
        return lock()
    folder, _, file = name.rpartition("/")
    if folder == "roots" and (named := _ROOT_FILE.fullmatch(file)):
        return _root(plane, named[1])
    if name.endswith(".whl") and name == wheel().name:
        return wheel()
    raise NotFoundError("There is no such file to install from.")


def _root(plane: ControlPlane, sha256: str) -> Download:
    """A first root by its hash: whoever asks knows it already, so nobody learns of organisations here."""
    for tenant in plane.tenants.values():
        for raw in first_roots(tenant):
            if hashlib.sha256(raw).hexdigest() == sha256:
                return Download(f"{sha256}.json", raw, "application/json")
    raise NotFoundError("There is no such root here.")


def first_roots(tenant: Tenant) -> tuple[bytes, bytes]:
    """The first roots of an organisation: of the config repository, of the director."""
    roots = tenant.publisher.roots
    return roots.config[0], roots.director[0]


# The command ------------------------------------------------------------------------------------------


def command(plane: ControlPlane, tenant: Tenant, api_key: str) -> Command:
    """The line that installs an agent with this API key.

    Raises:
        InvalidChangeError: Remote Configuration is off, so its agent would be refused.
    """
    if not tenant.organisation.remote_config:
        raise InvalidChangeError(
            "Remote Configuration is off for this organisation: an agent would be refused. Switch it on."
        )
    url = plane.url
    config_root, director_root = (hashlib.sha256(raw).hexdigest() for raw in first_roots(tenant))
    file = '"$d/install.sh"'
    at = shlex.quote(f"{url}{PREFIX}/install.sh")
    steps = ["d=$(mktemp -d)"]
    options = f"--url {shlex.quote(url)}"
    if plane.ca_pem:
        # The one unverified fetch of all: what it brings is compared with the hash before anything uses it.
        # The folder holds that CA alone; with it as the path of authorities, curl trusts no others.
        pinned = hashlib.sha256(plane.ca_pem.encode()).hexdigest()
        steps += [
            f'curl -fsSk -o "$d/ca.pem" {shlex.quote(f"{url}{PREFIX}/ca.pem")}',
            f'echo "{pinned}  $d/ca.pem" | sha256sum -c',
            f'curl -fsS --proto \'=https\' --cacert "$d/ca.pem" --capath "$d" -o {file} {at}',
        ]
        options += ' --ca "$d/ca.pem"'
    elif is_encrypted(url):
        steps.append(f"curl -fsS --proto '=https' -o {file} {at}")
    else:
        steps += [f"curl -fsS -o {file} {at}", f'echo "{script().sha256}  $d/install.sh" | sha256sum -c']
    # In the environment and not among the arguments, which every user of the host can list.
    steps.append(
        f"DD_API_KEY={shlex.quote(api_key)} sh {file} {options} "
        f"--config-root {config_root} --director-root {director_root}"
    )
    return Command(" && ".join(steps), is_encrypted(url), is_loopback(url))


def is_encrypted(url: str) -> bool:
    """Whether agents reach this server under TLS."""
    return urlsplit(url).scheme == "https"


def is_loopback(url: str) -> bool:
    """Whether the address of this server is one that only this machine can reach."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def ca_fingerprint(ca_pem: str) -> str:
    """SHA-256 of the CA's certificate, as browsers and openssl show it; empty without a private CA."""
    if not ca_pem:
        return ""
    digest = x509.load_pem_x509_certificate(ca_pem.encode()).fingerprint(hashes.SHA256()).hex().upper()
    return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))
