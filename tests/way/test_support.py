"""The support matrix through the application: who is too old is told before a config is saved."""

from __future__ import annotations

from pathlib import Path

from tests.support.console import Console, run
from tests.support.parts import denylist
from tests.support.simulated_agent import tracer


def test_a_check_warns_of_clients_that_are_too_old(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        clients = [
            tracer("old", language="node", tracer_version="3.10.0"),
            tracer("new", language="node", tracer_version="5.132.0"),
        ]
        await it.poll(it.agent(*clients))

        told = await it.post(
            "/configs:check", {"product": "ASM_DATA", "payload": denylist("203.0.113.7")}, status=200
        )

        assert told["warnings"] == [
            {
                "path": "$.targeting",
                "message": "1 of 2 clients it is aimed at is older than Node.js 3.11.0 and will ignore it "
                "(Blocking of addresses and users).",
            }
        ]
        assert told["reach"]["too_old"]["count"] == 1

    run(tmp_path, case)


def test_the_page_counts_who_takes_what(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await it.poll(it.agent(tracer("old", language="node", tracer_version="3.10.0")))
        await it.plane.tenants[1].overview.look()
        headers = {**it.headers, "Accept": "text/html"}

        page = (await it.client.get("/support?language=node", headers=headers)).text
        everything = (await it.client.get("/support?language=%3Cscript%3E", headers=headers)).text

        assert "0 of 1" in page
        assert "library%3A3.10.0" in page or "library:3.10.0" in page
        assert "<script>alert" not in everything
        assert "7.41.1" in everything

    run(tmp_path, case)


def test_the_matrix_is_in_the_api_too(tmp_path: Path) -> None:
    async def case(it: Console) -> None:
        await it.poll(it.agent(tracer("old", language="node", tracer_version="3.10.0")))
        await it.plane.tenants[1].overview.look()

        matrix = await it.get("/support")
        blocking = next(one for one in matrix["features"] if one["name"] == "asm_blocking")

        assert blocking["languages"]["node"] == {
            "since": "3.11.0", "source": "documented", "note": "", "clients": 1, "take_it": 0,
            "older": ["3.10.0"],
        }  # fmt: skip
        assert blocking["languages"]["java"]["clients"] == 0

    run(tmp_path, case)
