"""Facets counted in one pass are the values that each is counted to by itself."""

from __future__ import annotations

from pathlib import Path

from sealwire.server.security.facets import FACETS
from sealwire.server.security.query import parse
from sealwire.server.security.rows import SecurityTrace
from sealwire.server.store import security as store
from sealwire.server.store.database import Database
from sealwire.server.store.security_facets import facet_counts


def test_all_facets_at_once_say_what_each_says_alone(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'sealwire.db'}")
    database.migrate()
    rows = [
        store.Stored(
            SecurityTrace(
                trace_id=f"{number:032x}", span_id=f"{number:016x}", ts=1000.0 + number,
                service=("Shop", "web", "shop")[number % 3], status=(0, 200, 404)[number % 3],
                blocked=number % 4 == 0, duration_ms=number / 2, actor_ip=f"198.51.100.{number % 5}",
                activities=("attack_attempt.xss",) if number % 2 else ("attack_attempt.lfi", "a.b"),
            ),
            count=1 + number % 2,
        )
        for number in range(40)
    ]  # fmt: skip
    with database.write() as c:
        store.put_traces(c, 1, rows)
        store.put_traces(c, 2, rows[:3])
    facets = list(FACETS.values())
    with database.read() as c:
        for text in ("", "service:shop", "-@appsec.blocked:true @http.status_code:>0", "service:nobody"):
            node = parse(text)
            within = {"since_ms": 1_005_000, "until_ms": 1_035_000, "limit": 6}
            counted = facet_counts(c, 1, node, facets, **within)
            for facet in facets:
                alone = store.facet_values(c, 1, node, facet, **within)
                assert sorted(counted[facet.name]) == sorted(alone[:6]), (text, facet.name)
        assert facet_counts(c, 1, parse(""), [], since_ms=0, until_ms=1, limit=1) == {}
    database.close()
