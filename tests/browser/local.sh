#!/bin/bash
#
# Chromium and Firefox calls through `callveil local`, and what a peer sees of them.
#
#     laptop 10.99.0.2 -------- router 10.99.0.1 | 10.98.0.1 -------- far 10.98.0.2
#     browsers, callveil local  relay 10.97.0.1                       peer, web site, its DNS
#
# Three network namespaces. The router forwards and its resolver answers, as real ones do:
# whatever leaves the laptop past the relay arrives, and a capture on the router sees it.
# The peer is a Chromium of its own that hides nothing and uses no relay.
#
# LOCAL_UNDER_TEST=standin checks the suite, with standin.mjs and microsocks in the place of
# `callveil local`. INTEROP_KEEP keeps the captures, and a picture of a call in each browser.

. "$(dirname "$0")/../interop/lib.sh"
interop_enter "$0" "$@"

BROWSER_DIR=$(cd "$(dirname "$0")" && pwd)
. "$BROWSER_DIR/lib.sh"

# --- the local proxy --------------------------------------------------------------------

# The SOCKS server beside the relay asks the far resolver, as the relay's clients do.
start_standin_local() {
    echo "nameserver $FAR_ADDRESS" >"$WORK/far-resolv.conf"
    ip route change 10.98.0.0/24 dev to-far src $RELAY_ADDRESS
    start_background unshare --mount sh -c \
        "mount --bind '$WORK/far-resolv.conf' /etc/resolv.conf && exec microsocks -i $RELAY_ADDRESS"
    MEDIA_PORT=$PORT # it speaks no DTLS
    nsenter --target "$LAPTOP" --net node "$BROWSER_DIR/standin.mjs" $RELAY_ADDRESS "$PORT" 1080 \
        "$SECRET" "$STATS_TOKEN" 2>"$WORK/local.err" &
    local_pid=$!
}

# --- the suite --------------------------------------------------------------------------

# part NAME...: what local.mjs calls so, run on the laptop.
part() {
    CLIENT_TIMEOUT=100 checks_of "$1" nsenter --target "$LAPTOP" --net \
        node "$BROWSER_DIR/local.mjs" "$@"
}

network_or_skip "calls through the local proxy"
own_home

if ! start_services 2>"$WORK/services.err"; then
    fail "the network's services start" "$WORK/services.err"
    finish
fi
start_relay
start_local

part chromium
part firefox
part moved
RELAY_PID=$relay_pid part killed
{ kill -KILL "$relay_pid"; wait "$relay_pid"; } 2>/dev/null # by the part; if it got so far
start_relay
part restarted

# The peer may ask it, the laptop and the relay may not.
if grep 'far\.test from ' "$WORK/router-dns.log" | grep -v "from $FAR_ADDRESS$" \
    >"$WORK/asked-names"; then
    fail "the resolver before the relay was asked for none of the site's names" \
        "$WORK/asked-names"
else
    pass "the resolver before the relay was asked for none of the site's names"
fi
local_stop
relay_stop
finish
