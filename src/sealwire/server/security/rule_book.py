"""The detection rules of an organisation: those of the server, as people changed them, and their own."""

from __future__ import annotations

import sqlalchemy as sa
import structlog

from sealwire.errors import InvalidChangeError
from sealwire.server.security.builtin import BUILTIN
from sealwire.server.security.rules import Rule, check
from sealwire.server.store import security as store

log = structlog.get_logger()


def load(c: sa.Connection, org_id: int) -> list[Rule]:
    """Every rule, switched on or off. One that this version does not understand any more is left out."""
    documents = {rule_id: (document, 1) for rule_id, document in BUILTIN.items()}
    for row in store.rules(c, org_id):
        documents[row.rule_id] = (row.document, row.version)
    found = []
    for rule_id, (document, version) in documents.items():
        try:
            found.append(check(document, rule_id=rule_id, version=version))
        except InvalidChangeError as error:
            log.warning("detection rule not understood", org=org_id, rule=rule_id, reason=error.public)
    return found
