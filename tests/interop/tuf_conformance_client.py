#!/usr/bin/env python3
"""Our verification core with the command line that tuf-conformance drives.

The suite serves repositories over HTTP and looks at what a client asks for, stores and refuses. Sealwire
itself never fetches documents one by one; this program is the shell that does, around ``Refresh``, so that
the public suite can judge the core. See ``conformance.sh``.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata

from sealwire.errors import SealwireError
from sealwire.trust.refusals import claimed_version
from sealwire.trust.verify import SNAPSHOT, TARGETS, TIMESTAMP, Document, Refresh, Repository

TOP_LEVEL = (TIMESTAMP, SNAPSHOT, TARGETS)


class Server:
    """The repository under test, asked only for what is needed and not in the folder already."""

    def __init__(self, url: str, folder: Folder) -> None:
        self._url = url.rstrip("/")
        self._folder = folder

    def root(self, version: int) -> bytes | None:
        return get(f"{self._url}/{version}.root.json")

    def offered(self, role: str) -> bytes | None:
        return None

    def fetch(self, role: str, version: int | None) -> bytes | None:
        name = urllib.parse.quote(role, safe="")
        if version is None:
            return get(f"{self._url}/{name}.json")
        saved = self._folder.read(role) if role not in TOP_LEVEL else None
        if saved is not None and claimed_version(saved) == version:
            return saved
        return get(f"{self._url}/{version}.{name}.json")


def get(url: str) -> bytes | None:
    """What is there, or None if nothing is."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return bytes(response.read())
    except urllib.error.HTTPError as error:
        if error.code in (403, 404):
            return None
        raise


class Folder:
    """The metadata folder: what was trusted before, and what is trusted now."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Repository:
        """Trust again what was saved by an earlier run, where the present root still vouches for it."""
        repository = Repository.bootstrap("test", (self._path / "root.json").read_bytes())
        held: dict[str, Document] = {}
        for role in TOP_LEVEL:
            raw = self.read(role)
            if raw is None:
                continue
            document = Metadata[Any].from_bytes(raw)
            if repository.root.get_verification_result(role, document.signed_bytes, document.signatures):
                held[role] = Document(raw, document.signed, repository.root)
        return replace(repository, **held)

    def read(self, role: str) -> bytes | None:
        path = self._file(role)
        return path.read_bytes() if path.exists() else None

    def save(self, repository: Repository) -> None:
        self._file("root").write_bytes(repository.roots[-1])
        for role in (*TOP_LEVEL, *repository.delegated):
            document = repository.document(role)
            if document is not None:
                self._file(role).write_bytes(document.raw)

    def _file(self, role: str) -> Path:
        return self._path / f"{urllib.parse.quote(role, safe='')}.json"


def refresh(folder: Folder, url: str) -> Refresh:
    """The four top-level steps; whatever was verified is saved, also if a later step fails."""
    running = Refresh(folder.load(), Server(url, folder), now=datetime.now(UTC))
    for step in (
        running.update_roots,
        running.update_timestamp,
        running.update_snapshot,
        running.update_targets,
    ):
        try:
            step()
        finally:
            folder.save(running.result())
    return running


def download(running: Refresh, folder: Folder, name: str, base_url: str, into: Path) -> None:
    """One artifact, unless it is there already."""
    try:
        target = running.find(name)
    finally:
        folder.save(running.result())
    if target is None:
        raise SealwireError(f"{name} is not in the repository.")
    saved = into / urllib.parse.quote(name, safe="")
    try:
        target.verify_length_and_hashes(saved.read_bytes())
        return
    except (OSError, ValueError, LengthOrHashMismatchError):
        pass
    digest = next(iter(target.hashes.values()))
    path, slash, last = name.rpartition("/")
    raw = get(f"{base_url.rstrip('/')}/{path}{slash}{digest}.{last}")
    if raw is None:
        raise SealwireError(f"{name} could not be fetched.")
    target.verify_length_and_hashes(raw)
    saved.write_bytes(raw)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--metadata-dir", required=True, type=Path)
    parser.add_argument("--metadata-url")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-base-url")
    parser.add_argument("--target-dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    chosen = parser.parse_args(arguments)
    folder = Folder(chosen.metadata_dir)
    try:
        if chosen.command == "init":
            (chosen.metadata_dir / "root.json").write_bytes(chosen.trusted_root.read_bytes())
            return 0
        running = refresh(folder, chosen.metadata_url)
        if chosen.command == "download":
            for name in chosen.target_name:
                download(running, folder, name, chosen.target_base_url, chosen.target_dir)
    except (SealwireError, OSError, ValueError, LengthOrHashMismatchError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
