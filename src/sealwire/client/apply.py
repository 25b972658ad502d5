"""Hand verified configs to the application, and turn what happens into apply states."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from sealwire.client.session import Changes, Config, Session
from sealwire.wire.codec import ApplyState

log = logging.getLogger("sealwire.client")

Handler = Callable[["Config | None", str], None]
"""Called with a new or changed config and its path, or with None when the config at that path has gone.
What it raises becomes the apply state of the config; a removal's error is logged."""


def apply(session: Session, changes: Changes, handlers: Mapping[str, Handler]) -> Session:
    """Call the handlers: removals first, then what is new. One that fails does not stop the others."""
    for path, config in changes.removed.items():
        handler = handlers.get(config.path.product)
        if handler is None:
            continue
        try:
            handler(None, path)
        except Exception:
            log.exception("a config could not be taken back", extra={"path": path})
    for path, config in changes.changed.items():
        handler = handlers.get(config.path.product)
        if handler is None:
            continue
        try:
            handler(config, path)
        except Exception as error:
            session = session.reported(path, ApplyState.ERROR, f"{type(error).__name__}: {error}"[:500])
        else:
            session = session.reported(path, ApplyState.ACKNOWLEDGED)
    return session
