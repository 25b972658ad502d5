#!/bin/sh
# Installs and starts a Sealwire agent on this host, or does it again: a second run upgrades and restarts.
#
# The control plane that serves this file makes the command that runs it. That command has checked these very
# bytes (over TLS against a pinned CA, or by their hash), so what stands here may be trusted, and everything
# that is fetched from here on is checked against a hash before it is used:
#   the lock by the hash below; our wheel and every package by the lock; both first roots by the command.
# Nothing is built here (--only-binary): a build would fetch tools that no lock names.
set -eu

LOCK_SHA256='@LOCK_SHA256@'
WHEEL='@WHEEL@'
SERVICE=sealwire-agent
UNITS=${SEALWIRE_UNITS:-/etc/systemd/system}

usage() {
    cat <<'END'
usage: DD_API_KEY=... sh install.sh --url URL --config-root SHA256 --director-root SHA256 [options]
  --ca FILE        the control plane's private CA
  --port N         where applications find the agent (default: 8126)
  --dir D          where everything goes (default: /opt/sealwire-agent for root,
                   ~/.local/share/sealwire-agent for anybody else)
  --hostname NAME  how this host is shown
  --env NAME       environment of applications that do not name theirs
  --tag KEY:VALUE  a tag of this host; may be repeated
  --python P       the Python to use, 3.11 or newer
  --dry-run        check everything, say what would be done, change nothing
END
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'sealwire: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '          %s\n' "$line" >&2; done
    exit 1
}
need() { command -v "$1" >/dev/null 2>&1 || fail "This needs $1, which is not installed."; }
one_line() {
    case $2 in *'
'*) fail "$1 is one line of text." ;; esac
}
quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/''/g")"; } # a YAML scalar
in_shell() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }

# --- what was asked for ---------------------------------------------------------------------------------------

url='' ca='' config_root='' director_root='' port=8126 folder='' host='' env_name='' tags='' python='' dry=''
while [ $# -gt 0 ]; do
    option=$1
    case $option in
    --dry-run) dry=yes; shift; continue ;;
    -h | --help) usage; exit 0 ;;
    --url | --ca | --config-root | --director-root | --port | --dir | --hostname | --env | --tag | --python)
        [ $# -ge 2 ] || fail "$option wants a value." ;;
    *) usage >&2; fail "There is no option $option." ;;
    esac
    value=$2
    one_line "$option" "$value"
    shift 2
    case $option in
    --url) url=${value%/} ;;
    --ca) ca=$value ;;
    --config-root) config_root=$value ;;
    --director-root) director_root=$value ;;
    --port) port=$value ;;
    --dir) folder=$value ;;
    --hostname) host=$value ;;
    --env) env_name=$value ;;
    --tag) tags="$tags
  - $(quoted "$value")" ;;
    --python) python=$value ;;
    esac
done

