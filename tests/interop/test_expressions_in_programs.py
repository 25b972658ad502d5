"""Every operator, evaluated by real tracers in running programs: messages say what our evaluator says.

Log probes at a line have them all in their messages and bring snapshots; what the message says is compared
with what we make of the same expressions on the snapshot that came with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from sealwire.products.probe_expressions import Call, walk
from sealwire.server.debugger.expressions import evaluator, parser
from sealwire.server.debugger.expressions.evaluator import Outcome, Verdict
from sealwire.server.debugger.snapshots.snapshot import Snapshot, read
from tests.interop.test_expressions import COMMON, cases
from tests.support.clients import INSTRUMENTED, App, ExpressApp, FlaskApp, line_of
from tests.support.processes import wait_until
from tests.support.stack import Agent, ControlPlane

pytestmark = pytest.mark.interop

HERE = "here: all sorts are known"
BETWEEN = " § "
AT_ONCE = 40  # expressions in a message
FILES = {"python": "probed_shop.py", "javascript": "probed_app.js"}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path / "control-plane") as running:
        yield running


@pytest.fixture
def agent(plane: ControlPlane, tmp_path: Path) -> Iterator[Agent]:
    with Agent(tmp_path / "host", plane) as running:
        yield running


def as_sent(value: dict[str, Any]) -> dict[str, Any]:
    """A value of the admin API as a tracer sends it."""
    sent = {key: each for key, each in value.items() if key not in ("is_null", "not_captured")}
    if value.get("is_null"):
        sent["isNull"] = True
    if "not_captured" in value:
        sent["notCapturedReason"] = value["not_captured"]
    if "fields" in value:
        sent["fields"] = {name: as_sent(each) for name, each in value["fields"].items()}
    if "elements" in value:
        sent["elements"] = [as_sent(each) for each in value["elements"]]
    if "entries" in value:
        sent["entries"] = [[as_sent(key), as_sent(each)] for key, each in value["entries"]]
    return sent


def snapshot_of(found: dict[str, Any]) -> Snapshot:
    """The snapshot behind an answer of the admin API."""
    (captured,) = found["captures"]
    context = {"locals": {name: as_sent(each) for name, each in captured["locals"].items()}}
    envelope = {
        "id": found["id"],
        "language": found["language"],
        "probe": {"id": found["probe_id"], "version": found["probe_version"]},
        "captures": {"lines": {captured["moment"]: context}},
    }
    return read(orjson.dumps({"debugger": {"snapshot": envelope}}))


def differs(text: str, ours: Outcome, said: str) -> str:
    """What is different between our outcome and what stands in the message; empty if nothing is."""
    where = f"{text}: we say {ours}, the message {said!r}"
    if ours.verdict is Verdict.ERROR:
        # ddtrace writes one word; dd-trace what went wrong, in braces.
        return "" if said == "ERROR" or (said[:1], said[-1:]) == ("{", "}") else where
    value = ours.value
    match value:
        case bool():
            wanted: tuple[str, ...] = ("True", "true") if value else ("False", "false")
        case int() | float():
            return "" if _is_number(said) and float(said) == value else where
        case None:
            wanted = ("None", "null")
        case str():
            wanted = (value, repr(value), f'"{value}"')
        case _:  # a list or an object, which each tracer writes in its own way
            return where if said == "ERROR" else ""
    return "" if said in wanted else where


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def started(language: str, agent: Agent, folder: Path) -> App:
    if language == "python":
        return FlaskApp(
            agent_url=agent.url, log_folder=folder, extra=INSTRUMENTED, program="probed_app.py"
        )  # fmt: skip
    return ExpressApp(agent_url=agent.url, log_folder=folder, extra=INSTRUMENTED, program="probed_app.js")


def log_of(language: str, file: str, texts: list[str]) -> dict[str, Any]:
    """A probe with a snapshot and all of these in its message."""
    document = {
        "kind": "log",
        "language": language,
        "where": {"file": file, "line": line_of(file, HERE)},
        "template": BETWEEN.join("{" + text + "}" for text in texts),
        "snapshot": True,
        "limits": {"depth": 5, "length": 1000},
    }
    return {"service": "shop", "env": ["prod"], "document": document}


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a_message_says_what_our_evaluator_says(
    plane: ControlPlane, agent: Agent, tmp_path: Path, language: str
) -> None:
    file = FILES[language]
    texts = cases(COMMON)
    asked = [texts[at : at + AT_ONCE] for at in range(0, len(texts), AT_ONCE)]
    api = plane.api
    wrong: list[str] = []
    with started(language, agent, tmp_path) as app:
        api.wait_for_client("shop", lambda it: "LIVE_DEBUGGING" in it["products"])
        made = [api.post("/debugger/probes", log_of(language, file, some))["id"] for some in asked]

        def came(probe: str) -> dict[str, Any] | None:
            app.get("/sorts")
            kept = api.get(f"/debugger/snapshots?probe_id={probe}")["snapshots"]
            return kept[0] if kept else None

        for probe, some in zip(made, asked, strict=True):
            first = wait_until(partial(came, probe), "a snapshot came", timeout_s=30, every_s=0.3)
            snapshot = snapshot_of(api.get(f"/debugger/snapshots/{first['id']}"))
            said = first["message"].split(BETWEEN)
            assert len(said) == len(some), first["message"]
            for text, theirs in zip(some, said, strict=True):
                ours = evaluator.evaluate(parser.parse(text), snapshot)
                assert ours.verdict in (Verdict.VALUE, Verdict.ERROR), text
                wrong.append(differs(text, ours, theirs))
    assert not any(wrong), "\n".join(filter(None, wrong))
    operators = {each.op for text in texts for each in walk(parser.parse(text)) if isinstance(each, Call)}
    assert len(operators) >= 21, "each operator that both tracers have alike"
