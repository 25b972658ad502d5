"""What all commands share on the command line: how a command is declared, and kinds of value.

A command is a leaf of the tree: a function ``run(arguments, session) -> exit code``. Every leaf
takes ``--json`` and ``--profile``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sealwire.cli.api import AdminApi
from sealwire.cli.output import Output

Groups = argparse._SubParsersAction  # argparse has no public name for it


@dataclass(frozen=True, slots=True)
class Session:
    """What a command works with: the control plane, the screen, the time.

    Attributes:
        connect: Gives the admin API; raises SettingsError where no profile is to be found.
        output: Where results go.
        now: Reads the clock.
        environ: The environment.
    """

    connect: Callable[[], AdminApi]
    output: Output
    now: Callable[[], datetime]
    environ: dict[str, str]


Command = Callable[[argparse.Namespace, Session], int]


def group(
    groups: Groups[argparse.ArgumentParser], name: str, *, summary: str
) -> Groups[argparse.ArgumentParser]:
    """Declare a group of commands, such as ``asm``."""
    parser = groups.add_parser(name, help=summary, description=summary)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def leaf(
    groups: Groups[argparse.ArgumentParser], name: str, run: Command, *, summary: str, more: str = ""
) -> argparse.ArgumentParser:
    """Declare a command.

    Args:
        groups: Where it hangs.
        name: Its word.
        run: What it does.
        summary: One line, a sentence.
        more: Lines after the options: examples, the rule it keeps.
    """
    parser = groups.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=more.strip("\n") or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run, usage_error=parser.error)
    everywhere = parser.add_argument_group("everywhere")
    everywhere.add_argument("--json", action="store_true", help="print JSON instead of text")
    everywhere.add_argument(
        "--profile",
        type=Path,
        metavar="FILE",
        help="which control plane and key (default: the user's profile)",
    )
    return parser


_SPAN = re.compile(r"(\d{1,6})(s|min|m|h|d|w)")
_UNIT_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def span(text: str) -> timedelta:
    """A length of time: ``90s``, ``15m``, ``1h30m``, ``7d``, ``2w``; at most ten years."""
    total, position = 0, 0
    for found in _SPAN.finditer(text):
        if found.start() != position:
            break
        total += int(found[1]) * _UNIT_S[found[2]]
        position = found.end()
    if position != len(text) or not 0 < total <= 3653 * 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a length of time such as 90s, 15m, 1h30m, 7d")
    return timedelta(seconds=total)


def number_from(minimum: int) -> Callable[[str], int]:
    """A whole number that is not below ``minimum``."""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = minimum - 1
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {minimum} up")
        return number

    return parse


def on_off(text: str) -> bool:
    """``on`` or ``off``."""
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither on nor off")
    return text == "on"


def confirmed(arguments: argparse.Namespace, session: Session, *, question: str) -> bool:
    """Whether the person agrees: ``--yes``, or ``y`` typed at a terminal."""
    if arguments.yes:
        return True
    if session.output.as_json or not (sys.stdin.isatty() and session.output.is_terminal):
        return False
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
