"""What it costs to evaluate workload rules: nanoseconds per event.

Three sets of rules: simple ones (one condition each), a made-up set of 300 that looks like a real one, and,
where ``SEALWIRE_DEFAULT_POLICY`` names the file (plain or gzip), the public default policy. Events are what
hosts do all day: programs started, files opened under paths that return and paths that never do, names asked
for, connections, files changed; every round has new ones. Most match nothing, as on a host.

The goals: a simple rule under 2 us per event; a whole set under a twentieth of a core where 300 programs are
started and 5,000 files opened a second, none under a path that was seen before.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from bench.harness import keep, print_table, verdict
from sealwire.secl.definitions import Origin, Policy
from sealwire.secl.event import Event, Process
from sealwire.secl.merge import Loaded, load
from sealwire.secl.policy import read_policy
from sealwire.secl.variables import VariableStore

HOST = {"os": "linux", "kernel.version.major": 6, "kernel.version.minor": 18}
VERSION = "7.80.0"
T_NS = 1_800_000_000_000_000_000
GOAL_SIMPLE_NS = 2_000.0
GOAL_SHARE = 0.05
EXECS_PER_S, OPENS_PER_S = 300, 5_000
POLICY_VARIABLE = "SEALWIRE_DEFAULT_POLICY"

SIMPLE = {
    "path ==": 'open.file.path == "/etc/shadow"',
    "path in 20": "open.file.path in [" + ", ".join(f'"/etc/file{at}"' for at in range(20)) + "]",
    "path =~ glob": 'open.file.path =~ "/home/*/.ssh/*"',
    "path in 20 globs": "open.file.path in [" + ", ".join(f'~"/opt/{at}/*.so"' for at in range(20)) + "]",
    "flags & mask": "open.flags & (O_CREAT|O_TRUNC) > 0 && open.retval == 1",
    "name =~ regex": 'open.file.name =~ r"^(id_[a-z]+|.*\\.pem)$"',
    "two conditions": 'open.flags & O_CREAT > 0 && process.file.path not in ["/usr/bin/apt"]',
    "any ancestor (6)": 'process.ancestors.comm == "cron" && open.retval > 0',
    "same ancestor (6)": (
        'process.ancestors[A].comm == "cron" && process.ancestors[A].pid == 7 && open.retval > 0'
    ),
    "variable": 'open.retval > 0 && "aws" in ${process.seen}',
}


# Events -----------------------------------------------------------------------------------------------------


def processes() -> list[Process]:
    """Some processes under a shell under a daemon, six deep."""
    found: list[Process] = []
    top = Process(
        {"pid": 1, "comm": "systemd", "file.path": "/usr/lib/systemd/systemd", "cgroup.id": "/init"}
    )
    for number, name in enumerate(("nginx", "python3", "bash", "sshd", "postgres", "node", "make", "cc1")):
        parent = top
        for depth, comm in enumerate(("containerd-shim", "tini", "sh", "supervisor")):
            path = f"/usr/bin/{comm}"
            parent = Process({"pid": 100 * number + depth, "comm": comm, "file.path": path}, parent)
        values = {
            "pid": 1_000 + number,
            "comm": name,
            "uid": 1000,
            "euid": 1000,
            "auid": 4294967295,
            "file.path": f"/usr/bin/{name}",
            "argv": ("-c", f"/srv/{name}.conf", "--workers=4"),
            "cgroup.id": f"/docker/{number}",
            "container.id": f"c{number}",
            "container.created_at": T_NS - 3_600_000_000_000,
            "created_at": T_NS - 60_000_000_000,
        }
        found.append(Process(values, parent))
    return found


def opened(path: str, process: Process, flags: int = 0) -> Event:
    values = {"open.file.path": path, "open.flags": flags, "open.retval": 3, "event.origin": "audit"}
    return Event("open", timestamp_ns=T_NS, values=values, process=process)


def started(program: str, parent: Process, argv: tuple[str, ...]) -> Event:
    values = {
        **parent.values,
        "pid": 77,
        "comm": program[:15],
        "file.path": f"/usr/bin/{program}",
        "argv": argv,
        "file.change_time": T_NS - 10**15,
    }
    origin = {"event.origin": "audit", "event.source": "runtime"}
    return Event("exec", timestamp_ns=T_NS, values=origin, process=Process(values, parent))


def mixes(count: int, turn: int) -> dict[str, list[Event]]:
    """Events by kind; those of one turn are the same every time."""
    chance = random.Random(turn)
    who = processes()
    usual = [f"/usr/lib/python3/dist-packages/m{at}.py" for at in range(300)]
    usual += [f"/usr/share/zoneinfo/{at}" for at in range(50)]
    programs = ("ls", "cat", "grep", "sed", "gcc", "make", "git", "python3", "sleep", "date")
    names = ("api.example.com", "db.internal", "cdn.example.net")

    def other(kind: str, **values: Any) -> Event:
        named = {f"{kind}.{name.replace('__', '.')}": value for name, value in values.items()}
        return Event(kind, timestamp_ns=T_NS, values=named, process=chance.choice(who))

    return {
        "open, known path": [opened(chance.choice(usual), chance.choice(who)) for _ in range(count)],
        "open, new path": [
            opened(f"/var/lib/app/{turn}/{at:x}/{chance.random():.9f}.tmp", chance.choice(who), 0o101)
            for at in range(count)
        ],
        "exec": [
            started(chance.choice(programs), chance.choice(who), ("-l", f"/srv/{at}")) for at in range(count)
        ],
        "dns": [other("dns", question__name=chance.choice(names), question__type=1) for _ in range(count)],
        "connect": [
            other("connect", addr__ip=f"10.0.{at % 250}.1", addr__port=5432, addr__family=2)
            for at in range(count)
        ],
        "unlink": [other("unlink", file__path=f"/tmp/build/{at}.o") for at in range(count)],
        "chmod": [
            other("chmod", file__path=f"/srv/{at % 50}", file__destination__mode=0o644) for at in range(count)
        ],
    }


# Rules ------------------------------------------------------------------------------------------------------


def policy_of(rules: Sequence[dict[str, Any]], name: str) -> Policy:
    return read_policy(orjson.dumps({"version": "1", "rules": list(rules)}), name=name, origin=Origin.REMOTE)


def loaded(policy: Policy) -> Loaded:
    return load([policy], host=HOST, agent_version=VERSION, store=VariableStore(), new_id=str)


def made_up(count: int) -> Policy:
    """Rules in the proportions of a real set: a third on programs, a fifth on opens, the rest on others."""
    rules: list[dict[str, Any]] = []
    for at in range(count):
        kind = ("exec", "exec", "exec", "open", "open", "unlink", "chmod", "connect", "dns")[at % 9]
        if kind == "exec":
            text = f'(exec.comm in ["tool{at}", "t{at}"] || exec.file.name == "x{at}") && exec.args != ""'
        elif kind == "connect":
            text = f'connect.addr.hostname in ["a{at}.example"] && connect.addr.is_public == true'
        elif kind == "dns":
            text = f'dns.question.name in [~"*.pool{at}.example", "pool{at}.example"]'
        else:
            text = f'{kind}.file.path in [~"/etc/app{at}/**", "/etc/a{at}.conf", ~"/home/*/.app{at}/*"]'
        text += ' && process.ancestors.file.path not in ["/usr/bin/apt", "/usr/bin/dnf"]'
        rules.append({"id": f"rule_{at}", "expression": text})
    return policy_of(rules, "made-up.policy")


def default_policy() -> Policy | None:
    """The public default policy, where there is one."""
    path = os.environ.get(POLICY_VARIABLE)
    if not path or not Path(path).is_file():
        return None
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    return read_policy(raw, name="default.policy", origin=Origin.REMOTE)


# Measuring --------------------------------------------------------------------------------------------------


def per_event_ns(kind: str, evaluate: Callable[[Event], object], *, rounds: int, count: int) -> float:
    """The middle of several rounds; the first one, which fills what is kept, is left out."""
    taken: list[float] = []
    for turn in range(rounds + 1):
        events = mixes(count, turn)[kind]
        started_ns = time.process_time_ns()
        for event in events:
            evaluate(event)
        if turn:
            taken.append((time.process_time_ns() - started_ns) / len(events))
    return statistics.median(taken)


def evaluation(rules: Loaded) -> Callable[[Event], object]:
    """Time goes on a little with every event."""
    clock = itertools.count(1, 1_000)
    evaluate = rules.rule_set.evaluate
    return lambda event: evaluate(event, now_ns=next(clock))


def simple_rows(rounds: int, count: int) -> list[dict[str, Any]]:
    setter = {
        "id": "setter",
        "expression": 'open.file.path == "/none"',
        "actions": [{"set": {"name": "seen", "value": "x", "append": True, "scope": "process"}}],
    }
    rows: list[dict[str, Any]] = []
    for name, expression in SIMPLE.items():
        rules = loaded(policy_of([{"id": "simple", "expression": expression}, setter], "simple.policy"))
        if rules.problems:
            raise SystemExit(f"{name}: {rules.problems[0]}")
        test = next(rule for rule in rules.rule_set.rules if rule.id == "simple").variants[0].test
        took = per_event_ns("open, known path", test, rounds=rounds, count=count)
        rows.append({"row": f"simple rule: {name}", "ns": round(took), "held": took < GOAL_SIMPLE_NS})
    return rows


def set_rows(title: str, rules: Loaded, rounds: int, count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    took: dict[str, float] = {}
    for kind, events in mixes(count, 0).items():
        evaluate = evaluation(rules)
        matched = sum(bool(evaluate(event)) for event in events)
        took[kind] = per_event_ns(kind, evaluate, rounds=rounds, count=count)
        row = {"row": f"{title}: {kind}", "ns": round(took[kind]), "matched": round(matched / len(events), 3)}
        rows.append({**row, "rules": len(rules.rule_set.rules_for(events[0].type))})
    share = (took["exec"] * EXECS_PER_S + took["open, new path"] * OPENS_PER_S) / 1e9
    load_said = f"{title}: {EXECS_PER_S} execs + {OPENS_PER_S} opens a second"
    rows.append({"row": load_said, "share": round(share, 4), "held": share < GOAL_SHARE})
    return rows


def run(*, rounds: int, count: int = 5_000) -> None:
    """Measure everything and print it."""
    rows = simple_rows(rounds, count)
    rows += set_rows("300 made-up rules", loaded(made_up(300)), rounds, count)
    policy = default_policy()
    if policy is None:
        print(f"\n{POLICY_VARIABLE} names no file: the public default policy is left out.")
    else:
        began = time.process_time()
        rules = loaded(policy)
        took_ms = (time.process_time() - began) * 1000
        rows.append(
            {"row": "default policy: load", "ns": round(took_ms * 1e6), "rules": len(rules.rule_set.rules)}
        )
        rows += set_rows("default policy", rules, rounds, count)
    print_table(
        "Workload rules, CPU per event",
        ("", "us, or share of a core", "rules", "matched", "goal"),
        [
            (
                row["row"],
                f"{row['ns'] / 1000:.2f}" if "ns" in row else f"{row['share']:.2%}",
                row.get("rules", ""),
                f"{row['matched']:.1%}" if "matched" in row else "",
                verdict(row["held"]) if "held" in row else "",
            )
            for row in rows
        ],
    )
    keep("secl", {"rounds": rounds, "events": count, "rows": rows})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    run(rounds=parser.parse_args().rounds)


if __name__ == "__main__":
    main()
