"""The command tree, and what becomes of an error.

Exit codes: 0 done; 1 failed or refused; 2 used wrongly (also: no control plane known); 3 not found;
4 somebody else was first; 5 not permitted or not signed in; 6 not reachable.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from sealwire.cli import asm, audit, client, config, key, login, org, probe, root, simulate, up
from sealwire.cli import profile as profiles
from sealwire.cli.api import AdminApi
from sealwire.cli.arguments import Session
from sealwire.cli.output import Output
from sealwire.clock import utc_now
from sealwire.errors import (
    ConflictError,
    InvalidChangeError,
    NotFoundError,
    NotPermittedError,
    SealwireError,
    SettingsError,
    UnauthenticatedError,
    UnavailableError,
)

_EXIT_CODES: tuple[tuple[type[SealwireError], int], ...] = (
    (SettingsError, 2),
    (NotFoundError, 3),
    (ConflictError, 4),
    (NotPermittedError, 5),
    (UnauthenticatedError, 5),
    (UnavailableError, 6),
)


def build_parser() -> argparse.ArgumentParser:
    """The tree of commands that work over the admin API, and ``up``."""
    parser = argparse.ArgumentParser(prog="sealwire", description="Signed Remote Configuration.")
    groups = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for part in (up, asm, config, client, probe, key, org, root, audit, login, simulate):
        part.declare(groups)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run one command and tell its exit code; errors become a sentence on standard error."""
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as wrong:  # argparse has said what is wrong, or printed help
        return wrong.code if isinstance(wrong.code, int) else 2
    output = Output(as_json=arguments.json)
    environ = dict(os.environ)

    def connect() -> AdminApi:
        return AdminApi(profiles.resolve(arguments.profile, environ, warn=output.note))

    try:
        code: int = arguments.run(arguments, Session(connect, output, utc_now, environ))
        output.flush()
        return code
    except SystemExit as wrong:
        return wrong.code if isinstance(wrong.code, int) else 2
    except SealwireError as error:
        report(error, output)
        return exit_code(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever read our output has gone; nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def exit_code(error: SealwireError) -> int:
    """The exit code that an error stands for."""
    return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), 1)


def report(error: SealwireError, output: Output) -> None:
    """Tell an error on standard error; as JSON if JSON was asked for."""
    problems = error.problems if isinstance(error, InvalidChangeError) else ()
    revisions = (
        {"expected_revision": error.expected_revision, "actual_revision": error.actual_revision}
        if isinstance(error, ConflictError)
        else {}
    )
    if output.as_json:
        told = [{"path": problem.path, "message": problem.message} for problem in problems]
        output.failure({"code": error.code, "detail": error.public, "problems": told, **revisions})
        return
    output.note(f"sealwire: {error.public}")
    for problem in problems:
        output.note(f"  {problem.path}: {problem.message}")
    if revisions and error.public.count("revision") == 0 and None not in revisions.values():
        output.note(
            f"  Expected was revision {revisions['expected_revision']}, "
            f"actual is {revisions['actual_revision']}."
        )
