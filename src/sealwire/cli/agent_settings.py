"""What an agent must know to trust this control plane, as text to paste.

Pure: roots and CA in, text out. The names are those of the open-source Agent's ``datadog.yaml`` and its
``DD_*`` variables, so the same text serves that Agent and ours; ``ca_file`` is ours alone, other
programs find the CA by ``SSL_CERT_FILE``.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Anchors:
    """Where trust starts.

    Attributes:
        url: The control plane.
        config_root: The first root of the config repository, its raw text.
        director_root: The first root of the director repository, its raw text.
        ca_pem: The private CA; empty if the certificate is one that everybody knows.
    """

    url: str
    config_root: str
    director_root: str
    ca_pem: str

    @property
    def ca_fingerprint(self) -> str:
        """SHA-256 over the first certificate, as browsers and ``openssl x509 -fingerprint`` show it."""
        if not self.ca_pem:
            return ""
        end = "-----END CERTIFICATE-----"
        first = self.ca_pem[: self.ca_pem.index(end) + len(end)]
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first.strip())).hexdigest().upper()
        return ":".join(digest[index : index + 2] for index in range(0, len(digest), 2))


def yaml_text(anchors: Anchors, *, api_key: str | None = None, ca_file: Path | None = None) -> str:
    """Lines for ``datadog.yaml``."""
    lines = []
    if api_key is None:
        lines.append("# api_key: make one with `sealwire key create NAME`")
    else:
        lines.append(f"api_key: {yaml_quoted(api_key)}")
    lines += [
        "remote_configuration:",
        "  enabled: true",
        f"  rc_dd_url: {yaml_quoted(anchors.url)}",
        f"  config_root: {yaml_quoted(anchors.config_root)}",
        f"  director_root: {yaml_quoted(anchors.director_root)}",
    ]
    if anchors.ca_pem:
        lines.append(f"  # The CA's SHA-256 fingerprint: {anchors.ca_fingerprint}")
        lines.append(
            "  # Sealwire's agent reads ca_file; the open-source Agent wants SSL_CERT_FILE to name it."
        )
        if ca_file is not None:
            lines.append(f"  ca_file: {yaml_quoted(str(ca_file))}")
        else:
            lines.append("  ca_file: /etc/sealwire/ca.pem  # save these lines there, without the # signs:")
            lines += [f"    # {line}" for line in anchors.ca_pem.strip().splitlines()]
    return "\n".join(lines) + "\n"


def environment_text(anchors: Anchors, *, directory: Path | None = None) -> str:
    """Lines for a POSIX shell; with a directory they refer to the files there."""
    lines = ["# export DD_API_KEY=...   make one with `sealwire key create NAME`"]

    def export(name: str, value: str) -> None:
        lines.append(f"export {name}={value}")

    export("DD_REMOTE_CONFIGURATION_ENABLED", "true")
    export("DD_REMOTE_CONFIGURATION_RC_DD_URL", shlex.quote(anchors.url))
    if directory is None:
        export("DD_REMOTE_CONFIGURATION_CONFIG_ROOT", shlex.quote(anchors.config_root))
        export("DD_REMOTE_CONFIGURATION_DIRECTOR_ROOT", shlex.quote(anchors.director_root))
        ca_file = "$PWD/sealwire-ca.pem"
    else:
        export(
            "DD_REMOTE_CONFIGURATION_CONFIG_ROOT",
            f'"$(cat {shlex.quote(str(directory / "config_root.json"))})"',
        )
        export(
            "DD_REMOTE_CONFIGURATION_DIRECTOR_ROOT",
            f'"$(cat {shlex.quote(str(directory / "director_root.json"))})"',
        )
        ca_file = shlex.quote(str(directory / "ca.pem"))
    if anchors.ca_pem:
        lines.append(f"# The CA's SHA-256 fingerprint: {anchors.ca_fingerprint}")
        if directory is None:
            lines += ["cat > sealwire-ca.pem <<'END'", anchors.ca_pem.strip(), "END"]
            ca_file = f'"{ca_file}"'
        export("DD_REMOTE_CONFIGURATION_CA_FILE", f"{ca_file}   # Sealwire's agent")
        export("SSL_CERT_FILE", f"{ca_file}   # the open-source Agent")
    return "\n".join(lines) + "\n"


def yaml_quoted(text: str) -> str:
    """A YAML scalar in quotes; single ones where possible, so that JSON inside stays readable."""
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return json.dumps(text)


def java_text(director_root: str) -> str:
    """Lines by which a Java tracer verifies the director's targets itself.

    Args:
        director_root: The newest root of the director repository, its raw text.
    """
    signed = json.loads(director_root)["signed"]
    key_id = signed["roles"]["targets"]["keyids"][0]
    return (
        "export DD_REMOTE_CONFIG_INTEGRITY_CHECK_ENABLED=true\n"
        f"export DD_RC_TARGETS_KEY_ID={key_id}\n"
        f"export DD_RC_TARGETS_KEY={signed['keys'][key_id]['keyval']['public']}\n"
    )
