"""``sealwire up``, followed as README tells a newcomer to: two terminals, a shop, a block, Ctrl-C."""

from __future__ import annotations

import http.client
import importlib.util
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import REPOSITORY, Program, clean_environment, wait_until
from tests.support.stack import free_port

pytestmark = pytest.mark.interop

DENIED, OTHER = "203.0.113.7", "198.51.100.9"


@dataclass
class Up:
    """A running ``sealwire up`` and the second terminal beside it."""

    program: Program
    environment: dict[str, str]
    shop_port: int

    def sealwire(self, line: str) -> subprocess.CompletedProcess[str]:
        """A command as README writes it: ``sealwire <line>``."""
        done = subprocess.run(
            [sys.executable, "-m", "sealwire", *shlex.split(line)],
            env=self.environment,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"sealwire {line}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def shop(self, from_ip: str) -> int:
        """The status of the README's curl."""
        connection = http.client.HTTPConnection("127.0.0.1", self.shop_port, timeout=10)
        try:
            connection.request("GET", "/", headers={"X-Forwarded-For": from_ip})
            return connection.getresponse().status
        finally:
            connection.close()

    def wait_for_shop(self, status: int, from_ip: str) -> None:
        wait_until(
            lambda: self.shop(from_ip) == status, f"{from_ip} gets {status}", timeout_s=20, every_s=0.1
        )

    def configs_of_shop(self) -> list[dict[str, Any]]:
        listed = json.loads(self.sealwire("client list --json").stdout)["clients"]
        return [config for client in listed if client["service"] == "shop" for config in client["configs"]]


@pytest.fixture
def up(tmp_path: Path) -> Up:
    if importlib.util.find_spec("ddtrace") is None:
        pytest.skip("the shop's tracer is not installed beside us")
    home = tmp_path / "home"
    home.mkdir()
    environment = clean_environment({"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")})
    ports = [free_port() for _ in range(3)]
    program = Program(
        [
            *(sys.executable, "-m", "sealwire", "up"),
            *("--data-dir", tmp_path / "data"),
            *("--server-port", str(ports[0])),
            *("--agent-port", str(ports[1])),
            *("--shop-port", str(ports[2])),
        ],
        name="sealwire up",
        log=tmp_path / "up.log",
        environment=environment,
    )
    program.wait_for_line(r"^Everything runs\.", timeout_s=90)
    return Up(program, environment, ports[2])


def descendants(pid: int) -> dict[int, str]:
    """Every process below ``pid``, with the moment it was started, so that a reused number is told apart."""
    parents: dict[int, int] = {}
    started: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        started[int(folder.name)] = fields[19]
    found: dict[int, str] = {}
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level and child not in found}
        found.update({child: started[child] for child in level})
    return found


def still_there(processes: dict[int, str]) -> dict[int, str]:
    """Those that live on, with their command lines."""
    found = {}
    for pid, started in processes.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if fields[19] == started and fields[0] != "Z":
                found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def test_a_newcomer_enables_blocks_looks_and_unblocks(up: Up) -> None:
    told = up.program.said()
    assert f"http://127.0.0.1:{up.shop_port}" in told
    assert "asm enable --service shop" in told
    assert up.shop(DENIED) == 200

    up.sealwire("asm enable --service shop")
    blocked_at = time.monotonic()
    up.sealwire(f"asm block ip {DENIED} --for 1h")

    up.wait_for_shop(403, DENIED)
    print(f"403 after {time.monotonic() - blocked_at:.2f} s, the command's own start-up included")
    assert up.shop(OTHER) == 200

    def acknowledged() -> bool:
        configs = up.configs_of_shop()
        assert {config["product"] for config in configs} == {"ASM_FEATURES", "ASM_DATA"}
        return all(config["state"] == "in_step" and config["acknowledged_at"] for config in configs)

    wait_until(acknowledged, "both configs are acknowledged", timeout_s=20, every_s=0.1)
    for config in up.configs_of_shop():
        assert 0 < config["took_s"] < 10, config
        print(f"{config['product']}: saved to acknowledged in {config['took_s']:.2f} s")
    table = up.sealwire("client list").stdout
    assert re.search(r"shop .*acknowledged", table), table

    up.sealwire(f"asm unblock ip {DENIED}")

    up.wait_for_shop(200, DENIED)


def test_a_block_for_a_short_time_lapses(up: Up) -> None:
    up.sealwire("asm enable --service shop")
    up.sealwire(f"asm block ip {DENIED} --for 8s")

    up.wait_for_shop(403, DENIED)
    up.wait_for_shop(200, DENIED)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything(up: Up, number: signal.Signals) -> None:
    started = descendants(up.program.pid)
    assert len(started) >= 4, "control plane, agent, shop, visits"

    up.program.signal(number)

    assert up.program.wait_for_end(timeout_s=30) == 0
    assert still_there(started) == {}
    assert "Everything is stopped." in up.program.said()
    with pytest.raises(ConnectionRefusedError):
        up.shop(OTHER)


def test_a_kill_of_the_first_program_takes_the_others_with_it(up: Up) -> None:
    started = descendants(up.program.pid)

    up.program.signal(signal.SIGKILL)
    up.program.wait_for_end()

    wait_until(lambda: not still_there(started), "the others notice and go", timeout_s=30)
