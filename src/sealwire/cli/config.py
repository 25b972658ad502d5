"""Configs of any product: put, get, list, history, retire."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from sealwire.cli import targeting
from sealwire.cli.answers import Check, CheckProblem, Config, Configs, History, Revision, typed
from sealwire.cli.api import AdminApi, segment
from sealwire.cli.arguments import Groups, Session, group, leaf, number_from
from sealwire.cli.output import moment, parse_time
from sealwire.errors import InvalidChangeError, NotFoundError, Problem

# What a person edits by hand; the control plane has its own, stricter limit.
MAX_PAYLOAD_BYTES = 64 * 1024 * 1024


def declare(groups: Groups[argparse.ArgumentParser]) -> None:
    """Hang ``config`` into the tree."""
    config = group(groups, "config", summary="Configs of any product: put, get, list, history, retire")

    put = leaf(
        config,
        "put",
        run_put,
        summary="Make a config, or change one.",
        more="""
examples:
  sealwire config put --product APM_TRACING --service shop --file rate.json --dry-run
  sealwire config put --id 4f00c0ffee00beef --expected-revision 3 --file rate.json --comment "less noise"

Without --id a config is made. With --id what is given is changed and the rest stays; targeting flags
replace the whole targeting. --expected-revision refuses the change if somebody else was there first;
without it the change applies to the revision that is read just before.""",
    )
    put.add_argument(
        "--product", metavar="P", help="such as ASM_FEATURES or APM_TRACING; needed without --id"
    )
    put.add_argument("--id", metavar="ID", help="change this config")
    put.add_argument("--name", metavar="N", help="a name for people")
    put.add_argument("--file", metavar="F", help="the payload as JSON; - reads standard input")
    put.add_argument("--comment", metavar="T", help="why; kept in the history")
    put.add_argument(
        "--expected-revision",
        type=number_from(1),
        metavar="N",
        help="with --id: refuse if it is not this one",
    )
    put.add_argument(
        "--everywhere",
        action="store_true",
        help="with --id: drop the targeting, apply to the whole organisation",
    )
    put.add_argument("--dry-run", action="store_true", help="check only; say which clients it would match")
    targeting.add_all(put)

    get = leaf(config, "get", run_get, summary="Show one config with its payload.")
    get.add_argument("id", metavar="ID")

    listing = leaf(config, "list", run_list, summary="Show configs, and how many clients took them.")
    listing.add_argument("--product", metavar="P", help="only of this product")
    listing.add_argument(
        "--state", choices=("active", "expired", "retired", "all"), default="active", help="default: active"
    )

    history = leaf(config, "history", run_history, summary="Show every revision of a config.")
    history.add_argument("id", metavar="ID")

    retire = leaf(
        config,
        "retire",
        run_retire,
        summary="Take a config back.",
        more="Clients get back the values they had without it. Its history stays.",
    )
    retire.add_argument("id", metavar="ID")
    retire.add_argument(
        "--expected-revision", type=number_from(1), metavar="N", help="refuse if it is not this one"
    )


def run_put(arguments: argparse.Namespace, session: Session) -> int:
    if arguments.id is None:
        if not arguments.product or arguments.file is None:
            arguments.usage_error("--product and --file are needed to make a config; --id changes one")
        if arguments.expected_revision is not None:
            arguments.usage_error("--expected-revision goes with --id")
    target = targeting.from_arguments(arguments)
    if target and arguments.everywhere:
        arguments.usage_error("--everywhere and targeting flags contradict each other")
    payload = None if arguments.file is None else read_payload(arguments.file)
    given: dict[str, object] = {}
    if payload is not None:
        given["payload"] = payload
    if arguments.id is None or target or arguments.everywhere:
        given["targeting"] = target
    if arguments.name is not None:
        given["name"] = arguments.name
    if arguments.comment is not None:
        given["comment"] = arguments.comment
    if arguments.id is not None and not given:
        arguments.usage_error("nothing to change: give --file, --name, --comment or targeting flags")

    api = session.connect()
    if arguments.dry_run:
        return _check(api, arguments, given, session)
    if arguments.id is None:
        raw = api.post("/configs", {"product": arguments.product, **given})
    else:
        expected = arguments.expected_revision
        if expected is None or arguments.product:
            current = typed(api.get(f"/configs/{segment(arguments.id)}"), Config)
            _same_product(arguments.product, current)
            expected = expected or current.revision
        raw = api.put(f"/configs/{segment(arguments.id)}", {"expected_revision": expected, **given})
    config = typed(raw, Config)
    session.output.document(raw)
    session.output.say(
        f"Saved {config.product} config {config.id}, revision {config.revision}, "
        f"for {targeting.in_words(config.targeting)}."
    )
    _warn(config.warnings, session)
    return 0


def _warn(warnings: list[CheckProblem], session: Session) -> None:
    if not session.output.as_json:
        for warning in warnings:
            session.output.note(f"Careful: {warning.path}: {warning.message}")


def _check(api: AdminApi, arguments: argparse.Namespace, given: dict[str, object], session: Session) -> int:
    body: dict[str, object] = {"product": arguments.product, **given}
    if arguments.id is not None:
        current = typed(api.get(f"/configs/{segment(arguments.id)}"), Config)
        _same_product(arguments.product, current)
        body = {
            "product": current.product,
            "name": current.name,
            "targeting": current.targeting or {},
            "payload": current.payload,
            **given,
        }
    raw = api.post("/configs:check", body)
    check = typed(raw, Check)
    if check.problems:
        raise InvalidChangeError(
            "The control plane would refuse this.",
            problems=tuple(Problem(problem.path, problem.message) for problem in check.problems),
        )
    session.output.document(raw)
    count = "" if check.matches is None else f" It matches {_counted(check.matches, 'client')} seen now."
    session.output.say(f"This would be accepted.{count} Nothing was changed.")
    _warn(check.warnings, session)
    return 0


def run_get(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().get(f"/configs/{segment(arguments.id)}")
    config = typed(raw, Config)
    output = session.output
    output.document(raw)
    output.say(f"{config.product} config {config.id}{f' ({config.name})' if config.name else ''}")
    output.say(f"  state     {config.state}, revision {config.revision}")
    output.say(f"  for       {targeting.in_words(config.targeting)}")
    changed_by = f" by {config.updated_by}" if config.updated_by else ""
    output.say(f"  changed   {moment(parse_time(config.updated_at))}{changed_by}")
    if config.comment:
        output.say(f"  comment   {config.comment}")
    if config.expires_at:
        output.say(f"  lapses    {moment(parse_time(config.expires_at))}")
    if config.deliveries:
        output.say(f"  delivered {_delivered(config)}")
    output.say(json.dumps(config.payload, indent=2, ensure_ascii=False))
    return 0


def run_list(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().get("/configs", {"product": arguments.product, "state": arguments.state})
    session.output.document(raw)
    session.output.table(
        ("ID", "PRODUCT", "NAME", "FOR", "REVISION", "STATE", "DELIVERED", "CHANGED"),
        [
            (
                config.id,
                config.product,
                config.name or "-",
                targeting.in_words(config.targeting),
                str(config.revision),
                config.state,
                _delivered(config),
                moment(parse_time(config.updated_at)),
            )
            for config in typed(raw, Configs).configs
        ],
        empty="No configs. Make one: sealwire asm enable --service SERVICE, or sealwire config put --help",
    )
    return 0


def run_history(arguments: argparse.Namespace, session: Session) -> int:
    raw = session.connect().get(f"/configs/{segment(arguments.id)}/history")
    session.output.document(raw)
    session.output.table(
        ("REVISION", "WHEN", "WHO", "STATE", "FOR", "COMMENT"),
        [_history_row(revision) for revision in typed(raw, History).revisions],
    )
    return 0


def _history_row(revision: Revision) -> tuple[str, ...]:
    return (
        str(revision.revision),
        moment(parse_time(revision.at)),
        revision.by or "-",
        revision.state or "-",
        targeting.in_words(revision.targeting),
        revision.comment or "-",
    )


def run_retire(arguments: argparse.Namespace, session: Session) -> int:
    api = session.connect()
    path = f"/configs/{segment(arguments.id)}"
    expected = arguments.expected_revision
    if expected is None:
        expected = typed(api.get(path), Config).revision
    raw = api.delete(path, {"expected_revision": expected})
    config = typed(raw, Config)
    session.output.document(raw)
    session.output.say(
        f"Retired {config.product} config {config.id}; it was for {targeting.in_words(config.targeting)}."
    )
    return 0


def read_payload(name: str) -> dict[str, object]:
    """Read a payload from a file or standard input.

    Raises:
        InvalidChangeError: Not a JSON object, or a key is written twice.
        NotFoundError: No such file.
    """
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(MAX_PAYLOAD_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                raw = file.read(MAX_PAYLOAD_BYTES + 1)
    except OSError as error:
        raise NotFoundError(f"The file {name} cannot be read: {error.strerror}.") from error
    if len(raw) > MAX_PAYLOAD_BYTES:
        raise InvalidChangeError(f"The payload in {name} is larger than {MAX_PAYLOAD_BYTES} bytes.")
    source = "standard input" if name == "-" else name
    try:
        document = json.loads(raw, object_pairs_hook=_no_key_twice, parse_constant=_no_constant)
    except InvalidChangeError:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidChangeError(f"The payload in {source} is not JSON: {error}.") from error
    if not isinstance(document, dict):
        raise InvalidChangeError(
            f"The payload in {source} is not a JSON object.", problems=(Problem("$", "expected an object"),)
        )
    return document


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InvalidChangeError(
            f"The payload has the key {twice!r} twice in one object; which one is meant?"
        )
    return made


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is not a JSON number")


def _same_product(product: str | None, config: Config) -> None:
    if product and product != config.product:
        raise InvalidChangeError(
            f"Config {config.id} is of product {config.product}, not {product}; a config keeps its product."
        )


def _delivered(config: Config) -> str:
    counts = config.deliveries
    if counts is None:
        return "-"
    parts = [f"{counts.acknowledged} of {counts.wanted}"]
    if counts.applying:
        parts.append(f"{counts.applying} applying")
    if counts.failed:
        parts.append(f"{counts.failed} failed")
    return ", ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