key=${DD_API_KEY:-}
unset DD_API_KEY PYTHONPATH PYTHONHOME
case $url in https://?* | http://?*) ;; *) usage >&2; fail "--url names the control plane: https://host:port." ;; esac
case $key in '' | *[!A-Za-z0-9_-]*) fail "DD_API_KEY holds no API key." "Make a new command on the page of the control plane that gave you this one." ;; esac
for digest in "$config_root" "$director_root"; do
    case $digest in *[!0-9a-f]* | '') fail "--config-root and --director-root want the SHA-256 of a first root." ;; esac
    [ ${#digest} -eq 64 ] || fail "--config-root and --director-root want the SHA-256 of a first root."
done
case $port in '' | *[!0-9]*) fail "--port wants a number from 1 to 65535." ;; esac
{ [ "$port" -ge 1 ] && [ "$port" -le 65535 ]; } || fail "--port wants a number from 1 to 65535."
need curl
need sha256sum
need mktemp
need sed
[ "$(uname -s)" = Linux ] || fail "The agent runs on Linux."
[ -z "$ca" ] || [ -r "$ca" ] || fail "There is no file $ca."

is_root=''
[ "$(id -u)" -ne 0 ] || is_root=yes
if [ -z "$folder" ]; then
    if [ -n "$is_root" ]; then
        folder=/opt/sealwire-agent
    else
        folder=${XDG_DATA_HOME:-${HOME:?is not set}/.local/share}/sealwire-agent
    fi
fi
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
one_line --dir "$folder"
if [ -e "$folder" ] && [ ! -e "$folder/.sealwire-agent" ] && [ -n "$(ls -A "$folder" 2>/dev/null)" ]; then
    fail "$folder is there already, and is not of an agent installed by this script." "Name another folder with --dir."
fi
how=background
if [ -n "$is_root" ] && [ -d /run/systemd/system ] && command -v systemctl >/dev/null 2>&1; then how=systemd; fi

# --- what must be true ----------------------------------------------------------------------------------------

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
# The service runs as a user of its own, who cannot reach a Python in somebody's home.
is_for_everybody() {
    [ $how = systemd ] && command -v setpriv >/dev/null 2>&1 || return 0
    (cd / && setpriv --reuid 65534 --regid 65534 --clear-groups "$(command -v "$1")" -c 'import venv') >/dev/null 2>&1
}
if [ -n "$python" ]; then
    is_new_enough "$python" || fail "$python is not Python 3.11 or newer."
    is_for_everybody "$python" || fail "$python is out of reach of other users, and the service is one." \
        "Name one of the whole system with --python."
else
    usual='' whose=''
    [ $how = background ] || usual='/usr/bin/python3 /usr/local/bin/python3' whose=' that every user can run'
    for candidate in python3 $usual python3.14 python3.13 python3.12 python3.11; do
        if is_new_enough "$candidate" && is_for_everybody "$candidate"; then
            python=$(command -v "$candidate")
            break
        fi
    done
    [ -n "$python" ] || fail "The agent needs Python 3.11 or newer, and none was found$whose." \
        "Debian 12, Ubuntu 24.04: apt install python3 python3-venv. RHEL 9: dnf install python3.11." \
        "Then run the command again, with --python if it is in an unusual place."
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || fail \
    "$python has no venv module." "Debian, Ubuntu: apt install python3-venv (or python$version-venv)."

is_ours_running() {
    [ -x "$folder/sealwire-agent" ] && "$folder/sealwire-agent" is-running >/dev/null 2>&1
}
is_free() {
    "$python" -c 'import socket, sys
probe = socket.socket()
probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
probe.bind(("127.0.0.1", int(sys.argv[1])))' "$1" >/dev/null 2>&1
}
if ! is_free "$port"; then
    is_ours_running && [ "$(cat "$folder/port" 2>/dev/null)" = "$port" ] || fail "Port $port is taken on this host." \
        "Is another agent running here? Stop it, or add --port with another number to the command;" \
        "applications then need DD_TRACE_AGENT_URL=http://127.0.0.1:THAT-NUMBER."
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# Only the pinned CA: many a curl would otherwise take the system's authorities as well.
mkdir "$work/none"
fetch() { # path, file
    if [ -n "$ca" ]; then
        curl -fsS --proto '=https' --cacert "$ca" --capath "$work/none" --max-time 300 --max-filesize 100000000 -o "$2" "$url$1"
    else
        curl -fsS --proto '=https,http' --max-time 300 --max-filesize 100000000 -o "$2" "$url$1"
    fi
}
fetch_pinned() { # path, file, SHA-256, what it is
    fetch "$1" "$2" || fail "The control plane $url did not give $4 (curl says why, above)."
    [ "$(sha256sum <"$2" | cut -d' ' -f1)" = "$3" ] || fail "$4 of $url is not what it must be: nothing was installed." \
        "The control plane may have been upgraded meanwhile. Make a new command on its page; if that fails as well," \
        "somebody stands between this host and the control plane."
}
fetch_pinned /install/agent.lock "$work/agent.lock" "$LOCK_SHA256" "the lock of packages"
fetch_pinned "/install/roots/$config_root.json" "$work/config_root.json" "$config_root" "the first root of the config repository"
fetch_pinned "/install/roots/$director_root.json" "$work/director_root.json" "$director_root" "the first root of the director"
edition=$(printf '%s' "$LOCK_SHA256" | cut -c1-16)-$version
place=$folder/versions/$edition

case $url in http://*)
    say "Careful: $url is plain HTTP. The API key and all configs travel unencrypted; signatures still"
    say "keep anybody from changing them." ;;
esac
if [ -n "$dry" ]; then
    say "All is well so far; nothing was changed. This would"
    if [ -e "$place/.complete" ]; then
        say "  use     the packages that are there already: $place"
    else
        say "  install $WHEEL and the $(grep -c '==' "$work/agent.lock") packages of its lock, checked by hash, into"
        say "          $place (a virtual environment of $python, $version)"
    fi
    say "  write   $folder/datadog.yaml (mode 0600): the control plane $url, the API key, both first roots"
    if [ $how = systemd ]; then
        say "  start   the agent as the systemd service $SERVICE, under a user of its own, on port $port"
    else
        say "  start   the agent in the background on port $port, log in $folder/agent.log"
    fi
    say "To undo it later: $folder/sealwire-agent uninstall"
    exit 0
fi

# --- packages -------------------------------------------------------------------------------------------------

umask 022
mkdir -p "$folder/versions"
: >"$folder/.sealwire-agent"
if [ ! -e "$place/.complete" ]; then
    say "Installing $WHEEL into $place ..."
    rm -rf "$place"
    mkdir -p "$place/wheels"
    fetch "/install/$WHEEL" "$place/wheels/$WHEEL" || fail "The control plane $url did not give $WHEEL."
    cp "$work/agent.lock" "$place/agent.lock"
    "$python" -m venv "$place/venv" || fail "$python could not make a virtual environment in $place/venv."
    "$place/venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check --require-hashes \
        --only-binary :all: --find-links "$place/wheels" -r "$place/agent.lock" || {
        rm -rf "$place"
        fail "The packages could not be installed (pip says why, above)." \
            "Does this host reach a package index? pip takes it from PIP_INDEX_URL or pip.conf."
    }
    : >"$place/.complete"
