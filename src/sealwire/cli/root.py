"""Roots of trust: how they stand, rotation, recovery, and what agents need of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from sealwire.cli import agent_settings
from sealwire.cli.agent_settings import Anchors
from sealwire.cli.answers import Roots, RootState, typed
from sealwire.cli.api import AdminApi
from sealwire.cli.arguments import Groups, Session, confirmed, group, leaf
from sealwire.cli.output import moment, parse_time
from sealwire.errors import SealwireError, SettingsError


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``root`` into the tree."""
    root = group(groups, "root", summary="Roots of trust: status, rotate, recover, export")
    leaf(root, "status", run_status, summary="Show both repositories' roots: version, expiry, keys.")
    rotate = leaf(
        root,
        "rotate",
        run_rotate,
        summary="Replace a repository's keys under a new root.",
        more="Agents follow by themselves: the new root is signed by the old keys and the new ones.",
    )
    recover = leaf(
        root,
        "recover",
        run_recover,
        summary="Come back after versions ran ahead (a fast-forward attack, a lost database).",
        more="""
Rotates the online keys, so that agents forget the versions they saw under the old ones. Agents take
the next answer; nothing has to be done on the hosts.""",
    )
    for parser in (rotate, recover):
        parser.add_argument("--repo", required=True, choices=("director", "config"), help="which repository")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    export = leaf(
        root,
        "export",
        run_export,
        summary="Print what agents need to trust this control plane, ready to paste.",
        more="""
examples:
  sealwire root export --agent                        lines for datadog.yaml
  sealwire root export --agent --format env           lines for a shell
  sealwire root export --agent --dir /etc/sealwire    files, and lines that refer to them
  sealwire root export --java                         for Java applications that verify by themselves""",
    )
    form = export.add_mutually_exclusive_group(required=True)
    form.add_argument("--agent", action="store_true", help="in the form agents want")
    form.add_argument(
        "--java", action="store_true", help="the director's present key, in the form Java tracers want"
    )
    export.add_argument("--format", choices=("yaml", "env"), default="yaml", help="default: yaml")
    export.add_argument(
        "--dir", type=Path, metavar="D", help="also write config_root.json, director_root.json, ca.pem there"
    )


def run_status(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().get("/roots")
    session.output.document(raw)
    roots = typed(raw, Roots)
    session.output.table(
        ("REPOSITORY", "ROOT VERSION", "EXPIRES", "KEYS", "KEPT"),
        [_row(name, state) for name, state in roots.repositories.items()],
    )
    return 0


def _row(name: str, state: RootState) -> tuple[str, ...]:
    keys = f"{state.threshold} of {state.keys}" if state.keys and state.threshold else "-"
    kept = {True: "roots on this server", False: "offline", None: "-"}[state.roots_on_server]
    return (name, str(state.version), moment(parse_time(state.expires)), keys, kept)


def run_rotate(arguments: argparse.Namespace, session: Session) -> int:
    return _act("rotate", "Rotated", arguments, session)


def run_recover(arguments: argparse.Namespace, session: Session) -> int:
    return _act("recover", "Recovered", arguments, session)


def _act(action: str, done: str, arguments: argparse.Namespace, session: Session) -> int:
    api = session.connect()
    if not confirmed(
        arguments, session, question=f"{action.capitalize()} the {arguments.repo} repository's root?"
    ):
        raise SealwireError("Nothing was changed. Add --yes if this is meant.")
    raw = api.post(f"/roots/{arguments.repo}:{action}")
    session.output.document(raw)
    state = _state_of(arguments.repo, raw) or _state_of(arguments.repo, api.get("/roots"))
    version = f": it is at version {state.version} now" if state else ""
    session.output.say(
        f"{done} the root of the {arguments.repo} repository{version}. Agents follow with their next poll."
    )
    return 0


def _state_of(repo: str, document: object) -> RootState | None:
    """The repository's state in an answer, whether it came alone or among both."""
    if isinstance(document, dict) and isinstance(document.get("repositories"), dict):
        return typed(document, Roots).repositories.get(repo)
    if isinstance(document, dict) and isinstance(document.get("version"), int):
        return typed(document, RootState)
    return None


def run_export(arguments: argparse.Namespace, session: Session) -> int:
    api = session.connect()
    if arguments.java:
        raw = api.get("/roots")
        state = typed(raw, Roots).repositories.get("director")
        if state is None or not state.latest_root:
            raise SealwireError("The control plane did not tell the newest root of the director repository.")
        session.output.document(raw)
        if not session.output.as_json:
            session.output.text(agent_settings.java_text(state.latest_root).rstrip("\n"))
            session.output.note("Another root of the director repository brings another key: run this again.")
        return 0
    anchors, raw = fetch_anchors(api)
    directory: Path | None = None
    if arguments.dir is not None:
        directory = _write_files(arguments.dir, anchors)
        session.output.note(f"Wrote config_root.json, director_root.json and ca.pem to {directory}.")
    if session.output.as_json:
        session.output.document(raw)
    elif arguments.format == "env":
        session.output.text(agent_settings.environment_text(anchors, directory=directory).rstrip("\n"))
    else:
        ca_file = directory / "ca.pem" if directory and anchors.ca_pem else None
        session.output.text(agent_settings.yaml_text(anchors, ca_file=ca_file).rstrip("\n"))
    return 0


def fetch_anchors(api: AdminApi) -> tuple[Anchors, object]:
    """What agents need, and the answer it was read from.

    Raises:
        SealwireError: The control plane does not tell both first roots.
    """
    raw = api.get("/roots")
    roots = typed(raw, Roots)
    first = {name: state.first_root for name, state in roots.repositories.items()}
    if not first.get("config") or not first.get("director"):
        raise SealwireError("The control plane did not tell the first root of both repositories.")
    return Anchors(roots.url or api.url, first["config"], first["director"], roots.ca_pem or ""), raw


def _write_files(directory: Path, anchors: Anchors) -> Path:
    files = {"config_root.json": anchors.config_root, "director_root.json": anchors.director_root}
    if anchors.ca_pem:
        files["ca.pem"] = anchors.ca_pem
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"Cannot write to {directory}: {error.strerror}.") from error
    return directory.absolute()
