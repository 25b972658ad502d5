"""What probes of every kind give in a real, unmodified ddtrace arrives, by numbers that are known."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.clients import INSTRUMENTED, FlaskApp
from tests.support.processes import wait_until
from tests.support.stack import AdminApi, Agent, ControlPlane

pytestmark = pytest.mark.interop


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "control-plane") as running:
        yield running


def probe(api: AdminApi, **document: object) -> str:
    """A probe where an order is sold; returns its id."""
    document = {"language": "python", "where": {"type": "probed_shop", "method": "sell"}, **document}
    name = str(document["kind"])
    made = api.post(
        "/debugger/probes",
        {"name": name, "service": "shop", "env": ["prod"], "document": document, "comment": "a test"},
    )
    return str(made["id"])


def metric(api: AdminApi, kind: str, value: str = "", **more: object) -> str:
    said = {"name": f"shop.{kind}", "kind": kind, **({"value": value} if value else {})}
    return probe(api, kind="metric", metric=said, tags=["team:till"], **more)


def wait_for(what: Callable[[], Any], words: str) -> Any:
    return wait_until(what, words, timeout_s=30, every_s=0.2)


def total(api: AdminApi, probe_id: str, field: str, how: Callable[[list[Any]], Any] = sum) -> Any:
    found = api.get(f"/debugger/probes/{probe_id}/metrics")
    return how([point[field] for line in found["lines"] for point in line["points"]] or [0])


def run(control_plane: ControlPlane, agent: Agent, statsd: str, folder: Path) -> dict[str, str]:
    """Sell six orders with a probe of each kind; the counts, sums and extremes that come of it are exact."""
    api = control_plane.api
    environment = {**INSTRUMENTED, "DD_DOGSTATSD_URL": statsd}
    with FlaskApp(agent_url=agent.url, log_folder=folder, program="probed_app.py", extra=environment) as app:
        api.wait_for_client("shop", lambda client: "LIVE_DEBUGGING" in client["products"])
        probes = {
            "count": metric(api, "count", when="count > 0"),
            "gauge": metric(api, "gauge", "count", at="entry"),
            "histogram": metric(api, "histogram", "count", at="entry"),
            "distribution": metric(api, "distribution", "@return"),
            "span": probe(api, kind="span", when="count > 0"),
            "decoration": probe(
                api,
                kind="decoration",
                decorations=[
                    {"when": "count > 0", "tags": [{"name": "shop.sku", "template": "sold {sku}"}]},
                    {"when": "count > 0", "tags": [{"name": "shop.lost", "template": "{nobody}"}]},
                ],
            ),
        }
        conditional = {"count", "span", "decoration"}

        def ready() -> object:
            assert app.get("/order?count=0").status == 200
            said = {
                kind: api.get(f"/debugger/probes/{each}/statuses")["headline"]
                for kind, each in probes.items()
            }
            return all(
                headline == "emitting" or (kind in conditional and headline == "installed")
                for kind, headline in said.items()
            )

        wait_until(lambda: ready() or None, "every probe is at work", every_s=0.3)
        for count in (3, 3, 5, 3, 3, 5):
            assert app.get(f"/order?count={count}").status == 200
        wait_for(lambda: total(api, probes["count"], "sum") == 6 or None, "six orders are counted")
        wait_for(lambda: total(api, probes["histogram"], "sum") == 22 or None, "their sizes are added up")
        wait_for(lambda: total(api, probes["distribution"], "sum") == 22 * 9.5 or None, "and their prices")
        wait_for(
            lambda: total(api, probes["gauge"], "last", lambda all_: all_[-1]) == 5 or None, "the last is 5"
        )
    return probes


def test_what_probes_of_every_kind_give_in_ddtrace_is_kept_and_counted_once(
    control_plane: ControlPlane, tmp_path: Path
) -> None:
    api = control_plane.api
    with Agent(tmp_path / "host-a", control_plane) as agent:
        probes = run(control_plane, agent, f"udp://127.0.0.1:{agent.dogstatsd_port}", tmp_path)

        spans = wait_for(
            lambda: (found := api.get(f"/debugger/probes/{probes['span']}/spans"))["kept"] == 6 and found,
            "six spans are kept",
        )
        assert spans["seen"] == 6
        assert {span["name"] for span in spans["spans"]} == {"dd.dynamic.span"}
        assert {span["resource"] for span in spans["spans"]} == {"sell"}
        assert len({span["trace_id"] for span in spans["spans"]}) == 6
        origin = spans["spans"][0]["tags"]["_dd.code_origin.frames.0.file"]
        assert origin.endswith("probed_shop.py")

        decorated = wait_for(
            lambda: (
                (found := api.get(f"/debugger/probes/{probes['decoration']}/spans"))["kept"] >= 6 and found
            ),
            "six spans have tags put on",
        )
        tags = [span["tags"].get("shop.sku") for span in decorated["spans"]]
        assert tags.count("sold wax") == 6
        assert any("nobody" in span["errors"].get("shop.lost", "") for span in decorated["spans"])
        assert {span["trace_id"] for span in decorated["spans"]} == {
            span["trace_id"] for span in spans["spans"]
        }

        # Nothing came twice meanwhile, and the series may be told apart by tags of probe and tracer.
        assert total(api, probes["count"], "sum") == 6
        assert total(api, probes["count"], "count") == 6
        by_team = api.get(f"/debugger/probes/{probes['distribution']}/metrics?by=team")
        assert [line["label"] for line in by_team["lines"]] == ["till"]
        assert by_team["kind"] == "distribution"
        assert {"env", "service", "version", "team"} <= set(by_team["tags"])
        most = max(point["p99"] for line in by_team["lines"] for point in line["points"])
        assert most == pytest.approx(47.5, rel=0.02)
        assert total(api, probes["histogram"], "max", max) == 5

        control_plane.restart()
        assert total(control_plane.api, probes["count"], "sum") == 6
        assert control_plane.api.get(f"/debugger/probes/{probes['span']}/spans")["seen"] == 6


def test_metrics_come_over_a_unix_socket_as_well(control_plane: ControlPlane, tmp_path: Path) -> None:
    """Not each of them: the system holds ten, and ddtrace does not wait."""
    api = control_plane.api
    with tempfile.TemporaryDirectory(prefix="sw-", dir="/tmp") as folder:
        socket = Path(folder) / "dsd.socket"
        settings = {"dogstatsd_socket": str(socket), "dogstatsd_port": 0}
        environment = {**INSTRUMENTED, "DD_DOGSTATSD_URL": f"unix://{socket}"}
        with (
            Agent(tmp_path / "host-a", control_plane, settings=settings) as agent,
            FlaskApp(
                agent_url=agent.url, log_folder=tmp_path, program="probed_app.py", extra=environment
            ) as app,
        ):
            api.wait_for_client("shop", lambda client: "LIVE_DEBUGGING" in client["products"])
            sizes = metric(api, "histogram", "count", at="entry")
            wait_for(
                lambda: (app.get("/order?count=3").status == 200 and total(api, sizes, "sum") > 6) or None,
                "sizes of orders are measured",
            )
            assert total(api, sizes, "min", min) == 3
