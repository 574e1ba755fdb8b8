#!/bin/bash
#
# tests/bench/seal.sh [ROUNDS] - `callveil run` beside pasta and slirp4netns
#
# Not a test: nothing passes or fails. README.md here says what is measured and how to read it.
# The place is that of the interop suites (tests/interop/local/place.sh), with a route from the
# apps' host to the peers', which pasta and slirp4netns use. ROUNDS (6) are whole rounds of
# everything, one after another; the first one is thrown away.
#
# Environment: CALLVEIL (a release build), BENCH_SUBJECTS (callveil pasta slirp4netns)

export INTEROP_KEEP=
. "$(dirname "$0")/../interop/lib.sh"
interop_enter "$0" "$@"
. "$INTEROP_DIR/local/place.sh"
. "$TREE/tests/seal/user.sh"

ROUNDS=${1:-6}
SUBJECTS=${BENCH_SUBJECTS:-callveil pasta slirp4netns}
BULK=$((128 << 20))
UDP_SECONDS=3
N_STARTS=5
BENCH=$TREE/tests/bench
MTU=65520 # pasta's own, and what podman gives slirp4netns
ulimit -n 65536 2>/dev/null

die() {
    echo "tests/bench/seal.sh: $1" >&2
    [ -z "${2:-}" ] || tail -n 5 "$2" >&2
    exit 1
}

place_make || die "no network namespaces here" "$WORK/place.err"
user_make
nsenter -t "$peer_space" -n /usr/bin/python3 "$BENCH/local.py" peer 2>"$WORK/peer.err" &
background_pids+=($!)

# A default one, without which pasta does not start.
open_direct_path() {
    in_relay sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward' &&
        ip route add default via $RELAY_HOST && in_peer ip route add 10.99.0.0/24 via 10.99.1.1
}
open_direct_path || die "no route"

# Where it is root's alone, for this mount namespace: the user's to open, as Debian has it.
open_tun() {
    [ ! -e /dev/net/tun ] || $LOCAL_WRAPPER test -w /dev/net/tun && return
    mknod -m 666 "$WORK/tun" c 10 200 && mount --bind "$WORK/tun" /dev/net/tun
}
open_tun || die "no /dev/net/tun, which pasta and slirp4netns need"

# --- subjects: each a namespace that lives as long as a process in it -------------------

declare -A inside
# pasta is passt by another name, built for several processors.
declare -A comm=([pasta]="^pas(ta|st)" [slirp4netns]="^slirp4netns")

# inside_is SUBJECT N: once there is "sleep N", its namespace is the subject's.
inside_is() {
    for _ in {1..100}; do
        inside[$1]=$(pgrep -xf "sleep $2") && return
        sleep 0.1
    done
    die "$1 does not start" "$WORK/$1.err"
}

start_bench_callveil() {
    relay_start "listen = $(relay_listen_on $RELAY_HOST)" "log-level = warning"
    local_start "url = turns:$RELAY_HOST:$TLS_PORT?transport=udp, \
turns:$RELAY_HOST:$TLS_PORT?transport=tcp" "pin = $(pin_of "$WORK/cert.pem")"
    $LOCAL_WRAPPER "$CALLVEIL" run -- sleep 7001 2>"$WORK/callveil.err" &
    background_pids+=($!)
    inside_is callveil 7001
}

start_bench_pasta() {
    $LOCAL_WRAPPER pasta -4 --config-net -- sleep 7002 2>"$WORK/pasta.err" &
    background_pids+=($!)
    inside_is pasta 7002
}

start_bench_slirp4netns() {
    $LOCAL_WRAPPER unshare --user --map-root-user --net sleep 7003 &
    background_pids+=($!)
    inside_is slirp4netns 7003
    $LOCAL_WRAPPER slirp4netns --configure --mtu $MTU "${inside[slirp4netns]}" tap0 \
        >"$WORK/slirp4netns.err" 2>&1 &
    background_pids+=($!)
}