fi

# --- settings -------------------------------------------------------------------------------------------------

cp "$work/config_root.json" "$work/director_root.json" "$folder/"
[ -z "$ca" ] || cp "$ca" "$folder/ca.pem"
mkdir -p "$folder/run"
chmod 700 "$folder/run"
(
    umask 077
    {
        say "# Written by the install script of $url; it holds an API key, keep it private."
        say "api_key: $(quoted "$key")"
        [ -z "$host" ] || say "hostname: $(quoted "$host")"
        [ -z "$env_name" ] || say "env: $(quoted "$env_name")"
        [ -z "$tags" ] || say "tags:$tags"
        say "remote_configuration:"
        say "  enabled: true"
        say "  rc_dd_url: $(quoted "$url")"
        say "  config_root: $(quoted "@$folder/config_root.json")"
        say "  director_root: $(quoted "@$folder/director_root.json")"
        [ -z "$ca" ] || say "  ca_file: $(quoted "$folder/ca.pem")"
        case $url in http://*) say "  no_tls: true # the API key travels unencrypted" ;; esac
        say "apm_config:"
        say "  receiver_port: $port"
        say "  receiver_socket: ''"
        say "run_path: $(quoted "$folder/run")"
    } >"$folder/datadog.yaml.new"
)
if [ -e "$folder/datadog.yaml" ] && ! cmp -s "$folder/datadog.yaml" "$folder/datadog.yaml.new"; then
    cp -p "$folder/datadog.yaml" "$folder/datadog.yaml.before"
    say "The settings that were there are kept in $folder/datadog.yaml.before."
fi

# Does the control plane know the key, before anything is started or replaced?
if ! "$place/venv/bin/python" -m sealwire agent check --config "$folder/datadog.yaml.new" >"$work/check" 2>&1; then
    sed 's/^/  /' "$work/check" >&2
    rm -f "$folder/datadog.yaml.new"
    fail "The agent would not be served by $url (above)." "Make a new command on its page if the key was revoked."
fi
mv -f "$folder/datadog.yaml.new" "$folder/datadog.yaml"

# --- a command to work it -------------------------------------------------------------------------------------

