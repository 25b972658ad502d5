"""`sealwire user`: people of this server, for whoever has a terminal on it.

Works on the database itself, with the settings of `sealwire server` and whether that runs or not; what is
changed here counts there with the next request. It is the way back in when nobody can sign in any more, so
it asks for no password: who may read the key file and the database is let in by them anyway.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

from sealwire.clock import utc_now
from sealwire.errors import (
    ConflictError,
    InvalidChangeError,
    NotFoundError,
    NotPermittedError,
    SealwireError,
    SettingsError,
)
from sealwire.server import audit, settings
from sealwire.server.access import links, roles, users
from sealwire.server.access.passwords import Passwords
from sealwire.server.access.totp import SecondFactors
from sealwire.server.access.users import Users
from sealwire.server.keyring import Keyring
from sealwire.server.settings import ServerSettings
from sealwire.server.store import people, read, rows
from sealwire.server.store.database import Database
from sealwire.server.store.people import UserRow

BY = "command line on the server"
_EXITS = ((NotFoundError, 3), (ConflictError, 4), (NotPermittedError, 5))


class Commands:
    """The commands; each returns what is to be printed."""

    def __init__(self, chosen: ServerSettings, database: Database) -> None:
        self._chosen = chosen
        self._database = database
        self._users = Users(database, lambda: None)
        self._links = links.Links(database, Passwords())
        self._now_ms = int(utc_now().timestamp() * 1000)

    def list(self, arguments: argparse.Namespace) -> str:
        """Everybody, a line each."""
        with self._database.read() as c:
            found = [
                (organisation, user, roles.grants_of_user(c, user.org_id, user.user_id))
                for organisation in read.organisations(c)
                for user in people.users(c, organisation.org_id)
            ]
        if not found:
            return "There is nobody yet. Each start of the server prints a link for the first user."
        several = len({organisation.org_id for organisation, *_ in found}) > 1
        lines = []
        for organisation, user, grants in found:
            words = [
                user.email,
                user.state,
                ", ".join(
                    f"{grant.role.name}{roles.reach_words(grant.services, grant.envs)}" for grant in grants
                )
                or "no role",
                "second factor" if user.has_second_factor else "",
                organisation.name if several else "",
                user.name,
            ]
            lines.append("  ".join(filter(None, words)))
        return "\n".join(lines)

    def invite(self, arguments: argparse.Namespace) -> str:
        """A new user with a role, and the link that lets them in."""
        with self._database.write() as c:
            organisation = _organisation(read.organisations(c), arguments.org)
            org_id = organisation.org_id
            role = next(
                (
                    role_id
                    for role_id, one in roles.roles_of(c, org_id).items()
                    if arguments.role.casefold() in (role_id, one.name.casefold())
                ),
                None,
            )
            if role is None:
                known = ", ".join(roles.roles_of(c, org_id))
                raise NotFoundError(f"There is no role {arguments.role[:100]}. There are: {known}.")
            user = users.create(
                c, org_id, email=arguments.email, name=arguments.name, by=BY, now_ms=self._now_ms
            )
            roles.bind(c, org_id, user.user_id, role, by=BY, now_ms=self._now_ms)
            token = links.make(c, org_id, links.INVITATION, user=user, by=BY, now_ms=self._now_ms)
        url = self._url(arguments, links.path_of(token))
        return f"Invited {users.title_of(user)}. The link works once, for seven days:\n{url}"

    def reset_link(self, arguments: argparse.Namespace) -> str:
        """A link to set a new password."""
        user = self._users.named(arguments.email)
        path = self._links.reset(user, by=BY, now_ms=self._now_ms)
        kind = links.PASSWORD_RESET if user.password_hash else links.INVITATION
        hours = links.LIFETIME_MS[kind] // 3_600_000
        return (
            f"With this link {users.title_of(user)} sets a password. It works once, for "
            f"{'an hour' if hours == 1 else f'{hours} hours'}:\n{self._url(arguments, path)}"
        )

    def reset_totp(self, arguments: argparse.Namespace) -> str:
        """No second factor any more."""
        user = self._users.named(arguments.email)
        factors = SecondFactors(self._database, Keyring(self._chosen.config_dir))
        factors.remove(user.org_id, user.user_id, by=BY, now_ms=self._now_ms)
        return f"Removed the second factor of {users.title_of(user)}; their sessions ended."

    def disable(self, arguments: argparse.Namespace) -> str:
        """Out at once."""
        user = self._users.named(arguments.email)
        self._users.disable(user.org_id, user.user_id, by=BY, now_ms=self._now_ms)
        return f"Disabled {users.title_of(user)}; their sessions and links ended."

    def enable(self, arguments: argparse.Namespace) -> str:
        """In again."""
        user: UserRow = self._users.named(arguments.email)
        self._users.enable(user.org_id, user.user_id, by=BY, now_ms=self._now_ms)
        return f"Enabled {users.title_of(user)}, with password and roles as they were."

    def _url(self, arguments: argparse.Namespace, path: str) -> str:
        return (arguments.url or _url_of(self._chosen)).rstrip("/") + path


def main(argv: Sequence[str]) -> int:
    """The command; returns the exit code."""
    arguments = _parser().parse_args(list(argv))
    audit.on_the_command_line()
    try:
        given = vars(arguments)
        overrides: dict[str, object] = {
            key: given[key] for key in ("data_dir", "config_dir", "database_url") if key in given
        }
        chosen = settings.load(overrides, os.environ)
        database = _database(chosen)
        try:
            run: Callable[[argparse.Namespace], str] = getattr(
                Commands(chosen, database), arguments.command.replace("-", "_")
            )
            print(run(arguments))  # noqa: T201 - the command's answer
        finally:
            database.close()
    except SealwireError as error:
        said = (
            "; ".join(one.message for one in error.problems) if isinstance(error, InvalidChangeError) else ""
        )
        hint = f" ({said})" if said and said not in error.public else ""
        print(f"sealwire: {error.public}{hint}", file=sys.stderr)  # noqa: T201 - the command's answer
        return next((code for kind, code in _EXITS if isinstance(error, kind)), 1)
    return 0


def _database(chosen: ServerSettings) -> Database:
    if not chosen.database_url and not (chosen.data_dir / "sealwire.db").exists():
        raise SettingsError(f"There is no database in {chosen.data_dir}: say where, with --data-dir.")
    return Database(chosen.engine_url)


def _url_of(chosen: ServerSettings) -> str:
    """How people reach the server: as set, as it said at its first start, or as the defaults have it."""
    if not chosen.public_url and chosen.profile_path.is_file():
        try:
            return str(tomllib.loads(chosen.profile_path.read_text())["url"])
        except (OSError, ValueError, KeyError):
            pass
    return chosen.url(chosen.port)


def _organisation(known: Sequence[rows.Organisation], wanted: str) -> rows.Organisation:
    found = [one for one in known if wanted in ("", str(one.org_id), one.name)]
    if not found:
        raise NotFoundError(f"There is no organisation {wanted[:100]}.")
    return min(found, key=lambda one: one.org_id)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sealwire user",
        description="People of this server: invite them, let them back in, keep them out. Run it where the "
        "server runs, with the same settings; what is changed counts there at once.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    everybody = commands.add_parser("list", help="everybody, with state and roles")
    invite = commands.add_parser("invite", help="make a user, and the link that lets them in")
    reset = commands.add_parser("reset-link", help="print a link to set a new password")
    others = [
        commands.add_parser("reset-totp", help="remove a second factor that was lost"),
        commands.add_parser("disable", help="let somebody in no more; they are out at once"),
        commands.add_parser("enable", help="let somebody in again"),
    ]
    invite.add_argument("--role", default="standard", help="admin, standard, read_only, or one of your own")
    invite.add_argument("--name", default="", help="how others see them")
    invite.add_argument("--org", default="", help="number or name of the organisation; the first by default")
    for command in (invite, reset):
        command.add_argument("--url", default="", help="how people reach this server, for the link")
    for command in (invite, reset, *others):
        command.add_argument("email", help="their email, as they sign in")
    for command in (everybody, invite, reset, *others):
        command.add_argument("--data-dir", type=Path, default=argparse.SUPPRESS, help="the database's folder")
        command.add_argument("--config-dir", type=Path, default=argparse.SUPPRESS, help="keys and settings")
        command.add_argument("--database-url", default=argparse.SUPPRESS, help="PostgreSQL")
    return parser
