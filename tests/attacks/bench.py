"""The bench every attack is tried on: an agent, an application behind it, a control plane that turns hostile.

A test arranges an honest state, attacks, and says what must come of it::

    yesterday = bench.honest_answer()
    bench.next_change()

    bench.attack_with(yesterday)

    bench.assert_refused("rollback", "The director's timestamp came as version 1, and version 2 is trusted")
    bench.assert_recovers()

``assert_refused`` holds the agent to all that is asked of it: the right code, the last good state in memory
and on disk (a restart serves it while the attack goes on), the same bytes for the application, and the
reason in the next request to the control plane. ``assert_recovers`` ends the attack and lets an honest
change through.

The control plane serves HTTPS in a thread of its own, and the application speaks to the agent over its Unix
socket. The agent is either the real program or, where a process would add nothing but time, the same
``Agent`` object that the program runs, in that thread.
"""

from __future__ import annotations

import asyncio
import copy
import http.client
import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar

import orjson
import pytest
import yaml
from aiohttp import web
from aiohttp.web_request import BaseRequest

import sealwire.clock
from sealwire.agent.daemon import Agent
from sealwire.agent.local import Polls
from sealwire.agent.roster import Roster
from sealwire.agent.settings import AgentSettings, load_settings
from sealwire.trust.uptane import Answer
from sealwire.wire import remoteconfig_pb2 as pb
from tests.support.fake_control_plane import API_KEY, FakeControlPlane, Request
from tests.support.processes import Program, clean_environment, wait_until
from tests.support.replay import to_wire
from tests.support.repository import SimulatedRepository, Simulator
from tests.support.tracers import FakeTracer

FEATURES = "datadog/2/ASM_FEATURES/on/config"
BLOCKED = "datadog/2/ASM_DATA/blocked/config"
HONEST = {FEATURES: b'{"asm":{"enabled":true}}', BLOCKED: b'{"rules_data":[]}'}
PATIENCE_S = 15.0

T = TypeVar("T")

both_ways = pytest.mark.parametrize("new_bench", ["in process", "real process"], indirect=True)
"""Try an attack on the program itself as well."""