{
    say '#!/bin/sh'
    say "# Works the Sealwire agent installed in this folder."
    say 'set -eu'
    say "folder=$(in_shell "$folder") how=$how service=$SERVICE unit=$(in_shell "$UNITS/$SERVICE.service")"
    cat <<'END'
pid_of() { # of the agent of this folder, if it runs
    pid=$(cat "$folder/agent.pid" 2>/dev/null) && [ -n "$pid" ] &&
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$folder/datadog.yaml" && printf '%s\n' "$pid"
}
start() {
    if [ $how = systemd ]; then systemctl start $service; return; fi
    if pid_of >/dev/null; then return; fi
    session=''
    command -v setsid >/dev/null 2>&1 && session=setsid
    (
        cd "$folder"
        umask 077
        # shellcheck disable=SC2086 # no word at all where there is no setsid
        exec nohup $session "$folder/current/venv/bin/python" -m sealwire agent run --config "$folder/datadog.yaml" \
            </dev/null >>"$folder/agent.log" 2>&1
    ) &
    printf '%s\n' $! >"$folder/agent.pid"
}
stop() {
    if [ $how = systemd ]; then systemctl stop $service; return; fi
    if pid=$(pid_of); then
        kill "$pid"
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            [ -d "/proc/$pid" ] || break
            sleep 0.5
        done
        [ ! -d "/proc/$pid" ] || kill -9 "$pid"
    fi
    rm -f "$folder/agent.pid"
}
case ${1:-help} in
start) start ;;
stop) stop ;;
restart) stop; start ;;
is-running) if [ $how = systemd ]; then systemctl is-active --quiet $service; else pid_of >/dev/null; fi ;;
status) exec "$folder/current/venv/bin/python" -m sealwire agent status --config "$folder/datadog.yaml" ;;
log) if [ $how = systemd ]; then exec journalctl -u $service -n 100 --no-pager; else exec tail -n 100 "$folder/agent.log"; fi ;;
uninstall)
    [ -e "$folder/.sealwire-agent" ] || { echo "$folder is not of an installed agent." >&2; exit 1; }
    stop || true
    if [ $how = systemd ]; then
        systemctl disable --quiet $service 2>/dev/null || true
        rm -f "$unit"
        systemctl daemon-reload
        userdel $service 2>/dev/null || true
    fi
    rm -rf "$folder"
    echo "The agent is gone from this host. Revoke its API key on the page of the control plane." ;;
*) echo "usage: $0 start|stop|restart|status|log|uninstall" ;;
esac
END
} >"$work/sealwire-agent"
was_running=''
if is_ours_running; then
    was_running=yes
    "$folder/sealwire-agent" stop
fi
cp "$work/sealwire-agent" "$folder/sealwire-agent"
chmod 755 "$folder/sealwire-agent"
ln -sfn "versions/$edition" "$folder/current"
say "$port" >"$folder/port"

# --- start ----------------------------------------------------------------------------------------------------

if [ $how = systemd ]; then
    id $SERVICE >/dev/null 2>&1 || useradd --system --no-create-home --home-dir "$folder" --shell /usr/sbin/nologin $SERVICE
    chown -R $SERVICE "$folder/run" "$folder/datadog.yaml"
    cat >"$UNITS/$SERVICE.service" <<END
[Unit]
Description=Sealwire agent
After=network-online.target
Wants=network-online.target

[Service]
User=$SERVICE
ExecStart="$folder/current/venv/bin/python" -m sealwire agent run --config "$folder/datadog.yaml"
Restart=always
RestartSec=2
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths="$folder/run"
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictSUIDSGID=yes
LockPersonality=yes
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
END
    systemctl daemon-reload
    systemctl enable --quiet $SERVICE
    systemctl restart $SERVICE
else
    "$folder/sealwire-agent" start
fi

condition() {
    "$place/venv/bin/python" -m sealwire agent status --json --url "http://127.0.0.1:$port" 2>/dev/null |
        "$place/venv/bin/python" -c 'import json, sys
rc = json.load(sys.stdin)["remote_configuration"]
print(rc.get("condition", "off"), rc.get("last_error") or rc.get("reason") or "")' 2>/dev/null || :
}
say "Waiting until the control plane has heard of it ..."
waited=0 told=''
while [ $waited -lt 60 ]; do
    told=$(condition)
    case $told in connected*) break ;; esac
    is_ours_running || break
    sleep 0.5
    waited=$((waited + 1))
done
case $told in
connected*) ;;
*)
    "$folder/sealwire-agent" log 2>/dev/null | tail -n 15 | sed 's/^/  /' >&2
    fail "The agent does not connect: ${told:-it ended}." "Its log: $folder/sealwire-agent log" ;;
esac
for old in "$folder"/versions/*; do # what is replaced and ran until now
    [ "$old" = "$place" ] || rm -rf "$old"
done

agent_url=http://127.0.0.1:$port
say ""
say "The agent is ${was_running:+up to date, restarted and }connected to $url."
say "  settings   $folder/datadog.yaml"
say "  work it    $folder/sealwire-agent start|stop|restart|status|log"
say "  uninstall  $folder/sealwire-agent uninstall"
[ $how = systemd ] || say "It runs in the background and does not start by itself after a reboot."
say "Next: start an application with a tracer on this host; it finds the agent at $agent_url, for example"
if [ "$port" -eq 8126 ]; then
    say "  DD_SERVICE=shop DD_ENV=prod ddtrace-run python app.py"
else
    say "  DD_TRACE_AGENT_URL=$agent_url DD_SERVICE=shop DD_ENV=prod ddtrace-run python app.py"
fi
say "The page of the control plane shows it within seconds."
