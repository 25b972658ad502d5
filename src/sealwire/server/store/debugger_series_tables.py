"""The tables of what probes gave in numbers and in traces: blocks of metrics, spans, counts of spans."""

from __future__ import annotations

import sqlalchemy as sa

from sealwire.server.store.tables import metadata

# SQLite numbers rows by itself under this type only.
_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# What one metric of a probe measured in ten seconds, over all its sets of tags and for each.
debugger_blocks = sa.Table(
    "debugger_blocks",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("probe_id", sa.String(64), primary_key=True),
    sa.Column("at_ms", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("metric", sa.String(300), primary_key=True),
    sa.Column("kind", sa.String(1), primary_key=True),
    sa.Column("stored", sa.BigInteger, nullable=False),  # bytes of the two columns after it
    # Packed cells (``server.debugger.cells``); the second one last, as a chart of all does not read it.
    sa.Column("total", sa.LargeBinary, nullable=False),
    sa.Column("sets", sa.LargeBinary, nullable=False),
)
# With what is summed up per probe at the start.
sa.Index(
    "debugger_blocks_by_time",
    debugger_blocks.c.org_id, debugger_blocks.c.at_ms, debugger_blocks.c.probe_id, debugger_blocks.c.stored,
)  # fmt: skip

# Spans that probes made or put tags on; the columns hold nothing that a program had in its variables.
debugger_spans = sa.Table(
    "debugger_spans",
    metadata,
    sa.Column("row_id", _ROW_ID, primary_key=True, autoincrement=True),
    sa.Column("org_id", sa.Integer, nullable=False),
    sa.Column("probe_id", sa.String(64), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("env", sa.Text, nullable=False),
    sa.Column("trace_id", sa.String(32), nullable=False),
    sa.Column("document", sa.LargeBinary, nullable=False),  # sealed
)
_s = debugger_spans.c
sa.Index("debugger_spans_by_probe", _s.org_id, _s.probe_id, _s.row_id)
sa.Index("debugger_spans_by_time", _s.org_id, _s.at_ms)
sa.Index("debugger_spans_by_trace", _s.org_id, _s.trace_id)

# How many spans of a probe were seen, kept or not, in each hour.
debugger_span_counts = sa.Table(
    "debugger_span_counts",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("probe_id", sa.String(64), primary_key=True),
    sa.Column("hour_ms", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seen", sa.BigInteger, nullable=False),
    sa.Column("kept", sa.BigInteger, nullable=False),
    sa.Column("last_ms", sa.BigInteger, nullable=False),
)
