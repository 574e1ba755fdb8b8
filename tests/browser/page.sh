#!/bin/bash
#
# The stats page and its leak check, in Chromium and Firefox beside `callveil local`.
#
# The page must show a real call from its start to its end and the numbers that were counted
# outside, say what is wrong in words, loss on the way to the relay too, and call a browser
# private only when it is. Pictures of it, wide and narrow, light and dark, are left in
# build/test-logs/page/.

. "$(dirname "$0")/../interop/lib.sh"
interop_enter "$0" "$@"

BROWSER_DIR=$(cd "$(dirname "$0")" && pwd)
. "$BROWSER_DIR/lib.sh"
export SECRET PORT
export PICTURES=$TREE/build/test-logs/page
RELAY_STATS="$RELAY_ADDRESS:9641
token = $STATS_TOKEN"

# part FILE NAME...: what the file calls so, run on the laptop.
part() {
    CLIENT_TIMEOUT=100 checks_of "$2" nsenter --target "$LAPTOP" --net \
        env LOCAL_PID="$local_pid" RELAY_PID="$relay_pid" node "$BROWSER_DIR/$1.mjs" "${@:2}"
}

network_or_skip "the stats page"
own_home
mkdir -p "$PICTURES"
start_background in_far node "$BROWSER_DIR/echo.mjs" $FAR_ADDRESS 7

checks_of judge node "$BROWSER_DIR/page_judge.mjs" "$TREE"
start_relay
start_local
part page_status status
part page_way loss
part page_check check
part page_faults relay-gone
{ kill -KILL "$relay_pid"; wait "$relay_pid"; } 2>/dev/null # by the part; if it got so far
start_relay
local_stop
LOCAL_READY=no start_local "password = wrong"
part page_faults wrong-password
part page_faults local-gone
local_stop
local_start "url = turns:$RELAY_ADDRESS:$TLS_PORT?transport=udp" "ca-file = $WORK/cert.pem"
part page_faults certificate
local_stop
relay_stop
finish
