"""What tracers upload of Dynamic Instrumentation, on its way to the control plane.

Hides the queue, its bounds and the posts: an upload is answered as soon as it has been read, waits in memory
and is sent as the open-source Agent would send it, so that both reach the same endpoints. Nothing here looks
into a body.

Invariants: what waits, what is being read and what is being sent is at most ``MAX_BYTES`` and ``MAX_UPLOADS``
together; statuses go one after the other, before anything else, and are the last to be dropped; what is not
delivered is counted, by kind and reason; a control plane that does not know these endpoints is left alone for
long; nothing here can stop the agent or keep a tracer waiting.
"""

from __future__ import annotations

import asyncio
import gzip
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

import structlog

from sealwire.agent.exchange import ApiError, ControlPlane, Trouble
from sealwire.agent.pace import Backoff
from sealwire.agent.reporter import HOPELESS, STUMBLES, UNKNOWN, UNKNOWN_CAP_S, UNKNOWN_START_S
from sealwire.agent.settings import AgentSettings
from sealwire.clock import utc_now
from sealwire.errors import UntrustedError
from sealwire.wire.security_batch import NOW_HEADER
from sealwire.wire.version import WIRE_VERSION

log = structlog.get_logger("sealwire.agent.uploads")

MAX_BYTES: Final = 32 * 1024 * 1024
MAX_UPLOADS: Final = 2_000
IN_FLIGHT: Final = 2
MAX_TAGS_CHARS: Final = 4001  # where the open-source Agent cuts
RETRY_START_S, RETRY_CAP_S = 0.5, 15.0
REFUSED_CAP_S: Final = 300.0  # a key that is not accepted
LAST_WORDS_S: Final = 2.0  # to deliver when the agent stops
PACK_FROM_BYTES: Final = 1024
PACK_IN_THREAD_BYTES: Final = 64 * 1024

STATUSES, SNAPSHOTS, LOGS, SYMBOLS = "statuses", "snapshots", "logs", "symbols"
_KIND_OF: Final = {
    "/debugger/v1/diagnostics": STATUSES,
    "/debugger/v2/input": SNAPSHOTS,
    "/debugger/v1/input": LOGS,
    "/symdb/v1/input": SYMBOLS,
}
_BUSY: Final = frozenset({429, 503})
_DESTINATION_OF: Final = {STATUSES: "debugger", SNAPSHOTS: "debugger", LOGS: "logs", SYMBOLS: "symbols"}
# What goes first where there is no room for all.
_DROPPED_FIRST: Final = (LOGS, SNAPSHOTS, SYMBOLS, STATUSES)


