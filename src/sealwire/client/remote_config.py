"""The face of the library: subscribe to products, get verified configs, report what became of them.

One daemon thread polls; no lock is held while a handler runs or the agent is asked. A forked child has no
thread and no id of its parent's: it begins anew with ``start`` (which ``os.register_at_fork`` does for it).
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
import weakref
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from sealwire.client.apply import Handler, apply
from sealwire.client.session import Identity, Session
from sealwire.client.transport import Transport
from sealwire.clock import utc_now
from sealwire.errors import UnavailableError
from sealwire.trust.director import DirectorState

log = logging.getLogger("sealwire.client")


class RemoteConfig:
    """Remote Configuration inside an application, every signature verified in it.

    Args:
        director_root: The director's root version 1, as ``sealwire root export`` prints it.
        agent_url: ``http://host:port`` or ``unix:///path``.
        service, env, app_version: What configs are targeted by.
        interval_s: Between two polls.

    Raises:
        UntrustedError: ``director_root`` is not a root.
        SettingsError: ``agent_url`` is not an address.
    """

    def __init__(
        self,
        *,
        director_root: bytes,
        service: str,
        env: str = "",
        app_version: str = "",
        agent_url: str = "http://127.0.0.1:8126",
        interval_s: float = 5.0,
        tags: tuple[str, ...] = (),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._transport = Transport(agent_url)
        self._interval_s = interval_s
        self._clock = clock
        self._handlers: dict[str, Handler] = {}
        identity = Identity(
            client_id=str(uuid.uuid4()),
            runtime_id=str(uuid.uuid4()),
            service=service,
            env=env,
            app_version=app_version,
            tags=tags,
        )
        self.session = Session(identity, DirectorState.bootstrap(director_root))
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        _begin_anew_after_fork(self)

    def subscribe(self, product: str, handler: Handler) -> None:
        """Ask for a product from the next poll on; its configs go to ``handler``, in the polling thread."""
        self._handlers[product] = handler
        self.session = self.session.subscribed(product)

    def poll(self) -> bool:
        """Ask once and apply what changed; False if the agent did not answer or the answer was refused."""
        try:
            body = self._transport.poll(self.session.request())
        except UnavailableError as error:
            log.debug("no answer: %s", error.public)
            return False
        session, changes = self.session.receive(body, now=self._clock())
        # Products subscribed by another thread meanwhile are kept.
        session = replace(session, products=session.products | self.session.products)
        self.session = apply(session, changes, self._handlers)
        return not self.session.error

    def start(self) -> None:
        """Poll in a daemon thread until ``stop``; a second start changes nothing."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="sealwire-remote-config", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; configs stay applied."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.poll()
            except Exception:
                log.exception("a poll failed; trying again")
            self._stopping.wait(self._interval_s)

    def _after_fork_in_child(self) -> None:
        was_running = self._thread is not None
        self._thread = None
        self._stopping = threading.Event()
        identity = replace(self.session.identity, client_id=str(uuid.uuid4()), runtime_id=str(uuid.uuid4()))
        self.session = replace(self.session, identity=identity)
        if was_running:
            self.start()


def _begin_anew_after_fork(client: RemoteConfig) -> None:
    reference = weakref.ref(client)

    def in_child() -> None:
        alive = reference()
        if alive is not None:
            alive._after_fork_in_child()

    os.register_at_fork(after_in_child=in_child)
