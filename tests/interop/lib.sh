# shellcheck shell=bash
#
# tests/interop/lib.sh - what every interop suite needs: a place of its own, a relay, TAP
#
# A suite sources this, calls `interop_enter "$0" "$@"`, starts a relay, checks, stops
# it, and ends with `finish`. It runs in network, PID and mount namespaces made for it:
# no port, address or process of the machine can be disturbed, and whatever a suite
# forgets to end dies with its first process.
#
# Environment:
#   CALLVEIL            the program (default: build/relay/callveil of this tree)
#   RELAY_UNDER_TEST    callveil (default), or coturn: checks the suites themselves
#                       against a server that is known to work
#   LOCAL_UNDER_TEST    callveil (default), or dante: the same for the suites of the local
#                       proxy, with a SOCKS server that stands where the relay does
#   INTEROP_KEEP        a folder that keeps configuration, certificates and logs

set -u

INTEROP_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TREE=$(cd "$INTEROP_DIR/../.." && pwd)
CALLVEIL=${CALLVEIL:-$TREE/build/relay/callveil}
RELAY_UNDER_TEST=${RELAY_UNDER_TEST:-callveil}
LOCAL_UNDER_TEST=${LOCAL_UNDER_TEST:-callveil}

# Not 3478: where no namespace can be made, the machine's own TURN server keeps its port.
PORT=34780
TLS_PORT=34790
USER_NAME=alice
USER_PASSWORD='wonder land'
REALM=callveil.test
SECRET=5ca1ab1e5ca1ab1e
LOCAL_TOKEN=5eed0fa11e7be115

# Where apps find the local proxy; local_start sets them again.
SOCKS_HOST=127.0.0.1
SOCKS_PORT=10800
TURN_HOST=127.0.0.1
TURN_PORT=34800
TURN_USER=
TURN_PASSWORD=
LOCAL_STATS=127.0.0.1:9642

n_checks=0
n_failures=0
relay_pid=
local_pid=
background_pids=()

# --- the suite's own namespaces ---------------------------------------------------------

# Runs the suite again inside new namespaces, with loopback up.
interop_enter() {
    if [ -z "${INTEROP_INSIDE:-}" ]; then
        local spaces=(unshare --net --pid --mount --fork --kill-child --mount-proc)
        if "${spaces[@]}" true 2>/dev/null; then
            INTEROP_INSIDE=own exec "${spaces[@]}" bash "$@"
        fi
        spaces+=(--user --map-root-user)
        if "${spaces[@]}" true 2>/dev/null; then
            INTEROP_INSIDE=own exec "${spaces[@]}" bash "$@"
        fi
        # A container that may not make namespaces: the loopback tests still mean something.
        export INTEROP_INSIDE=shared
        echo "# no namespaces here: using this machine's loopback"
    fi
    if [ "$INTEROP_INSIDE" = own ]; then
        ip link set lo up
        # Ports of one's own, so that clients' sockets are never mistaken for relayed ones.
        echo 20000 29999 >/proc/sys/net/ipv4/ip_local_port_range 2>/dev/null || true
    fi
    WORK=${INTEROP_KEEP:-$(mktemp -d)}
    mkdir -p "$WORK"
    trap interop_leave EXIT
}

interop_leave() {
    local pid
    for pid in $local_pid $relay_pid "${background_pids[@]}"; do
        kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
    done
    [ -n "${INTEROP_KEEP:-}" ] || rm -rf "$WORK"
}

has_ipv6_loopback() {
    grep -q '^00000000000000000000000000000001 ' /proc/net/if_inet6 2>/dev/null
}

# --- TAP --------------------------------------------------------------------------------

pass() {
    n_checks=$((n_checks + 1))
    echo "ok $n_checks - $1"
}

# fail NAME [FILE]: the file's last lines say why.
fail() {
    n_checks=$((n_checks + 1))
    n_failures=$((n_failures + 1))
    echo "not ok $n_checks - $1"
    if [ -n "${2:-}" ] && [ -f "$2" ]; then
        tail -n 15 "$2" | sed 's/^/#   /'
    fi
}

