"""Tables of the denylist: who is refused, which configs say so, feeds, and lists that are being mended.

Times are milliseconds since 1970 UTC, as everywhere. Rows of ``denylist_entries`` are numbered by
``denylist_heads``, whose version grows with every change of them: who read at one version and writes at the
same one has missed nothing.
"""

from __future__ import annotations

import sqlalchemy as sa

from sealwire.server.store.tables import metadata

denylist_heads = sa.Table(
    "denylist_heads",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("last_id", sa.BigInteger, nullable=False),  # the newest number of an entry
)

denylist_entries = sa.Table(
    "denylist_entries",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String(12), nullable=False),  # ip, user, suspicious
    sa.Column("value", sa.Text, nullable=False),  # canonical
    sa.Column("sort_key", sa.String(100), nullable=False),  # addresses in their own order
    sa.Column("target_key", sa.String(32), nullable=False),
    sa.Column("target", sa.Text, nullable=False),  # JSON
    sa.Column("until_ms", sa.BigInteger),  # None: for ever
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column(
        "source", sa.String(300), nullable=False
    ),  # "": by hand; trace:, signal:, feed:, paste:, config:
    sa.Column("feed", sa.String(60), nullable=False),  # whose list it stands on; "": nobody's but people's
    sa.Column("config_id", sa.String(16), nullable=False),  # "": our file; else somebody's own config
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("changed_ms", sa.BigInteger, nullable=False),
    sa.Column("changed_by", sa.String(200), nullable=False),
    sa.Column("hits", sa.BigInteger, nullable=False),
    sa.Column("last_hit_ms", sa.BigInteger),
    sa.Column("covered_by", sa.String(100), nullable=False),  # a wider network that makes it needless; ""
    sa.Column("ended_ms", sa.BigInteger),
    sa.Column("ended_by", sa.String(200), nullable=False),
    sa.Column("ended_as", sa.String(12), nullable=False),  # "", lapsed, unblocked
)
sa.Index("denylist_entries_in_force", denylist_entries.c.org_id, denylist_entries.c.ended_ms)
sa.Index("denylist_entries_by_creation", denylist_entries.c.org_id, denylist_entries.c.created_ms)

# Configs that block somebody, as they were when their entries were last read or written.
denylist_files = sa.Table(
    "denylist_files",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("config_id", sa.String(16), primary_key=True),
    sa.Column("target_key", sa.String(32), nullable=False),
    sa.Column("is_ours", sa.Boolean, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("entries", sa.Integer, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),  # bytes
)

denylist_feeds = sa.Table(
    "denylist_feeds",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(60), primary_key=True),
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("target_key", sa.String(32), nullable=False),
    sa.Column("target", sa.Text, nullable=False),  # JSON
    sa.Column("span_s", sa.BigInteger),  # how long an entry lasts without an update; None: for ever
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),  # of the list as it came
    sa.Column("entries", sa.Integer, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),  # when a list last came
    sa.Column("updated_by", sa.String(200), nullable=False),
    sa.Column("changed_ms", sa.BigInteger, nullable=False),  # when one came that differed
)

denylist_drafts = sa.Table(
    "denylist_drafts",
    metadata,
    sa.Column("org_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("draft_id", sa.String(16), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),  # as pasted, mended since
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("target", sa.Text, nullable=False),  # JSON
    sa.Column("until_ms", sa.BigInteger),
    sa.Column("span_s", sa.BigInteger),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("created_by", sa.String(200), nullable=False),
    sa.Column("changed_ms", sa.BigInteger, nullable=False),
)
