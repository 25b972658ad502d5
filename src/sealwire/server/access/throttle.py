"""How often somebody may try to sign in, without a way to lock others out.

Tries are counted three ways, each in memory of this process and bounded:

* by address (IPv6: its /64), whatever is tried: guessing at many accounts from one place ends soon;
* by account and network (IPv4 /24, IPv6 /56): guessing at one account ends sooner, for that network only;
* by account and known device, *instead of both*: a browser that signed in before has a count of its own.

So whoever knows somebody's email can make the sign-in wait for their own network and for no other, and the
owner at a browser they used before is not held up by anybody, be it their own neighbour. Absent on purpose
is a count by account alone: it would stop guessing from many networks at once, and let anybody lock anybody
out. Such guessing meets the one thread of ``passwords``, and passwords that are not among the first guesses.

A try counts before it is looked at, so that many at once gain nothing; one that succeeds is taken back. An
account that does not exist is counted like one that does.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sealwire.errors import TooOftenError

ADDRESS_TRIES, ADDRESS_WINDOW_S = 10, 60.0
ACCOUNT_TRIES, ACCOUNT_WINDOW_S = 5, 300.0
DEVICE_TRIES, DEVICE_WINDOW_S = 10, 300.0
CODE_TRIES, CODE_WINDOW_S = 10, 900.0
MAX_COUNTED = 10_000
# IPv6: a customer has a /56 or a /48 of /64s, each with tries of its own; this is where they meet.
SITE_TRIES, SITE_WINDOW_S = 60, 60.0


class _Counts:
    """Tries of the last ``window_s`` by name; the least recent name is forgotten when there are too many."""

    def __init__(self, tries: int, window_s: float) -> None:
        self._tries = tries
        self._window_s = window_s
        self._made: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, name: str, now: float) -> float:
        """How long until another may be made; 0: now."""
        made = self._recent(name, now)
        return 0.0 if len(made) < self._tries else max(0.0, made[-self._tries] + self._window_s - now)

    def add(self, name: str, now: float) -> None:
        made = self._recent(name, now)
        made.append(now)
        self._made[name] = made
        self._made.move_to_end(name)
        if len(self._made) > MAX_COUNTED:
            self._made.popitem(last=False)

    def take_back(self, name: str, now: float) -> None:
        made = self._made.get(name, [])
        if now in made:
            made.remove(now)
        if not made:
            self._made.pop(name, None)

    def forget(self, name: str) -> None:
        self._made.pop(name, None)

    def _recent(self, name: str, now: float) -> list[float]:
        return [at for at in self._made.get(name, ()) if 0 <= now - at < self._window_s]

    def __len__(self) -> int:
        return len(self._made)


@dataclass(frozen=True, slots=True)
class Try:
    """One try that was let through; it counts as failed unless it says otherwise."""

    _counted: tuple[tuple[_Counts, str], ...]
    _now: float
    _is_of_account: bool

    def does_not_count(self) -> None:
        """It was neither right nor wrong: it was not looked at, or there is one more step."""
        for counts, name in self._counted:
            counts.take_back(name, self._now)

    def succeeded(self) -> None:
        """It was right: it does not count, nor do those before it of this account from here."""
        self.does_not_count()
        if self._is_of_account:
            counts, name = self._counted[-1]
            counts.forget(name)


class Throttle:
    """Counts tries.

    Args:
        clock: Seconds of any clock that only goes forward.
        device_key: What cookies of known devices are signed with; the same in every replica.
    """

    def __init__(self, clock: Callable[[], float], *, device_key: bytes) -> None:
        self._clock = clock
        self._device_key = device_key
        self._addresses = _Counts(ADDRESS_TRIES, ADDRESS_WINDOW_S)
        self._sites = _Counts(SITE_TRIES, SITE_WINDOW_S)
        self._accounts = _Counts(ACCOUNT_TRIES, ACCOUNT_WINDOW_S)
        self._devices = _Counts(DEVICE_TRIES, DEVICE_WINDOW_S)
        self._codes = _Counts(CODE_TRIES, CODE_WINDOW_S)

    def try_from(self, address: str, *, account: str = "", device: str = "") -> Try:
        """Begin a try.

        Args:
            account: What is tried, such as an email as it is compared; empty: only the address counts.
            device: The cookie the browser sent, untrusted.

        Raises:
            TooOftenError: Too many failed; it says how long to wait, the same for every account.
        """
        return self._begin(self._names(address, account, device))

    def try_code(self, address: str, *, account: str, device: str = "") -> Try:
        """Begin a try of a second factor, by somebody who gave the right password.

        These are counted by account from wherever: only whoever knows the password gets to this count.

        Raises:
            TooOftenError: Too many failed.
        """
        counted = self._names(address, f"{account}\0code", device, known_as=account)
        if counted[0][0] is not self._devices:
            counted[-1] = (self._codes, counted[-1][1].partition(" ")[0])
        return self._begin(counted)

    def _begin(self, counted: list[tuple[_Counts, str]]) -> Try:
        now = self._clock()
        wait_s = max(counts.wait_s(name, now) for counts, name in counted)
        if wait_s > 0:
            raise TooOftenError(
                f"Too many tries failed. Try again in {_words(wait_s)}.", retry_after_s=max(1.0, wait_s)
            )
        for counts, name in counted:
            counts.add(name, now)
        return Try(tuple(counted), now, counted[-1][0] in (self._accounts, self._devices, self._codes))

    def _names(
        self, address: str, account: str, device: str, known_as: str = ""
    ) -> list[tuple[_Counts, str]]:
        host, network, site = networks(address)
        who = _who(account) if account else ""
        device_id = self._known_device(device, _who(known_as or account)) if who else ""
        if device_id:
            return [(self._devices, f"{who} {device_id}")]
        counted = [(self._addresses, host)]
        if site:
            counted.append((self._sites, site))
        if who:
            counted.append((self._accounts, f"{who} {network}"))
        return counted

    # Known devices ----------------------------------------------------------------------------------------

    def new_device(self, account: str, present: str = "") -> str:
        """The cookie of a browser that signed in as this account; ``present`` is the one it had."""
        who = _who(account)
        device_id = self._known_device(present, who) or secrets.token_hex(8)
        return f"{device_id}.{self._mac(device_id, who)}"

    def _known_device(self, cookie: str, who: str) -> str:
        """The id of a device that signed in as this account before; empty when it did not."""
        device_id, _, mac = cookie.partition(".")
        if len(device_id) != 16 or not cookie.isascii():
            return ""
        return device_id if hmac.compare_digest(mac, self._mac(device_id, who)) else ""

    def _mac(self, device_id: str, who: str) -> str:
        message = f"sealwire device\0{device_id}\0{who}".encode()
        return hmac.new(self._device_key, message, hashlib.sha256).hexdigest()


def _who(account: str) -> str:
    return hashlib.sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def networks(address: str) -> tuple[str, str, str]:
    """What an address counts as: the host, its network, and for IPv6 the site."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64], address[:64], ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped

    def prefix(length: int) -> str:
        return str(ipaddress.ip_network((parsed, length), strict=False))

    if parsed.version == 4:
        return str(parsed), prefix(24), ""
    return prefix(64), prefix(56), prefix(48)


def _words(seconds: float) -> str:
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} second{'' if whole == 1 else 's'}"
    minutes = -(-whole // 60)
    return f"{minutes} minute{'' if minutes == 1 else 's'}"
