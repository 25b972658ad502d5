"""Backup and restore of a control plane with embedded storage.

A backup is a tar file: the database as of one moment and the wrapped root keys. The key that wraps them
(``kek``) is left out on purpose: keep it elsewhere. A restore moves every sequence far forward, because
agents may hold versions that were issued after the backup and must never be asked to step back.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from sealwire import __version__
from sealwire.clock import utc_now
from sealwire.errors import SealwireError, SettingsError, UnavailableError
from sealwire.server.publish import jump_sequences
from sealwire.server.settings import ServerSettings
from sealwire.server.store import audit, read, rows, write
from sealwire.server.store.database import Database

# At one publication a second, eleven days of history that a backup may lack; 2^53 holds nine billion such.
JUMP = 1_000_000
MAX_KEYS_TOLD = 50


def backup(settings: ServerSettings, file: Path) -> str:
    """Write a backup while the server runs; returns a sentence for people.

    Raises:
        SettingsError: No database there, PostgreSQL, or the file exists.
    """
    if file.exists():
        raise SettingsError(f"{file} exists already; choose another name.")
    if not file.absolute().parent.is_dir():
        raise SettingsError(f"There is no folder {file.absolute().parent} to write to.")
    database_file = settings.data_dir / "sealwire.db"
    if not settings.database_url and not database_file.exists():
        raise SettingsError(f"There is no database in {settings.data_dir}.")
    database = Database(settings.engine_url)
    _note_backup(database, file)
    with tempfile.TemporaryDirectory(dir=file.resolve().parent) as folder:
        copy = Path(folder) / "sealwire.db"
        database.backup_to(copy)
        database.close()
        roots = settings.config_dir / "root-keys"
        keys = sorted(roots.rglob("*.json")) if roots.is_dir() else []
        members = {"sealwire.db": copy} | {str(key.relative_to(settings.config_dir)): key for key in keys}
        manifest = {
            "sealwire_version": __version__,
            "made_at": utc_now().isoformat(timespec="seconds"),
            "sha256": {name: _sha256(path) for name, path in members.items()},
        }
        partial = Path(folder) / "backup.tar.gz"
        with tarfile.open(partial, "w:gz") as archive:
            raw = json.dumps(manifest).encode()
            entry = tarfile.TarInfo("manifest.json")
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
            for name, path in members.items():
                archive.add(path, name)
        partial.chmod(0o600)
        partial.replace(file)
    return (
        f"Wrote {file}: database and wrapped root keys. "
        f"Keep a copy of {settings.config_dir / 'kek'} elsewhere: without it the backup opens nothing."
    )


def restore(settings: ServerSettings, file: Path, *, force: bool) -> str:
    """Put a backup back while the server is stopped; returns a sentence for people.

    Raises:
        SettingsError: Not a backup, a server is running on the data, or there is a database already and
            ``force`` is not given.
    """
    if settings.database_url:
        raise SettingsError("This database is PostgreSQL: restore it with pg_restore.")
    database_file = settings.data_dir / "sealwire.db"
    if database_file.exists() and not force:
        raise SettingsError(
            f"{database_file} exists. Stop the server, and repeat with --force to replace it."
        )
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings.config_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with exclusive_use(settings.data_dir), tempfile.TemporaryDirectory(dir=settings.data_dir) as folder:
        # Everything is prepared aside; the last step puts it in place at once.
        unpacked = Path(folder)
        try:
            with tarfile.open(file, "r:gz") as archive:
                archive.extractall(folder, filter="data")
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise SettingsError(f"{file} is not a Sealwire backup.", detail=str(error)) from error
        _check_whole(unpacked, file)
        domains = _move_forward(unpacked / "sealwire.db", file)
        keys = _keys_that_live(unpacked / "sealwire.db", database_file)
        if database_file.exists():
            # What its log holds goes into the file, so that a crash right here loses nothing of it.
            with contextlib.suppress(sa.exc.DatabaseError):
                Database(f"sqlite:///{database_file}").checkpoint()
        for suffix in ("-wal", "-shm"):
            Path(f"{database_file}{suffix}").unlink(missing_ok=True)
        (unpacked / "sealwire.db").replace(database_file)
        for key in (unpacked / "root-keys").rglob("*.json"):
            target = settings.config_dir / key.relative_to(unpacked)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not target.exists():
                key.replace(target)
                target.chmod(0o400)
    return f"Restored {domains} organisation(s) from {file}; versions were moved forward by {JUMP}.\n{keys}"


def _keys_that_live(restored_file: Path, replaced_file: Path) -> str:
    """Which API keys count again, those first that were revoked since; for whoever restores to act on."""
    live = {key.key_id: key for key in _api_keys(restored_file) if key.revoked_ms is None}
    if not live:
        return "There is no live API key in it."
    since: set[str] = set()
    if replaced_file.exists():
        with contextlib.suppress(SealwireError, sa.exc.DatabaseError):
            now = {key.key_id: key for key in _api_keys(replaced_file)}
            since = {key_id for key_id in live if key_id in now and now[key_id].revoked_ms is not None}
    lines = []
    if since:
        lines.append("Revoked after the backup was made, and LIVE AGAIN - revoke them again:")
        lines += [_key_line(live[key_id]) for key_id in live if key_id in since]
    lines.append("API keys that live; revoke those again that were revoked after the backup was made:")
    lines += [_key_line(key) for key in live.values() if key.key_id not in since][:MAX_KEYS_TOLD]
    if len(live) - len(since) > MAX_KEYS_TOLD:
        lines.append(f"  and {len(live) - len(since) - MAX_KEYS_TOLD} more: sealwire key list")
    if len(lines) > 1 and lines[-1].endswith(":"):
        lines.pop()
    return "\n".join([*lines, "sealwire key revoke ID ends one for good."])


def _api_keys(database_file: Path) -> list[rows.ApiKeyRow]:
    database = Database(f"sqlite:///{database_file}")
    try:
        with database.read() as c:
            return read.api_keys(c)
    finally:
        database.checkpoint()
        database.close()


def _key_line(key: rows.ApiKeyRow) -> str:
    scope = "with" if key.remote_config else "without"
    return f"  {key.key_id}  ends in {key.last4}  {scope} Remote Configuration  {key.name}"


def _note_backup(database: Database, file: Path) -> None:
    """Put the backup into every audit trail; one of a database that waits for an upgrade is taken without."""
    now_ms = int(utc_now().timestamp() * 1000)
    with contextlib.suppress(UnavailableError), database.write() as c:
        for one in read.organisations(c):
            write.add_audit(
                c, one.org_id, at_ms=now_ms, actor="backup", action="server.backed_up",
                subject=file.name[:300], summary="Wrote a backup of the database and the wrapped root keys",
            )  # fmt: skip


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_whole(unpacked: Path, file: Path) -> None:
    """Everything the manifest names is there as it was: a database with a flipped bit may open as another."""
    try:
        digests = dict(json.loads((unpacked / "manifest.json").read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{file} is not a Sealwire backup.", detail=str(error)) from error
    if "sealwire.db" not in digests:
        raise SettingsError(f"{file} is not a Sealwire backup: there is no database in it.")
    for name, digest in digests.items():
        path = unpacked / name
        if ".." in Path(name).parts or not path.is_file() or _sha256(path) != digest:
            raise SettingsError(f"{file} is damaged: {name} is not as it was when the backup was made.")


def _move_forward(database_file: Path, backup_file: Path) -> int:
    """Move every sequence of an unpacked database forward; returns how many organisations it has."""
    try:
        database = Database(f"sqlite:///{database_file}")
        database.migrate()
        now_ms = int(utc_now().timestamp() * 1000)
        with database.read() as c:
            domains = {o.org_id: read.domain(c, o.org_id) for o in read.organisations(c)}
        for org_id, domain in domains.items():
            jump_sequences(
                database,
                org_id,
                director_above=domain.director_version + JUMP,
                config_above=domain.config_version + JUMP,
            )
            with database.write() as c:
                head = audit.head(c, org_id)
                events = 0 if head is None else head.events
                write.add_audit(
                    c, org_id, at_ms=now_ms, actor="restore", action="server.restored",
                    subject=backup_file.name[:300],
                    summary=f"Restored a backup: versions continue above {domain.director_version + JUMP}, "
                    f"this trail after event number {events} of the backup",
                    detail={"events": events, "head": "" if head is None else head.sha256},
                )  # fmt: skip
        database.checkpoint()
    except sa.exc.DatabaseError as error:
        raise SettingsError(
            f"{backup_file} is not a Sealwire backup: its database cannot be read.", detail=str(error)
        ) from error
    return len(domains)


@contextlib.contextmanager
def exclusive_use(data_dir: Path) -> Iterator[None]:
    """Keep servers away from a data folder.

    Raises:
        SettingsError: One is at work there.
    """
    descriptor = _open_lock(data_dir)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SettingsError(f"A server is running on {data_dir}: stop it first.") from error
        yield
    finally:
        os.close(descriptor)


def share_use(data_dir: Path) -> int:
    """Say that a server works on a data folder, until the descriptor is closed or the process ends.

    Raises:
        SettingsError: A restore is at work there.
    """
    descriptor = _open_lock(data_dir)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise SettingsError(f"{data_dir} is being restored: start the server after that.") from error
    return descriptor


def _open_lock(data_dir: Path) -> int:
    return os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
