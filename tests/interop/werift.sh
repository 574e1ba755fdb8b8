#!/bin/bash
#
# werift (node) against the relay.

. "$(dirname "$0")/lib.sh"
interop_enter "$0" "$@"

# werift gathers on interfaces other than loopback: a veth pair, both ends here, leads nowhere
# (a dummy interface would do, where every kernel had them).
if ! { ip link add call0 type veth peer name call1 && ip addr add 10.99.0.1/24 dev call0 &&
    ip link set call0 up && ip link set call1 up; } 2>"$WORK/ip.err"; then
    skip "werift" "no veth pair can be made here"
    finish
fi

relay_start "listen = $(relay_listen_on 10.99.0.1)"
checks_of werift node "$INTEROP_DIR/node/werift.mjs" 10.99.0.1 $PORT \
    "$USER_NAME" "$USER_PASSWORD"
relay_stop
finish
