"""Bytes of the kernel become values: recorded ones exactly, and no bytes at all make a decoder fall over."""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sealwire.agent.workload import (
    audit_control,
    decode_audit,
    decode_connector,
    decode_fanotify,
    decode_packets,
    netlink,
    packet_source,
    proc,
)
from sealwire.agent.workload.audit_events import mount_of

VECTORS = Path(__file__).parents[3] / "vectors" / "workload"
READABLE = st.text(
    alphabet=st.sampled_from('audit(170.:) a0="[]_len=%,()\x00\x01\xff0123456789ABCDEFxyz\n')
).map(lambda text: text.encode("utf-8", "surrogatepass"))
BYTES = st.binary(max_size=400) | READABLE


def recorded(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text("utf-8"))


def audit_events() -> list[decode_audit.AuditEvent]:
    assembler = decode_audit.Assembler()
    found = []
    for kind, text in recorded("audit"):
        event = assembler.add(kind, text.encode(), now_s=0.0)
        if event is not None:
            found.append(event)
    assert assembler.unfinished == assembler.strange == 0
    return found


def test_recorded_command_lines_are_whole() -> None:
    lines = [event.arguments for event in audit_events() if event.arguments]

    assert ("/usr/bin/chmod", "4755", "a") in lines
    assert ("/usr/bin/printf", "%s", "with blank", 'quote"s', "ctl\x01") in lines
    long = next(line for line in lines if line[0] == "/usr/bin/true")
    assert [len(word) for word in long[1:]] == [3011] * 6
    assert long[6] == "argument 6 " + "x" * 3000


def test_records_of_several_events_may_arrive_mixed() -> None:
    rows = recorded("audit")
    by_serial: dict[str, list[tuple[int, str]]] = {}
    for kind, text in rows:
        by_serial.setdefault(text.split(":", 2)[1], []).append((kind, text))
    queues = [list(each) for each in by_serial.values()]
    assembler = decode_audit.Assembler()
    found = 0

    while any(queues):
        for queue in queues:
            if queue:
                kind, text = queue.pop(0)
                found += assembler.add(kind, text.encode(), now_s=0.0) is not None

    assert found == len(by_serial)


def test_an_event_without_its_end_is_handed_out_after_a_while_and_counted() -> None:
    assembler = decode_audit.Assembler()
    assembler.add(1300, b"audit(1700000000.000:7): arch=c000003e syscall=59 pid=9", now_s=10.0)

    assert list(assembler.overdue(now_s=10.1)) == []
    late = list(assembler.overdue(now_s=10.3))

    assert [event.number("pid") for event in late] == [9]
    assert not late[0].complete
    assert assembler.cut_off == 1


def test_a_flood_of_unfinished_events_is_bounded() -> None:
    assembler = decode_audit.Assembler()
    for serial in range(3_000):
        assembler.add(1300, b"audit(1700000000.000:%d): syscall=1" % serial, now_s=0.0)
        list(assembler.overdue(now_s=0.0))

    assert assembler.unfinished <= decode_audit.MAX_UNFINISHED
    assert assembler.cut_off >= 3_000 - decode_audit.MAX_UNFINISHED


def test_an_argument_that_is_cut_is_marked() -> None:
    assembler = decode_audit.Assembler()
    assembler.add(1309, b'audit(1700000000.000:1): argc=3 a0="x" a1=414', now_s=0.0)
    event = assembler.add(1320, b"audit(1700000000.000:1): ", now_s=0.0)

    assert event is not None
    assert (event.arguments, event.cut) == (("x", "A"), True)


def test_recorded_processes_fork_run_and_end() -> None:
    messages = [decode_connector.process_message(bytes.fromhex(each)) for each in recorded("connector")]

    assert None not in messages
    kinds = Counter(each.what for each in messages if each is not None)
    assert kinds[decode_connector.FORK] >= 10
    assert kinds[decode_connector.EXEC] >= 10
    ends = [decode_connector.exit_cause(e.value) for e in messages if e and e.what == decode_connector.EXIT]
    assert (decode_connector.EXITED, 3) in ends
    assert (decode_connector.SIGNALED, 9) in ends


def test_recorded_file_events_have_names() -> None:
    found = [next(decode_fanotify.file_events(bytes.fromhex(each))) for each in recorded("fanotify")]

    names = {(event.place.name, event.new.name if event.new else "") for event in found if event.place}
    assert ("a", "b") in names
    assert all(event.descriptor == -1 and event.pid >= 1000 for event in found)


def test_recorded_packets_are_questions_and_connections() -> None:
    packets = [decode_packets.packet(bytes.fromhex(each)) for each in recorded("packets")]

    asked = [
        decode_packets.question(each.payload) for each in packets if each and each.destination_port == 53
    ]
    assert [(q.name, q.type, q.cls, q.id) for q in asked if q] == [("www.example.org", 1, 1, 7)]
    begun = [(each.destination, each.destination_port) for each in packets if each and each.begins_connection]
    assert ("127.0.0.1", 9) in begun
    assert ("::1", 9) in begun


