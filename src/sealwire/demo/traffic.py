"""A little traffic for the sample shop: a few visitors a second, from a handful of addresses.

Says a line when what an address gets changes (200 before, 403 now), and nothing otherwise. Bounded: one
request at a time, this machine only. The addresses are of the ranges reserved for documentation.
"""

from __future__ import annotations

import argparse
import http.client
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from urllib.parse import urlsplit

ADDRESSES = tuple(
    [f"198.51.100.{last}" for last in (4, 17, 23, 42, 99)]
    + [f"203.0.113.{last}" for last in (7, 8, 20, 77)]
    + ["192.0.2.66", "2001:db8::1", "2001:db8::42"]
)
_VISITS: tuple[tuple[str, int], ...] = (
    ("/", 6),
    ("/product/1", 2),
    ("/product/3", 2),
    ("/product/5", 1),
    ("/search?q=wax", 2),
    ("/search?q=ring", 1),
    ("/cart", 1),
)
INTERVAL_S = 0.4


def visits(chance: random.Random) -> Iterator[tuple[str, str]]:
    """Visits without end: path and the address it seems to come from."""
    paths = [path for path, _ in _VISITS]
    weights = [weight for _, weight in _VISITS]
    while True:
        yield chance.choices(paths, weights)[0], chance.choice(ADDRESSES)


def visit(host: str, port: int, path: str, address: str) -> int | None:
    """Make one visit and give the status; None if the shop is not there."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request(
            "GET",
            path,
            headers={
                "X-Forwarded-For": address,
                "User-Agent": "sealwire-demo-visitor",
                "Accept": "text/html",
            },
        )
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def changes(seen: dict[str, int], address: str, status: int | None, say: Callable[[str], None]) -> None:
    """Remember what an address got, and say it if that is new; the first 200 is no news."""
    if status is None:
        return
    before = seen.get(address)
    seen[address] = status
    if status == (before or 200):
        return
    was = f" (was {before})" if before else ""
    say(f"{address} gets {status} {http.client.responses.get(status, '')}{was}")


def main(argv: list[str] | None = None) -> int:
    """Visit the shop until stopped."""
    parser = argparse.ArgumentParser(
        prog="python -m sealwire.demo.traffic", description="Light traffic for the shop."
    )
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parts = urlsplit(parser.parse_args(argv).url)
    stopped = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, on_signal)

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    seen: dict[str, int] = {}
    for path, address in visits(random.Random()):
        status = visit(parts.hostname or "127.0.0.1", parts.port or 80, path, address)
        changes(seen, address, status, say)
        if stopped.wait(INTERVAL_S):
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
