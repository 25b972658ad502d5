"""Application Security in everyday words: on, off, block, unblock, and what is in force."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from sealwire.cli import denylist, targeting
from sealwire.cli.activation import run_disable, run_enable, says_on
from sealwire.cli.arguments import Groups, Session, group, leaf, span
from sealwire.cli.block import run_block_ip, run_block_user, run_unblock_ip, run_unblock_user
from sealwire.cli.denylist import Kind
from sealwire.cli.output import moment
from sealwire.cli.revise import active


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``asm`` into the tree."""
    asm = group(groups, "asm", summary="Application Security: switch it on and off, block and unblock")

    enable = leaf(
        asm,
        "enable",
        run_enable,
        summary="Switch Application Security on.",
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
    unblock_user = leaf(unblock, "user", run_unblock_user, summary="Let users in again.")
    unblock_user.add_argument("values", nargs="+", metavar="ID", help="user id")
    for parser in (unblock_ip, unblock_user):
        targeting.add_service_and_env(parser)
        parser.add_argument("--reason", metavar="T", help="kept in the config's history")

    leaf(asm, "list", run_list, summary="What is switched on or off, and who is blocked.")


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
    now_s = int(session.now().timestamp())
    features = [pair for pair in active(api, "ASM_FEATURES") if says_on(pair[1]) is not None]
    data = active(api, "ASM_DATA")
    blocked = [
        (config, kind, entry)
        for _, config in data
        for kind in Kind
        for entry in denylist.alive(denylist.entries(config.payload, kind), now_s=now_s)
    ]
    output = session.output
    if output.as_json:
        output.document(
            {
                "activations": [raw for raw, _ in features],
                "blocked": [
                    {
                        "kind": kind.name.lower(),
                        "value": entry.value,
                        "expiration": entry.until_s,
                        "targeting": config.targeting or {},
                        "config_id": config.id,
                    }
                    for config, kind, entry in blocked
                ],
            }
        )
        return 0
    output.table(
        ("APPLICATION SECURITY", "FOR", "CONFIG", "REVISION"),
        [
            (
                "on" if says_on(config) else "off",
                targeting.in_words(config.targeting),
                config.id,
                str(config.revision),
            )
            for _, config in features
        ],
        empty="Application Security is on nowhere. Switch it on: sealwire asm enable --service SERVICE",
    )
    output.say("")
    output.table(
        ("BLOCKED", "KIND", "UNTIL", "FOR", "CONFIG"),
        [
            (
                entry.value,
                kind.name.lower(),
                "unblocked" if entry.until_s is None else moment(datetime.fromtimestamp(entry.until_s, UTC)),
                targeting.in_words(config.targeting),
                config.id,
            )
            for config, kind, entry in blocked
        ],
        empty="Nobody is blocked.",
    )
    return 0
