"""API keys: what an agent shows to the control plane."""

from __future__ import annotations

import argparse

from sealwire.cli.answers import ApiKey, ApiKeys, typed
from sealwire.cli.api import segment
from sealwire.cli.arguments import Groups, Session, group, leaf, on_off
from sealwire.cli.output import moment, parse_time


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``key`` into the tree."""
    key = group(groups, "key", summary="API keys for agents")

    create = leaf(
        key,
        "create",
        run_create,
        summary="Make an API key and show it once.",
        more="""
example:
  sealwire key create web-hosts

Only a key that carries the Remote Configuration scope lets its agent fetch configs.""",
    )
    create.add_argument("name", metavar="NAME", help="what it is for")
    create.add_argument(
        "--remote-config",
        type=on_off,
        default=True,
        metavar="on|off",
        help="the Remote Configuration scope (default: on)",
    )

    leaf(key, "list", run_list, summary="Show the API keys; never the secrets.")

    update = leaf(key, "update", run_update, summary="Rename a key, or change its scope.")
    update.add_argument("id", metavar="ID")
    update.add_argument("--name", metavar="NAME")
    update.add_argument(
        "--remote-config", type=on_off, metavar="on|off", help="the Remote Configuration scope"
    )

    revoke = leaf(
        key,
        "revoke",
        run_revoke,
        summary="End a key for good.",
        more="Its agents get no more configs; they keep what they have until it expires.",
    )
    revoke.add_argument("id", metavar="ID")
    revoke.add_argument(
        "--withdraw-first",
        action="store_true",
        help="first give its agents a state without configs; it is revoked once all have fetched that",
    )

    withdraw = leaf(
        key,
        "withdraw",
        run_withdraw,
        summary="Take back what the agents of a key hold, then its scope.",
        more="""
The agents that ask are given a signed state without configs; the scope goes once all have fetched it.
`sealwire key update ID --remote-config on` calls it off, `off` takes the scope at once.""",
    )
    withdraw.add_argument("id", metavar="ID")


def run_create(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().post("/keys", {"name": arguments.name, "remote_config": arguments.remote_config})
    key = typed(raw, ApiKey)
    output = session.output
    output.document(raw)
    if not output.as_json:
        output.note(f"Made API key {key.id} ({key.name}), {_scope(key)}. It is shown this once:")
        output.text(key.key or "")
    return 0


def run_list(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().get("/keys")
    session.output.document(raw)
    session.output.table(
        ("ID", "NAME", "ENDS IN", "REMOTE CONFIG", "AGENTS", "MADE", "LAST USED", "STATE"),
        [
            (
                key.id,
                key.name or "-",
                key.last4 or "-",
                "withdrawing" if key.withdrawing_at else "on" if key.remote_config else "off",
                "-" if key.used_by is None else str(key.used_by),
                moment(parse_time(key.created_at)),
                moment(parse_time(key.last_used_at)) if key.last_used_at else "never",
                "revoked" if key.revoked_at else "active",
            )
            for key in typed(raw, ApiKeys).keys
        ],
        empty="No API keys. Make one: sealwire key create NAME",
    )
    return 0


def run_update(arguments: argparse.Namespace, session: Session) -> int:
    body: dict[str, object] = {}
    if arguments.name is not None:
        body["name"] = arguments.name
    if arguments.remote_config is not None:
        body["remote_config"] = arguments.remote_config
    if not body:
        arguments.usage_error("nothing to change: give --name or --remote-config")
    raw = session.connect().patch(f"/keys/{segment(arguments.id)}", body)
    session.output.document(raw)
    key = typed(raw, ApiKey)
    session.output.say(f"API key {key.id} ({key.name}) is now {_scope(key)}.")
    return 0


def run_revoke(arguments: argparse.Namespace, session: Session) -> int:
    query = {"withdraw_first": "true"} if arguments.withdraw_first else None
    raw = session.connect().delete(f"/keys/{segment(arguments.id)}", query)
    session.output.document(raw)
    key = typed(raw, ApiKey)
    if key.revoked_at is None:
        session.output.say(f"API key {key.id} is revoked once its {_agents(key)} hold nothing.")
    else:
        session.output.say(f"Revoked API key {key.id}.{_kept(key)}")
    return 0


def run_withdraw(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().post(f"/keys/{segment(arguments.id)}:withdraw", {})
    session.output.document(raw)
    key = typed(raw, ApiKey)
    session.output.say(f"API key {key.id} ({key.name}) loses its scope once its {_agents(key)} hold nothing.")
    return 0


def _agents(key: ApiKey) -> str:
    if key.used_by is None:
        return "agents"
    return f"{key.used_by} agent{'' if key.used_by == 1 else 's'}"


def _kept(key: ApiKey) -> str:
    return f" Its agents keep what they have until {key.held_until}." if key.held_until else ""


def _scope(key: ApiKey) -> str:
    return f"{'with' if key.remote_config else 'without'} the Remote Configuration scope"
