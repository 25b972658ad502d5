"""What a probe has besides its config (whether it is paused, how long it lasts), and stops, as tables."""

from __future__ import annotations

import sqlalchemy as sa

from sealwire.server.store.tables import metadata

probes = sa.Table(
    "probes",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("config_id", sa.String(16), primary_key=True),
    sa.Column("minutes", sa.Integer, nullable=False),  # how long it lasts from each change
    sa.Column("paused_revision", sa.BigInteger),  # of the config, by which it was paused; None: it is not
    sa.Column("paused_ms", sa.BigInteger),
    sa.Column("paused_by", sa.String(200), nullable=False),
    sa.Column("stop_id", sa.String(16), nullable=False),  # the stop that paused it; "": somebody did
)

probe_stops = sa.Table(
    "probe_stops",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stop_id", sa.String(16), primary_key=True),
    sa.Column("service", sa.Text, nullable=False),  # "": every one
    sa.Column("env", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("by", sa.String(200), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),  # of probes it paused
    sa.Column("lifted_by", sa.String(200), nullable=False),
    sa.Column("lifted_ms", sa.BigInteger),
)
