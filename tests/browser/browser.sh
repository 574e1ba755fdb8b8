#!/bin/bash
#
# Chromium calls through the relay.
#
# The browser gets a network namespace of its own with one link, to the relay: its address
# (10.99.0.2) differs from the relay's (10.99.0.1), so the check that no page gives its own
# away can fail. The relay carries the traffic between two of its own relayed addresses,
# which needs no entry in [peers].

. "$(dirname "$0")/../interop/lib.sh"
interop_enter "$0" "$@"

RELAY_ADDRESS=10.99.0.1
BROWSER_ADDRESS=10.99.0.2

# The browser's namespace lives as long as this process in it.
make_link() {
    unshare --net sleep 600 &
    browser_space=$!
    background_pids+=("$browser_space")
    sleep 0.5
    ip link add relay0 type veth peer name browser0 &&
        ip link set browser0 netns "$browser_space" &&
        ip addr add $RELAY_ADDRESS/24 dev relay0 && ip link set relay0 up &&
        in_browser_space ip link set lo up &&
        in_browser_space ip addr add $BROWSER_ADDRESS/24 dev browser0 &&
        in_browser_space ip link set browser0 up
}

in_browser_space() {
    nsenter --target "$browser_space" --net "$@"
}

if ! make_link 2>"$WORK/ip.err"; then
    skip "Chromium" "no veth pair can be made here"
    finish
fi

# A profile, caches and crash folders that go with the suite.
export HOME=$WORK/home XDG_CONFIG_HOME=$WORK/home XDG_CACHE_HOME=$WORK/home TMPDIR=$WORK
mkdir -p "$HOME"

own_address=$BROWSER_ADDRESS
[ "$RELAY_UNDER_TEST" = coturn ] && own_address= # it tells every client what it saw

relay_start "listen = $(relay_listen_on $RELAY_ADDRESS)"
CLIENT_TIMEOUT=240 checks_of Chromium nsenter --target "$browser_space" --net \
    node "$(dirname "$0")/call.mjs" $RELAY_ADDRESS $PORT $TLS_PORT "$USER_NAME" "$USER_PASSWORD" \
    $own_address
relay_stop
finish