class Plane(Protocol):
    """What is needed of who takes uploads."""

    async def post_upload(self, path_and_query: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Deliver one upload."""


class Target(NamedTuple):
    """Where a kind of upload goes."""

    plane: Plane
    path: str


class Upload(NamedTuple):
    """One upload that waits.

    Attributes:
        number: Counts all uploads of this run.
        headers: What of the sender's headers goes on.
        tags: Of this agent and of the sender, as a query has them.
    """

    number: int
    kind: str
    body: bytes
    headers: Mapping[str, str]
    tags: str


class Uploads:
    """Takes uploads and delivers them until cancelled.

    Args:
        targets: Where each kind goes; a kind without one is not taken.
        own_tags: Of this agent, first in the tags of every upload.
        monotonic: A clock that only counts up.
        backoff: Draws the pauses.

    Attributes:
        taken: Uploads that were queued, by kind; as are the next.
        sent: Delivered.
        dropped: Not delivered, by kind and reason.
        posts: Tried so far.
        failures: Not taken.
        last_taken: ``time.time()`` of the last post that was taken.
        last_error: Of the last post; empty when it was taken.
    """

    def __init__(
        self,
        targets: Mapping[str, Target],
        *,
        own_tags: str = "",
        monotonic: Callable[[], float] = time.monotonic,
        backoff: Backoff | None = None,
    ) -> None:
        self.taken: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.posts = self.failures = 0
        self.last_taken: float | None = None
        self.last_error = ""
        self._targets = targets
        self._own_tags = own_tags
        self._monotonic = monotonic
        self._backoff = Backoff() if backoff is None else backoff
        self._unknown = Backoff(self._backoff.random)
        self._of_symbols = Backoff(self._backoff.random)
        self._queues: dict[str, deque[Upload]] = {kind: deque() for kind in _DROPPED_FIRST}
        self._reading_bytes = 0
        self._queued_bytes = 0
        self._sending: dict[asyncio.Task[None], Upload] = {}
        self._number = 0
        self._not_before_s = 0.0
        self._symbols_not_before_s = 0.0
        self._unwanted_until_s: dict[str, float] = {}
        self._stumbles: Counter[int] = Counter()
        self._stirred = asyncio.Event()

    # Taking -------------------------------------------------------------------------------------------

    def taking(
        self, method: str, path: str, query: str, headers: Mapping[str, str], *, length: int | None
    ) -> Taking | None:
        """Begin to take an upload; None where it is nobody's."""
        kind = _KIND_OF.get(path, "")
        if kind not in self._targets or method not in ("POST", "PUT"):
            return None
        if self._monotonic() < self._unwanted_until_s.get(kind, 0.0):
            self.drop(kind, "not_wanted")
            return None
        if length is not None and length > MAX_BYTES:
            self.drop(kind, "too_large")
            return None
        kept = {"Content-Type": _plain(headers.get("Content-Type", "")) or "application/json"}
        if encoding := _plain(headers.get("Content-Encoding", "")):
            kept["Content-Encoding"] = encoding
        said = (headers.get("X-Datadog-Additional-Tags", ""), *parse_qs(query).get("ddtags", ()))
        return Taking(self, kind, kept, _tags(self._own_tags, *said))

    def hold(self, size: int) -> bool:
        """Count bytes that are being read; False where there is no room for them."""
        if self.waiting_bytes + self._reading_bytes + size > MAX_BYTES and not self._make_room(size):
            return False
        self._reading_bytes += size
        return True

    def release(self, size: int) -> None:
        """Bytes that were being read are queued or gone."""
        self._reading_bytes -= size

    def put(self, kind: str, body: bytes, headers: Mapping[str, str], tags: str) -> None:
        """Queue an upload."""
        self._number += 1
        self.taken[kind] += 1
        self._queues[kind].append(Upload(self._number, kind, body, headers, tags))
        self._queued_bytes += len(body)
        while self.waiting > MAX_UPLOADS or self.waiting_bytes + self._reading_bytes > MAX_BYTES:
            if not self._drop_oldest():
                break
        self._stirred.set()

    def drop(self, kind: str, reason: str) -> None:
        """Count an upload that is not delivered."""
        self.dropped[kind, reason] += 1

    @property
    def waiting(self) -> int:
        """Uploads that are queued or being sent."""
        return sum(map(len, self._queues.values())) + len(self._sending)

    @property
    def waiting_bytes(self) -> int:
        """Their bytes."""
        return self._queued_bytes + sum(len(each.body) for each in self._sending.values())

    @property
    def is_wanted(self) -> bool:
        """Whether the control plane knows what to do with all of it."""
        now_s = self._monotonic()
        return all(now_s >= until_s for until_s in self._unwanted_until_s.values())

    def _make_room(self, size: int) -> bool:
        """Drop what is worth less than an upload that arrives: all but statuses."""
        while self.waiting_bytes + self._reading_bytes + size > MAX_BYTES:
            if not self._drop_oldest(_DROPPED_FIRST[:-1]):
                return False
        return True

    def _drop_oldest(self, kinds: tuple[str, ...] = _DROPPED_FIRST) -> bool:
        queues = [queue for kind in kinds if (queue := self._queues[kind])]
        if not queues:
            return False
        # Logs and snapshots are the same to people: whichever is older.
        alike = [queue for queue in queues if queue[0].kind in (LOGS, SNAPSHOTS)]
        upload = min(alike or queues[:1], key=lambda queue: queue[0].number).popleft()
        self._queued_bytes -= len(upload.body)
        self.drop(upload.kind, "queue_full")
        return True

    # Delivering ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver for ever; what waits in the end is delivered if that works at once."""
        try:
            while True:
                self._stirred.clear()
                pause_s = self._not_before_s - self._monotonic()
                wait_s = pause_s if pause_s > 0 else None
                if wait_s is None:
                    self._send_what_may_go()
                    if self._queues[SYMBOLS]:
                        until_s = self._symbols_not_before_s - self._monotonic()
                        wait_s = until_s if until_s > 0 else None
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._stirred.wait()
                    if pause_s > 0:  # news do not end a pause
                        await asyncio.sleep(max(0.0, self._not_before_s - self._monotonic()))
        finally:
            await self._last_words()

    def _send_what_may_go(self) -> None:
        # While nobody takes anything, one upload asks for all.
        at_once = IN_FLIGHT if not self._backoff.failures else 1
        while len(self._sending) < at_once and (upload := self._next()) is not None:
            task = asyncio.create_task(self._send(upload))
            self._sending[task] = upload
            task.add_done_callback(self._sent)

    def _next(self) -> Upload | None:
        """The oldest status unless one is on its way, as not all of them carry a time; else the oldest."""
        queue: deque[Upload] | None = self._queues[STATUSES]
        if not queue or any(each.kind == STATUSES for each in self._sending.values()):
            others = [self._queues[kind] for kind in (LOGS, SNAPSHOTS) if self._queues[kind]]
            if self._queues[SYMBOLS] and self._monotonic() >= self._symbols_not_before_s:
                others.append(self._queues[SYMBOLS])
            queue = min(others, key=lambda each: each[0].number, default=None)
        if not queue:
            return None
        upload = queue.popleft()
        self._queued_bytes -= len(upload.body)
        return upload

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._stirred.set()

    async def _send(self, upload: Upload) -> None:
        try:
            await self._post(upload)
        except asyncio.CancelledError:
            self._put_back(upload)
            raise
        except (ApiError, UntrustedError) as error:
            self._failed(error, upload)
        except Exception:
            log.exception("an upload could not be sent")
            self.drop(upload.kind, "failed")
        else:
            self._backoff.success()
            self._unknown.success()
            if upload.kind == SYMBOLS:
                self._of_symbols.success()
            self._stumbles.pop(upload.number, None)
            self.last_taken, self.last_error = time.time(), ""
            self.sent[upload.kind] += 1

    async def _post(self, upload: Upload) -> None:
        target = self._targets[upload.kind]
        self.posts += 1
        headers, body = dict(upload.headers), upload.body
        # The attachment of symbols is packed already.
        if upload.kind != SYMBOLS and "Content-Encoding" not in headers and len(body) >= PACK_FROM_BYTES:
            if len(body) >= PACK_IN_THREAD_BYTES:
                body = await asyncio.to_thread(gzip.compress, body, 1, mtime=0)
            else:
                body = gzip.compress(body, 1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        headers["DD-REQUEST-ID"] = str(uuid.uuid4())
        headers["DD-EVP-ORIGIN"] = "agent-debugger"
        if upload.kind == SYMBOLS:
            headers["DD-EVP-ORIGIN"] = "agent-symdb"
            headers["X-Datadog-Additional-Tags"] = _plain(upload.tags)
        headers["Via"] = f"trace-agent {WIRE_VERSION}"
        headers[NOW_HEADER] = str(int(utc_now().timestamp() * 1000))
        await target.plane.post_upload(
            f"{target.path}?{urlencode({'ddtags': upload.tags}, errors='replace')}", body, headers
        )

    def _failed(self, error: ApiError | UntrustedError, upload: Upload) -> None:
        self.failures += 1
        self.last_error = error.public
        log.debug("upload not taken", kind=upload.kind, error=error.public)
        status = error.status if isinstance(error, ApiError) else 0
        retry_after_s = error.retry_after_s if isinstance(error, ApiError) else 0.0
        if status in HOPELESS or self._stumbles_again(status, upload):
            self.drop(upload.kind, "refused")
            return
        if status in UNKNOWN:
            self._leave_alone(upload)
            return
        self._put_back(upload)
        if upload.kind == SYMBOLS and status in _BUSY:
            # A fleet that starts has symbols for hours; nothing else shall wait for that.
            self._symbols_not_before_s = self._monotonic() + self._of_symbols.after_failure_s(
                start_s=RETRY_START_S, cap_s=RETRY_CAP_S, at_least_s=max(RETRY_START_S, retry_after_s)
            )
            return
        is_refused = isinstance(error, ApiError) and (error.trouble is Trouble.UNAUTHORIZED or status == 403)
        self._not_before_s = self._monotonic() + self._backoff.after_failure_s(
            start_s=RETRY_START_S,
            cap_s=REFUSED_CAP_S if is_refused else RETRY_CAP_S,
            at_least_s=max(RETRY_START_S / 4, retry_after_s),
        )

    def _stumbles_again(self, status: int, upload: Upload) -> bool:
        """Whether the control plane failed over an upload once too often."""
        if status != 500:
            return False
        self._stumbles[upload.number] += 1
        if self._stumbles[upload.number] < STUMBLES:
            return False
        del self._stumbles[upload.number]
        return True

    def _leave_alone(self, upload: Upload) -> None:
        """Take nothing for a while that goes where this one went: the control plane is older."""
        target = self._targets[upload.kind]
        pause_s = self._unknown.after_failure_s(
            start_s=UNKNOWN_START_S, cap_s=UNKNOWN_CAP_S, at_least_s=UNKNOWN_START_S / 2
        )
        self.drop(upload.kind, "not_wanted")
        for kind in (kind for kind, each in self._targets.items() if each == target):
            self._unwanted_until_s[kind] = self._monotonic() + pause_s
            while self._queues[kind]:
                self._queued_bytes -= len(self._queues[kind].popleft().body)
                self.drop(kind, "not_wanted")

    def _put_back(self, upload: Upload) -> None:
        queue = self._queues[upload.kind]
        queue.appendleft(upload)
        if len(queue) > 1 and queue[0].number > queue[1].number:
            queue[0], queue[1] = queue[1], queue[0]
        self._queued_bytes += len(upload.body)

    async def _last_words(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                while True:
                    if not self._backoff.failures:
                        self._send_what_may_go()
                    if not self._sending:
                        break
                    await asyncio.wait(list(self._sending), return_when=asyncio.FIRST_COMPLETED)
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*list(self._sending), return_exceptions=True)
        for kind, queue in self._queues.items():
            for _ in queue:
                self.drop(kind, "stopped")
            queue.clear()
        self._queued_bytes = 0

    # Telling ------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """For the status document; the moment is in seconds since 1970."""
        return {
            "on": True,
            "taken": dict(sorted(self.taken.items())),
            "sent": dict(sorted(self.sent.items())),
            "waiting": self.waiting,
            "waiting_bytes": self.waiting_bytes,
            "dropped": {f"{kind} {reason}": count for (kind, reason), count in sorted(self.dropped.items())},
            "posts": self.posts,
            "failures": self.failures,
            "last_taken": self.last_taken,
            "last_error": self.last_error or None,
            "is_wanted": self.is_wanted,
        }


class Taking:
    """One upload while it is read; ``Uploads.taking`` makes them (a ``relay.Sight``)."""

    def __init__(self, uploads: Uploads, kind: str, headers: Mapping[str, str], tags: str) -> None:
        self._uploads = uploads
        self._kind = kind
        self._headers = headers
        self._tags = tags
        self._chunks: list[bytes] = []
        self._size = 0
        self._is_over = False

    def add(self, chunk: bytes) -> None:
        """One more piece of the body."""
        if self._is_over:
            return
        if not self._uploads.hold(len(chunk)):
            self._give_up("queue_full")
            return
        self._size += len(chunk)
        self._chunks.append(chunk)

    def done(self) -> None:
        """That was all of it."""
        if self._is_over:
            return
        self._is_over = True
        self._uploads.release(self._size)
        if self._chunks:
            self._uploads.put(self._kind, b"".join(self._chunks), self._headers, self._tags)
        self._chunks.clear()

    def lost(self) -> None:
        """The rest will not come."""
        if not self._is_over:
            self._give_up("cut_off")

    def _give_up(self, reason: str) -> None:
        self._is_over = True
        self._uploads.release(self._size)
        self._uploads.drop(self._kind, reason)
        self._chunks.clear()


def uploads_to(settings: AgentSettings) -> tuple[Uploads, list[ControlPlane]]:
    """Uploads to where the settings say, and the connections; who asked closes these."""
    planes: dict[tuple[str, str], ControlPlane] = {}
    targets: dict[str, Target] = {}
    for kind, name in _DESTINATION_OF.items():
        if (to := settings.debugger_to.get(name)) is None:
            continue
        parts = urlsplit(to.url)
        base = f"{parts.scheme}://{parts.netloc}"
        plane = planes.get((base, to.api_key))
        if plane is None:
            plane = planes[base, to.api_key] = ControlPlane(
                url=base, api_key=to.api_key, ca_file=settings.ca_file, verify_tls=settings.verify_tls
            )
        targets[kind] = Target(plane, parts.path)
    tags = own_tags(hostname=settings.hostname, default_env=settings.default_env)
    return Uploads(targets, own_tags=tags), list(planes.values())


def own_tags(*, hostname: str, default_env: str) -> str:
    """Tags of this agent, as the open-source Agent writes them."""
    return f"host:{hostname},default_env:{default_env or 'none'},agent_version:{WIRE_VERSION}"


def status_lines(document: Mapping[str, Any]) -> list[str]:
    """``Uploads.status`` as a person reads it."""
    if not document["on"]:
        return []
    lines = [
        "",
        "Dynamic Instrumentation",
        (
            f"  Uploads taken: {_counts(document['taken'])}; sent: {_counts(document['sent'])}; "
            f"waiting: {document['waiting']} ({document['waiting_bytes']} bytes)"
        ),
    ]
    if not document["is_wanted"]:
        lines.append("  The control plane is too old to take them")
    if document["last_error"]:
        lines.append(f"  Last error: {document['last_error']}")
    if document["dropped"]:
        lines.append(f"  Not delivered: {_counts(document['dropped'])}")
    return lines


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _plain(value: str) -> str:
    """A header's value that can be sent on as it came; empty where it cannot."""
    return value if value.isascii() and value.isprintable() else ""


def _tags(*parts: str) -> str:
    """All tags as one text, cut at a comma where it is too long."""
    text = ",".join(part for each in parts if (part := each.strip(", ")))
    if len(text) <= MAX_TAGS_CHARS:
        return text
    return text[:MAX_TAGS_CHARS].rpartition(",")[0]
