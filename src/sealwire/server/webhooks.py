"""Calls to other systems when something needs attention, and when it no longer does.

A concern (see ``concerns``) that appears is told once to every webhook that asked for its kind, and once
more when it has been gone for a while. What was told is in the database, so a restart tells nothing twice,
and of several control planes only one tells it. Calls are queued there too and tried again, later each
time, for a day.

Of signals the same holds (see ``signal_news``): what was told of each is kept, and whatever changed is held
against it.

A call is signed as the Standard Webhooks specification says: headers ``webhook-id``, ``webhook-timestamp``
and ``webhook-signature`` (``v1,`` and the base64 of HMAC-SHA256 over ``id.timestamp.body``), with a secret
written ``whsec_`` and base64. Receivers in many languages verify that with a library they have.

Attack: a server made to call itself or its neighbours. A webhook goes to public addresses only, unless the
settings name a network; the name is resolved here, once, and the call goes to the address that was checked.
Redirects are not followed, and of an answer nothing but its status is kept.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import secrets
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import msgspec
import orjson
import structlog

from sealwire import __version__
from sealwire.clock import written
from sealwire.errors import ConflictError, InvalidChangeError, NotFoundError, Problem, SealwireError
from sealwire.server import signal_news
from sealwire.server.fleet.concerns import TITLES, Concern, concerns
from sealwire.server.security.signals import Change, Signal
from sealwire.server.store import read, write
from sealwire.server.store import security as security_store
from sealwire.server.store import webhooks as store
from sealwire.server.store.webhooks import CallRow, WebhookRow

if TYPE_CHECKING:
    import sqlalchemy as sa

    from sealwire.server.keyring import Keyring
    from sealwire.server.settings import ServerSettings
    from sealwire.server.store.database import Database
    from sealwire.server.tenant import Tenant

log = structlog.get_logger()

TEST = "test"
EVENTS: Mapping[str, str] = {
    **{kind.value: title for kind, title in TITLES.items()}, **signal_news.TITLES,
}  # fmt: skip
MAX_SIGNALS = 5_000  # that changed and were not yet looked at
LOOK_EVERY_S = 15.0
ENDED_AFTER_S = 60.0  # a concern that comes and goes is told of once
TRY_EVERY_S = 1.0
RETRY_AFTER_S = (5, 30, 120, 600, 3600, 4 * 3600, 8 * 3600, 12 * 3600)
TIMEOUT_S = 10.0
AT_ONCE = 8
KEEP_CALLS_S = 14 * 86400
MAX_WEBHOOKS = 50
MAX_URL_CHARS = 2000
_SECRET_BYTES = 32
_PURPOSE = "webhook secret"


class Webhooks:
    """The webhooks of one organisation."""

    def __init__(
        self, tenant: Tenant, database: Database, keyring: Keyring, settings: ServerSettings
    ) -> None:
        self._tenant = tenant
        self._database = database
        self._keyring = keyring
        self._org = tenant.organisation
        self._public_url = settings.public_url.rstrip("/")
        self._allowed = tuple(ipaddress.ip_network(text) for text in settings.webhook_networks)
        self._gone_since: dict[tuple[str, str], float] = {}
        self._signals: dict[str, Signal] = {}  # that changed
        self._signals_read = False

    # What people do -----------------------------------------------------------------------------------

    def all(self) -> list[WebhookRow]:
        """Every webhook, oldest first."""
        with self._database.read() as c:
            return store.webhooks(c, self._org.org_id)

    def get(self, webhook_id: str) -> WebhookRow:
        """One webhook.

        Raises:
            NotFoundError: There is none.
        """
        for webhook in self.all():
            if webhook.webhook_id == webhook_id:
                return webhook
        raise NotFoundError(f"There is no webhook {webhook_id[:40]}.")

    def last_calls(self) -> dict[str, CallRow]:
        """The newest call of each webhook."""
        with self._database.read() as c:
            return store.last_calls(c, self._org.org_id)

    def calls(self, webhook_id: str, *, limit: int = 50) -> list[CallRow]:
        """The newest calls of a webhook."""
        with self._database.read() as c:
            return store.calls(c, self._org.org_id, webhook_id, limit=limit)

    def create(
        self,
        *,
        name: str,
        url: str,
        events: Iterable[str],
        by: str,
        now_ms: int,
        least_severity: str = "",
    ) -> tuple[WebhookRow, str]:
        """A new webhook, and the secret its calls are signed with, to be shown once.

        Raises:
            InvalidChangeError: The name, the address or an event cannot be used, or there are too many.
        """
        events = list(events)
        _check(name, url, events, least_severity)
        if len(self.all()) >= MAX_WEBHOOKS:
            raise InvalidChangeError(
                f"There are {MAX_WEBHOOKS} webhooks already.",
                problems=(Problem("$", f"at most {MAX_WEBHOOKS} webhooks"),),
            )
        webhook_id, secret = secrets.token_hex(8), secrets.token_bytes(_SECRET_BYTES)
        row = WebhookRow(
            self._org.org_id, webhook_id, name.strip(), url.strip(), tuple(dict.fromkeys(events)),
            self._seal(webhook_id, secret), True, now_ms, by, least_severity,
        )  # fmt: skip
        self._put(row, by, now_ms, "webhook.created", f"Made the webhook {row.name} to {_host(row.url)}")
        return row, _shown(secret)

    def change(
        self,
        webhook_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        events: Iterable[str] | None = None,
        enabled: bool | None = None,
        least_severity: str | None = None,
        by: str,
        now_ms: int,
    ) -> WebhookRow:
        """Change a webhook; what is not given stays.

        Raises:
            InvalidChangeError, NotFoundError: As they say.
        """
        before = self.get(webhook_id)
        row = replace(
            before,
            name=before.name if name is None else name.strip(),
            url=before.url if url is None else url.strip(),
            events=before.events if events is None else tuple(dict.fromkeys(events)),
            enabled=before.enabled if enabled is None else enabled,
            least_severity=before.least_severity if least_severity is None else least_severity,
        )
        _check(row.name, row.url, row.events, row.least_severity)
        state = (
            "" if row.enabled == before.enabled else (" and switched it " + ("on" if row.enabled else "off"))
        )
        self._put(row, by, now_ms, "webhook.changed", f"Changed the webhook {row.name}{state}")
        return row

    def renew_secret(self, webhook_id: str, *, by: str, now_ms: int) -> str:
        """Another secret for a webhook, from the next call on; to be shown once."""
        before = self.get(webhook_id)
        secret = secrets.token_bytes(_SECRET_BYTES)
        row = replace(before, secret_sealed=self._seal(webhook_id, secret))
        self._put(row, by, now_ms, "webhook.changed", f"Gave the webhook {row.name} another secret")
        return _shown(secret)

    def delete(self, webhook_id: str, *, by: str, now_ms: int) -> None:
        """Take a webhook away."""
        row = self.get(webhook_id)
        with self._database.write() as c:
            store.delete_webhook(c, row.org_id, webhook_id)
            write.add_audit(
                c, row.org_id, at_ms=now_ms, actor=by, action="webhook.deleted",
                subject=f"webhook {webhook_id}", summary=f"Deleted the webhook {row.name}",
            )  # fmt: skip

    async def test(self, webhook_id: str) -> CallRow:
        """Call a webhook now and say what came of it; a test is not tried again."""
        webhook = await asyncio.to_thread(self.get, webhook_id)
        body = self._body(
            TEST, "test", "This is a test", f"The webhook {webhook.name} works.", subject="", path="/webhooks"
        )

        def queue() -> CallRow:
            with self._database.write() as c:
                number = store.add_call(
                    c, webhook.org_id, webhook_id, event=TEST, subject="", body=body, now_ms=_now_ms()
                )
                # Far from due: the loop leaves it alone.
                store.settle_call(
                    c, number, attempts=0, next_ms=None, delivered_ms=None, status=None, error="not tried yet"
                )
                return next(
                    call for call in store.calls(c, webhook.org_id, webhook_id, limit=10) if call.id == number
                )

        call = await asyncio.to_thread(queue)
        return await self._attempt(webhook, call, try_again=False)

    def _seal(self, webhook_id: str, secret: bytes) -> bytes:
        return self._keyring.seal(secret, domain=self._org.uuid, purpose=_PURPOSE, name=webhook_id)

    def _put(self, row: WebhookRow, by: str, now_ms: int, action: str, summary: str) -> None:
        with self._database.write() as c:
            store.put_webhook(c, row)
            write.add_audit(
                c, row.org_id, at_ms=now_ms, actor=by, action=action, subject=f"webhook {row.webhook_id}",
                summary=summary, detail={"host": _host(row.url), "events": list(row.events)},
            )  # fmt: skip

    # What happens by itself -----------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for what began and what ended, and make calls, until cancelled."""
        looked_at = forgot_at = 0.0
        while True:
            try:
                now = time.monotonic()
                if now - looked_at > LOOK_EVERY_S:
                    looked_at = now
                    await self._look(now)
                await self._look_at_signals()
                if now - forgot_at > 3600:
                    forgot_at = now
                    await asyncio.to_thread(self._forget)
                await self._make_due_calls()
            except SealwireError as error:
                log.warning("webhooks not served yet", code=error.code, detail=error.detail)
            except Exception:
                log.exception("webhooks not served")
            await asyncio.sleep(TRY_EVERY_S)

    async def _look(self, now: float) -> None:
        hooks = [webhook for webhook in await asyncio.to_thread(self.all) if webhook.enabled]
        if not hooks:
            return  # nobody to tell: nothing is looked for
        fleet = await self._tenant.overview.look()

        def load() -> tuple[dict[tuple[str, str], tuple[str, int]], tuple[Concern, ...]]:
            with self._database.read() as c:
                told = {
                    name: known
                    for name, known in store.told(c, self._org.org_id).items()
                    if name[0] != signal_news.TOLD
                }
                alarms = read.open_alarms(c, self._org.org_id)
            found = concerns(
                fleet, publisher=self._tenant.publisher, organisation=self._tenant.organisation,
                alarms=alarms, now=datetime.now(UTC),
            )  # fmt: skip
            return told, found

        told, found = await asyncio.to_thread(load)
        present = {(concern.kind.value, concern.key[:300]): concern for concern in found}
        fresh = {name: concern for name, concern in present.items() if name not in told}
        gone: list[tuple[str, str]] = []
        for name in told:
            if name in present:
                self._gone_since.pop(name, None)
            elif now - self._gone_since.setdefault(name, now) >= ENDED_AFTER_S:
                gone.append(name)
        if fresh or gone:
            await asyncio.to_thread(self._tell, hooks, fresh, gone, told)
            for name in gone:
                self._gone_since.pop(name, None)

    def note(self, change: Change) -> None:
        """A signal opened, rose or ended: it is looked at soon."""
        one = change.signal
        if len(self._signals) < MAX_SIGNALS or one.id in self._signals:
            # As it is now: it goes on to grow while it is told of in a thread.
            self._signals[one.id] = msgspec.structs.replace(
                one, attackers=dict(one.attackers), users=dict(one.users), counts=dict(one.counts)
            )
        else:
            self._signals_read = False  # too many to remember: what is written down is read again

    async def _look_at_signals(self) -> None:
        if self._signals_read and not self._signals:
            return
        changed, self._signals = self._signals, {}
        is_first, self._signals_read = not self._signals_read, True
        try:
            await asyncio.to_thread(self._tell_of_signals, changed, is_first=is_first)
        except BaseException:
            self._signals = {**changed, **self._signals}
            self._signals_read = not is_first
            raise

    def _tell_of_signals(self, changed: Mapping[str, Signal], *, is_first: bool) -> None:
        """Hold signals against what was told of them.

        Args:
            is_first: What is written down counts as changed too: this program, or these webhooks, may have
                been away when it did.
        """
        org_id = self._org.org_id
        hooks = [webhook for webhook in self.all() if signal_news.wants(webhook)]
        with self._database.read() as c:
            told = {
                key: known[0] for (kind, key), known in store.told(c, org_id).items()
                if kind == signal_news.TOLD
            }  # fmt: skip
            found = dict(changed)
            if is_first:
                found = {one.id: one for one in security_store.open_signals(c, org_id)} | found
            for signal_id in told.keys() - found.keys() if is_first else ():
                row = security_store.signal(c, org_id, signal_id)
                if row is not None:
                    found[signal_id] = row.signal
        gone = told.keys() - found.keys() if is_first else set()
        known = [(one, signal_news.severity_of(told.get(one.id, ""))) for one in found.values()]
        fresh = [
            (one, before) for one, before in known
            if (before is None and hooks and not one.closed_at)
            or (before is not None and (one.closed_at or one.severity > before))
        ]  # fmt: skip
        if not fresh and not gone:
            return
        now_ms = _now_ms()
        with self._database.write() as c:
            store.end_told(c, org_id, [(signal_news.TOLD, signal_id) for signal_id in gone])
            # Another control plane may have told some meanwhile.
            ended = store.end_told(
                c, org_id, [(signal_news.TOLD, one.id) for one, before in fresh if before is not None]
            )
            mine = {key for _, key in ended} | {one.id for one, before in fresh if before is None}
            fresh = [pair for pair in fresh if pair[0].id in mine]
            for one, _ in fresh:
                if not one.closed_at:
                    name = (signal_news.TOLD, one.id)
                    store.add_told(c, org_id, {name: one.severity.name.lower()}, now_ms=now_ms)
            for item in signal_news.news(hooks, fresh):
                body = self._body(
                    item.event, signal_news.STATES[item.event], item.title, item.detail,
                    subject=item.subject, path=item.path, data=item.data,
                )  # fmt: skip
                store.add_call(
                    c, org_id, item.webhook.webhook_id, event=item.event, subject=item.subject, body=body,
                    now_ms=now_ms,
                )  # fmt: skip

    def _tell(
        self,
        hooks: list[WebhookRow],
        fresh: Mapping[tuple[str, str], Concern],
        gone: Iterable[tuple[str, str]],
        told: Mapping[tuple[str, str], tuple[str, int]],
    ) -> None:
        now_ms = _now_ms()
        org_id = self._org.org_id
        for name, concern in fresh.items():
            body = self._body(
                name[0], "began", concern.title, concern.detail, subject=concern.subject, path="/"
            )
            try:
                with self._database.write() as c:
                    store.add_told(c, org_id, {name: concern.title}, now_ms=now_ms)
                    self._queue(c, hooks, name, body, now_ms)
            except ConflictError:
                continue  # another control plane tells it
        with self._database.write() as c:
            for kind, key in store.end_told(c, org_id, gone):
                title, began_ms = told[kind, key]
                lasted = _words(now_ms - began_ms)
                body = self._body(
                    kind, "ended", title, f"It is over; it lasted {lasted}.", subject="", path="/"
                )
                self._queue(c, hooks, (kind, key), body, now_ms)

    def _queue(
        self, c: sa.Connection, hooks: list[WebhookRow], name: tuple[str, str], body: bytes, now_ms: int
    ) -> None:
        for webhook in hooks:
            if name[0] in webhook.events:
                store.add_call(
                    c, webhook.org_id, webhook.webhook_id, event=name[0], subject=name[1], body=body,
                    now_ms=now_ms,
                )  # fmt: skip

    def _body(
        self,
        event: str,
        state: str,
        title: str,
        detail: str,
        *,
        subject: str,
        path: str,
        data: Mapping[str, object] | None = None,
    ) -> bytes:
        words = {"began": "", "rose": "Worse: ", "ended": "Over: ", "test": "Test: "}[state]
        return orjson.dumps(
            {
                "type": event,
                "state": state,
                "timestamp": written(time.time_ns() // 1_000_000),
                # What chat systems show of a call.
                "text": f"{words}{title}. {detail}",
                "data": {
                    **(data or {}),
                    "title": title,
                    "detail": detail,
                    "subject": subject,
                    "organisation": {"id": self._org.org_id, "uuid": self._org.uuid, "name": self._org.name},
                    **({"url": f"{self._public_url}{path}"} if self._public_url else {}),
                },
            }
        )

    async def _make_due_calls(self) -> None:
        def take() -> tuple[list[CallRow], dict[str, WebhookRow]]:
            with self._database.read() as c:
                if not store.has_due(c, self._org.org_id, now_ms=_now_ms()):
                    return [], {}  # once a second: no writing transaction for nothing
                hooks = {webhook.webhook_id: webhook for webhook in store.webhooks(c, self._org.org_id)}
            if not hooks:
                return [], hooks
            with self._database.write() as c:
                due = store.take_due(
                    c, self._org.org_id, now_ms=_now_ms(), lease_ms=int(3000 * TIMEOUT_S), limit=AT_ONCE
                )
            return due, hooks

        due, hooks = await asyncio.to_thread(take)
        await asyncio.gather(*(self._attempt(hooks.get(call.webhook_id), call) for call in due))

    async def _attempt(self, webhook: WebhookRow | None, call: CallRow, *, try_again: bool = True) -> CallRow:
        status, error = None, ""
        if webhook is None or not (webhook.enabled or not try_again):
            error, try_again = "The webhook is off, or gone.", False
        else:
            try:
                status = await self._call(webhook, call)
                error = "" if 200 <= status < 300 else f"It answered {status}."
            except SealwireError as refused:
                error = refused.public
            except httpx.TimeoutException:
                error = f"No answer within {TIMEOUT_S:.0f} s."
            except httpx.HTTPError as failed:
                error = f"No connection: {str(failed) or type(failed).__name__}."
        attempts, now_ms = call.attempts + 1, _now_ms()
        next_ms = None
        if error and try_again and attempts <= len(RETRY_AFTER_S):
            next_ms = now_ms + RETRY_AFTER_S[attempts - 1] * 1000
        settled = replace(
            call, attempts=attempts, next_ms=next_ms, delivered_ms=None if error else now_ms, status=status,
            error=error,
        )  # fmt: skip

        def note() -> None:
            with self._database.write() as c:
                store.settle_call(
                    c, call.id, attempts=attempts, next_ms=next_ms, delivered_ms=settled.delivered_ms,
                    status=status, error=error,
                )  # fmt: skip

        await asyncio.to_thread(note)
        return settled

    async def _call(self, webhook: WebhookRow, call: CallRow) -> int:
        """Make one call; returns the status of the answer."""
        parts = urlsplit(webhook.url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = await self._resolve(host, port)
        secret = self._keyring.unseal(
            webhook.secret_sealed, domain=self._org.uuid, purpose=_PURPOSE, name=webhook.webhook_id
        )
        message_id, at = f"msg_{self._org.org_id}_{call.id}", int(time.time())
        shown = f"[{address}]" if ":" in address else address
        headers = {
            "Host": parts.netloc.rpartition("@")[2],
            "Content-Type": "application/json",
            "User-Agent": f"sealwire/{__version__}",
            "webhook-id": message_id,
            "webhook-timestamp": str(at),
            "webhook-signature": sign(secret, message_id, at, call.body),
        }
        target = f"{parts.scheme}://{shown}:{port}{parts.path or '/'}"
        if parts.query:
            target += f"?{parts.query}"
        async with (
            httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
            client.stream(
                "POST", target, content=call.body, headers=headers, extensions={"sni_hostname": host}
            ) as answer,
        ):
            return answer.status_code

    async def _resolve(self, host: str, port: int) -> str:
        """The address to call.

        Raises:
            InvalidChangeError: The name has none, or only ones that may not be called.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise InvalidChangeError(f"The name {host} was not found.") from error
        for *_, sockaddr in found:
            address = ipaddress.ip_address(str(sockaddr[0]).partition("%")[0])
            mapped = _carried(address)
            if mapped.is_global and not (mapped.is_multicast or mapped.is_reserved):
                return str(address)
            if any(mapped.version == network.version and mapped in network for network in self._allowed):
                return str(address)
        raise InvalidChangeError(
            f"{host} is not a public address. To allow it, name its network in the server's setting "
            "webhook_networks."
        )

    def _forget(self) -> None:
        with self._database.write() as c:
            store.forget_calls(c, self._org.org_id, before_ms=_now_ms() - KEEP_CALLS_S * 1000)


def sign(secret: bytes, message_id: str, at: int, body: bytes) -> str:
    """The signature of a call, as Standard Webhooks defines it."""
    signed = b".".join((message_id.encode(), str(at).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _carried(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 address leads to, where it does; else the address itself."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _shown(secret: bytes) -> str:
    return "whsec_" + base64.b64encode(secret).decode()


def _check(name: str, url: str, events: Iterable[str], least_severity: str) -> None:
    problems = []
    if least_severity and signal_news.severity_of(least_severity) is None:
        problems.append(Problem("$.least_severity", "info, low, medium, high or critical"))
    if not 1 <= len(name.strip()) <= 100 or any(ord(character) < 32 for character in name):
        problems.append(Problem("$.name", "1 to 100 printable characters"))
    problems.extend(_url_problems(url.strip()))
    asked = list(events)
    if not asked:
        problems.append(Problem("$.events", "choose at least one event"))
    problems.extend(
        Problem("$.events", f"{event[:60]} is not an event; there are {', '.join(EVENTS)}")
        for event in asked
        if event not in EVENTS
    )
    if problems:
        raise InvalidChangeError("The webhook cannot be made like this.", problems=tuple(problems))


def _url_problems(url: str) -> list[Problem]:
    wrong = "a full address such as https://chat.example.org/hooks/abc"
    # Attack: an address that cannot be put into a request, and stops every other call.
    if not url.isascii():
        return [Problem("$.url", "ASCII only: names in their xn-- form, the rest with %")]
    if len(url) > MAX_URL_CHARS or any(ord(character) <= 32 for character in url):
        return [Problem("$.url", f"{wrong}, at most {MAX_URL_CHARS} characters, without spaces")]
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return [Problem("$.url", wrong)]
    if parts.scheme not in ("https", "http") or not parts.hostname or port == 0:
        return [Problem("$.url", wrong)]
    if parts.username is not None:
        return [Problem("$.url", "no name or password in the address: calls are signed")]
    return []


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _now_ms() -> int:
    return int(time.time() * 1000)


def _words(lasted_ms: int) -> str:
    minutes = lasted_ms // 60_000
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} days"
