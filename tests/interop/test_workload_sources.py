"""The sources of workload events on the kernel this runs on, as root; what it does not allow is skipped.

Every test undoes what it changed in the kernel, and uses a key of its own for audit rules.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sealwire.agent.workload.audit_control import AuditControl, AuditError, AuditRule, AuditStatus
from sealwire.agent.workload.audit_source import NOTE_NAME, AuditSource
from sealwire.agent.workload.choice import Level, choose
from sealwire.agent.workload.connector_source import ConnectorSource
from sealwire.agent.workload.fanotify_source import FanotifySource
from sealwire.agent.workload.packet_source import PacketSource
from sealwire.agent.workload.proc import Proc
from sealwire.agent.workload.processes import Processes
from sealwire.agent.workload.sources import Source, SourceError
from sealwire.agent.workload.syscalls import CALLS, X86_64
from sealwire.secl.event import Event

KEY = f"sealwire-test-{os.getpid()}"
EXEC = AuditRule(
    arch=X86_64.arch, calls=frozenset(X86_64.numbers[name] for name in CALLS["exec"]), success=True
)

pytestmark = [
    pytest.mark.interop,
    pytest.mark.soak,  # it changes what the kernel of the whole machine records; nothing depends on it yet
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may watch a host"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the calls of the tests are those of x86-64"),
]


@pytest.fixture
def proc() -> Proc:
    return Proc()


@pytest.fixture
def processes(proc: Proc) -> Processes:
    found = Processes(proc)
    found.snapshot()
    return found


def _status() -> AuditStatus:
    with AuditControl() as control:
        return control.status()


@pytest.fixture
def audit_as_it_was() -> Iterator[AuditStatus]:
    """How audit stands before; afterwards it must stand so again, with none of our rules."""
    try:
        before = _status()
    except (OSError, AuditError) as error:
        pytest.skip(f"audit is not to be had here: {error}")
    if before.daemon or before.enabled == 2 or before.failure == 2:
        pytest.skip("an audit daemon is there, or the rules are locked")
    yield before
    with AuditControl() as control:
        left = control.remove_ours(key=KEY)
    after = _status()
    assert left == 0
    assert (after.enabled, after.wait, after.backlog_limit) == (
        before.enabled,
        before.wait,
        before.backlog_limit,
    )


def started(source: Source) -> None:
    try:
        source.start()
    except SourceError as error:
        pytest.skip(str(error))


def until(sources: list[Source], *fits: Callable[[Event], bool], limit_s: float = 20.0) -> list[Event]:
    """The first event for each of some tests, read as the agent would."""
    found: dict[int, Event] = {}
    end = time.monotonic() + limit_s
    handles = [number for source in sources for number in source.filenos()]
    while time.monotonic() < end:
        select.select(handles, [], [], min(source.due_s for source in sources))
        for source in sources:
            for event in source.read(limit=1_000):
                for at, each in enumerate(fits):
                    if at not in found and each(event):
                        found[at] = event
        if len(found) == len(fits):
            return [found[at] for at in range(len(fits))]
    raise AssertionError(f"{len(found)} of {len(fits)} events were seen")


def test_audit_records_show_a_program_with_its_arguments_and_ancestors(
    processes: Processes, proc: Proc, tmp_path: Path, audit_as_it_was: AuditStatus
) -> None:
    source = AuditSource(processes, proc, keep_in=tmp_path, common={}, key=KEY)
    started(source)
    try:
        assert source.put_in_force([EXEC]) == []
        mark = f"mark {tmp_path.name}"
        subprocess.run(["/bin/echo", mark, "\x01"], check=True, stdout=subprocess.DEVNULL)

        [event] = until([source], lambda each: mark in each.process.values["argv"])
    finally:
        source.stop()

    assert event.type == "exec"
    assert event.process.values["argv"] == (mark, "\x01")
    assert event.process.values["file.name"] == "echo"
    assert event.process.values["user"] == "root"
    assert os.getpid() in [each.values["pid"] for each in event.process.ancestors()]


def test_audit_records_show_changes_of_files_below_a_directory(
    processes: Processes, proc: Proc, tmp_path: Path, audit_as_it_was: AuditStatus
) -> None:
    place = tmp_path / "a place"
    place.mkdir()
    calls = frozenset(
        X86_64.numbers[name]
        for event in ("chmod", "rename")
        for name in CALLS[event]
        if name in X86_64.numbers
    )
    source = AuditSource(processes, proc, keep_in=tmp_path, common={}, key=KEY)
    started(source)
    try:
        refused = source.put_in_force([AuditRule(X86_64.arch, calls, path=str(place), below=True)])
        if refused:
            pytest.skip(f"watches are not to be had here: {refused[0][1]}")
        (place / "one").write_text("x")
        (place / "one").chmod(0o4700)
        (place / "one").rename(place / "two")

        changed, renamed = until(
            [source], lambda each: each.type == "chmod", lambda each: each.type == "rename"
        )
    finally:
        source.stop()

    assert changed.values["chmod.file.path"] == str(place / "one")
    assert changed.values["chmod.file.destination.mode"] == 0o4700
    assert renamed.values["rename.file.destination.path"] == str(place / "two")


def test_what_a_killed_run_left_in_the_kernel_is_cleared_at_the_next_start(
    processes: Processes, proc: Proc, tmp_path: Path, audit_as_it_was: AuditStatus
) -> None:
    killed = AuditSource(processes, proc, keep_in=tmp_path, common={}, key=KEY)
    started(killed)
    killed.put_in_force([EXEC])
    assert killed._control is not None
    killed._control.close()  # gone without a word, as after kill -9
    assert (tmp_path / NOTE_NAME).exists()

    after = AuditSource(processes, proc, keep_in=tmp_path, common={}, key=KEY)
    after.start()
    with AuditControl() as control:
        ours = [rule for rule in control.rules() if rule.key == KEY]
    after.stop()
    killed._control = None
    killed.stop()

    assert ours == []
    assert not (tmp_path / NOTE_NAME).exists()


def test_the_process_connector_shows_how_a_process_ends(processes: Processes) -> None:
    source = ConnectorSource(processes, common={})
    started(source)
    try:
        run = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
        run.wait()
        [ended] = until([source], lambda each: each.type == "exit" and each.process.values["pid"] == run.pid)
    finally:
        source.stop()

    assert (ended.values["exit.cause"], ended.values["exit.code"]) == (0, 7)
    assert os.getpid() in [each.values["pid"] for each in ended.process.ancestors()]


def test_a_packet_socket_shows_a_question_and_who_asked(processes: Processes, proc: Proc) -> None:
    source = PacketSource(processes, proc, common={})
    started(source)
    name = f"q{os.getpid()}.example"
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            raw = struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + labels + b"\x00\x00\x01\x00\x01"
            asking.sendto(raw, ("127.0.0.1", 53))
            [event] = until([source], lambda each: each.values["dns.question.name"] == name)
    finally:
        source.stop()

    assert event.type == "dns"
    assert event.values["network.destination.port"] == 53


def test_fanotify_shows_a_file_that_is_made(processes: Processes, tmp_path: Path) -> None:
    source = FanotifySource(
        processes, paths=(str(tmp_path),), common={}, wanted=lambda path: path.startswith(str(tmp_path))
    )
    started(source)
    try:
        run = subprocess.run(["/bin/sh", "-c", f"echo x > '{tmp_path}/made'"], check=True)
        assert run.returncode == 0
        [event] = until(
            [source], lambda each: each.values[f"{each.type}.file.path"] == str(tmp_path / "made")
        )
    finally:
        source.stop()

    assert event.type == "open"
    assert event.process.values["pid"] != os.getpid()


def test_the_last_source_is_always_there(processes: Processes, proc: Proc, tmp_path: Path) -> None:
    choice = choose(processes, proc, keep_in=tmp_path, common={}, allowed=[Level.LAST])
    try:
        with subprocess.Popen(["/bin/sleep", "30"]) as run:
            [event] = until(list(choice.sources), lambda each: each.process.values["pid"] == run.pid)
            run.kill()
    finally:
        choice.stop()

    assert event.type == "exec"
    assert choice.level is Level.LAST


def test_the_best_source_this_kernel_allows_is_chosen_and_said(
    processes: Processes, proc: Proc, tmp_path: Path, audit_as_it_was: AuditStatus
) -> None:
    choice = choose(processes, proc, keep_in=tmp_path, common={}, key=KEY)
    choice.stop()

    assert choice.says
    assert (choice.level is Level.FIRST) == (choice.audit is not None)
