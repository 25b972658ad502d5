"""Recorded calls become events of the right process; ids used again, plans and the budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwire.agent.workload.audit_control import PERM_READ, PERM_WRITE
from sealwire.agent.workload.audit_events import AuditEvents
from sealwire.agent.workload.audit_source import OFFER
from sealwire.agent.workload.budget import Budget
from sealwire.agent.workload.decode_audit import Assembler
from sealwire.agent.workload.plan import Plan, make_plan
from sealwire.agent.workload.proc import Proc
from sealwire.agent.workload.processes import KEPT_S, MAX_DEPTH, Processes
from sealwire.agent.workload.sources import Standing, judge, unavailable
from sealwire.agent.workload.syscalls import X86_64
from sealwire.secl.definitions import Origin
from sealwire.secl.event import Event
from sealwire.secl.merge import load
from sealwire.secl.policy import read_policy
from sealwire.secl.ruleset import RuleSet
from sealwire.secl.variables import VariableStore

VECTORS = Path(__file__).parents[3] / "vectors" / "workload"
S = 1_000_000_000
T0 = 1_700_000_000 * S


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    (tmp_path / "stat").write_text("btime 1600000000\n")
    return Proc(tmp_path)


@pytest.fixture
def events(proc: Proc) -> list[Event]:
    reader = AuditEvents(Processes(proc), proc, common={"event.os": "linux"})
    assembler = Assembler()
    found = []
    for kind, text in json.loads((VECTORS / "audit.json").read_text("utf-8")):
        audit = assembler.add(kind, text.encode(), now_s=0.0)
        event = reader.event(audit) if audit is not None else None
        if event is not None:
            found.append(event)
    return found


def rule_set(*expressions: str) -> RuleSet:
    rules = [{"id": f"rule_{at}", "expression": text} for at, text in enumerate(expressions)]
    policy = read_policy(
        json.dumps({"version": "1", "rules": rules}).encode(), name="own.policy", origin=Origin.DIRECTORY
    )
    loaded = load([policy], host={"os": "linux"}, agent_version="7.80.0", store=VariableStore(), new_id=str)
    assert loaded.problems == ()
    return loaded.rule_set


BOX = "/tmp/sealwire box \u00e9"


@pytest.mark.parametrize(
    "expression",
    [
        'exec.file.path == "/usr/bin/chmod" && exec.args == "4755 a" && process.parent.file.name != ""',
        f'open.file.path == "{BOX}/a" && open.flags & (O_CREAT|O_WRONLY) > 0 && open.retval >= 0',
        f'chmod.file.path == "{BOX}/a" && chmod.file.destination.mode & S_ISUID > 0 && chmod.file.mode != 0',
        f'rename.file.path == "{BOX}/a" && rename.file.destination.path == "{BOX}/b"',
        f'link.file.path == "{BOX}/b" && link.file.destination.path == "{BOX}/c"',
        f'unlink.file.name == "c" && unlink.file.path == "{BOX}/c" && process.file.name == "rm"',
        f'mkdir.file.path == "{BOX}/d"',
        f'rmdir.file.path == "{BOX}/d"',
        'chown.file.name == "c" && chown.file.destination.uid == 1 && chown.file.destination.gid == 1',
        "connect.addr.ip == 127.0.0.1 && connect.addr.port == 9 && connect.addr.is_public == false",
        'ptrace.request == PTRACE_ATTACH && ptrace.tracee.pid > 0 && process.file.name == "perl"',
        'setuid.uid == 65534 && process.file.name == "perl"',
        "signal.type == SIGKILL",
        'exec.interpreter.file.name != "" && exec.file.name == "script" && exec.args_options == "name=value"',
        'exec.args_truncated == false && exec.args =~ "argument 1 *"',
    ],
)
def test_a_rule_holds_for_what_was_recorded(expression: str, events: list[Event]) -> None:
    rules = rule_set(expression)
    if "interpreter" in expression:
        # The interpreter's file on the machine that runs this is another than it was there.
        events = [
            event
            for event in events
            if event.process.values.get("argv") == ("./script", "-x", "--name=value")
        ]
        if not any("interpreter.file.path" in event.process.values for event in events):
            pytest.skip("this machine has no /usr/bin/dash to compare with")

    matches = [match for event in events for match in rules.evaluate(event, now_ns=T0)]

    assert matches


@given(data=st.data())
def test_no_change_to_recorded_records_makes_an_event_fail(data: st.DataObject) -> None:
    proc = Proc(Path("/nonexistent"))
    reader = AuditEvents(Processes(proc), proc, common={})
    assembler = Assembler()
    rows = json.loads((VECTORS / "audit.json").read_text("utf-8"))
    first = data.draw(st.integers(0, len(rows) - 13))
    for kind, text in rows[first : first + 12]:
        raw = bytearray(text.encode())
        at = data.draw(st.integers(30, max(30, len(raw))))
        raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        assembler.add(kind, bytes(raw), now_s=0.0)

    for audit in assembler.overdue(now_s=9.0):
        event = reader.event(audit)
        if event is not None:
            json.dumps(event.to_document())
            assert event.process.values["user"] is not None


def test_recorded_processes_know_who_started_them(events: list[Event]) -> None:
    chmod = next(event for event in events if event.process.values["file.path"] == "/usr/bin/chmod")

    assert chmod.process.parent is not None
    assert chmod.process.parent.values["argv0"] == "/bin/sh"
    assert chmod.process.values["ppid"] == chmod.process.parent.values["pid"]


def test_an_id_that_is_used_again_is_another_process(proc: Proc) -> None:
    processes = Processes(proc)
    processes.forked(1, 50, at_ns=T0)
    processes.executed(50, {"file.path": "/bin/first"}, at_ns=T0)
    processes.exited(50, at_ns=T0 + S)
    processes.forked(1, 50, at_ns=T0 + 2 * S)
    processes.executed(50, {"file.path": "/bin/second"}, at_ns=T0 + 2 * S)

    assert processes.of(50, at_ns=T0 + S // 2).values["file.path"] == "/bin/first"
    assert processes.of(50, at_ns=T0 + 3 * S).values["file.path"] == "/bin/second"
    assert processes.of(50, at_ns=T0 - S).values["file.path"] == ""


def test_what_ended_is_forgotten_after_a_while(proc: Proc) -> None:
    processes = Processes(proc)
    processes.forked(1, 50, at_ns=T0)
    processes.exited(50, at_ns=T0)
    processes.forget(now_ns=T0 + int((KEPT_S + 1) * S))

    assert len(processes) == 0


def test_a_program_that_starts_its_successor_for_ever_grows_no_endless_chain(proc: Proc) -> None:
    processes = Processes(proc)
    for pid in range(2, 2_000):
        last = processes.forked(pid - 1, pid, at_ns=T0 + pid)
        processes.exited(pid - 1, at_ns=T0 + pid)

    assert len(list(last.ancestors())) <= MAX_DEPTH


def test_a_clock_that_is_put_forward_moves_what_is_known(proc: Proc) -> None:
    processes = Processes(proc)
    processes.forked(1, 50, at_ns=T0)
    processes.clock_moved(3600 * S)

    assert processes.of(50, at_ns=T0 + 3600 * S).values["created_at"] == T0 + 3600 * S


class Everything:
    def is_directory(self, path: str) -> bool:
        return not path.startswith("/absent")

    def real(self, path: str) -> str:
        return path


def planned(*expressions: str) -> Plan:
    return make_plan(rule_set(*expressions), ground=Everything())


def test_paths_of_rules_become_watches_and_wide_ones_cover_narrow_ones() -> None:
    plan = planned('unlink.file.path == "/srv/x/one"', 'unlink.file.path =~ "/srv/**"')

    assert [(w.events, w.path, w.below) for w in plan.watches[1:]] == [(("unlink",), "/srv", True)]
    assert set(plan.watches[1].rules) == {"rule_0", "rule_1"}


def test_opens_are_recorded_for_writing_only_where_that_is_all_rules_need() -> None:
    plan = planned(
        'open.file.path == "/srv/one" && open.flags & (O_CREAT|O_WRONLY|O_RDWR) > 0',
        'open.file.path == "/srv/two"',
    )

    assert {w.path: w.permissions for w in plan.watches[1:]} == {
        "/srv/one": PERM_WRITE,
        "/srv/two": PERM_READ | PERM_WRITE,
    }


def test_a_rule_that_would_need_every_open_is_left_out_and_named() -> None:
    plan = planned('open.file.name == "shadow"', 'open.file.path == "/absent/one"')

    assert [(rule, event) for rule, event, _ in plan.left_out] == [("rule_0", "open")]
    assert plan.absent == ("/absent/one",)


def test_values_of_arguments_are_asked_of_the_kernel() -> None:
    plan = planned("ptrace.request == PTRACE_ATTACH")
    rules = plan.audit_rules([X86_64], not_by=7)

    assert [rule.argument_is for rule in rules] == [None, (0, 16)]
    assert all(rule.not_by == 7 for rule in rules)
    assert plan.audit_rules([X86_64], given_up=["ptrace"]) == plan.audit_rules([X86_64])[:1]


def test_programs_that_start_are_never_given_up() -> None:
    assert "exec" not in planned('exec.file.name == "nc"', 'unlink.file.name == "x"').order


def test_a_rule_is_judged_by_what_a_source_can_give() -> None:
    assert (
        judge("exec", {"exec.file.path", "process.ancestors.file.name"}, [OFFER]).standing is Standing.FULLY
    )
    assert judge("exec", {"exec.envs"}, [OFFER]).standing is Standing.PARTLY
    verdict = judge("bpf", {"bpf.prog.helpers"}, [OFFER])
    assert (verdict.standing, verdict.reasons) == (
        Standing.NOT,
        (("bpf.prog.helpers", "programs are not recorded"),),
    )
    assert unavailable([OFFER])("dns", "dns.question.name") == "dns events are not seen by any source in use"
    assert unavailable([OFFER])("exec", "exec.envs") == ""


def test_the_dearest_is_given_up_first_and_taken_back_when_it_is_quiet() -> None:
    budget = Budget(("dear", "cheap"), share=0.05)
    budget.spend(0.0, now_s=0.0)
    changes = [budget.spend(0.1, now_s=float(at)) for at in range(1, 8)]

    assert [name for change in changes for name in change.given_up] == ["dear", "cheap"]
    assert budget.times == {"dear": 1, "cheap": 1}
    quiet = [budget.spend(0.0, now_s=float(at)) for at in range(8, 200)]
    assert [name for change in quiet for name in change.taken_back] == ["cheap", "dear"]


def test_a_burst_far_above_the_budget_is_answered_at_once() -> None:
    budget = Budget(("dear",), share=0.05)
    budget.spend(0.0, now_s=0.0)

    assert budget.spend(0.5, now_s=1.0).given_up == ("dear",)
