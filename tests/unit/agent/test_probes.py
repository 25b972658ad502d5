"""Metrics and spans of probes: added up, sampled, bounded, told once."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sealwire.agent import dogstatsd as listening
from sealwire.agent import metrics as adding
from sealwire.agent import probes as module
from sealwire.agent import reporter as delivering
from sealwire.agent.dogstatsd import DogStatsd
from sealwire.agent.exchange import ApiError, Trouble
from sealwire.agent.metrics import MAX_PROBES, MAX_SETS, Metrics
from sealwire.agent.probes import SPANS_PER_S, Gatherer, ProbeReporter
from sealwire.agent.settings import StatsdPorts
from sealwire.wire import probe_batch
from sealwire.wire.dogstatsd import PREFIX
from sealwire.wire.probe_batch import OTHER, Batch, Measured, ProbeSpan

ID = "aaaaaaaa-0000-4000-8000-000000000003"
TRACE = "6b02faea000000005a19a5ecaac67746"


def line(value: float = 1, kind: str = "d", *tags: str, probe: str = ID, metric: str = "m") -> bytes:
    said = ",".join((*tags, f"debugger.probeid:{probe}"))
    return PREFIX + f"{metric}:{value}|{kind}|#{said}".encode()


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


def metrics() -> tuple[Metrics, Clock, Counter[str]]:
    clock, dropped = Clock(), Counter[str]()
    return Metrics(dropped, wall_ms=clock), clock, dropped


def gathered(one: Metrics) -> list[Measured]:
    found: list[Measured] = []
    while not one.is_empty:
        found += one.gather()
    return found


# Adding up ------------------------------------------------------------------------------------------------


def test_values_are_added_up_and_told_as_differences() -> None:
    adding, clock, _ = metrics()
    for value in (4, -2, 7):
        assert adding.take(line(value))
    (first,) = gathered(adding)
    assert (first.at_ms, first.count, first.sum, first.min, first.max, first.last) == (
        1_000_000,
        3,
        9,
        -2,
        7,
        7,
    )
    assert first.sketch is not None
    assert first.sketch.count == 3
    assert adding.take(line(5))
    (more,) = gathered(adding)
    assert (more.count, more.sum, more.min, more.max) == (1, 5, 5, 5)
    clock.ms += 10_000
    adding.take(line(1))
    clock.ms += 10_000
    adding.take(line(2))
    assert [(each.at_ms, each.sum) for each in gathered(adding)] == [(1_010_000, 1), (1_020_000, 2)]
    assert gathered(adding) == []


def test_counts_and_gauges_have_no_sketch_and_a_sampled_count_counts_for_all() -> None:
    adding, _, _ = metrics()
    adding.take(PREFIX + f"m:2|c|@0.25|#debugger.probeid:{ID}".encode())
    adding.take(line(3, "g"))
    count, gauge = gathered(adding)
    assert (count.kind, count.count, count.sum, count.sketch) == ("c", 4, 8, None)
    assert (gauge.kind, gauge.last, gauge.sketch) == ("g", 3, None)


def test_of_100_000_sets_of_tags_few_are_told_apart_and_no_value_is_lost() -> None:
    """Attack, or a tag with the id of an order."""
    adding, _, dropped = metrics()
    for number in range(100_000):
        assert adding.take(line(1, "c", f"order:{number}"))
    found = gathered(adding)
    assert len(found) == MAX_SETS + 1
    assert sum(each.sum for each in found) == 100_000
    assert [each.tags for each in found if each.tags == OTHER] == [OTHER]
    assert dropped["metrics_tag_sets"] == 100_000 - MAX_SETS


def test_sets_of_tags_that_are_not_heard_of_make_room_for_others() -> None:
    adding, clock, _ = metrics()
    for number in range(MAX_SETS):
        adding.take(line(1, "c", f"pod:{number}"))
    gathered(adding)
    clock.ms += 40_000
    for number in range(MAX_SETS):
        adding.take(line(1, "c", f"new:{number}"))
    assert all(each.tags != OTHER for each in gathered(adding))
    assert adding.series == MAX_SETS


def test_lines_of_more_probes_than_there_can_be_are_counted_and_forgotten() -> None:
    adding, clock, dropped = metrics()
    for number in range(MAX_PROBES + 50):
        assert adding.take(line(probe=f"p{number}"))
    assert dropped["metrics_probes"] == 50
    assert len(gathered(adding)) == MAX_PROBES
    clock.ms += 60_000
    adding.take(line(probe="after a while"))
    assert [each.probe_id for each in gathered(adding)] == ["after a while"]


@pytest.mark.parametrize(
    "hostile", [b"", b"x", b":nan|d|#debugger.probeid:p", b":1|s", b":1|d|@7", b"\xff:1|d|#" + b"a" * 5_000]
)
def test_what_cannot_be_read_is_counted(hostile: bytes) -> None:
    adding, _, dropped = metrics()
    assert adding.take(PREFIX + hostile)
    assert dropped["metrics_unreadable"] == 1
    assert adding.is_empty


def test_hostile_names_and_tags_come_out_printable() -> None:
    adding, _, _ = metrics()
    adding.take(line(1, "d", "a\x1b[31m:\u202eevil", "b:\x00", metric="m\x07\u2028n"))
    (found,) = gathered(adding)
    assert all(text.isprintable() for text in (found.metric, *found.tags))


def test_a_line_that_no_probe_asked_for_is_left_to_others() -> None:
    adding, _, _ = metrics()
    assert not adding.take(PREFIX + b"m:1|c|#a:b")
    assert adding.is_empty


# Gathering ------------------------------------------------------------------------------------------------


def span(number: int = 1, probe: str = ID) -> ProbeSpan:
    return ProbeSpan(probe, "span", "shop", "prod", "1", "r", "", TRACE, number, 1, 2, "n", "f")


def batch_of(gatherer: Gatherer, number: int = 1) -> Batch:
    batch = gatherer.gather(number, hostname="web-1", agent_uuid="u", started_ms=1)
    assert batch is not None
    return batch


def test_of_a_probes_spans_some_are_passed_on_and_all_are_counted() -> None:
    now = [10.0]
    gatherer = Gatherer(monotonic=lambda: now[0])
    gatherer.take_spans([span(n) for n in range(80)], crowded=3, lang="python")
    gatherer.take_spans([span(n, "quiet") for n in range(4)], crowded=0, lang="python")
    now[0] += 1
    gatherer.take_spans([span(n) for n in range(10)], crowded=0, lang="python")
    batch = batch_of(gatherer)
    counts = Counter(each.probe_id for each in batch.spans)
    assert counts == {ID: SPANS_PER_S + 10, "quiet": 4}
    assert {each.probe_id: each.count for each in batch.seen} == {ID: 90, "quiet": 4}
    assert batch.dropped == {"probe_spans_crowded": 3}
    assert gatherer.gather(2, hostname="", agent_uuid="u", started_ms=1) is None


def test_a_batch_is_always_one_that_the_control_plane_takes() -> None:
    gatherer = Gatherer()
    for number in range(6_000):
        gatherer.take_line(line(1, "d", f"t:{number % 180}", probe=f"p{number % 40}"))
    gatherer.take_spans([span(n, f"p{n}") for n in range(3_000)], crowded=0, lang="python")
    total = 0
    while (batch := gatherer.gather(1, hostname="h", agent_uuid="u", started_ms=1)) is not None:
        total += sum(
            each.count for each in probe_batch.decode(probe_batch.encode(batch), is_gzipped=True).metrics
        )
    assert total == 6_000


def test_values_that_claim_to_stand_for_millions_spoil_no_batch() -> None:
    gatherer = Gatherer()
    values = ":".join(["1"] * 1_000)
    liar = PREFIX + f"m:{values}|d|@0.000001|#debugger.probeid:{ID}".encode()
    for _ in range(1_005):  # a thousand of them are as many as can be told
        gatherer.take_line(liar)
    gatherer.take_line(line(7, "d", probe="p2"))
    batch = gatherer.gather(1, hostname="h", agent_uuid="u", started_ms=1)
    assert batch is not None
    taken = probe_batch.decode(probe_batch.encode(batch), is_gzipped=True)
    assert [each.count for each in taken.metrics] == [probe_batch.MAX_COUNT, 1]
    assert gatherer.dropped["metrics_too_many"] == 5_000


def test_values_all_over_fill_neither_memory_nor_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adding, "MAX_BINS", 1_000)
    monkeypatch.setattr(adding, "MAX_BINS_TOLD", 200)
    one, _, dropped = metrics()
    for number in range(40):
        for power in range(-50, 50):
            one.take(line(1.1**power, "d", f"t:{number}"))
    batches = []
    while not one.is_empty:
        batches.append(one.gather())
    sketches = [each.sketch for batch in batches for each in batch]
    assert sum(len(each.above) for each in sketches if each is not None) == 1_000
    assert max(len(batch) for batch in batches) < 40
    assert sum(each.count for batch in batches for each in batch) == 4_000
    assert dropped["metrics_sketches"] == 3_000
    one.take(line(1))
    assert one.gather()[0].sketch is not None  # there is room again


class Plane:
    """A control plane that can be away."""

    def __init__(self) -> None:
        self.is_away = False
        self.status = 503
        self.tries = 0
        self.taken: list[Batch] = []
        self.news = asyncio.Event()

    async def post(self, packed: bytes) -> None:
        self.tries += 1
        self.news.set()
        if self.is_away:
            raise ApiError("away", trouble=Trouble.BUSY, status=self.status)
        self.taken.append(probe_batch.decode(packed, is_gzipped=True))

    async def until(self, claim: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not claim():
                self.news.clear()
                await self.news.wait()


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_S", 0.005)
    monkeypatch.setattr(delivering, "RETRY_START_S", 0.01)
    monkeypatch.setattr(delivering, "RETRY_CAP_S", 0.02)
    monkeypatch.setattr(delivering, "LAST_WORDS_S", 0.2)


@pytest.mark.usefixtures("hurry")
def test_what_could_not_be_delivered_is_delivered_later_each_batch_with_its_number() -> None:
    async def case() -> None:
        plane, gatherer = Plane(), Gatherer()
        plane.is_away = True
        reporter = ProbeReporter(gatherer, post=plane.post, hostname="h", agent_uuid="u", started_ms=1)
        task = asyncio.create_task(reporter.run())
        gatherer.take_line(line(1, "c"))
        await plane.until(lambda: plane.tries >= 2)
        gatherer.take_line(line(2, "c"))
        plane.is_away = False
        await plane.until(lambda: sum(one.sum for each in plane.taken for one in each.metrics) == 3)
        gatherer.take_line(line(4, "c"))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        numbers = [each.number for each in plane.taken]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
        assert sum(one.sum for each in plane.taken for one in each.metrics) == 7  # last words too
        assert not gatherer.dropped

    asyncio.run(case())


@pytest.mark.usefixtures("hurry")
def test_a_batch_that_is_refused_is_dropped_and_counted() -> None:
    async def case() -> None:
        plane, gatherer = Plane(), Gatherer()
        plane.is_away, plane.status = True, 400
        reporter = ProbeReporter(gatherer, post=plane.post, hostname="h", agent_uuid="u", started_ms=1)
        task = asyncio.create_task(reporter.run())
        gatherer.take_line(line(1, "c"))
        await plane.until(lambda: plane.tries >= 1)
        plane.is_away = False
        gatherer.take_line(line(2, "c"))
        await plane.until(lambda: bool(plane.taken))
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert [one.sum for each in plane.taken for one in each.metrics] == [2]
        assert gatherer.dropped == {"probe_refused": 1}

    asyncio.run(case())


# Listening ------------------------------------------------------------------------------------------------


class Listener:
    """DogStatsD on a port of its own."""

    def __init__(self, ports: StatsdPorts) -> None:
        self.lines: list[bytes] = []
        self.dropped: Counter[str] = Counter()
        self.news = asyncio.Event()
        self.statsd = DogStatsd(ports, take=self.take, dropped=self.dropped)

    def take(self, one: bytes) -> bool:
        self.news.set()
        self.lines.append(one)
        return b"debugger.probeid" in one

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.lines) < count:
                self.news.clear()
                await self.news.wait()


def free_udp_port() -> int:
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.loopback
def test_lines_of_probes_are_taken_and_all_others_are_passed_on_as_they_are() -> None:
    async def case() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as other, socket.socket(type=socket.SOCK_DGRAM) as app:
            other.bind(("127.0.0.1", 0))
            other.setblocking(False)
            port = free_udp_port()
            heard = Listener(StatsdPorts("127.0.0.1", port, forward_to=other.getsockname()))
            await heard.statsd.start()
            app.connect(("127.0.0.1", port))
            foreign = b"page.views:1|c|#a:b\n_e{5,4}:title|text"
            app.send(foreign)
            app.send(line(1) + b"\nqueue.size:7|g\n" + PREFIX + b"m:1|c\n" + line(2))
            await heard.until(3)
            loop = asyncio.get_running_loop()
            async with asyncio.timeout(20):
                assert await loop.sock_recv(other, 9_000) == foreign
                assert await loop.sock_recv(other, 9_000) == b"queue.size:7|g\n" + PREFIX + b"m:1|c"
            assert [each for each in heard.lines if b"probeid" in each] == [line(1), line(2)]
            assert (heard.statsd.datagrams, heard.statsd.others, heard.statsd.forwarded) == (2, 2, 2)
            heard.statsd.stop()

    asyncio.run(case())


@pytest.mark.loopback
def test_a_unix_socket_is_read_whatever_comes_and_is_gone_afterwards(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "d.sock"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left_behind:
            left_behind.bind(str(path))
        heard = Listener(StatsdPorts("127.0.0.1", 0, socket=path, is_named=True))
        await heard.statsd.start()
        assert heard.statsd.listening == (f"unix {path}",)

        def send() -> None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as app:
                app.connect(str(path))
                app.send(b"")
                for number in range(2_000):
                    app.send(line(number))

        await asyncio.to_thread(send)
        await heard.until(2_000)
        assert heard.lines == [line(number) for number in range(2_000)]
        another = Listener(StatsdPorts("127.0.0.1", 0, socket=path, is_named=True))
        await another.statsd.start()
        assert "another program listens there" in another.statsd.problems[0]
        another.statsd.stop()
        heard.statsd.stop()
        assert not path.exists()

    asyncio.run(case())


@pytest.mark.loopback
def test_what_is_no_socket_is_not_taken_away_for_one(tmp_path: Path) -> None:
    async def case() -> None:
        path = tmp_path / "notes.txt"
        path.write_text("precious")
        heard = Listener(StatsdPorts("127.0.0.1", 0, socket=path, is_named=True))
        await heard.statsd.start()
        heard.statsd.stop()
        assert "something else than a socket is there" in heard.statsd.problems[0]
        assert path.read_text() == "precious"

    asyncio.run(case())


@pytest.mark.loopback
def test_a_port_that_is_taken_is_told_and_nothing_else_happens() -> None:
    async def case() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            heard = Listener(StatsdPorts("127.0.0.1", taken.getsockname()[1]))
            await heard.statsd.start()
            assert heard.statsd.listening == ()
            assert "cannot be listened on" in heard.statsd.problems[0]
            heard.statsd.stop()

    asyncio.run(case())


def test_an_upload_of_lines_is_read_unless_it_is_too_large() -> None:
    heard = Listener(StatsdPorts("127.0.0.1", 0))
    assert heard.statsd.taking("/v0.4/traces") is None
    for body in (line(1) + b"\nother:1|c\n" + line(2), b"x" * listening.MAX_UPLOAD_BYTES + line(3)):
        sight = heard.statsd.taking(listening.PROXY_PATH)
        assert sight is not None
        sight.add(body)
        sight.done()
        sight.lost()
    assert heard.lines == [line(1), line(2)]


def test_beyond_its_share_of_a_core_it_throws_away_and_counts() -> None:
    cpu = [0.0]

    def take(_: bytes) -> bool:
        cpu[0] += 10.0
        return True

    dropped: Counter[str] = Counter()
    statsd = DogStatsd(
        StatsdPorts("127.0.0.1", 0), take=take, dropped=dropped, monotonic=lambda: 0.0, cpu_s=lambda: cpu[0]
    )
    statsd.take_upload(line(1))
    statsd.take_upload(line(2))
    assert dropped == {"dogstatsd_too_busy": 1}
