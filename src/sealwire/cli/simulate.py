"""A simulated fleet against the control plane one is signed in to, to see how pages and server hold up."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from sealwire.cli import tether
from sealwire.cli.answers import ApiKey, typed
from sealwire.cli.api import segment
from sealwire.cli.arguments import Groups, Session, leaf
from sealwire.cli.root import fetch_anchors
from sealwire.errors import SealwireError

PROGRAM = "sealwire.demo.fleet"
MAX_AGENTS = 20_000


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``simulate`` into the tree."""
    command = leaf(
        groups,
        "simulate",
        run,
        summary="Let thousands of agents and tracers that are not there ask the control plane.",
        more="""
example:
  sealwire simulate --agents 2000 --clients 5

It makes an API key of its own and revokes it at the end; the rows it leaves in the fleet are named sim-...
and go away after a week. Do not run it against a control plane whose fleet matters to you today.""",
    )
    command.add_argument("--agents", type=_count, default=100, metavar="N", help="how many (default: 100)")
    command.add_argument(
        "--clients", type=_count, default=5, metavar="N", help="tracers of each agent (default: 5)"
    )
    command.add_argument(
        "--failing", type=_share, default=0.02, metavar="SHARE", help="agents with a failing tracer (0.02)"
    )
    command.add_argument(
        "--changing", type=_share, default=0.05, metavar="SHARE", help="agents with a deploy a minute (0.05)"
    )
    command.add_argument("--seed", type=int, default=1, help="the same seed makes the same fleet")
    command.add_argument("--for", dest="seconds", type=float, metavar="SECONDS", help="end by itself")


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Make a key, run the fleet, revoke the key."""
    api = session.connect()
    anchors, _ = fetch_anchors(api)
    key = typed(api.post("/keys", {"name": "simulated fleet", "remote_config": True}), ApiKey)
    plan = {
        "url": anchors.url,
        "api_key": key.key,
        "ca_pem": anchors.ca_pem,
        "director_root": anchors.director_root,
        "config_root": anchors.config_root,
        "agents": arguments.agents,
        "clients": arguments.clients,
        "failing": arguments.failing,
        "changing": arguments.changing,
        "seed": arguments.seed,
    }
    session.output.note(
        f"{arguments.agents} agents with {arguments.clients} tracers each ask {anchors.url}. "
        "Ctrl-C stops them."
    )
    try:
        _watch(plan, arguments.seconds, session)
    except KeyboardInterrupt:
        session.output.note("Stopped.")
    finally:
        api.delete(f"/keys/{segment(key.id)}")
        session.output.note("Revoked their API key.")
    return 0


def _watch(plan: dict[str, object], seconds: float | None, session: Session) -> None:
    command = [sys.executable, "-m", PROGRAM]
    # If we are killed outright, the fleet ends too.
    command = [sys.executable, str(Path(tether.__file__)), str(os.getpid()), *command]
    fleet = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert fleet.stdin is not None
    assert fleet.stdout is not None
    try:
        fleet.stdin.write(json.dumps(plan) + "\n")
        fleet.stdin.close()
        end = None if seconds is None else time.monotonic() + seconds
        shown = ""
        for line in fleet.stdout:
            document = json.loads(line)
            if session.output.as_json:
                session.output.json(document, compact=True)
                session.output.flush()
            elif (said := _sentence(document)) != shown:
                shown = said
                session.output.note(said)
            if end is not None and time.monotonic() >= end:
                return
        if fleet.wait() not in (0, 130):
            raise SealwireError("The simulated fleet ended by itself; what it said is above.")
    finally:
        fleet.terminate()
        fleet.wait()


def _sentence(document: dict[str, object]) -> str:
    troubles = document["troubles"]
    said = (
        f"{document['connected']} of {document['agents']} agents connected, {document['tracers']} tracers, "
        f"version {document['version']}, news {document['news']} times"
    )
    if isinstance(troubles, dict) and troubles:
        said += "; trouble: " + ", ".join(f"{words} ({times} times)" for words, times in troubles.items())
    return said


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_AGENTS:
        raise argparse.ArgumentTypeError(f"between 1 and {MAX_AGENTS}")
    return number


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("a share between 0 and 1")
    return share
