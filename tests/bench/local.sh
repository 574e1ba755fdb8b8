#!/bin/bash
#
# tests/bench/local.sh [ROUNDS] - `callveil local` and our relay beside other SOCKS servers
#
# Not a test: nothing passes or fails. README.md here says what is measured and how to read it.
# The place is that of the interop suites (tests/interop/local/place.sh); microsocks and dante are
# where the relay is, so that all of them have the same links to cross. ROUNDS (6) are whole
# rounds of everything, one after another; the first one is thrown away.
#
# Environment: CALLVEIL (a release build), BENCH_SUBJECTS (callveil microsocks dante)

export INTEROP_KEEP=
. "$(dirname "$0")/../interop/lib.sh"
interop_enter "$0" "$@"
. "$INTEROP_DIR/local/place.sh"

ROUNDS=${1:-6}
SUBJECTS=${BENCH_SUBJECTS:-callveil microsocks dante}
BULK=$((256 << 20))
UDP_SECONDS=3
N_RTT=3000
BENCH=$(cd "$(dirname "$0")" && pwd)/local.py
ulimit -n 65536 2>/dev/null

bench() {
    /usr/bin/python3 "$BENCH" "$@"
}

die() {
    echo "tests/bench/local.sh: $1" >&2
    [ -z "${2:-}" ] || tail -n 5 "$2" >&2
    exit 1
}

place_make || die "no network namespaces here" "$WORK/place.err"
nsenter -t "$peer_space" -n /usr/bin/python3 "$BENCH" peer 2>"$WORK/peer.err" &
background_pids+=($!)

# The direct path that all others are compared with: the only bench where the app has a route.
open_direct_path() {
    in_relay sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward' &&
        ip route add 10.99.1.0/24 via $RELAY_HOST &&
        in_peer ip route add 10.99.0.0/24 via 10.99.1.1
}
open_direct_path || die "no route"

declare -A path
start_subjects() {
    local subject
    for subject in $SUBJECTS; do
        "start_bench_$subject"
    done
    sleep 1
}

start_bench_callveil() {
    relay_start "listen = $(relay_listen_on $RELAY_HOST)" "log-level = warning"
    local_start "url = turns:$RELAY_HOST:$TLS_PORT?transport=udp, \
turns:$RELAY_HOST:$TLS_PORT?transport=tcp" "pin = $(pin_of "$WORK/cert.pem")"
    path[callveil]=$SOCKS_HOST:$SOCKS_PORT
}

start_bench_microsocks() {
    $RELAY_WRAPPER microsocks -i $RELAY_HOST -p 1081 -b 10.99.1.1 >/dev/null 2>&1 &
    background_pids+=($!)
    path[microsocks]=$RELAY_HOST:1081
}

start_bench_dante() {
    (
        SOCKS_PORT=1082
        start_dante_local
        echo "$local_pid" >"$WORK/dante.pid"
    )
    background_pids+=("$(cat "$WORK/dante.pid")")
    path[dante]=$RELAY_HOST:1082
}

# processes_of SUBJECT: as local.py wants them.
processes_of() {
    case ${1%-again} in
        callveil) echo "local=$local_pid,relay=$relay_pid" ;;
        dante) echo proxy=danted ;;
        *) echo "proxy=$1" ;;
    esac
}

# note ROUND TEST SUBJECT COMMAND...: one line of results.
note() {
    local round=$1 test=$2 subject=$3 line
    shift 3
    line=$(bench measure "$(processes_of "$subject")" "$@") || die "$test, $subject: $line"
    [[ $test != bulk-* ]] || line+=" $((BULK / 1000000)) MB"
    echo "$round $test $subject $line" | tee -a "$WORK/results" >&2
}

round() {
    local n=$1 subject
    for subject in $ALL; do
        note "$n" bulk-down "$subject" bulk down "socks:${path[$subject]}" $BULK
        note "$n" bulk-up "$subject" bulk up "socks:${path[$subject]}" $BULK
    done
    for subject in $ALL; do
        # microsocks has no UDP.
        [ "$subject" = microsocks ] || note "$n" udp "$subject" udp "socks:${path[$subject]}" \
            $UDP_SECONDS
    done
    rtt "$n" rtt-udp direct direct
    rtt "$n" rtt-tcp direct-tcp direct-tcp
    for subject in $SUBJECTS; do
        [ "$subject" = microsocks ] || rtt "$n" rtt-udp "$subject" "socks:${path[$subject]}"
        rtt "$n" rtt-tcp "$subject" "socks-tcp:${path[$subject]}"
    done
    [ -n "${path[callveil]:-}" ] || return
    rtt "$n" rtt-udp turn-udp "turn-udp:$TURN_HOST:$TURN_PORT:$TURN_USER:$TURN_PASSWORD"
    rtt "$n" rtt-udp turn-tcp "turn-tcp:$TURN_HOST:$TURN_PORT:$TURN_USER:$TURN_PASSWORD"
}

rtt() {
    local line
    line=$(bench rtt "$4" $N_RTT) || die "$2, $3"
    echo "$1 $2 $3 $line" | tee -a "$WORK/results" >&2
}

# dante is measured twice: how much the same differs from itself is the noise.
ALL=$SUBJECTS
if [[ " $SUBJECTS " == *" dante "* ]]; then
    ALL+=" dante-again"
    path[dante-again]=$RELAY_HOST:1082
fi
start_subjects
for ((n = 1; n <= ROUNDS; n++)); do
    round "$n"
done
bench summary "$WORK/results"
