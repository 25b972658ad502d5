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
    # Since when everything is being withdrawn, before Remote Configuration is off; None: it is not.
    sa.Column("withdrawing_ms", sa.BigInteger),
    sa.Column("production_envs", sa.Text, nullable=False, server_default='["prod", "production"]'),  # JSON
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
    sa.Column("expires_ms", sa.BigInteger),
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
    # Since when what its agents hold is being withdrawn, before its scope is taken; None: it is not.
    sa.Column("withdrawing_ms", sa.BigInteger),
    # Whether the key goes then, and not only its scope.
    sa.Column("then_revoked", sa.Boolean, nullable=False, server_default=sa.false()),
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
    sa.Column("name", sa.String(100), nullable=False, server_default=""),
    sa.Column("user_id", sa.String(16)),  # None: nobody's, it has the rights of ``role``
    sa.Column("scopes", sa.Text),  # JSON list of permissions; None: all that its user or role has
    sa.Column("last_used_ms", sa.BigInteger),
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
    sa.Column("api_key_id", sa.String(16), nullable=False, server_default=""),  # of its last poll
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

# How long deliveries took, an hour and a service at a time; each running control plane has rows of its own.
propagation_hours = sa.Table(
    "propagation_hours",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("product", sa.String(60), primary_key=True),
    sa.Column("service", sa.String(300), primary_key=True),
    sa.Column("writer", sa.String(16), primary_key=True),
    sa.Column("tally", sa.Text, nullable=False),  # JSON: step -> bucket -> deliveries
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
    sa.Column("context", sa.Text, nullable=False, server_default="{}"),  # JSON: actor type, address, request
    sa.Column("prev_sha256", sa.String(64)),  # of the event before; None in events of before the chain
    sa.Column("sha256", sa.String(64)),
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

# People -----------------------------------------------------------------------------------------------

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.String(16), primary_key=True),
    sa.Column("org_id", sa.Integer, nullable=False, index=True),
    sa.Column("email", sa.String(254), nullable=False),  # as typed
    sa.Column("email_key", sa.String(254), nullable=False, unique=True),  # as compared: NFC, case folded
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),  # invited, active, disabled
    sa.Column("password_hash", sa.String(200)),  # argon2id, None until one is set
    sa.Column("totp_wrapped", sa.LargeBinary),  # the shared secret, wrapped by the key encryption key
    sa.Column("totp_last_step", sa.BigInteger),  # a code is taken once
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("last_sign_in_ms", sa.BigInteger),
    sa.Column("disabled_ms", sa.BigInteger),
)

# A user as a provider of OpenID Connect knows them.
identities = sa.Table(
    "identities",
    metadata,
    sa.Column("issuer", sa.String(300), primary_key=True),
    sa.Column("subject", sa.String(255), primary_key=True),
    sa.Column("user_id", sa.String(16), nullable=False, index=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

# Roles people made themselves; the three that are always there are in the program.
roles = sa.Table(
    "roles",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("role_id", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("permissions", sa.Text, nullable=False),  # JSON list
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("org_id", "name"),
)

# Who has which role, for which services and environments (empty lists: for all).
role_bindings = sa.Table(
    "role_bindings",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("binding_id", sa.String(16), primary_key=True),
    sa.Column("user_id", sa.String(16), nullable=False),
    sa.Column("role_id", sa.String(16), nullable=False),
    sa.Column("services", sa.Text, nullable=False),  # JSON list
    sa.Column("envs", sa.Text, nullable=False),  # JSON list
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
)
sa.Index("role_bindings_by_user", role_bindings.c.org_id, role_bindings.c.user_id)

# Browsers that are signed in, by the hash of their token.
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("session_id", sa.String(16), nullable=False, unique=True),  # safe to show
    sa.Column("org_id", sa.Integer, nullable=False),
    sa.Column("user_id", sa.String(16), index=True),  # None: signed in with an application key
    sa.Column("application_key_id", sa.String(16)),
    sa.Column("began_ms", sa.BigInteger, nullable=False),
    sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("user_agent", sa.String(300), nullable=False),
    sa.Column("method", sa.String(20), nullable=False),  # see people.SessionRow
    sa.Column("ended_ms", sa.BigInteger),  # None: nobody ended it, be it too old or not
)

# Links that work once: the first run, invitations, lost passwords.
links = sa.Table(
    "links",
    metadata,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("link_id", sa.String(16), nullable=False, unique=True),  # safe to show
    sa.Column("org_id", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),  # first_run, invitation, password_reset
    sa.Column("user_id", sa.String(16), index=True),  # None: the first run has nobody yet
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Column("used_ms", sa.BigInteger),
)

recovery_codes = sa.Table(
    "recovery_codes",
    metadata,
    sa.Column("user_id", sa.String(16), primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("used_ms", sa.BigInteger),
)

# What is seen of machines ---------------------------------------------------------------------------------

# What each agent says it is, once a minute, and polls that were refused.
inventory = sa.Table(
    "inventory",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("agent_id", sa.String(200), primary_key=True),
    sa.Column("hostname", sa.String(300), nullable=False),
    sa.Column("version", sa.String(100), nullable=False),
    sa.Column("api_key_id", sa.String(16), nullable=False),
    sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("posted_ms", sa.BigInteger),  # None: it never posted
    sa.Column("refused_ms", sa.BigInteger),  # the last poll that was refused, None when the last was not
    sa.Column("refused_for", sa.String(300), nullable=False),
    sa.Column("facts", sa.Text, nullable=False),  # JSON as posted, checked
)

# Effective values of a running tracer and where each came from, by its own telemetry.
client_settings = sa.Table(
    "client_settings",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("runtime_id", sa.String(200), primary_key=True),
    sa.Column("agent_id", sa.String(200), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),  # JSON: service, env, language, versions
    sa.Column("settings", sa.Text, nullable=False),  # JSON: name -> [{value, origin, seq_id, error}]
)

# What is told to others ------------------------------------------------------------------------------------

webhooks = sa.Table(
    "webhooks",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("webhook_id", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("url", sa.String(2000), nullable=False),
    sa.Column("events", sa.Text, nullable=False),  # JSON list
    sa.Column("secret_wrapped", sa.LargeBinary, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
)

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("org_id", sa.Integer, nullable=False),
    sa.Column("webhook_id", sa.String(16), nullable=False),
    sa.Column("event", sa.String(60), nullable=False),
    sa.Column("subject", sa.String(300), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_ms", sa.BigInteger),  # None: delivered, or given up
    sa.Column("delivered_ms", sa.BigInteger),
    sa.Column("status", sa.Integer),  # of the last attempt, None when there was no answer
    sa.Column("error", sa.Text, nullable=False),
)
sa.Index("webhook_deliveries_by_webhook", webhook_deliveries.c.org_id, webhook_deliveries.c.webhook_id)
sa.Index("webhook_deliveries_due", webhook_deliveries.c.next_ms)

# Concerns that webhooks were told of and that have not ended.
told_concerns = sa.Table(
    "told_concerns",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(60), primary_key=True),
    sa.Column("key", sa.String(300), primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("began_ms", sa.BigInteger, nullable=False),
)

# Where each organisation's chain of audit events ends; its row is the lock of the chain.
audit_heads = sa.Table(
    "audit_heads",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
)
