"""The tracers' firewall engine, kept in a box: processes apart that may fail, hang and be killed.

Everything of the control plane that wants to know what the engine says of rules or requests asks a
``WafBox``. A worker does one job at a time; one that does not answer in time is killed, one that died or has
grown is replaced, and one that nobody needs for a while ends. As many jobs as there are workers run at once,
a few wait, and more are turned away.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

import sealwire
from sealwire.errors import InvalidChangeError, OversizeError, Problem, SettingsError, UnavailableError
from sealwire.server.waf import engine as waf

log = structlog.get_logger()

WORKERS = 1
MAX_WAITING = 8
JOB_S = 10.0
START_S = 20.0  # a busy machine takes its time to start a program
IDLE_S = 300.0
MAX_BUDGET_MS = 100.0
MAX_REQUESTS = 50
MAX_DOCUMENTS_BYTES = 16 * 1024 * 1024
MAX_ANSWER_BYTES = 32 * 1024 * 1024
WORN_OUT_BYTES = 400 * 1024 * 1024
PRODUCTS = frozenset({"ASM", "ASM_DATA", "ASM_DD"})
_HOME = Path(sealwire.__file__).parents[1]  # found there without anything else that is installed
_PROGRAM = ("-P", "-S", "-m", "sealwire.server.waf.worker")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a job.

    Attributes:
        diagnostics: Of every document, in order; the bundled rules, if they were asked for, come first.
        verdicts: Of every request, in order.
        built_us: How long it took until the rules were ready.
    """

    version: str
    diagnostics: tuple[waf.Diagnostics, ...]
    verdicts: tuple[waf.Verdict, ...]
    built_us: int
    memory_bytes: int


class _Hello(msgspec.Struct, frozen=True):
    version: str = ""
    problem: str = ""


@dataclass(slots=True)
class _Worker:
    process: asyncio.subprocess.Process
    version: str
    worn_out: bool = False


class _GoneError(Exception):
    """The worker ended in the middle of a job."""


class WafBox:
    """The engine, for as many as want it at once.

    Args:
        library: Its file; None: it is not installed, and every question is refused.
        bundled: The rules that tracers bring along.
        workers: How many jobs may run at once.
        job_s: After this long a job is ended, and its worker with it.
        idle_s: After this long without a job workers end.

    Attributes:
        started: How many workers were started so far.
    """

    def __init__(
        self,
        library: Path | None,
        bundled: Path | None,
        *,
        workers: int = WORKERS,
        job_s: float = JOB_S,
        idle_s: float = IDLE_S,
    ) -> None:
        self._library, self._bundled = library, bundled
        self._job_s, self._idle_s = job_s, idle_s
        self._turns = asyncio.Semaphore(workers)
        self._most = workers + MAX_WAITING
        self._here = 0
        self._idle: list[_Worker] = []
        self._ending: asyncio.TimerHandle | None = None
        self._closed = False
        self.started = 0

    @property
    def has_bundled(self) -> bool:
        """Whether there are rules that tracers bring along."""
        return self._bundled is not None

    @classmethod
    def installed(cls, named: str = "") -> WafBox:
        """A box with the engine that is on this server, if any."""
        return cls(waf.library_file(named), waf.bundled_rules_file())

    async def version(self) -> str | None:
        """The engine's version, or None where it is not installed or does not start."""
        if self._library is None:
            return None
        try:
            async with self._turn() as worker:
                return worker.version
        except SettingsError:
            return None

    async def check(self, documents: Mapping[str, bytes]) -> tuple[waf.Diagnostics, ...]:
        """What the engine says of documents, by path: such as ``ASM/draft``.

        Raises:
            SettingsError, UnavailableError, InvalidChangeError: As ``run``.
        """
        return (await self.run(documents, (), bundled=False)).diagnostics

    async def run(
        self,
        documents: Mapping[str, bytes],
        requests: Sequence[Mapping[str, object]],
        *,
        bundled: bool,
        budget_ms: float = MAX_BUDGET_MS,
    ) -> Answer:
        """What rules say of requests.

        Args:
            documents: JSON texts by path, taken in order.
            requests: Each as the addresses a tracer would tell.
            bundled: Whether the rules that tracers bring along come before the documents.
            budget_ms: For each request, at most ``MAX_BUDGET_MS``.

        Raises:
            SettingsError: The engine is not installed, or is none.
            UnavailableError: Too many ask at once.
            OversizeError: More than the box takes.
            InvalidChangeError: The engine did not get through these rules and requests.
        """
        if sum(map(len, documents.values())) > MAX_DOCUMENTS_BYTES or len(requests) > MAX_REQUESTS:
            raise OversizeError(
                f"At once the engine is asked about {MAX_REQUESTS} requests and "
                f"{MAX_DOCUMENTS_BYTES >> 20} MiB of rules at most."
            )
        job = msgspec.json.encode(
            {
                "documents": {path: raw.decode(errors="replace") for path, raw in documents.items()},
                "requests": requests,
                "bundled": bundled,
                "budget_ms": min(budget_ms, MAX_BUDGET_MS),
                "seconds": self._job_s * 0.8,  # so that what is done by then is told
            }
        )
        async with self._turn() as worker:
            try:
                return await asyncio.wait_for(self._ask(worker, job), self._job_s)
            except TimeoutError:
                words = f"The tracers' engine did not get through this within {self._job_s:g} s."
            except _GoneError:
                words = "The tracers' engine broke off on this."
            log.warning("firewall engine ended", reason=words, documents=len(documents))
            raise InvalidChangeError(words, problems=(Problem("$", words),))

    async def _ask(self, worker: _Worker, job: bytes) -> Answer:
        assert worker.process.stdin is not None
        with contextlib.suppress(ConnectionError):  # that it ended is seen when its answer is read
            worker.process.stdin.write(job + b"\n")
            await worker.process.stdin.drain()
        answer = msgspec.json.decode(await _line(worker.process), type=Answer)
        worker.worn_out = answer.memory_bytes > WORN_OUT_BYTES
        return answer

    # Workers ------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[_Worker]:
        """A worker of one's own for the length of the block; one that is left by an error is ended."""
        if self._library is None:
            raise SettingsError(waf.NOT_INSTALLED)
        if self._here >= self._most:
            raise UnavailableError(
                "Too many are trying rules and requests at the moment; try again shortly.", retry_after_s=2
            )
        self._here += 1
        try:
            async with self._turns:
                worker = await self._take(self._library)
                sound = False
                try:
                    yield worker
                    sound = True
                finally:
                    await self._put(worker, sound=sound)
        finally:
            self._here -= 1

    async def _take(self, library: Path) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.returncode is None:
                return worker
            await _end(worker.process)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *_PROGRAM, str(library), str(self._bundled or ""),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONPATH": str(_HOME), "LC_ALL": "C.UTF-8"}, cwd="/", limit=MAX_ANSWER_BYTES,
        )  # fmt: skip
        self.started += 1
        try:
            line = await asyncio.wait_for(_line(process), START_S)
            hello = msgspec.json.decode(line, type=_Hello)
        except (TimeoutError, _GoneError, msgspec.DecodeError) as error:
            await _end(process)
            raise SettingsError(f"{library} does not start: it is no libddwaf {waf.MAJOR}.") from error
        except BaseException:
            await _end(process)
            raise
        if hello.problem:
            await _end(process)
            raise SettingsError(hello.problem)
        log.info("firewall engine started", version=hello.version, pid=process.pid)
        return _Worker(process, hello.version)

    async def _put(self, worker: _Worker, *, sound: bool) -> None:
        if not sound or worker.worn_out or self._closed:
            await _end(worker.process)
            return
        self._idle.append(worker)
        if self._ending is not None:
            self._ending.cancel()
        self._ending = asyncio.get_running_loop().call_later(self._idle_s, self._end_idle)

    def _end_idle(self) -> None:
        """A worker whose input ends, ends."""
        while self._idle:
            process = self._idle.pop().process
            assert process.stdin is not None
            process.stdin.close()

    async def close(self) -> None:
        """End every worker; jobs that run are broken off when they are done."""
        self._closed = True
        if self._ending is not None:
            self._ending.cancel()
        while self._idle:
            await _end(self._idle.pop().process)


