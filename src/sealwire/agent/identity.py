"""Which agent this is: an id that outlives restarts and is not shared by copies of a machine.

Hides where it is kept. It is drawn once and lies in ``<run_path>/agent-uuid`` together with a digest of
the machine it was drawn on, so that a cloned image draws its own. Where nothing can be kept it is derived
from machine and folder: the same at each start, another per folder.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

# Any fixed namespace will do; this one was drawn for Sealwire.
_NAMESPACE = uuid.UUID("6b1d9f0c-7d0e-4f3b-9a57-0c5d1b8a2e41")
MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def agent_uuid(
    run_path: Path, *, hostname: str, machine_id_files: tuple[Path, ...] = MACHINE_ID_FILES
) -> str:
    """The id of the agent of this folder on this machine.

    Args:
        run_path: Of the agent; need not exist or be writable.
        hostname: Stands in for the machine's id where it has none.
        machine_id_files: The first that has something counts.
    """
    machine = hashlib.sha256(_machine_id(machine_id_files, hostname).encode()).hexdigest()
    file = run_path / "agent-uuid"
    try:
        kept, _, kept_machine = file.read_text().strip().partition(" ")
        if kept_machine == machine:
            return str(uuid.UUID(kept))
    except (OSError, ValueError):
        pass
    drawn = str(uuid.uuid4())
    new = file.with_suffix(".new")
    try:
        run_path.mkdir(parents=True, exist_ok=True)
        new.write_text(f"{drawn} {machine}\n")
        os.replace(new, file)
    except OSError:
        return str(uuid.uuid5(_NAMESPACE, f"{machine} {run_path}"))
    return drawn


def _machine_id(files: tuple[Path, ...], hostname: str) -> str:
    for file in files:
        try:
            if text := file.read_text().strip():
                return text
        except OSError:
            continue
    return hostname
