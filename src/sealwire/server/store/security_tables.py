"""The tables of what was seen of attacks: traces, signals, detection rules, and what detection remembers.

A trace is a packed document, and beside it a column for each facet that is searched: texts in lower case,
as a search knows no case; facets with several values as one text with a line break before and after each
value. What somebody looks at is always read from the document.
"""

from __future__ import annotations

import sqlalchemy as sa

from sealwire.server.store.tables import metadata

# SQLite numbers rows by itself under this type only.
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


security_traces = sa.Table(
    "security_traces",
    metadata,
    sa.Column("row_id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("org_id", sa.Integer, nullable=False),
    sa.Column("ts_ms", sa.BigInteger, nullable=False),
    # More than one: requests that were counted instead of kept. They have no trace id.
    sa.Column("count", sa.BigInteger, nullable=False),
    _text("trace_id"),
    _text("span_id"),  # of counted rows: what tells this count from the others
    sa.Column("is_attack", sa.Boolean, nullable=False),  # something besides business events
    sa.Column("blocked", sa.Boolean, nullable=False),
    sa.Column("listed", sa.Boolean, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("duration_us", sa.BigInteger, nullable=False),
    # Four or six, then the bytes of the address: networks are ranges. Empty: it is no address.
    sa.Column("actor_address", sa.LargeBinary, nullable=False),
    sa.Column("peer_address", sa.LargeBinary, nullable=False),
    _text("actor_ip"),
    _text("peer_ip"),
    _text("service"),
    _text("env"),
    _text("version"),
    _text("host"),
    _text("runtime_id"),
    _text("lang"),
    _text("method"),
    _text("route"),
    _text("target"),
    _text("url"),
    _text("user_agent"),
    _text("user_id"),
    _text("user_login"),
    _text("account"),
    _text("session_id"),
    _text("security_response_id"),
    _text("qualification"),
    _text("fp_endpoint"),
    _text("fp_header"),
    _text("fp_network"),
    _text("fp_session"),
    _text("activities"),
    _text("rule_ids"),
    _text("rule_types"),
    _text("exploits"),
    _text("tools"),
    _text("touches"),
    _text("words"),  # the values of all facets a word without a name is looked for in
    # Last, so that a search need not read past them.
    sa.Column("document", sa.LargeBinary, nullable=False),
    sa.Column("stacks", sa.LargeBinary, nullable=False),
)
_traces = security_traces.c
sa.Index("security_traces_by_id", _traces.org_id, _traces.trace_id, _traces.span_id, unique=True)
# With what is counted over time: a chart of all that is held need not read the rows.
sa.Index(
    "security_traces_by_time",
    _traces.org_id, _traces.ts_ms, _traces.count, _traces.blocked, _traces.is_attack,
)  # fmt: skip
sa.Index("security_traces_by_ip", _traces.org_id, _traces.actor_ip, _traces.ts_ms)
sa.Index("security_traces_by_account", _traces.org_id, _traces.account, _traces.ts_ms)
sa.Index("security_traces_by_service", _traces.org_id, _traces.service, _traces.ts_ms)

signals = sa.Table(
    "signals",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("signal_id", sa.String(16), primary_key=True),
    sa.Column("rule_id", sa.String(200), nullable=False),
    sa.Column("severity", sa.Integer, nullable=False),
    sa.Column("first_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("last_seen_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_ms", sa.BigInteger),  # None: it is open
    _text("services"),  # as facets with several values
    _text("words"),
    sa.Column("document", sa.LargeBinary, nullable=False),
    # What people made of it; nothing that detection writes touches these.
    sa.Column("triage", sa.String(20), nullable=False),
    _text("archive_reason"),
    sa.Column("assignee", sa.String(200), nullable=False),
    sa.Column("triaged_by", sa.String(200), nullable=False),
    sa.Column("triaged_ms", sa.BigInteger),
)
sa.Index("signals_by_time", signals.c.org_id, signals.c.last_seen_ms, signals.c.signal_id)
sa.Index("signals_open", signals.c.org_id, signals.c.closed_ms)

signal_comments = sa.Table(
    "signal_comments",
    metadata,
    sa.Column("comment_id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("org_id", sa.Integer, nullable=False),
    sa.Column("signal_id", sa.String(16), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)
sa.Index("signal_comments_by_signal", signal_comments.c.org_id, signal_comments.c.signal_id)

# Every version of a rule that people changed or made. Rules that came with the server, as they came, are not
# here.
detection_rules = sa.Table(
    "detection_rules",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("rule_id", sa.String(200), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("document", sa.Text, nullable=False),  # JSON
    sa.Column("is_builtin", sa.Boolean, nullable=False),
    sa.Column("changed_by", sa.String(200), nullable=False),
    sa.Column("changed_ms", sa.BigInteger, nullable=False),
    _text("comment"),
)

# What detection goes on with after a restart: usual counts, what was last observed, batches that were taken.
detection_memory = sa.Table(
    "detection_memory",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),
)
sa.Index("detection_memory_by_time", detection_memory.c.org_id, detection_memory.c.at_ms)