skip() {
    n_checks=$((n_checks + 1))
    echo "ok $n_checks - $1 # SKIP $2"
}

# checks_of NAME COMMAND...: takes over the "ok - x" and "not ok - x" lines of a client
# program. That it ends in time, with status 0 and after at least one check is a check too.
checks_of() {
    local name=$1 out=$WORK/client.out err=$WORK/client.err status line n_lines=0
    shift
    timeout -k 5 "${CLIENT_TIMEOUT:-90}" "$@" >"$out" 2>"$err"
    status=$?
    while IFS= read -r line; do
        case $line in
            "ok - "*) pass "$name: ${line#ok - }"; n_lines=$((n_lines + 1)) ;;
            "not ok - "*) fail "$name: ${line#not ok - }"; n_lines=$((n_lines + 1)) ;;
            *) echo "# $line" ;;
        esac
    done <"$out"
    if [ "$status" -eq 0 ] && [ "$n_lines" -gt 0 ]; then
        pass "$name: the client ends well"
    else
        echo "# exit status $status after $n_lines checks"
        fail "$name: the client ends well" "$err"
    fi
}

# The plan comes last: a suite that dies half-way has none, and counts as failed.
finish() {
    echo "1..$n_checks"
    [ "$n_failures" -eq 0 ] && [ "$n_checks" -gt 0 ]
    exit
}

# --- the relay --------------------------------------------------------------------------

# The suite's certificate: for the names and addresses that clients verify.
make_certificate() {
    [ -f "$WORK/cert.pem" ] && return
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -keyout "$WORK/key.pem" -out "$WORK/cert.pem" -subj /CN=relay.test \
        -addext "subjectAltName=DNS:relay.test,DNS:localhost,IP:127.0.0.1,IP:::1,IP:10.99.0.1,IP:10.97.0.1" \
        2>/dev/null
}

# relay_listen_on ADDRESS...: all four transports on each; IPv6 addresses in brackets.
relay_listen_on() {
    local address list=
    for address in "$@"; do
        list+="${list:+, }udp://$address:$PORT, tcp://$address:$PORT"
        list+=", tls://$address:$TLS_PORT, dtls://$address:$TLS_PORT"
    done
    echo "$list"
}

# relay_start [LINE...]: a relay on loopback. LINEs are further keys of the [relay] section;
# "listen = ..." replaces the listeners. RELAY_PEERS is the list of special peers allowed,
# RELAY_ADDRESSES what peers shall see (default: the address that the client reached),
# RELAY_STATS where its statistics are served (default: nowhere).
relay_start() {
    local line listen lines=()
    listen="listen = $(relay_listen_on 127.0.0.1)"
    has_ipv6_loopback && listen="listen = $(relay_listen_on 127.0.0.1 '[::1]')"
    for line in "$@"; do
        case $line in
            "listen ="*) listen=$line ;;
            *) lines+=("$line") ;;
        esac
    done
    make_certificate
    case $RELAY_UNDER_TEST in
        coturn) start_coturn "$listen" ${lines[@]+"${lines[@]}"} ;;
        *) start_callveil "$listen" ${lines[@]+"${lines[@]}"} ;;
    esac
    wait_for_relay "$listen"
}

start_callveil() {
    {
        echo '[relay]'
        printf '%s\n' "$@"
        [ -z "${RELAY_ADDRESSES:-}" ] || echo "relay-address = ${RELAY_ADDRESSES// /, }"
        echo "realm = $REALM"
        echo "certificate = $WORK/cert.pem"
        echo "private-key = $WORK/key.pem"
        echo "secret = $SECRET"
        echo '[users]'
        echo "$USER_NAME = $USER_PASSWORD"
        echo '[peers]'
        echo "allow = ${RELAY_PEERS-127.0.0.0/8, ::1/128}"
        # Every client of a suite has the same address: together they are a small flood.
        echo '[limits]'
        echo 'unauthenticated-rate = 0'
        echo '[stats]'
        echo "listen = ${RELAY_STATS:-off}"
    } >"$WORK/relay.conf"
    # shellcheck disable=SC2086 # a list
    with_sanitizers ${RELAY_WRAPPER:-} "$CALLVEIL" relay -c "$WORK/relay.conf" \
        2>"$WORK/relay.err" &
    relay_pid=$!
}

