"""The ``sealwire`` command: imports only the actor that is named.

The one file that may name them all. An actor whose packages are not installed is told in one line,
with the extra that brings them.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

from sealwire import __version__

# command -> (module with `main(argv)`, extra, words put before the arguments)
_ACTORS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "server": ("sealwire.server.app", "server", ()),
    "backup": ("sealwire.server.app", "server", ("backup",)),
    "restore": ("sealwire.server.app", "server", ("restore",)),
    "user": ("sealwire.server.user_commands", "server", ()),
    "agent": ("sealwire.agent.daemon", "agent", ()),
}

_HELP = """\
usage: sealwire COMMAND ...

Signed Remote Configuration on your own servers: change what software does, without a deploy.

programs:
  up          control plane, agent and a sample shop on this machine, to look at
  server      the control plane
  agent       the daemon on a host; `sealwire agent status` asks the one that runs here

every day:
  asm         Application Security: enable, disable, block, unblock, list
  config      configs of any product: put, get, list, history, retire
  client      tracer libraries in applications: who has what, and what became of it
  host        agents, as the control plane sees them
  probe       logs, metrics, spans and snapshots from running programs
  status      how the control plane is, and who you are there

running a control plane:
  key         API keys for agents: create, list, update, revoke
  org         organisations: create, list
  root        roots of trust: status, rotate, recover, export
  audit       who changed what, and when; `sealwire audit verify` (where it runs, or of an export)
  login       remember a control plane and an application key
  user        people: list, invite, reset-link, reset-totp, disable, enable (where it runs)
  backup      write the control plane's data to a file (where it runs)
  restore     bring it back; agents go on without a step back
  simulate    thousands of agents that are not there, to see how pages and server hold up

`sealwire COMMAND --help` tells more. All commands but the programs take --json and --profile FILE.
Exit codes: 0 done, 1 failed or refused, 2 used wrongly, 3 not found, 4 somebody else was first,
5 not permitted, 6 control plane not reachable.

Begin with: sealwire up
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and tell the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    match words:
        case [] | ["help"] | ["-h", *_] | ["--help", *_]:
            print(_HELP, end="")
            return 0 if words else 2
        case ["--version", *_] | ["-V", *_]:
            print(f"sealwire {__version__}")
            return 0
        case ["help", *rest]:
            return main([*rest, "--help"])
        case ["audit", "verify", *rest]:  # where the database is, or with nothing but an export
            return _run("sealwire.server.audit.verify", rest, name="audit verify", extra="server")
        case [name, *rest] if name in _ACTORS:
            module, extra, before = _ACTORS[name]
            return _run(module, [*before, *rest], name=name, extra=extra)
        case _:
            return _run("sealwire.cli.main", words, name=words[0], extra="cli")


def _run(module: str, argv: list[str], *, name: str, extra: str) -> int:
    try:
        actor: Callable[[list[str]], int | None] = importlib.import_module(module).main
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] == "sealwire":
            raise  # Our own tree is incomplete: a fault of ours, to be seen whole.
        print(
            f"sealwire: `sealwire {name}` needs packages that are not installed, such as {missing.name}. "
            f"Run: pip install 'sealwire[{extra}]'",
            file=sys.stderr,
        )
        return 1
    return actor(argv) or 0


if __name__ == "__main__":
    sys.exit(main())
