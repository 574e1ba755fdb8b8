#!/bin/bash
#
# Chromium and Firefox, unmodified, inside `callveil run`: calls, and what a peer sees of them.
#
#     laptop 10.99.0.2 -------- router 10.99.0.1 | 10.98.0.1 -------- far 10.98.0.2, 10.98.0.3
#     callveil local and run    relay 10.97.0.1          peer, web site, its DNS; STUN and TURN
#
# The browsers get no proxy setting, no flag and no preference but for the camera and what drives
# them, and their own sandboxes stay on: all is an ordinary user's. What drives them is in the
# seal with them (sealed_driver.mjs): there is no way in either. The pages' own STUN and TURN
# server is a coturn beside the peer, which hides nothing and uses no relay.
#
# INTEROP_KEEP keeps the captures, and a picture of a call in each browser.

. "$(dirname "$0")/../interop/lib.sh"
interop_enter "$0" "$@"

BROWSER_DIR=$(cd "$(dirname "$0")" && pwd)
. "$BROWSER_DIR/lib.sh"

export TURN_SERVER=10.98.0.3
export TURN_SERVER_USER=page TURN_SERVER_PASSWORD=turner
USER_ID=1000

# --- an ordinary user ---------------------------------------------------------------------

# The words that make the rest of a command the user's, and the laptop's.
person_words() {
    echo "nsenter --target $LAPTOP --net"
    if [ "$(awk '{ print $3; exit }' /proc/self/uid_map)" -gt $USER_ID ]; then
        echo "setpriv --reuid $USER_ID --regid $USER_ID --clear-groups"
    else
        echo "unshare --user --map-user=$USER_ID --map-group=$USER_ID"
    fi
    # LSan needs ptrace, which callveil's processes forbid.
    echo "env -u XDG_CONFIG_HOME -u XDG_CACHE_HOME HOME=$PERSON XDG_RUNTIME_DIR=$PERSON/runtime
        TMPDIR=$PERSON ASAN_OPTIONS=detect_leaks=0:exitcode=99"
}

# Where the user may read, whoever's the tree is; and "$WORK/sealed", which is `callveil run`.
person_start() {
    PERSON=$WORK/person
    mkdir -p "$PERSON/runtime" "$WORK/tests"
    chmod 700 "$PERSON" "$PERSON/runtime"
    chmod 711 "$WORK"
    cp "$CALLVEIL" "$WORK/callveil" || return
    cp -r "$BROWSER_DIR"/*.mjs "$BROWSER_DIR/node_modules" "$WORK/tests" || return
    # `run` takes what is named like a browser for one, gives it a profile, and says where the leak
    # check is. The driver has profiles of its own.
    printf '#!/bin/sh\nshift 1\nexec node %s "$@"\n' "$WORK/tests/sealed_driver.mjs" \
        >"$WORK/tests/chromium-driver"
    printf '#!/bin/sh\nshift 3\nexec node %s "$@"\n' "$WORK/tests/sealed_driver.mjs" \
        >"$WORK/tests/firefox-driver"
    chmod +x "$WORK"/tests/*-driver
    : >"$WORK/local.conf"
    chown -R $USER_ID:$USER_ID "$PERSON" "$WORK/local.conf" 2>/dev/null
    LOCAL_WRAPPER=$(person_words | tr '\n' ' ')
    CALLVEIL=$WORK/callveil
    printf '#!/bin/sh\ncd %s && exec %s %s run "$@"\n' "$PERSON" "$LOCAL_WRAPPER" "$CALLVEIL" \
        >"$WORK/sealed"
    chmod +x "$WORK/sealed"
    export PERSON
}

# --- the pages' own server ------------------------------------------------------------------

start_page_server() {
    in_far ip addr add $TURN_SERVER/24 dev uplink || return
    start_background in_far turnserver -n --listening-ip $TURN_SERVER --relay-ip $TURN_SERVER \
        --listening-port 3478 --no-tls --no-dtls --no-cli --no-multicast-peers --realm far.test \
        --lt-cred-mech --user $TURN_SERVER_USER:$TURN_SERVER_PASSWORD \
        --log-file "$WORK/coturn.log" --simple-log --pidfile "$WORK/coturn.pid"
    within "STUN server" in_far bash -c "exec 3<>/dev/tcp/$TURN_SERVER/3478"
}

# --- the suite --------------------------------------------------------------------------

# part NAME: what sealed.mjs calls so.
part() {
    CLIENT_TIMEOUT=100 checks_of "$1" env LOCAL_PID="$local_pid" \
        node "$BROWSER_DIR/sealed.mjs" "$@"
}

network_or_skip "browsers in the seal"
own_home
if ! { start_services && start_page_server && person_start; } 2>"$WORK/services.err"; then
    fail "the network's services start" "$WORK/services.err"
    finish
fi
# Else the peer's router says so of an address that every seal has.
ip route add blackhole 192.0.2.0/24
start_relay
start_local

part chromium
{ kill -KILL "$local_pid"; wait "$local_pid"; } 2>/dev/null # by the part; if it got so far
local_pid=
part firefox
relay_stop
finish
