"""The Go programs the tests run: parts of the Go Agent, unmodified, each with a module of its own.

A build is kept in ``.cache/interop/<module>`` under a digest of all that went into it. ``make interop`` makes
them before any test has to.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.processes import REPOSITORY

SOURCES = REPOSITORY / "tests" / "interop"
KEPT = REPOSITORY / ".cache" / "interop"

#: Modules by folder, and what each is called.
PROGRAMS = {"go": "goagent", "go_trace": "gotraceagent"}

FETCH_TIMEOUT_S = 120
BUILD_TIMEOUT_S = 400

# Nobody reads more into a missing network than there is: these are faults of ours, not of the proxy.
_OUR_FAULT = re.compile(r"checksum mismatch|SECURITY ERROR|missing go\.sum entry|updates to go\.mod needed")


class NotHereError(Exception):
    """A program is not built and cannot be; says why."""


def go_program(module: str) -> Path:
    """The built program of a module; skips where it is not built and cannot be."""
    try:
        return build(module)
    except NotHereError as error:
        pytest.skip(str(error))


def build(module: str) -> Path:
    """The program of a module, built now unless it was before.

    Raises:
        NotHereError: Go, or what the program is made of, cannot be had here.
    """
    name, source = PROGRAMS[module], SOURCES / module
    go = shutil.which("go")
    if go is None:
        raise NotHereError(f"go is not installed, so {name} (parts of the Go Agent) cannot be built")
    digest = hashlib.sha256(_run(go, ["version"], source, timeout_s=60).stdout.encode())
    for file in sorted([*source.glob("*.go"), *source.glob("go.*")]):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode() + file.read_bytes())
    program = KEPT / module / digest.hexdigest()[:16] / name
    if program.exists():
        return program
    try:
        fetched = _run(go, ["list", "-deps", "."], source, timeout_s=FETCH_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise NotHereError(f"the modules of {name} did not arrive within {FETCH_TIMEOUT_S} s") from None
    if fetched.returncode != 0:
        why = fetched.stderr.strip()
        assert not _OUR_FAULT.search(why), why
        last = why.splitlines()[-1] if why else "?"
        raise NotHereError(f"the modules of {name} cannot be had here: {last}")
    fresh = program.with_suffix(f".{os.getpid()}")
    fresh.parent.mkdir(parents=True, exist_ok=True)
    built = _run(
        go,
        ["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(fresh), "."],
        source,
        timeout_s=BUILD_TIMEOUT_S,
    )
    assert built.returncode == 0, built.stderr
    fresh.rename(program)
    return program


def _run(
    go: str, arguments: list[str], folder: Path, *, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    # Never a newer toolchain from the network, nor a change to what is locked.
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    return subprocess.run(
        [go, *arguments],
        cwd=folder,
        env=environment,
        timeout=timeout_s,
        capture_output=True,
        text=True,
        check=False,
    )


def main() -> None:
    """Build every program, and say so; where one cannot be, its tests skip."""
    for module, name in PROGRAMS.items():
        began = time.monotonic()
        try:
            build(module)
        except NotHereError as error:
            sys.stderr.write(f"left out: {error}\n")
            continue
        if (took_s := time.monotonic() - began) > 1:
            sys.stderr.write(f"built {name} in {took_s:.0f} s\n")


if __name__ == "__main__":
    main()