async def _line(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
    except ValueError as error:  # longer than its limit
        raise _GoneError from error
    if not line.endswith(b"\n"):
        raise _GoneError
    return line


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.stdin.close()
    await asyncio.shield(process.wait())


# Findings ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Findings:
    """What the engine says of a payload, at JSON paths below the payload.

    Attributes:
        problems: What it would refuse.
        warnings: What it would leave out, such as rules for another version of it.
    """

    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


#: Said of what was saved without the engine.
NOT_TRIED = "The tracers' engine is not installed on this server: whether it takes this was not checked."
NO_TIME = "The tracers' engine was too busy to try this: whether it takes it was not checked."


async def waf_verdict(
    box: WafBox | None, product: str, payload: Mapping[str, Any], *, raw: bytes
) -> Findings:
    """Try a payload of ASM, ASM_DD or ASM_DATA in the engine; a warning says that it could not be tried.

    Args:
        box: None: there is no engine.
        raw: The payload as it would be published.
    """
    if product not in PRODUCTS:
        return Findings()
    if box is None:
        return Findings(warnings=(Problem("$", NOT_TRIED),))
    try:
        (said,) = await box.check({f"{product}/draft": raw})
    except SettingsError:
        return Findings(warnings=(Problem("$", NOT_TRIED),))
    except UnavailableError:
        return Findings(warnings=(Problem("$", NO_TIME),))
    except InvalidChangeError as error:
        return Findings(problems=error.problems)
    return findings(payload, said)


def findings(payload: Mapping[str, Any], said: waf.Diagnostics) -> Findings:
    """What the engine said of a payload, at JSON paths."""
    problems, warnings = [], []
    if said.error:
        problems.append(Problem("$", _quoted(said.error)))
    for section in said.sections:
        if section.error:
            problems.append(Problem(f"$.{section.name}", _quoted(section.error)))
        why = {element: words for words, elements in section.reasons.items() for element in elements}
        places = _places(payload.get(section.name))
        for element in section.failed:
            problems.append(
                Problem(_path(section.name, places, element), _quoted(why.pop(element, "failed to load")))
            )
        for element in section.skipped:
            words = why.pop(element, "skipped: it is for another version of the engine")
            warnings.append(Problem(_path(section.name, places, element), _quoted(words)))
        for element, words in why.items():
            warnings.append(Problem(_path(section.name, places, element), _quoted(words)))
    return Findings(tuple(problems), tuple(warnings))


def _quoted(words: str) -> str:
    return f"The tracers' engine says: {words[:500]}."


def _places(elements: object) -> dict[str, int]:
    """Where elements are, by their id: of two with one id the later, which is the one that is refused."""
    if not isinstance(elements, list | tuple):
        return {}
    return {
        str(element.get("id")): index
        for index, element in enumerate(elements)
        if isinstance(element, Mapping)
    }


def _path(section: str, places: Mapping[str, int], element: str) -> str:
    if element in places:
        return f"$.{section}[{places[element]}]"
    _, _, index = element.partition("index:")
    return f"$.{section}[{index}]" if index.isdigit() else f"$.{section}"
