"""Somebody who attacks the sample shop, to see what is made of it: ``python -m sealwire.demo.attacker``.

Every request is one that scanners on the internet send all day; none can hurt the shop. Bounded: one request
at a time, to this machine only, from addresses that are reserved for documentation.
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

SCANNER: Final = "Nessus SOAP"
BROWSER: Final = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"
ADDRESS: Final = "203.0.113.66"
_INJECTIONS: Final = (
    "' or 1=1 --",
    "1' union select name, password from users --",
    "admin'/*",
    "1; drop table articles",
    "' and sleep(5) and '1'='1",
)
_SCRIPTS: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg/onload=alert(document.cookie)>",
    "javascript:alert(document.domain)",
)
_PATHS: Final = ("/.env", "/wp-login.php", "/.git/config", "/admin.php", "/phpmyadmin/", "/etc/passwd")


@dataclass(frozen=True, slots=True)
class Shot:
    """One request."""

    path: str
    method: str = "GET"
    user_agent: str = BROWSER
    form: Mapping[str, str] = field(default_factory=dict)


def scan(times: int) -> Iterator[Shot]:
    """A vulnerability scanner that says its name."""
    for number in range(times):
        yield Shot(_PATHS[number % len(_PATHS)], user_agent=SCANNER)


def inject(times: int) -> Iterator[Shot]:
    """SQL injections into the search."""
    for number in range(times):
        yield Shot(f"/search?q={quote(_INJECTIONS[number % len(_INJECTIONS)])}")


def script(times: int) -> Iterator[Shot]:
    """Cross-site scripting into the search."""
    for number in range(times):
        yield Shot(f"/search?q={quote(_SCRIPTS[number % len(_SCRIPTS)])}")


def stuff(times: int) -> Iterator[Shot]:
    """Passwords that leaked elsewhere, tried on many accounts."""
    for number in range(times):
        yield Shot("/login", "POST", form={"login": f"user{number}@example.org", "password": "123456"})


#: Name -> its requests and how many it takes to be noticed.
KINDS: Final[Mapping[str, tuple[Callable[[int], Iterator[Shot]], int]]] = {
    "scanner": (scan, 6),
    "sql": (inject, 12),
    "script": (script, 12),
    "logins": (stuff, 40),
}


def send(url: str, shot: Shot, *, from_ip: str) -> int | None:
    """Send one request; the status, or None if nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    headers = {"X-Forwarded-For": from_ip, "User-Agent": shot.user_agent, "Accept": "text/html"}
    body = None
    if shot.form:
        body = urlencode(shot.form)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        connection.request(shot.method, shot.path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def attack(url: str, kind: str, *, from_ip: str, times: int = 0, pause_s: float = 0.0) -> Counter[str]:
    """Send the requests of a kind; how often each status came back.

    Args:
        times: How many; 0 is as many as it takes to be noticed.
    """
    requests, usual = KINDS[kind]
    statuses: Counter[str] = Counter()
    for shot in requests(times or usual):
        status = send(url, shot, from_ip=from_ip)
        statuses["no answer" if status is None else str(status)] += 1
        time.sleep(pause_s)
    return statuses


def main(argv: list[str] | None = None) -> int:
    """Attack the shop once with every kind that was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m sealwire.demo.attacker", description="Attack the sample shop on this machine."
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="default: %(default)s")
    parser.add_argument("--from", dest="address", default=ADDRESS, metavar="IP", help="default: %(default)s")
    parser.add_argument("--times", type=int, default=0, metavar="N", help="of each; default: enough")
    arguments = parser.parse_args(argv)
    unknown = [kind for kind in arguments.kinds if kind not in KINDS]
    if unknown:
        parser.error(f"there is no kind {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if not _is_here(arguments.url):
        parser.error("the URL must be one of this machine, such as http://127.0.0.1:8080")
    for kind in arguments.kinds or KINDS:
        statuses = attack(arguments.url, kind, from_ip=arguments.address, times=arguments.times)
        seen = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
        sys.stdout.write(f"{kind:8} from {arguments.address}: {seen}\n")
        sys.stdout.flush()
    return 0


def _is_here(url: str) -> bool:
    """Whether a URL leads to this machine and nowhere else."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return False
    try:
        return ipaddress.ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname == "localhost"


if __name__ == "__main__":
    sys.exit(main())
