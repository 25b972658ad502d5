"""Who may do what: permissions and roles, keys, users, sessions.

``permissions`` decides and touches nothing; the others keep what it decides about. Whoever asks for
something is a ``Principal``, made from an application key or from the session of a browser, and a route or
an editor asks it whether it ``may``.
"""

from __future__ import annotations

from sealwire.server.access.keys import Access, AgentKey, digest, digest_sent, new_application_key
from sealwire.server.access.permissions import Grant, Principal

__all__ = [
    "Access",
    "AgentKey",
    "Grant",
    "Principal",
    "digest",
    "digest_sent",
    "new_application_key",
]
