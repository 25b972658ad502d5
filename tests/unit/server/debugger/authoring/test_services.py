"""Where Dynamic Instrumentation runs: by what clients ask for, and by what they say they take."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from sealwire.server.debugger.authoring.desk import Switched
from sealwire.server.debugger.authoring.services import PROBES, Running, Service, by_what, needs, services
from sealwire.server.fleet.connection import Connection, Standing
from sealwire.server.fleet.effective import InForce
from sealwire.server.fleet.overview import ClientLine

TAKES = {38}
NOTHING = Switched(None, False, ())
ON = Switched(True, False, ("c1",))


def client(
    service: str, *, language: str = "python", version: str = "4.16.0", runs: bool = False
) -> ClientLine:
    facts: dict[str, Any] = {
        "service": service, "env": "prod", "language": language, "tracer_version": version,
        "products": ["APM_TRACING", *([PROBES] if runs else [])],
    }  # fmt: skip
    return ClientLine(
        client_id=f"{service}-{language}-{version}-{runs}", agent_id="a", hostname="h", facts=facts, files=(),
        in_step=0, failed=0, standing=Standing(Connection.CONNECTED), error="", first_seen_s=0, seen_s=0,
        waiting=False,
    )  # fmt: skip


def one(*clients: ClientLine, switched: Switched = NOTHING, takes: Collection[int] = TAKES) -> Service:
    (found,) = services(clients, lambda service, env: switched, lambda line: takes)
    return found


def setting(value: str, origin: str) -> InForce:
    return InForce("DD_DYNAMIC_INSTRUMENTATION_ENABLED", value, origin, "", 0, None, (), True)


@pytest.mark.parametrize(
    ("running", "switched", "takes", "state"),
    [
        ((True, True), NOTHING, TAKES, Running.ON),
        ((True, False), NOTHING, TAKES, Running.PARTLY),
        ((False, False), ON, TAKES, Running.COMING),
        ((False, False), NOTHING, TAKES, Running.OFF),
        ((False, False), NOTHING, {1, 2}, Running.UNABLE),
        ((False, False), ON, {1, 2}, Running.UNABLE),
    ],
)
def test_a_service_is_on_where_its_clients_ask_for_probes(
    running: tuple[bool, bool], switched: Switched, takes: set[int], state: Running
) -> None:
    first, second = (client("shop", runs=runs) for runs in running)
    assert one(first, second, switched=switched, takes=takes).state is state


def test_what_a_client_does_not_say_now_is_known_by_its_version() -> None:
    assert one(client("shop", version="4.16.0"), takes=()).switchable == 1
    assert one(client("shop", version="2.21.11"), takes=()).switchable == 0
    assert one(client("web", language="node", version="5.132.0"), takes=()).switchable == 1
    assert one(client("x", language="cobol", version="1"), takes=()).switchable == 0


def test_it_is_said_what_to_do_where_it_cannot_be_switched_from_here() -> None:
    old = one(client("shop", version="2.21.11"), takes=())
    (said,) = needs(old)
    assert said.startswith(
        "1 Python tracer cannot be switched from here: set DD_DYNAMIC_INSTRUMENTATION_ENABLED="
    )
    assert needs(one(client("shop", version="2.21.11", runs=True), takes=())) == ()


@pytest.mark.parametrize(
    ("switched", "settings", "says"),
    [
        (ON, None, "Switched on here."),
        (ON, [setting("false", "env_var")], "wins: take that away"),
        (ON, [setting("true", "remote_config")], "Switched on here."),
        (Switched(False, False, ("c",)), None, "Switched off here."),
        (NOTHING, [setting("true", "env_var")], "DD_DYNAMIC_INSTRUMENTATION_ENABLED=true."),
        (NOTHING, [setting("false", "default")], "off by itself"),
        (NOTHING, None, "off by itself"),
    ],
)
def test_it_is_said_what_decides(switched: Switched, settings: list[InForce] | None, says: str) -> None:
    assert says in by_what(one(client("shop"), switched=switched), settings)
