"""Where the control plane is and who we are there: the command line's profile.

Hides the file, the environment variables and their order. Command line beats environment beats
file. Invariant: an application key read from a file is sent only to the URL of that same file, so
an environment that points elsewhere cannot carry it away.
"""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sealwire.errors import SettingsError

_FIELDS = ("url", "ca_file", "application_key")
_HOW_TO_START = (
    "No control plane is known here. Run `sealwire up`, or `sealwire login --url URL --ca FILE`, "
    "or set SEALWIRE_URL, SEALWIRE_APPLICATION_KEY and SEALWIRE_CA_FILE."
)


@dataclass(frozen=True, slots=True)
class Profile:
    """One control plane and one user's key for it.

    Attributes:
        url: Where it listens, without a trailing slash.
        application_key: A user's rights; a secret, so it is not part of the printed form.
        ca_file: The certificate that vouches for it; None means the system's own list.
    """

    url: str
    application_key: str = field(repr=False)
    ca_file: Path | None = None


def default_path(environ: Mapping[str, str]) -> Path:
    """The profile used when none is named: ``$XDG_CONFIG_HOME/sealwire/cli.toml``."""
    if named := environ.get("SEALWIRE_PROFILE"):
        return Path(named)
    return user_path(environ)


def user_path(environ: Mapping[str, str]) -> Path:
    """The user's own profile, whatever ``SEALWIRE_PROFILE`` says."""
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME") or Path.home()) / ".config")
    return Path(base) / "sealwire" / "cli.toml"


def resolve(
    named: Path | None, environ: Mapping[str, str], *, warn: Callable[[str], None] = lambda _: None
) -> Profile:
    """Find the profile to use.

    A file named on the command line is used alone; else the environment's values lie over those of
    the default file.

    Args:
        named: The file given with ``--profile``.
        environ: The environment.
        warn: Told, as a sentence, about a file that others can read.

    Raises:
        SettingsError: Nothing says where the control plane is, or with which key.
    """
    if named is not None:
        return read(named, warn=warn)
    url = environ.get("SEALWIRE_URL", "").rstrip("/")
    key = environ.get("SEALWIRE_APPLICATION_KEY", "")
    ca_file = environ.get("SEALWIRE_CA_FILE", "")
    if url and key:
        return Profile(url, key, Path(ca_file) if ca_file else None)
    path = default_path(environ)
    if not path.exists():
        if url:
            raise SettingsError("SEALWIRE_URL is set, but no key is: set SEALWIRE_APPLICATION_KEY.")
        if environ.get("SEALWIRE_PROFILE"):
            raise SettingsError(f"SEALWIRE_PROFILE names {path}, which does not exist.")
        raise SettingsError(_HOW_TO_START)
    stored = read(path, warn=warn)
    if url and url != stored.url:
        # Attack: a planted SEALWIRE_URL that collects the key kept in the file.
        raise SettingsError(
            f"SEALWIRE_URL is {url}, but the key in {path} belongs to {stored.url}: "
            "set SEALWIRE_APPLICATION_KEY too."
        )
    return Profile(stored.url, key or stored.application_key, Path(ca_file) if ca_file else stored.ca_file)


def read(path: Path, *, warn: Callable[[str], None] = lambda _: None) -> Profile:
    """Read one profile file.

    Raises:
        SettingsError: It is missing, unreadable, not TOML, or lacks a value.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            table = tomllib.load(file)
    except FileNotFoundError:
        raise SettingsError(f"The profile {path} does not exist.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"The profile {path} cannot be read: {error}.") from error
    values: dict[str, str] = {}
    for name in _FIELDS:
        value = table.get(name, "")
        if not isinstance(value, str):
            raise SettingsError(f"In the profile {path}, `{name}` must be text in quotes.")
        values[name] = value
    for name in ("url", "application_key"):
        if not values[name]:
            raise SettingsError(f'The profile {path} lacks the line `{name} = "..."`.')
    if mode & 0o077:
        warn(f"Others can read the key in {path}. Run: chmod 600 {path}")
    ca_file = Path(values["ca_file"]) if values["ca_file"] else None
    if ca_file is not None and not ca_file.is_absolute():
        ca_file = path.parent / ca_file
    return Profile(values["url"].rstrip("/"), values["application_key"], ca_file)


def write(path: Path, profile: Profile) -> None:
    """Write the profile so that only its owner can read it; the old one stays whole until it is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lines = [
        "# Sealwire command line: one control plane and one user's key for it. Keep it private.",
        f"url = {_toml_text(profile.url)}",
    ]
    if profile.ca_file is not None:
        lines.append(f"ca_file = {_toml_text(str(profile.ca_file))}")
    lines.append(f"application_key = {_toml_text(profile.application_key)}")
    write_private(path, "\n".join(lines) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, mode 0600 from its first byte on."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp makes 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _toml_text(value: str) -> str:
    """A TOML basic string: quotes, backslashes and control characters escaped."""
    out = []
    for character in value:
        if character in '"\\':
            out.append("\\" + character)
        elif ord(character) < 0x20 or ord(character) == 0x7F:
            out.append(f"\\u{ord(character):04x}")
        else:
            out.append(character)
    return '"' + "".join(out) + '"'
