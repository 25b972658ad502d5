"""Backup and restore of a control plane with embedded storage.

A backup is a tar file: the database as of one moment and the wrapped root keys. The key that wraps them
(``kek``) is left out on purpose: keep it elsewhere. A restore moves every sequence far forward, because
agents may hold versions that were issued after the backup and must never be asked to step back.
"""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
from pathlib import Path

from sealwire import __version__
from sealwire.clock import utc_now
from sealwire.errors import SettingsError
from sealwire.server.publish import jump_sequences
from sealwire.server.settings import ServerSettings
from sealwire.server.store import read, write
from sealwire.server.store.database import Database

# At one publication a second, eleven days of history that a backup may lack; 2^53 holds nine billion such.
JUMP = 1_000_000


def backup(settings: ServerSettings, file: Path) -> str:
    """Write a backup while the server runs; returns a sentence for people.

    Raises:
        SettingsError: No database there, PostgreSQL, or the file exists.
    """
    if file.exists():
        raise SettingsError(f"{file} exists already; choose another name.")
    database_file = settings.data_dir / "sealwire.db"
    if not settings.database_url and not database_file.exists():
        raise SettingsError(f"There is no database in {settings.data_dir}.")
    database = Database(settings.engine_url)
    with tempfile.TemporaryDirectory(dir=file.resolve().parent) as folder:
        copy = Path(folder) / "sealwire.db"
        database.backup_to(copy)
        database.close()
        manifest = {"sealwire_version": __version__, "made_at": utc_now().isoformat(timespec="seconds")}
        partial = Path(folder) / "backup.tar.gz"
        with tarfile.open(partial, "w:gz") as archive:
            raw = json.dumps(manifest).encode()
            entry = tarfile.TarInfo("manifest.json")
            entry.size = len(raw)
            archive.addfile(entry, io.BytesIO(raw))
            archive.add(copy, "sealwire.db")
            roots = settings.config_dir / "root-keys"
            if roots.is_dir():
                archive.add(roots, "root-keys")
        partial.chmod(0o600)
        partial.replace(file)
    return (
        f"Wrote {file}: database and wrapped root keys. "
        f"Keep a copy of {settings.config_dir / 'kek'} elsewhere: without it the backup opens nothing."
    )


def restore(settings: ServerSettings, file: Path, *, force: bool) -> str:
    """Put a backup back while the server is stopped; returns a sentence for people.

    Raises:
        SettingsError: Not a backup, or there is a database already and ``force`` is not given.
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
    with tempfile.TemporaryDirectory(dir=settings.data_dir) as folder:
        try:
            with tarfile.open(file, "r:gz") as archive:
                archive.extractall(folder, filter="data")
        except (OSError, tarfile.TarError) as error:
            raise SettingsError(f"{file} is not a Sealwire backup.", detail=str(error)) from error
        unpacked = Path(folder)
        if not (unpacked / "sealwire.db").is_file():
            raise SettingsError(f"{file} is not a Sealwire backup: there is no database in it.")
        # Everything is prepared aside; the last step puts it in place at once.
        database = Database(f"sqlite:///{unpacked / 'sealwire.db'}")
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
                write.add_audit(
                    c, org_id, at_ms=now_ms, actor="restore", action="server.restored", subject=file.name,
                    summary=f"Restored a backup; versions continue above {domain.director_version + JUMP}",
                )  # fmt: skip
        database.checkpoint()
        for suffix in ("-wal", "-shm"):
            Path(f"{database_file}{suffix}").unlink(missing_ok=True)
        (unpacked / "sealwire.db").replace(database_file)
        for key in (unpacked / "root-keys").rglob("*.json"):
            target = settings.config_dir / key.relative_to(unpacked)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not target.exists():
                key.replace(target)
                target.chmod(0o400)
    return f"Restored {len(domains)} organisation(s) from {file}; versions were moved forward by {JUMP}."
