#!/bin/bash
#
# coturn's own tools against the relay: every transport, both ways to send, both address
# families, RFC 6062 both ways, both kinds of credentials, RFC 5780.
#
# turnutils_uclient exits 0 whatever was lost, so its totals are what is checked: that as
# many messages came back as were due, and that it lost none.

. "$(dirname "$0")/lib.sh"
interop_enter "$0" "$@"

N=30 # messages of each client

# coturn 4.6 draws its channel numbers from RFC 5766's range, 0x4000-0x7FFF; RFC 8656 left
# 0x4000-0x4FFF, and a relay refuses the rest (400). The shim clears two bits of what the tool
# draws, so that its numbers fall into today's range; all else it draws stays random.
channel_numbers() {
    cc -shared -fPIC -o "$WORK/channels.so" -x c - -ldl <<'EOF'
#define _GNU_SOURCE
#include <dlfcn.h>
int RAND_bytes(unsigned char *buf, int n)
{
    int (*real)(unsigned char *, int) = (int (*)(unsigned char *, int))dlsym(RTLD_NEXT, "RAND_bytes");
    int r = real(buf, n);

    if (n == (int)sizeof(long))
        buf[1] &= 0xCF;
    return r;
}
EOF
}
channel_numbers || fail "the shim for channel numbers builds"

# Its clients send from 127.0.0.4 and the echo peer answers on 127.0.0.3: neither is an
# address of the relay, so a packet that took a short cut would not come back.
uclient() {
    LD_PRELOAD=${channels-$WORK/channels.so} \
        timeout -k 5 60 turnutils_uclient -n $N -m 2 -l 171 -z 5 "$@" >"$OUT" 2>&1
}

# --- several at once: each of them mostly waits ---

AT_ONCE=6
tried=() pids=() statuses=()