# In a process of its own: what ASan finds at exit, leaks too, must not look like a clean end.
with_sanitizers() {
    exec env ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=1:exitcode=99" \
        UBSAN_OPTIONS="${UBSAN_OPTIONS:+$UBSAN_OPTIONS:}print_stacktrace=1" "$@"
}

start_coturn() {
    local args=(-n --listening-port "$PORT" --tls-listening-port "$TLS_PORT" --no-cli
        --allow-loopback-peers --realm "$REALM" --cert "$WORK/cert.pem" --pkey "$WORK/key.pem"
        --log-file stdout --simple-log --pidfile "$WORK/coturn.pid" --verbose)
    local address
    for address in $(grep -o 'udp://[^, ]*' <<<"$1" | sed 's,udp://,,; s,:[0-9]*$,,; s,[][],,g' |
        sort -u); do
        args+=(--listening-ip "$address")
        [ -n "${RELAY_ADDRESSES:-}" ] || args+=(--relay-ip "$address")
    done
    for address in ${RELAY_ADDRESSES:-}; do
        args+=(--relay-ip "$address")
    done
    # One or the other: coturn does not serve both kinds of credentials at once.
    case ${COTURN_CREDENTIALS:-user} in
        user) args+=(--lt-cred-mech --user "$USER_NAME:$USER_PASSWORD") ;;
        secret) args+=(--use-auth-secret --static-auth-secret "$SECRET") ;;
    esac
    # shellcheck disable=SC2086 # a list
    ${RELAY_WRAPPER:-} turnserver "${args[@]}" ${COTURN_EXTRA:-} >"$WORK/relay.err" 2>&1 &
    relay_pid=$!
}

wait_for_relay() {
    local first host port n
    first=$(grep -o 'tcp://[^, ]*' <<<"$1" | head -n 1)
    if [ -z "$first" ]; then
        sleep 2
    else
        host=${first#tcp://}
        port=${host##*:}
        host=${host%:*}
        for n in {1..100}; do
            (exec 3<>"/dev/tcp/${host//[\[\]]/}/$port") 2>/dev/null && return
            kill -0 "$relay_pid" 2>/dev/null || break
            sleep 0.1
        done
    fi
    kill -0 "$relay_pid" 2>/dev/null && [ -z "$first" ] && return
    fail "the relay starts" "$WORK/relay.err"
    finish
}

# relay_stop: the relay must have survived the suite, and leave when asked: status 0 and no
# sanitizer report. Its log goes with it, so that the next relay's is its own.
relay_stop() {
    local pid=$relay_pid good=0
    relay_pid=
    # Neither catches SIGTERM in every build: 128 + 15 is a clean end of theirs.
    [ "$RELAY_UNDER_TEST" = callveil ] || good=143
    stop_and_check "the relay" "$pid" "$WORK/relay.err" $good
}

# stop_and_check NAME PID LOG [STATUS]: STATUS is as good an end as 0.
stop_and_check() {
    local name=$1 pid=$2 log=$3 good=${4:-0} status
    if ! kill -TERM "$pid" 2>/dev/null; then
        wait "$pid"
        echo "# $name was gone already, with status $?"
        fail "$name is still there at the end" "$log"
        return
    fi
    for _ in {1..100}; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    if kill -KILL "$pid" 2>/dev/null; then
        echo "# SIGTERM did not end it in 10 seconds"
    fi
    wait "$pid" 2>/dev/null
    status=$?
    if { [ "$status" -eq 0 ] || [ "$status" -eq "$good" ]; } &&
        ! grep -qE 'Sanitizer|runtime error:' "$log"; then
        pass "$name ends with status 0, no leak and no sanitizer report"
    else
        echo "# exit status $status"
        grep -nE -A12 'Sanitizer|runtime error:' "$log" | head -n 40 | sed 's/^/# /'
        fail "$name ends with status 0, no leak and no sanitizer report" "$log"
    fi
}

# --- the local proxy --------------------------------------------------------------------

# pin_of CERTIFICATE: as it stands in local.conf and in an invite.
pin_of() {
    printf 'sha256/'
    openssl x509 -in "$1" -noout -pubkey | openssl pkey -pubin -outform der |
        openssl dgst -sha256 -binary | base64 -w 0
}

# local_start LINE...: `callveil local` with these keys in its [upstream] section; returns once
# the relay was reached. LOCAL_USERS are lines of [users]. With LOCAL_READY=no it returns once
# apps are served, whatever becomes of the relay. LOCAL_WRAPPER is where it runs (default: here).
local_start() {
    case $LOCAL_UNDER_TEST in
        callveil) start_callveil_local "$@" ;;
        *) "start_${LOCAL_UNDER_TEST}_local" "$@" ;;
    esac
    for _ in {1..300}; do
        if local_serves &&
            { [ "${LOCAL_READY:-yes}" = no ] || local_is_ready; }; then
            local_credential
            return
        fi
        kill -0 "$local_pid" 2>/dev/null || break
        sleep 0.1
    done
    fail "the local proxy starts and reaches its relay" "$WORK/local.err"
    finish
}

