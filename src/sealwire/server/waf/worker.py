"""The process in which the tracers' firewall engine runs: `python -m sealwire.server.waf.worker`.

A job is a line of JSON on standard input, its answer a line on standard output, one after the other. What
the engine meets is hostile, so this process may hold little: bounded memory, bounded time of the processor
for each job, no files to write. Whoever started it kills it when a job takes too long, and starts another.
Nothing but the standard library is imported here, so that it starts quickly.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from sealwire.errors import SettingsError
from sealwire.server.waf import engine as waf

MAX_MEMORY_BYTES = 1024 * 1024 * 1024
MAX_JOB_CPU_S = 10
KEPT_RULES = 4  # sets of rules that stay loaded: whoever tries requests changes them more often than rules


class Worker:
    """Does jobs with one engine."""

    def __init__(self, library: Path | None, bundled: Path | None) -> None:
        self._engine = waf.Engine(library)
        self._bundled = bundled
        self._kept: OrderedDict[tuple[tuple[str, bytes], ...], waf.Rules] = OrderedDict()

    def hello(self) -> dict[str, Any]:
        """What is said before the first job."""
        return {"version": self._engine.version}

    def do(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """One job: build the rules, then ask them about each request until the time is over."""
        began = time.monotonic()
        documents: dict[str, bytes] = {}
        if job["bundled"] and self._bundled is not None:
            documents[waf.BUNDLED] = self._bundled.read_bytes()
        for path, text in job["documents"].items():
            documents[path] = text.encode(errors="replace")
        rules = self._rules(documents)
        built = time.monotonic()
        verdicts = []
        for addresses in job["requests"]:
            if time.monotonic() - began > job["seconds"]:
                verdicts.append(waf.Verdict(problem="Not tried: the time was over before its turn."))
            else:
                verdicts.append(rules.run(addresses, budget_ms=job["budget_ms"]))
        return {
            "version": self._engine.version,
            "diagnostics": [dataclasses.asdict(one) for one in rules.diagnostics],
            "verdicts": [dataclasses.asdict(one) for one in verdicts],
            "built_us": round((built - began) * 1e6),
            "memory_bytes": memory_bytes(),
        }

    def _rules(self, documents: Mapping[str, bytes]) -> waf.Rules:
        key = tuple(documents.items())
        rules = self._kept.pop(key, None)
        while len(self._kept) >= KEPT_RULES:
            self._kept.popitem(last=False)[1].close()
        if rules is None:
            rules = waf.Rules(self._engine, documents)
        self._kept[key] = rules
        return rules


def memory_bytes() -> int:
    """What this process holds in memory now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0  # not Linux: the limits hold, and nobody is told early
    return pages * resource.getpagesize()


def confine() -> None:
    """Give up for good what the engine does not need."""
    for what, most in (
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),  # a core would hold the requests that people pasted
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # not every system knows every limit
            resource.setrlimit(what, (least, least))


def _begin_job() -> None:
    """Some time of the processor, counted from now."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = int(used.ru_utime + used.ru_stime) + MAX_JOB_CPU_S
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


def serve(jobs: BinaryIO, answers: BinaryIO, worker: Worker) -> None:
    """Do jobs until there are no more."""
    _say(answers, worker.hello())
    while line := jobs.readline():
        _begin_job()
        _say(answers, worker.do(json.loads(line)))


def _say(answers: BinaryIO, answer: Mapping[str, Any]) -> None:
    answers.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
    answers.flush()


def main(argv: list[str]) -> int:
    """Arguments: the library, and the file of the bundled rules or nothing."""
    library, bundled = (Path(text) if text else None for text in (*argv, "", "")[:2])
    # Whatever native code prints does not get among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    confine()
    try:
        worker = Worker(library, bundled)
    except SettingsError as error:
        _say(answers, {"problem": error.public})
        return 1
    serve(sys.stdin.buffer, answers, worker)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