def test_an_answer_or_a_cut_question_is_none() -> None:
    whole = struct.pack("!6H", 1, 0x100, 1, 0, 0, 0) + b"\x03abc\x00\x00\x01\x00\x01"

    assert decode_packets.question(whole) is not None
    assert decode_packets.question(whole[:2] + b"\x81" + whole[3:]) is None
    assert all(decode_packets.question(whole[:at]) is None for at in range(len(whole)))


def test_the_filter_for_the_kernel_jumps_only_forward_and_ends() -> None:
    for connections in (True, False):
        program = decode_packets.filter_program(connections=connections)
        lines = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
        assert lines[-1][0] == lines[-2][0] == 0x06
        assert all(at + 1 + max(yes, no) < len(lines) for at, (_, yes, no, _) in enumerate(lines[:-1]))


def test_a_process_may_have_any_name() -> None:
    line = b"42 (a) b (c\x01) S 7 42 42 34816 -1 2097152 1 2 3 4 5 6 7 8 20 0 1 0 12345 0 0"

    found = proc.decode_stat(line)

    assert found == proc.Stat(42, "a) b (c\x01", 7, 34816, 2097152, 12345)
    assert proc.terminal_name(34816) == "pts0"


def test_containers_are_found_in_control_groups() -> None:
    id_ = "0123456789abcdef" * 4

    assert proc.decode_cgroup(f"0::/system.slice/docker-{id_}.scope\n".encode()).container == id_
    assert proc.decode_cgroup(f"4:memory:/kubepods/pod1/{id_}\n0::/\n".encode()).version == 1
    assert proc.decode_cgroup(b"0::/user.slice/session-1.scope\n").container == ""
    assert proc.decode_cgroup(b"0::/\n").path == ""


def test_a_rule_is_listed_as_it_was_encoded() -> None:
    rule = audit_control.AuditRule(
        arch=0xC000003E, calls=frozenset({2, 257}), path="/srv/a b", below=True, permissions=6, not_by=7
    )

    listed = audit_control.listed_rule(audit_control.encode_rule(rule, key="ours"))

    assert listed is not None
    assert (listed.key, listed.path) == ("ours", "/srv/a b")


def test_a_socket_is_found_by_its_port() -> None:
    table = b"  sl  local\n 1: 0100007F:0035 00000000:0000 07 0:0 0:0 0 0 0 4711 2 0\n"
    wide = b"  sl  local\n 1: 00000000:0035 00000000:0000 07 0:0 0:0 0 0 0 4712 2 0\n"

    assert packet_source.socket_inode(table, "127.0.0.1", 53) == 4711
    assert packet_source.socket_inode(table, "127.0.0.2", 53) == 0
    assert packet_source.socket_inode(wide, "127.0.0.2", 53) == 4712


@given(kind=st.integers(0, 2**16), body=BYTES)
def test_no_audit_record_makes_the_decoder_fail(kind: int, body: bytes) -> None:
    assembler = decode_audit.Assembler()
    for each in (kind, 1300, 1302, 1306, 1309, 1320):
        assembler.add(each, b"audit(1700000000.000:1): " + body, now_s=0.0)
        assembler.add(each, body, now_s=0.0)
    list(assembler.overdue(now_s=9.0))
    decode_audit.socket_address(body)
    audit_control.status(body)
    audit_control.listed_rule(body)


@given(data=st.data())
def test_no_change_to_recorded_records_makes_the_decoder_fail(data: st.DataObject) -> None:
    assembler = decode_audit.Assembler()
    rows = recorded("audit")
    first = data.draw(st.integers(0, len(rows) - 9))
    for kind, text in rows[first : first + 8]:
        raw = bytearray(text.encode())
        at = data.draw(st.integers(0, len(raw)))
        raw[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        assembler.add(kind, bytes(raw), now_s=0.0)
    list(assembler.overdue(now_s=9.0))


@given(raw=BYTES)
def test_no_bytes_make_the_other_decoders_fail(raw: bytes) -> None:
    for each in netlink.messages(raw):
        netlink.error_of(each)
    list(netlink.messages(raw, length_is_body=True))
    decode_connector.process_message(raw)
    decode_connector.process_message(decode_connector.subscription(1)[:16] + b"\xff\xff\x00\x00" + raw)
    list(decode_fanotify.file_events(raw))
    list(decode_fanotify.file_events(struct.pack("=IBBHQii", 24 + len(raw), 3, 0, 24, 1, -1, 1) + raw))
    decode_packets.packet(raw)
    decode_packets.packet(b"\x45" + raw)
    decode_packets.question(raw)
    decode_packets.metadata_request(raw)
    decode_packets.metadata_request(b"GET / HTTP/1.1\r\n" + raw)
    proc.decode_stat(raw)
    proc.decode_status(raw)
    proc.decode_words(raw)
    proc.decode_cgroup(raw)
    packet_source.socket_inode(raw, "127.0.0.1", 53)
    mount_of(raw, "/")
