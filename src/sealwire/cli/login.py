"""Signing in from the command line, and how the control plane is."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path

from sealwire.cli import profile
from sealwire.cli.answers import Whoami, typed
from sealwire.cli.api import AdminApi
from sealwire.cli.arguments import Groups, Session, leaf
from sealwire.cli.profile import Profile
from sealwire.errors import SettingsError


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``login`` and ``status`` into the tree."""
    login = leaf(
        groups,
        "login",
        run_login,
        summary="Remember a control plane and an application key.",
        more="""
example:
  sealwire login --url https://sealwire.example:8443 --ca ca.pem

The key is asked for, so that it stays out of the shell's history; `--key -` reads it from standard
input. It is tried before anything is written, and kept in a file that only you can read.""",
    )
    login.add_argument("--url", required=True, metavar="URL", help="such as https://sealwire.example:8443")
    login.add_argument(
        "--ca", type=Path, metavar="FILE", help="the control plane's CA (default: the system's list)"
    )
    login.add_argument("--key", metavar="KEY", help="application key; - reads standard input")

    leaf(groups, "status", run_status, summary="How the control plane is, and who you are there.")


def run_login(arguments: argparse.Namespace, session: Session) -> int:
    ca_file = arguments.ca.absolute() if arguments.ca else None
    candidate = Profile(arguments.url.rstrip("/"), _key(arguments.key), ca_file)
    raw = AdminApi(candidate).get("/whoami")
    who = typed(raw, Whoami)
    path = arguments.profile or profile.default_path(session.environ)
    try:
        profile.write(path, candidate)
    except OSError as error:
        raise SettingsError(f"Cannot write the profile {path}: {error.strerror}.") from error
    session.output.document(raw)
    session.output.say(f"Signed in to {candidate.url} as {_told(who)}. Kept in {path}.")
    return 0


def _key(given: str | None) -> str:
    if given is None:
        given = getpass.getpass("Application key: ") if sys.stdin.isatty() else sys.stdin.readline()
    elif given == "-":
        given = sys.stdin.readline()
    key = given.strip()
    if not key:
        raise SettingsError("An application key is needed: give --key, or type it when asked.")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SettingsError("That is not an application key: it has characters no key has.")
    return key


def run_status(arguments: argparse.Namespace, session: Session) -> int:
    api = session.connect()
    raw = api.get("/status")
    output = session.output
    output.document(raw)
    if output.as_json:
        return 0
    told = [("Control plane", api.url), ("You", _told(typed(api.get("/whoami"), Whoami)))]
    for name, value in raw.items() if isinstance(raw, dict) else ():
        label = name.replace("_", " ").capitalize()
        for item in (value or ["none"]) if isinstance(value, list) else [value]:
            told.append((label, _compact(item)))
    width = max(len(label) for label, _ in told)
    for label, text in told:
        output.say(f"{label.ljust(width)}  {text}")
    return 0


def _told(who: Whoami) -> str:
    role = f" ({who.role})" if who.role else ""
    org = f" of {who.org_name}" if who.org_name else ""
    return f"{who.user}{role}{org}"


def _compact(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_compact(item)}" for key, item in value.items())
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
