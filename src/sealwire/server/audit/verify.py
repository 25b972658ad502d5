"""`sealwire audit verify`: is the audit trail still what was written?

From an export it works on any machine, with nothing but this package; on the server it reads the database.
It exits with 1 when something was changed, is missing or was put in.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sealwire.errors import SealwireError, SettingsError
from sealwire.server.audit.chain import NO_HEAD, Head, Verdict, Verifier, is_as_written

SHOW_EVERY_S = 0.2
PIECE = 2000
MAX_LINE_CHARS = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """One trail to verify.

    Attributes:
        head: As kept beside the events.
        whole: False for a part, of which the links cannot be verified.
    """

    name: str
    org: str
    head: Head
    events: Callable[[], Iterator[Mapping[str, Any]]]
    whole: bool = True


def main(argv: Sequence[str]) -> int:
    """Verify what is asked for; the exit code."""
    arguments = _parser().parse_args(list(argv))
    try:
        sources = [_from_file(arguments.file)] if arguments.file is not None else _from_database(arguments)
        verdicts = [_verify(source, arguments.expect_head) for source in sources]
    except SealwireError as error:
        print(f"sealwire: {error.public}", file=sys.stderr)  # noqa: T201 - the command's answer
        return 1
    return 0 if all(verdicts) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sealwire audit verify",
        description="Verify that the audit trail is what was written: nothing changed, missing or put in.",
    )
    parser.add_argument("file", type=Path, nargs="?", help="an export; none: this server's database")
    parser.add_argument("--expect-head", default="", metavar="HASH", help="a head noted earlier")
    parser.add_argument("--org", type=int, help="only this organisation, by its number")
    parser.add_argument("--data-dir", type=Path, default=argparse.SUPPRESS, help="the database's folder")
    parser.add_argument("--config-dir", type=Path, default=argparse.SUPPRESS, help="keys and settings")
    parser.add_argument("--database-url", default=argparse.SUPPRESS, help="PostgreSQL")
    return parser


def _verify(source: Source, expected_head: str) -> bool:
    """Verify one trail and tell what came of it; whether all is well."""
    if not source.whole:
        return _verify_part(source)
    verifier = Verifier(source.org, expected_head=expected_head)
    with _Progress(source.head.events, sys.stderr) as progress:
        for number, event in enumerate(source.events(), start=1):
            verifier.take(event)
            progress.at(number)
    verdict = verifier.verdict(source.head)
    _tell(source, verdict, expected_head)
    return verdict.holds


def _verify_part(source: Source) -> bool:
    changed = [event.get("id") for event in source.events() if not is_as_written(event, source.org)]
    print(  # noqa: T201 - the command's answer
        f"{source.name}: this export is a part of a trail. "
        + (f"Changed: event {changed[0]}. " if changed else "No event of it was changed. ")
        + "Whether any is missing only an export of the whole trail can tell."
    )
    return False


def _tell(source: Source, verdict: Verdict, expected_head: str) -> None:
    lines = [f"{source.name} ({source.org})"]
    if verdict.found is None:
        lines.append(f"  holds     {verdict.events} events, each as it was written")
        lines.append(f"  head      {verdict.sha256}")
        if expected_head:
            later = verdict.events - (verdict.expected_at or 0)
            lines.append(
                f"  expected  the head you noted is that of event number {verdict.expected_at}, {later} ago"
            )
        else:
            lines.append("            note it elsewhere: --expect-head finds a trail that was written anew")
    else:
        lines.append(f"  BROKEN    {verdict.found.kind}: {verdict.found.text}")
        lines.append(f"  before    {verdict.events} events hold, up to {verdict.sha256}")
    print("\n".join(lines))  # noqa: T201 - the command's answer


# Where events come from -------------------------------------------------------------------------------


def _from_file(file: Path) -> Source:
    def open_file() -> TextIO:
        try:
            return file.open(encoding="utf-8", errors="strict")
        except OSError as error:
            raise SettingsError(f"{file} cannot be read: {error.strerror}.") from error

    def documents() -> Iterator[Mapping[str, Any]]:
        with open_file() as stream:
            number = 0
            while line := _line(stream, file, number + 1):
                number += 1
                if not line.strip():
                    continue
                try:
                    document = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise SettingsError(f"{file} is no export: line {number} is not JSON.") from error
                if not isinstance(document, dict):
                    raise SettingsError(f"{file} is no export: line {number} is no event.")
                yield document

    about = next(documents(), {}).get("export")
    if not isinstance(about, dict):
        raise SettingsError(f"{file} is no export of an audit trail: its first line does not say so.")
    try:
        head = Head(int(about["events"]), str(about["head"]))
        name, org, whole = str(about["name"]), str(about["org"]), bool(about["whole"])
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{file} is no export of an audit trail: its first line lacks {error}."
        ) from error

    def events() -> Iterator[Mapping[str, Any]]:
        for number, document in enumerate(documents()):
            if number:
                yield document

    return Source(name, org, head, events, whole)


def _line(stream: TextIO, file: Path, number: int) -> str:
    try:
        line = stream.readline(MAX_LINE_CHARS)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is no export: line {number} is not UTF-8.") from error
    if len(line) == MAX_LINE_CHARS:
        raise SettingsError(f"{file} is no export: line {number} does not end.")
    return line


def _from_database(arguments: argparse.Namespace) -> list[Source]:
    # Only here, so that an export can be verified without the packages of a server.
    from sealwire.server import settings
    from sealwire.server.store import audit as store
    from sealwire.server.store import read, rows
    from sealwire.server.store.database import Database

    given = vars(arguments)
    chosen = settings.load(
        {name: given[name] for name in ("data_dir", "config_dir", "database_url") if name in given},
        os.environ,
    )
    if not chosen.database_url and not (chosen.data_dir / "sealwire.db").exists():
        raise SettingsError(f"There is no database in {chosen.data_dir}; --data-dir says where it is.")
    database = Database(chosen.engine_url)

    def source(organisation: rows.Organisation) -> Source:
        org_id, org = organisation.org_id, organisation.uuid
        with database.read() as c:
            head = store.head(c, org_id)
            newest = store.find(c, org_id, limit=1)
        last = newest[0].id if newest else 0

        def events() -> Iterator[Mapping[str, Any]]:
            after = 0
            while after < last:
                with database.read() as c:
                    found = store.oldest(c, org_id, after=after, limit=PIECE)
                for row in found:
                    if row.id <= last:
                        yield store.to_chain(row, org)
                after = found[-1].id if found else last

        return Source(organisation.name, org, head or NO_HEAD, events)

    with database.read() as c:
        organisations = read.organisations(c)
    chosen_ones = [one for one in organisations if arguments.org in (None, one.org_id)]
    if not chosen_ones:
        raise SettingsError("There is no such organisation in this database.")
    if arguments.expect_head and len(chosen_ones) > 1:
        raise SettingsError("A head is of one organisation: name it with --org.")
    return [source(one) for one in chosen_ones]


class _Progress:
    """How far it is, on a terminal."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self._total, self._stream = total, stream
        self._shows = stream.isatty()
        self._next = time.monotonic() + SHOW_EVERY_S

    def __enter__(self) -> _Progress:
        return self

    def at(self, number: int) -> None:
        if not self._shows or number % 100:
            return
        now = time.monotonic()
        if now >= self._next:
            self._next = now + SHOW_EVERY_S
            share = min(100, number * 100 // max(1, self._total))
            self._stream.write(f"\r{number} of {self._total} events ({share} %)")
            self._stream.flush()

    def __exit__(self, *_: object) -> None:
        if self._shows:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
