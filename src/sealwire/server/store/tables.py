"""Every table of the control plane.

Times are integers, milliseconds since 1970 UTC. Every row carries its organisation. The row of an
organisation in ``domains`` is the only lock of publishing: whoever holds it may take the next version.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

organisations = sa.Table(
    "organisations",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("name", sa.String(100), nullable=False, unique=True),
    sa.Column("remote_config", sa.Boolean, nullable=False),
    sa.Column("roots_on_server", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

domains = sa.Table(
    "domains",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("director_version", sa.BigInteger, nullable=False),  # last one issued
    sa.Column("config_version", sa.BigInteger, nullable=False),  # last one issued
    sa.Column("key_epoch", sa.BigInteger, nullable=False),  # grows with every root of either repository
    sa.Column("generation", sa.BigInteger, nullable=False),  # grows with every change of an author
    sa.Column("role_floor", sa.Integer, nullable=False),  # roles each product has, needed or not
)

roots = sa.Table(
    "roots",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("repository", sa.String(10), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

online_keys = sa.Table(
    "online_keys",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key_id", sa.String(64), primary_key=True),
    sa.Column("purpose", sa.String(30), nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("retired_ms", sa.BigInteger),
)

configs = sa.Table(
    "configs",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("config_id", sa.String(16), primary_key=True),
    sa.Column("product", sa.String(60), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("targeting", sa.Text, nullable=False),  # JSON
    sa.Column("payload", sa.LargeBinary, nullable=False),  # JSON as rendered
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),  # active, retired
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_by", sa.String(200), nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("generation", sa.BigInteger, nullable=False),
)
sa.Index("configs_by_generation", configs.c.org_id, configs.c.generation)

config_revisions = sa.Table(
    "config_revisions",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("config_id", sa.String(16), primary_key=True),
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("targeting", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
)

# What is published: one row per path, its present bytes. A path keeps its row when nobody wants it any
# more, so that its version never falls.
files = sa.Table(
    "files",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("path", sa.String(300), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("sources", sa.Text, nullable=False),  # JSON: config id -> revision
    sa.Column("provenance", sa.Text, nullable=False),  # JSON: JSON path -> config id
    sa.Column("role", sa.String(64), nullable=False),  # the delegated role that lists it, "" when unlisted
)

# Which audience of a product has which delegated role (see audiences.py); for ever, as the roles are.
audiences = sa.Table(
    "audiences",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("product", sa.String(60), primary_key=True),
    sa.Column("audience", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
)

# Signed documents of the config repository, by role and version.
config_documents = sa.Table(
    "config_documents",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("role", sa.String(64), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("raw", sa.LargeBinary, nullable=False),
    sa.Column("signed_ms", sa.BigInteger, nullable=False),
)

# Every director bundle ever issued. A version is taken here, and committed, before its bytes leave.
ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("view_key", sa.String(64), nullable=False),
    sa.Column("config_version", sa.BigInteger, nullable=False),
    sa.Column("key_epoch", sa.BigInteger, nullable=False),
    sa.Column("signed_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),  # of targets | snapshot | timestamp
    sa.Column("targets", sa.LargeBinary),  # bytes are a cache: dropped when no agent can hold them any more
    sa.Column("snapshot", sa.LargeBinary),
    sa.Column("timestamp", sa.LargeBinary),
)
sa.Index("ledger_by_view", ledger.c.org_id, ledger.c.view_key, ledger.c.version)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_id", sa.String(16), primary_key=True),
    sa.Column("org_id", sa.Integer, nullable=False, index=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("last4", sa.String(4), nullable=False),
    sa.Column("remote_config", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("last_used_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
)

application_keys = sa.Table(
    "application_keys",
    metadata,
    sa.Column("key_id", sa.String(16), primary_key=True),
    sa.Column("org_id", sa.Integer, nullable=False, index=True),
    sa.Column("user", sa.String(200), nullable=False),
    sa.Column("role", sa.String(40), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False, unique=True),
    sa.Column("last4", sa.String(4), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("revoked_ms", sa.BigInteger),
)

agents = sa.Table(
    "agents",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("agent_id", sa.String(200), primary_key=True),
    sa.Column("hostname", sa.String(300), nullable=False),
    sa.Column("version", sa.String(100), nullable=False),
    sa.Column("tags", sa.Text, nullable=False),  # JSON list
    sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("director_version", sa.BigInteger, nullable=False),
)

clients = sa.Table(
    "clients",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("client_id", sa.String(200), primary_key=True),
    sa.Column("agent_id", sa.String(200), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),  # JSON of ClientFacts
    sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("targets_version", sa.BigInteger, nullable=False),
)
sa.Index("clients_by_agent", clients.c.org_id, clients.c.agent_id)

# What became of a file in a client.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("client_id", sa.String(200), primary_key=True),
    sa.Column("path", sa.String(300), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("apply_state", sa.Integer, nullable=False),
    sa.Column("apply_error", sa.Text, nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
)

# Values a client would keep after their config is gone, until it took their release (ADR 2).
held_values = sa.Table(
    "held_values",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("client_id", sa.String(200), primary_key=True),
    sa.Column("product", sa.String(60), primary_key=True),
    sa.Column("held", sa.Text, nullable=False),  # JSON
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)

audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("org_id", sa.Integer, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("action", sa.String(60), nullable=False),
    sa.Column("subject", sa.String(300), nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),  # JSON
)
sa.Index("audit_by_org", audit_events.c.org_id, audit_events.c.id)

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("org_id", sa.Integer, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(60), nullable=False),
    sa.Column("subject", sa.String(300), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("resolved_ms", sa.BigInteger),
)