class HostileControlPlane(FakeControlPlane):
    """A control plane that can also be taken over whole.

    Attributes:
        taken_over: Answers every request for configurations, as it likes.
    """

    taken_over: Callable[[BaseRequest], Awaitable[web.StreamResponse]] | None = None

    async def _handle(self, request: BaseRequest) -> web.StreamResponse:  # type: ignore[override]  # a wider answer
        if self.taken_over is None or not request.path.endswith("/configurations"):
            return await super()._handle(request)
        message = pb.LatestConfigsRequest.FromString(await request.read())
        seen = Request(request.path, request.headers.get("DD-Api-Key", ""), None, message)
        async with self._news:
            self.requests.append(seen)
            self._news.notify_all()
        return await self.taken_over(request)

    async def turn(self, *, body: bytes | None = None, edit: Callable[..., None] | None = None) -> None:
        """Become hostile or, without arguments, honest again; polls that are held are let go."""
        self.body, self.edit, self.taken_over = body, edit, None
        await self.release()

    async def take_over(self, answer: Callable[[BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        self.taken_over = answer
        await self.release()


class TestedAgent(Protocol):
    """The agent under attack."""

    run_path: Path

    def start(self) -> None:
        """Run, and return when it serves."""

    def stop(self) -> None:
        """End it as an operator would."""

    def restart_elsewhere(self, copy_of_run_path: Path, request: bytes) -> bytes:
        """What an agent answers that starts from what is on the disk now, while the attack goes on."""


@dataclass(frozen=True)
class Good:
    """The last good state, as it was before an attack.

    Attributes:
        answer: What an application that just started is told.
    """

    versions: dict[str, int]
    answer: bytes
    on_disk: bytes
    polls: int


class Bench:
    """One agent that has the two configs of ``HONEST``, and one application that applied them.

    Args:
        folder: Everything goes below.
        tls: What the control plane serves with; None is plain HTTP.
        ca_file: What the agent believes.
        socket: Of the agent; short enough for a Unix socket.
        real_process: Run ``sealwire agent`` rather than its object.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tls: ssl.SSLContext | None,
        ca_file: Path,
        socket: Path,
        real_process: bool = False,
    ) -> None:
        self.simulator = Simulator()
        self.tls = tls
        self.ca_file = ca_file
        self.socket = socket
        self.folder = folder
        self.tracer = FakeTracer()
        self._real = real_process
        self._changes = 0
        self._newcomers = 0
        self._good: Good | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="attack bench", daemon=True)
        self._thread.start()
        self.plane = self.run(_made(HostileControlPlane, self.simulator))
        self._serving: AbstractAsyncContextManager[str] | None = None
        self.agent: TestedAgent | None = None

    # --- an honest world --------------------------------------------------------------------------

    def start(self, **settings: object) -> Bench:
        """Publish, listen, and wait until agent and application have everything.

        Args:
            settings: More of ``datadog.yaml``, with ``__`` for the dots.
        """
        for path, raw in HONEST.items():
            self.simulator.put(path, raw)
        self.plane.publish_quietly()
        self.listen()
        self.start_agent(**settings)
        self.wait_for_versions()
        self.poll(self.tracer)
        assert self.tracer.files == HONEST
        return self

    def listen(self) -> None:
        """Serve HTTPS, always on the same port."""
        self._serving = self.plane.serving(port=self.plane.port if self.plane.url else 0, tls=self.tls)
        self.run(self._serving.__aenter__())

    def close_plane(self) -> None:
        """Cut every connection and listen no more."""
        if self._serving is not None:
            self.run(self._serving.__aexit__(None, None, None))
            self._serving = None

    def start_agent(self, **settings: object) -> None:
        lines: dict[str, object] = {
            "api_key": API_KEY,
            "hostname": "host-1",
            "run_path": str(self.folder / "run"),
            "apm_config.receiver_port": 0,
            "apm_config.receiver_socket": str(self.socket),
            "remote_configuration.rc_dd_url": self.plane.url,
            "remote_configuration.ca_file": str(self.ca_file),
            "remote_configuration.config_root": self.simulator.config.roots[0].decode(),
            "remote_configuration.director_root": self.simulator.director.roots[0].decode(),
            **{name.replace("__", "."): value for name, value in settings.items()},
        }
        kind = _Process if self._real else _InProcess
        self.agent = kind(self, lines)
        self.agent.start()

    def next_change(self) -> str:
        """Publish one more config honestly and see it arrive at the application; its path."""
        self._changes += 1
        path = f"datadog/2/ASM_DATA/change-{self._changes}/config"
        self.simulator.put(path, b'{"change":%d}' % self._changes)
        self.publish()
        return path

    def publish(self) -> None:
        """Sign what the honest simulator has, and see it arrive."""
        self.run(self.plane.publish())
        self.wait_for_versions()
        self.poll(self.tracer)
        assert self.tracer.files == self.simulator.files
        assert self.tracer.root_version == self.simulator.director.versions["root"]

    def honest_answer(self) -> Answer:
        """Everything that is published now."""
        return self.simulator.answer()

    # --- attacks ----------------------------------------------------------------------------------

    def thief(self) -> Simulator:
        """A copy of everything, keys included: what a thief can make of them is nobody else's doing."""
        return copy.deepcopy(self.simulator)

    def go_on_from(self, simulator: Simulator) -> None:
        """From here on, this is what is honestly published."""
        self.simulator = self.plane.simulator = copy.deepcopy(simulator)

    def attack_with(self, answer: Answer | Simulator | bytes) -> None:
        """From now on the control plane answers this to every poll."""
        if isinstance(answer, Simulator):
            answer = answer.answer()
        body = answer if isinstance(answer, bytes) else to_wire(answer)
        self.remember_good()
        self.run(self.plane.turn(body=body))

    def attack_each(self, edit: Callable[[pb.LatestConfigsResponse], None]) -> None:
        """From now on every answer is changed on its way, and a new change is published to be changed."""
        self.remember_good()
        self._changes += 1
        self.simulator.put(f"datadog/2/ASM_DATA/change-{self._changes}/config", b'{"under":"attack"}')
        self.run(self.plane.turn(edit=edit))
        self.run(self.plane.publish())

    def take_over(self, answer: Callable[[BaseRequest], Awaitable[web.StreamResponse]]) -> None:
        """From now on this function answers, with whatever bytes at whatever pace."""
        self.remember_good()
        self.run(self.plane.take_over(answer))

    def take(self, answer: Answer | Simulator) -> None:
        """The same with an answer that the agent has to believe, because who made it holds all it takes."""
        self.attack_with(answer)
        on_disk = self.good.on_disk
        wait_until(
            lambda: self.state_file.read_bytes() != on_disk, "the agent believes it", timeout_s=PATIENCE_S
        )
        # One more answer is taken, so the one before it is in force.
        self.poll(self.newcomer())
        self.poll(self.tracer)
        assert self.status()["refusals"] == {}

    def remember_good(self) -> None:
        """What must stay as it is."""
        self._good = Good(
            self.versions(), self.poll(self.newcomer()), self.state_file.read_bytes(), len(self.plane.polls)
        )

    # --- what must come of them -------------------------------------------------------------------

    def assert_refused(self, code: str, sentence: str) -> None:
        """The attack is refused for this reason, and told; nothing else has changed.

        Args:
            code: Of the error.
            sentence: With which the reason begins: repository, role and versions by name.
        """
        good = self.good
        complaint = self.until_poll(lambda poll: poll.has_error, after=good.polls)
        # 1. Refused, with the right code, 4. and the reason in the next request.
        assert complaint.error.startswith(f"tuf: {code}: {sentence}"), complaint.error
        # Everything is asked for anew, of the roots that are trusted.
        assert (complaint.current_config_snapshot_version, complaint.backend_client_state) == (0, b"")
        assert complaint.current_config_root_version == good.versions["config_root"]
        assert complaint.current_director_root_version == good.versions["director_root"]
        told = self.status()
        assert told["condition"] == "refused"
        assert told["refusals"].keys() == {code}
        assert told["last_error"].startswith(f"tuf: {code}: {sentence}")
        self.assert_still_good()

    def assert_not_reached(self, words: str) -> None:
        """No answer was had at all, for this reason, and that is told; nothing else has changed."""
        complaint = self.until_poll(lambda poll: poll.has_error, after=self.good.polls)
        assert complaint.error.startswith("api: "), complaint.error
        assert words in complaint.error
        assert self.status()["refusals"] == {}
        self.assert_still_good()

    def assert_still_good(self) -> None:
        """Memory, disk and applications have what they had before, while the attack goes on."""
        good = self.good
        # 2. In memory and on disk.
        assert self.versions() == good.versions
        assert self.state_file.read_bytes() == good.on_disk
        # 3. Served: nothing new to who has it, all of it to who starts now, byte for byte.
        assert self.poll(self.tracer) == b"{}"
        assert self.poll(self.newcomer()) == good.answer
        # 2. A restart serves it as well.
        assert self.agent is not None
        assert self.agent.restart_elsewhere(self.folder / "copy", self.newcomer().request()) == good.answer
        assert self.versions() == good.versions

    def assert_ignored(self) -> None:
        """The attack reaches nobody, though there is nothing to refuse: nothing changed, nothing is told."""
        self.assert_still_good()
        # Each newcomer makes the agent ask, and the second request would tell of what came with the first.
        told = len(self.plane.polls)
        self.poll(self.newcomer())
        self.poll(self.newcomer())
        assert len(self.plane.polls) >= told + 2
        assert not any(poll.has_error for poll in self.plane.polls[self.good.polls :])
        assert self.status()["refusals"] == {}

    def assert_recovers(self) -> None:
        """The attack ends: 5. the next honest change arrives, is kept, and no error is told any more."""
        self.run(self.plane.turn())
        path = self.next_change()
        assert path in self.tracer.files
        version = self.simulator.config.versions["snapshot"]
        self.until_poll(
            lambda poll: not poll.has_error and poll.current_config_snapshot_version == version,
            after=len(self.plane.polls) - 2,
        )
        told = self.status()
        assert (told["condition"], told["last_error"]) == ("connected", None)
        self.remember_good()
        self.assert_still_good()

    # --- looking ----------------------------------------------------------------------------------

    @property
    def good(self) -> Good:
        assert self._good is not None, "nothing was attacked yet"
        return self._good

    @property
    def state_file(self) -> Path:
        return self.folder / "run" / "remote-config" / "state"

    def newcomer(self) -> FakeTracer:
        """An application that just started."""
        self._newcomers += 1
        return FakeTracer(f"newcomer-{self._newcomers}")

    def poll(self, tracer: FakeTracer) -> bytes:
        """Let an application ask the agent for its configs, as it does in the field; what it is told."""
        body = self.ask("POST", "/v0.7/config", tracer.request())
        tracer.take(body)
        return body

    def status(self) -> dict[str, Any]:
        """What the agent says of Remote Configuration."""
        told: dict[str, Any] = orjson.loads(self.ask("GET", "/sealwire/v1/status"))["remote_configuration"]
        return told

    def versions(self) -> dict[str, int]:
        versions: dict[str, int] = self.status()["versions"]
        return versions

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = _UnixConnection(self.socket)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            told = response.read()
        finally:
            connection.close()
        assert response.status == 200, told
        return told

    def wait_for_versions(self) -> None:
        """Wait until the agent trusts what is honestly published, and its next poll is held."""
        director, config = self.simulator.director.versions, self.simulator.config.versions
        wanted = {
            "director": director["targets"],
            "director_root": director["root"],
            "config_snapshot": config["snapshot"],
            "config_root": config["root"],
        }
        wait_until(
            lambda: self.versions() == wanted, f"the agent has {wanted}", timeout_s=PATIENCE_S, every_s=0.005
        )
        self.wait_for_condition("connected")

    def wait_for_condition(self, condition: str) -> None:
        """Wait until the agent says that this is how things stand with the control plane."""
        wait_until(
            lambda: self.status()["condition"] == condition, condition, timeout_s=PATIENCE_S, every_s=0.005
        )

    def until_poll(
        self, claim: Callable[[pb.LatestConfigsRequest], bool], *, after: int = 0
    ) -> pb.LatestConfigsRequest:
        """The first request to the control plane after so many of which a claim is true."""
        return self.run(self.plane.until_poll(claim, after=after))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something in the bench's own thread, where control plane and agent live."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S * 2)

    def close(self) -> None:
        """End agent, control plane and thread."""
        if self.agent is not None:
            self.agent.stop()
        self.close_plane()
        self.run(_end_what_is_left())
        self.run(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()


async def _made(kind: Callable[..., T], *arguments: object) -> T:
    return kind(*arguments)


async def _end_what_is_left() -> None:
    """Handlers of connections that were cut."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


class _InProcess:
    """The object that the program runs, in the bench's thread."""

    def __init__(self, bench: Bench, lines: dict[str, object]) -> None:
        self._bench = bench
        self._lines = lines
        self.run_path = Path(str(lines["run_path"]))
        self._running: asyncio.Task[None] | None = None
        self._agent: Agent | None = None

    def start(self) -> None:
        self._bench.run(self._start())

    def stop(self) -> None:
        self._bench.run(self._stop())

    def restart_elsewhere(self, copy_of_run_path: Path, request: bytes) -> bytes:
        shutil.rmtree(copy_of_run_path, ignore_errors=True)
        shutil.copytree(self.run_path / "remote-config", copy_of_run_path / "remote-config")
        return self._bench.run(self._answer_of_restarted(copy_of_run_path, request))

    def _settings(self, **other: object) -> AgentSettings:
        lines = {**self._lines, **other}
        return load_settings(environ={}, search=(), overrides=[f"{k}={v}" for k, v in lines.items()])

    async def _start(self) -> None:
        self._agent = Agent(self._settings())
        self._stopping = asyncio.Event()
        self._running = asyncio.create_task(self._agent.run(self._stopping))
        async with asyncio.timeout(PATIENCE_S):
            while not self._agent.server.listening and not self._running.done():
                await asyncio.sleep(0.005)

    async def _stop(self) -> None:
        if self._running is not None:
            self._stopping.set()
            await self._running
            self._running = None

    async def _answer_of_restarted(self, run_path: Path, request: bytes) -> bytes:
        restarted = Agent(self._settings(run_path=run_path))
        assert restarted.trusted is not None
        assert restarted.cache is not None
        try:
            # Nobody talks to the control plane here, so nobody is woken for a newcomer either.
            polls = Polls(trusted=restarted.trusted, roster=Roster(), news=_NoNews())
            status, body = await polls.poll(request)
            assert status == 200, body
            return body
        finally:
            restarted.cache.close()


class _NoNews:
    def note_change(self) -> None:
        return

    async def refresh_for_newcomer(self) -> None:
        return


class _Process:
    """The program itself."""

    def __init__(self, bench: Bench, lines: dict[str, object]) -> None:
        self._bench = bench
        self.run_path = Path(str(lines["run_path"]))
        self._config = bench.folder / "datadog.yaml"
        self._config.write_text(yaml.safe_dump(_nested(lines)))
        self._program: Program | None = None

    def start(self) -> None:
        self._program = Program(
            [sys.executable, "-m", "sealwire", "agent", "run", "--config", self._config],
            name="agent under attack",
            log=self._bench.folder / "agent.log",
            environment=clean_environment({"HOME": str(self._bench.folder)}),
        )
        self._program.wait_for_line("sealwire agent ready")

    def stop(self) -> None:
        if self._program is not None:
            self._program.stop()

    def restart_elsewhere(self, copy_of_run_path: Path, request: bytes) -> bytes:
        """A power cut, and a start where the attack still goes on: the real thing needs no copy."""
        assert self._program is not None
        self._program.kill9()
        self.start()
        return self._bench.ask("POST", "/v0.7/config", request)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            with suppress(OSError):
                self.sock.close()
            raise


def _nested(flat: dict[str, object]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *above, last = name.split(".")
        level = nested
        for part in above:
            level = level.setdefault(part, {})
        level[last] = value
    return nested


def repository_of(simulator: Simulator, name: str) -> SimulatedRepository:
    """The one of that name, ``director`` or ``config``."""
    found: SimulatedRepository = getattr(simulator, name)
    return found


def whose(name: str) -> str:
    """A repository's name as sentences begin with it."""
    return "The director's" if name == "director" else "The config repository's"


def move_clock(seconds: float) -> None:
    """Put the agent's host on another time; in process only."""
    sealwire.clock._OFFSET = timedelta(seconds=seconds)