start_callveil_local() {
    local own=$*
    {
        echo '[local]'
        echo "socks5 = $SOCKS_HOST:$SOCKS_PORT"
        echo "turn = $TURN_HOST:$TURN_PORT"
        echo '[upstream]'
        printf '%s\n' "$@"
        [[ $own == *'user = '* ]] || echo "user = $USER_NAME"
        [[ $own == *'password = '* ]] || echo "password = $USER_PASSWORD"
        echo '[users]'
        printf '%s\n' "${LOCAL_USERS:-}"
        echo '[stats]'
        echo "listen = $LOCAL_STATS"
        echo "token = $LOCAL_TOKEN"
    } >"$WORK/local.conf"
    chmod 600 "$WORK/local.conf"
    # shellcheck disable=SC2086 # a list
    with_sanitizers ${LOCAL_WRAPPER:-} "$CALLVEIL" local -c "$WORK/local.conf" >"$WORK/local.out" \
        2>"$WORK/local.err" &
    local_pid=$!
}

local_serves() {
    # shellcheck disable=SC2016 # of the inner shell
    ${LOCAL_WRAPPER:-} bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$SOCKS_HOST" "$SOCKS_PORT" 2>/dev/null
}

local_is_ready() {
    [ "$LOCAL_UNDER_TEST" != callveil ] || [ "$(local_get /readyz -o /dev/null \
        -w '%{http_code}')" = 200 ]
}

# local_get PATH [CURL_OPTION...]
local_get() {
    # shellcheck disable=SC2086 # a list
    ${LOCAL_WRAPPER:-} curl --noproxy '*' -s -m 5 -H "Authorization: Bearer $LOCAL_TOKEN" "${@:2}" \
        "http://$LOCAL_STATS$1"
}

# The credential of the loopback TURN server is made at each start.
local_credential() {
    [ "$LOCAL_UNDER_TEST" = callveil ] || return 0
    read -r TURN_USER TURN_PASSWORD < <(local_get /stats.json | /usr/bin/python3 -c '
import json, sys
turn = json.load(sys.stdin)["turn"]
print(turn["username"], turn["credential"])' 2>/dev/null)
}

# As relay_stop.
local_stop() {
    local pid=$local_pid
    local_pid=
    [ "$LOCAL_UNDER_TEST" = callveil ] || { kill "$pid" && wait "$pid"; return 0; } 2>/dev/null
    stop_and_check "the local proxy" "$pid" "$WORK/local.err"
}

# start_background COMMAND...: ended when the suite ends.
start_background() {
    "$@" >/dev/null 2>&1 &
    background_pids+=($!)
}
