"""The tables of what probes brought: snapshots and how many, what became of each probe, settings.

Of a snapshot the columns hold nothing that a program had in its variables: message and values are in the two
sealed ones (``server.debugger.vault``).
"""

from __future__ import annotations

import sqlalchemy as sa

from sealwire.server.store.tables import metadata

# SQLite numbers rows by itself under this type only.
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


debugger_snapshots = sa.Table(
    "debugger_snapshots",
    metadata,
    sa.Column("row_id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("org_id", sa.Integer, nullable=False),
    sa.Column("snapshot_id", sa.String(64), nullable=False),
    sa.Column("probe_id", sa.String(64), nullable=False),
    sa.Column("probe_version", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    _text("service"),
    _text("env"),
    _text("version"),
    _text("host"),
    _text("language"),
    _text("trace_id"),
    _text("span_id"),
    sa.Column("has_values", sa.Boolean, nullable=False),
    sa.Column("errors", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),  # as it came
    sa.Column("stored", sa.BigInteger, nullable=False),  # of the sealed columns
    sa.Column("duration_ns", sa.BigInteger),
    # Last, so that a list need not read past them.
    sa.Column("message", sa.LargeBinary, nullable=False),  # sealed
    sa.Column("document", sa.LargeBinary, nullable=False),  # sealed
)
_s = debugger_snapshots.c
sa.Index("debugger_snapshots_by_id", _s.org_id, _s.snapshot_id, unique=True)
sa.Index("debugger_snapshots_by_time", _s.org_id, _s.at_ms, _s.snapshot_id)
# With what is summed up per probe at the start.
sa.Index("debugger_snapshots_by_probe", _s.org_id, _s.probe_id, _s.at_ms, _s.stored)
sa.Index("debugger_snapshots_by_service", _s.org_id, _s.service, _s.at_ms)
sa.Index("debugger_snapshots_by_trace", _s.org_id, _s.trace_id)

# What came of each probe since it was made, kept or not.
debugger_counts = sa.Table(
    "debugger_counts",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("probe_id", sa.String(64), primary_key=True),
    sa.Column("kept", sa.BigInteger, nullable=False),
    sa.Column("over_quota", sa.BigInteger, nullable=False),
    sa.Column("refused", sa.BigInteger, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
)

# The last that a process said of a version of a probe.
debugger_statuses = sa.Table(
    "debugger_statuses",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("probe_id", sa.String(128), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("runtime_id", sa.String(128), primary_key=True),
    sa.Column("parent_id", sa.String(128), nullable=False),
    _text("service"),
    _text("env"),
    _text("host"),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
    _text("failure"),  # JSON; empty: there is none
)
sa.Index("debugger_statuses_by_time", debugger_statuses.c.org_id, debugger_statuses.c.seen_ms)

debugger_settings = sa.Table(
    "debugger_settings",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.Integer, nullable=False),
    _text("document"),  # JSON
    sa.Column("changed_by", sa.String(200), nullable=False),
    sa.Column("changed_ms", sa.BigInteger, nullable=False),
)
