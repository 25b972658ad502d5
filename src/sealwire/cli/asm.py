"""Protection against attacks in everyday words: on, off, block, unblock, and what is in force."""

from __future__ import annotations

import argparse
from urllib.parse import urlencode

from sealwire.cli import targeting
from sealwire.cli.activation import run_disable, run_enable
from sealwire.cli.answers import Activations, Denylist, typed
from sealwire.cli.arguments import Groups, Session, group, leaf, span
from sealwire.cli.block import (
    run_block_ip,
    run_block_user,
    run_import,
    run_unblock_ip,
    run_unblock_user,
)
from sealwire.cli.output import moment, parse_time


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``asm`` into the tree."""
    asm = group(groups, "asm", summary="App and API Protection on and off, block and unblock")

    enable = leaf(
        asm,
        "enable",
        run_enable,
        summary="Switch App and API Protection on.",
        more="""
example:
  sealwire asm enable --service shop --env prod

The tracers of the service start their protection within one poll, without a restart. An application
that sets DD_APPSEC_ENABLED itself, to true or false, keeps its own choice.""",
    )
    _add_activation_target(enable)

    disable = leaf(
        asm,
        "disable",
        run_disable,
        summary="Take an activation back.",
        more="""
Without --force-off the activation for exactly this target is retired, and the applications go back to
what they say themselves. With --force-off they are told to be off, which also beats a wider activation.""",
    )
    _add_activation_target(disable)
    disable.add_argument("--force-off", action="store_true", help="publish 'off' instead of taking 'on' back")

    block = group(asm, "block", summary="Refuse requests from an address or a user")
    block_ip = leaf(
        block,
        "ip",
        run_block_ip,
        summary="Refuse requests from IP addresses or networks with 403.",
        more="""
examples:
  sealwire asm block ip 203.0.113.7 --for 1h --reason "credential stuffing"
  sealwire asm block ip 198.51.100.0/24 2001:db8::/32 --service shop""",
    )
    block_ip.add_argument("values", nargs="+", metavar="ADDR", help="address or network in CIDR form")
    block_ip.add_argument(
        "--suspicious", action="store_true", help="refuse only their attacks: requests that match a rule"
    )
    _add_block_options(block_ip)
    block_user = leaf(
        block, "user", run_block_user, summary="Refuse requests of users, by the id the application reports."
    )
    block_user.add_argument(
        "values", nargs="+", metavar="ID", help="user id, exactly as the application reports it"
    )
    _add_block_options(block_user)

    unblock = group(asm, "unblock", summary="Let an address or a user in again")
    unblock_ip = leaf(unblock, "ip", run_unblock_ip, summary="Let IP addresses or networks in again.")
    unblock_ip.add_argument("values", nargs="+", metavar="ADDR", help="address or network as it was blocked")
    unblock_ip.add_argument("--suspicious", action="store_true", help="as they were blocked")
    unblock_user = leaf(unblock, "user", run_unblock_user, summary="Let users in again.")
    unblock_user.add_argument("values", nargs="+", metavar="ID", help="user id")
    for parser in (unblock_ip, unblock_user):
        targeting.add_service_and_env(parser)
        parser.add_argument("--reason", metavar="T", help="kept in the config's history")

    many = leaf(
        asm,
        "import",
        run_import,
        summary="Block a list from a file, one a line, perhaps until when and why.",
        more="""
examples:
  sealwire asm import bad-hosts.txt --for 7d --reason "threat list"
  sealwire asm import - --kind user < users.csv

A line is a value, perhaps a comma and until when (7d, 12h, 2026-12-24T00:00:00Z, forever), perhaps a comma
and why. Lines that cannot be read are named; the list is kept on the control plane then, to be mended on
its pages, and nothing is blocked unless --skip-bad is given.""",
    )
    many.add_argument("file", metavar="FILE", help="the list; - reads the standard input")
    many.add_argument("--kind", choices=("ip", "user", "suspicious"), default="ip", help="default: ip")
    many.add_argument("--skip-bad", action="store_true", help="block the others when some cannot be read")
    many.add_argument("--dry-run", action="store_true", help="only say what would happen")
    _add_block_options(many)

    listing = leaf(asm, "list", run_list, summary="What is switched on or off, and who is blocked.")
    listing.add_argument("--search", metavar="TEXT", default="", help="only entries in which this stands")


def _add_activation_target(parser: argparse.ArgumentParser) -> None:
    targeting.add_service_and_env(parser)
    parser.add_argument(
        "--everywhere", action="store_true", help="the whole organisation; instead of --service or --env"
    )
    parser.add_argument("--reason", metavar="T", help="kept in the config's history")


def _add_block_options(parser: argparse.ArgumentParser) -> None:
    targeting.add_service_and_env(parser)
    parser.add_argument(
        "--for", dest="span", type=span, metavar="SPAN", help="how long: 15m, 1h, 7d (default: for ever)"
    )
    parser.add_argument("--reason", metavar="T", help="kept in the config's history")
    parser.add_argument("--yes", action="store_true", help="also private and very wide ranges")


def run_list(arguments: argparse.Namespace, session: Session) -> int:
    api = session.connect()
    path = (
        f"/protect/denylist?{urlencode({'q': arguments.search})}" if arguments.search else "/protect/denylist"
    )
    raw_activations, raw_denylist = api.get("/protect/activation"), api.get(path)
    output = session.output
    if output.as_json:
        activations = raw_activations["activations"] if isinstance(raw_activations, dict) else []
        entries = raw_denylist["entries"] if isinstance(raw_denylist, dict) else []
        output.document({"activations": activations, "blocked": entries})
        return 0
    output.table(
        ("APP AND API PROTECTION", "FOR", "CONFIG"),
        [
            ("on" if one.on else "off", targeting.in_words(one.targeting), one.config_id)
            for one in typed(raw_activations, Activations).activations
        ],
        empty="App and API Protection is on nowhere. Switch it on: sealwire asm enable --service SERVICE",
    )
    output.say("")
    denylist = typed(raw_denylist, Denylist)
    output.table(
        ("BLOCKED", "KIND", "UNTIL", "FOR", "BY", "REASON"),
        [
            (
                one.value,
                one.kind,
                "unblocked" if one.until is None else moment(parse_time(one.until)),
                targeting.in_words(one.targeting),
                one.by,
                one.reason,
            )
            for one in denylist.entries
        ],
        empty="Nobody is blocked.",
    )
    if denylist.total > len(denylist.entries):
        output.note(f"These are {len(denylist.entries):,} of {denylist.total:,}: --search TEXT finds others.")
    return 0
