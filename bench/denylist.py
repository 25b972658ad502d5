"""How long it takes from a change of a denylist of 10,000 until it is published, signed.

One address is added to a list that is full but for one, and 10,000 are pasted into an empty one. The time
runs from the request to the moment the bundle for tracers is signed with it, the database's disk included.
The floor is what cannot be left out, measured in the same run: the file as JSON, its hash, one signature and
one commit of the file to a SQLite database like the server's.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import orjson

from bench.harness import keep, print_table, verdict
from sealwire.server.app import build
from sealwire.server.control_plane import ControlPlane
from sealwire.server.settings import ServerSettings
from sealwire.trust.keys import Ed25519Signer

ENTRIES = 10_000
GOAL_MS = 300.0
ADMIN = "/api/admin/v1"


def values(count: int) -> list[str]:
    """Addresses of the world, none private."""
    return [f"198.{51 + number // 62_500}.{number // 250 % 250}.{number % 250}" for number in range(count)]


def floor_ms(folder: Path) -> float:
    """JSON, hash, signature and commit of the same file."""
    signer = Ed25519Signer.generate()
    database = sqlite3.connect(folder / "floor.db", isolation_level=None)
    database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE f (raw BLOB)")
    data = [{"value": value, "expiration": 1_900_000_000} for value in values(ENTRIES)]
    payload = {"rules_data": [{"id": "blocked_ips", "type": "ip_with_expiration", "data": data}]}
    started = time.perf_counter()
    raw = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
    signer.sign(hashlib.sha256(raw).digest())
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO f VALUES (?)", (raw,))
    database.execute("COMMIT")
    took = (time.perf_counter() - started) * 1000
    database.close()
    return took


class Bench:
    """A control plane in this process, asked as people ask it."""

    def __init__(self, plane: ControlPlane, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self.plane, self.client, self.headers = plane, client, headers

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        reply = await self.client.request(method, ADMIN + path, json=body, headers=self.headers, timeout=60)
        reply.raise_for_status()
        return reply.json() if reply.content else None

    async def published_ms(self, method: str, path: str, body: Any) -> tuple[float, float]:
        """How long until the answer, and until the change is signed and committed."""
        tenant = self.plane.tenants[1]
        version = tenant.publisher.config_version
        started = time.perf_counter()
        await self.ask(method, path, body)
        answered = time.perf_counter()
        while tenant.publisher.config_version == version:
            await asyncio.sleep(0.001)
        return (answered - started) * 1000, (time.perf_counter() - started) * 1000

    async def empty(self) -> None:
        """Nobody is blocked any more."""
        while True:
            listed = await self.ask("GET", "/protect/denylist?limit=10000")
            if not listed["entries"]:
                break
            ids = [entry["id"] for entry in listed["entries"]]
            await self.ask("POST", "/protect/denylist:unblock", {"ids": ids})
        await self.plane.tenants[1].reconciler.settle(timeout_s=30)

    async def draft(self, count: int) -> str:
        text = "\n".join(values(count))
        return str((await self.ask("POST", "/protect/drafts", {"text": text, "for_s": 86_400}))["id"])


async def measure(rounds: int) -> dict[str, Any]:
    """Every figure, in milliseconds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = ServerSettings(
            data_dir=folder / "data", config_dir=folder / "config", plain_http_sends_api_keys_unencrypted=True
        )
        plane = ControlPlane(settings)
        await plane.start()
        try:
            application, _ = build(plane)
            key = plane.access.create_application_key(1, user="bench", role="admin", now_ms=plane.now_ms())
            transport = httpx.ASGITransport(application)
            async with httpx.AsyncClient(transport=transport, base_url="http://bench") as client:
                bench = Bench(plane, client, {"Authorization": f"Bearer {key}"})
                return await _rounds(bench, folder, rounds)
        finally:
            await plane.stop()


async def _rounds(bench: Bench, folder: Path, rounds: int) -> dict[str, Any]:
    figures: dict[str, list[float]] = {
        name: [] for name in ("floor", "paste answered", "paste published", "add answered", "add published",
                              "page of 50", "search")
    }  # fmt: skip
    size = 0
    for number in range(rounds):
        (folder / "floor.db").unlink(missing_ok=True)
        figures["floor"].append(floor_ms(folder))
        draft = await bench.draft(ENTRIES - 1)
        answered, published = await bench.published_ms("POST", f"/protect/drafts/{draft}/block", {})
        figures["paste answered"].append(answered)
        figures["paste published"].append(published)
        body = {"kind": "ip", "values": [f"203.0.113.{number}"], "for_s": 3600}
        answered, published = await bench.published_ms("POST", "/protect/denylist", body)
        figures["add answered"].append(answered)
        figures["add published"].append(published)
        for figure, path in (
            ("page of 50", "/protect/denylist?limit=50&sort=value"),
            ("search", "/protect/denylist?limit=50&q=198.51.77"),
        ):
            started = time.perf_counter()
            listed = await bench.ask("GET", path)
            figures[figure].append((time.perf_counter() - started) * 1000)
        size = listed["files"][0]["size"]
        await bench.empty()
    return {"figures": figures, "size": size}


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Measure; prints and keeps the table."""
    found = asyncio.run(measure(rounds))
    medians = {name: statistics.median(taken) for name, taken in found["figures"].items()}
    floor = medians["floor"]
    held = {name: medians[name] < GOAL_MS for name in ("paste published", "add published")}
    print_table(
        f"A denylist of {ENTRIES:,} entries, {found['size']:,} bytes (goal: published in {GOAL_MS:.0f} ms)",
        ["", "ms", "× floor", "held"],
        [
            [name, f"{value:.1f}", f"{value / floor:.1f}", verdict(held[name]) if name in held else ""]
            for name, value in medians.items()
        ],
    )
    kept = {
        "rows": [{"row": name, "ms": medians[name], "held": held.get(name)} for name in medians],
        "goal_ms": GOAL_MS, "entries": ENTRIES, "size": found["size"], "rounds": rounds,
    }  # fmt: skip
    keep("denylist", kept)
    return kept


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    run(rounds=parser.parse_args().rounds)