# pids_of SUBJECT: name=pid[+pid...],... as local.py wants them. Asked before the first round: some
# of those that a starting time has started are there for a while.
pids_of() {
    local others
    if [ "$1" = callveil ]; then
        others=$(pgrep ^callveil | grep -vxE "$local_pid|$relay_pid" | paste -sd +)
        echo "local=$local_pid,relay=$relay_pid,seal=$others"
    else
        echo "proxy=$(pgrep "${comm[${1%-again}]}" | paste -sd +)"
    fi
}

# --- rounds -----------------------------------------------------------------------------

# note ROUND TEST SUBJECT COMMAND...: one line of results. pasta resets a long upload now and then:
# it gets a second try, and what fails is told at the end. Ours must not.
note() {
    local round=$1 test=$2 subject=$3 line
    shift 3
    for _ in 1 2; do
        line=$(BENCH_ENTER="nsenter -t ${inside[$subject]} -n" /usr/bin/python3 "$BENCH/local.py" \
            measure "${pids[$subject]}" "$@" 2>"$WORK/measure.err") && break
        [ "$subject" != callveil ] || die "$test, $subject" "$WORK/measure.err"
        echo "$round $test $subject failed: $(tail -n 1 "$WORK/measure.err")" |
            tee -a "$WORK/failed" >&2
    done
    [ -n "$line" ] || return
    [[ $test != bulk-* ]] || line+=" $((BULK / 1000000)) MB"
    echo "$round $test $subject $line" | tee -a "$WORK/results" >&2
}

# start_time ROUND SUBJECT COMMAND...
start_time() {
    local line
    line=$($LOCAL_WRAPPER /usr/bin/python3 "$WORK/bench/seal.py" start $N_STARTS "${@:3}") ||
        die "starting $2"
    echo "$1 start $2 $line" | tee -a "$WORK/results" >&2
}

start_times() {
    local subject
    for subject in $ALL; do
        case $subject in
            callveil)
                start_time "$1" callveil "$CALLVEIL" run -- true
                start_time "$1" callveil-alone "$CALLVEIL" run -c "$WORK/home/alone.conf" -- true
                ;;
            pasta*) start_time "$1" "$subject" pasta -4 --config-net -- true ;;
        esac
    done
    start_time "$1" unshare unshare --user --map-root-user --net true
}

round() {
    local subject
    for subject in $ALL; do
        note "$1" bulk-down "$subject" bulk down direct $BULK
        note "$1" bulk-up "$subject" bulk up direct $BULK
    done
    for subject in $ALL; do
        note "$1" udp "$subject" udp direct $UDP_SECONDS
    done
    start_times "$1"
}

# pasta is measured twice: how much the same differs from itself is the noise.
ALL=$SUBJECTS
for subject in $SUBJECTS; do
    "start_bench_$subject"
done
if [[ " $SUBJECTS " == *" pasta "* ]]; then
    ALL+=" pasta-again"
    inside[pasta-again]=${inside[pasta]}
fi
# The user may not read the tree, perhaps.
mkdir -m 755 "$WORK/bench"
cp "$BENCH/seal.py" "$BENCH/local.py" "$INTEROP_DIR/local/socks5.py" "$WORK/bench"
chmod 644 "$WORK"/bench/*
# A local proxy of its own, on ports of its own.
if [ -f "$WORK/local.conf" ]; then
    sed -e "s/^socks5 = .*/socks5 = 127.0.0.1:10801/" -e "s/^turn = .*/turn = 127.0.0.1:34801/" \
        -e "s/^listen = .*/listen = off/" "$WORK/local.conf" >"$WORK/home/alone.conf"
    chmod 600 "$WORK/home/alone.conf"
fi
sleep 1
declare -A pids
for subject in $ALL; do
    pids[$subject]=$(pids_of "$subject")
done
for ((n = 1; n <= ROUNDS; n++)); do
    round "$n"
done
/usr/bin/python3 "$BENCH/seal.py" summary "$WORK/results"
if [ -f "$WORK/failed" ]; then
    cat "$WORK/failed"
fi
