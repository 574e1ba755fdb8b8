#!/bin/bash
#
# werift (node) against the relay.

. "$(dirname "$0")/lib.sh"
interop_enter "$0" "$@"

# werift gathers on interfaces that are not loopback only: one with a made-up address, which
# leads nowhere (192.0.2.0/24 is for documentation).
ip link add call0 type dummy && ip addr add 192.0.2.10/24 dev call0 && ip link set call0 up

relay_start "listen = $(relay_listen_on 192.0.2.10)"
checks_of werift node "$INTEROP_DIR/node/werift.mjs" 192.0.2.10 $PORT \
    "$USER_NAME" "$USER_PASSWORD"
relay_stop
finish