# try NAME COMMAND...: one check, that the command succeeds; what it said is in $OUT. Told of by settle().
try() {
    local n=${#tried[@]}
    tried+=("$1")
    [ "$n" -lt $AT_ONCE ] || wait_for_try $((n - AT_ONCE))
    OUT=$WORK/uclient-$n.out "${@:2}" &
    pids[n]=$!
}

wait_for_try() {
    [ -z "${statuses[$1]:-}" ] || return
    wait "${pids[$1]}"
    statuses[$1]=$?
}

settle() {
    local n
    for n in "${!tried[@]}"; do
        wait_for_try "$n"
        if [ "${statuses[n]}" -eq 0 ]; then
            pass "${tried[n]}"
        else
            fail "${tried[n]}" "$WORK/uclient-$n.out"
        fi
    done
    tried=() pids=() statuses=()
}

totals_are() {
    # The last totals line sums all clients up; the ones before are progress.
    grep -E 'start_mclient: tot_send_msgs=' "$OUT" | tail -n 1 |
        grep -q "tot_send_msgs=$1, tot_recv_msgs=$2\$"
}

# calls NAME DUE ARGS...: DUE messages in all are to come back, and none is lost.
calls() { try "$1" calls_well "${@:2}"; }
calls_well() {
    uclient -u "$USER_NAME" -w "$USER_PASSWORD" "${@:2}" &&
        grep -q 'Total lost packets 0 ' "$OUT" && totals_are "$1" "$1"
}

# passive NAME ARGS...: here the tool counts what it sent into both ends of a connection,
# and receives at one: half is all there is, with every server.
passive() { try "$1" is_called "${@:2}"; }
is_called() {
    uclient -P -u "$USER_NAME" -w "$USER_PASSWORD" "$@" && totals_are $((2 * N)) $N
}

# refused NAME ARGS...: the tool gives up by itself (not by our timeout) and received nothing.
refused() { try "$1" is_refused "${@:2}"; }
is_refused() {
    local status
    uclient "$@"
    status=$?
    [ $status -ne 0 ] && [ $status -ne 124 ] && ! grep -q tot_recv_msgs= "$OUT" &&
        grep -q 'Cannot complete Allocation' "$OUT"
}

start_background turnutils_peer -L 127.0.0.3 -p 3480
has_ipv6_loopback && start_background turnutils_peer -L ::1 -p 3480

both=$((2 * N))
echo_peer=(-L 127.0.0.4 -e 127.0.0.3)
plain=(-p $PORT)
secure=(-p $TLS_PORT)

relay_start
# Without -c a client has an RTP and an RTCP allocation: EVEN-PORT with the R bit for one,
# its RESERVATION-TOKEN for the other.
calls "UDP, channels, an even port and the one reserved above it" $both \
    "${plain[@]}" "${echo_peer[@]}" 127.0.0.1
calls "UDP, Send and Data indications" $both "${plain[@]}" -s "${echo_peer[@]}" 127.0.0.1
calls "UDP, DONT-FRAGMENT in requests and indications" $both \
    "${plain[@]}" -g -s -c "${echo_peer[@]}" 127.0.0.1
calls "UDP, ChannelData padded as pjnath does" $both \
    "${plain[@]}" -D -c "${echo_peer[@]}" 127.0.0.1
calls "UDP, permissions and channels refreshed all the time" $both \
    "${plain[@]}" -G -c "${echo_peer[@]}" 127.0.0.1
calls "UDP, two clients through two relayed addresses" $((4 * N)) \
    "${plain[@]}" -y -c -m 4 -L 127.0.0.4 127.0.0.1
calls "TCP, channels" $both "${plain[@]}" -t -c "${echo_peer[@]}" 127.0.0.1
calls "TCP, Send and Data indications" $both "${plain[@]}" -t -s -c "${echo_peer[@]}" 127.0.0.1
calls "TLS, channels, the certificate verified" $both \
    "${secure[@]}" -t -S -c -E "$WORK/cert.pem" "${echo_peer[@]}" 127.0.0.1
calls "TLS, Send and Data indications" $both \
    "${secure[@]}" -t -S -s -c "${echo_peer[@]}" 127.0.0.1
calls "DTLS, channels" $both "${secure[@]}" -S -c "${echo_peer[@]}" 127.0.0.1
calls "DTLS, Send and Data indications" $both \
    "${secure[@]}" -S -s -c "${echo_peer[@]}" 127.0.0.1
calls "RFC 6062, the client connects" $both "${plain[@]}" -T 127.0.0.1
passive "RFC 6062, the peer connects" "${plain[@]}" 127.0.0.1
calls "RFC 6062 over TLS" $both "${secure[@]}" -T -S 127.0.0.1

if has_ipv6_loopback; then
    calls "IPv6 all the way, UDP" $both "${plain[@]}" -x -c -e ::1 ::1
    calls "IPv6 all the way, TCP" $both "${plain[@]}" -x -t -c -e ::1 ::1
    # Not -Z: this version asks for the second address with attribute 0x8032 of a draft, which
    # RFC 8656 numbered 0x8000. tests/e2e/life.py has the allocation with two addresses.
else
    skip "IPv6" "no IPv6 loopback on this machine"
fi

# The tool as it is: of eight numbers drawn from 0x4000-0x7FFF, nearly always one is beyond.
draws_too_high() {
    for _ in 1 2 3; do
        channels='' uclient -u "$USER_NAME" -w "$USER_PASSWORD" -m 8 -c "${plain[@]}" "${echo_peer[@]}" 127.0.0.1
        grep -q 'channel bind: error 400' "$OUT" && return
    done
    return 1
}
try "a channel number beyond 0x4FFF is refused with 400" draws_too_high

refused "a wrong password gets no allocation, UDP" \
    -u "$USER_NAME" -w wrong "${plain[@]}" "${echo_peer[@]}" 127.0.0.1
refused "a wrong password gets no allocation, TLS" \
    -u "$USER_NAME" -w wrong "${secure[@]}" -t -S "${echo_peer[@]}" 127.0.0.1
refused "an unknown user gets no allocation" \
    -u mallory -w "$USER_PASSWORD" "${plain[@]}" "${echo_peer[@]}" 127.0.0.1
settle

if timeout -k 5 20 turnutils_stunclient -p $PORT 127.0.0.1 >"$WORK/stun.out" 2>&1 &&
    grep -q 'UDP reflexive addr: 127.0.0.1:' "$WORK/stun.out"; then
    pass "a Binding request is answered without credentials"
else
    fail "a Binding request is answered without credentials" "$WORK/stun.out"
fi
relay_stop

# The tool makes its own ephemeral credentials from the secret, as a web service would.
COTURN_CREDENTIALS=secret relay_start
rest() { try "$1" rest_calls_well "${@:2}"; }
rest_calls_well() {
    uclient -c -u "$USER_NAME" -W "$SECRET" "${plain[@]}" "${echo_peer[@]}" "$@" 127.0.0.1
    totals_are $both $both
}
rest "ephemeral credentials (TURN REST), UDP"
rest "ephemeral credentials (TURN REST), TCP" -t
refused "ephemeral credentials made with another secret" \
    -c -u "$USER_NAME" -W 0ddba11 "${plain[@]}" "${echo_peer[@]}" 127.0.0.1
settle
relay_stop

finish
