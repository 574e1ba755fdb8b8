#!/bin/bash
#
# `callveil local` with the relays of other people (coturn, Erlang's p1_stun) and with ours, over
# every transport each of them has. Apps' host has no route to the peers (local/place.sh).

. "$(dirname "$0")/lib.sh"
interop_enter "$0" "$@"
. "$INTEROP_DIR/local/place.sh"
place_enter "the local proxy with relays"
peer_start

# relays NAME CAN LINE...: an app's datagrams and streams by way of this [upstream].
relays() {
    local name=$1 can=$2
    shift 2
    local_start "$@"
    checks_of "$name" /usr/bin/python3 "$LOCAL_DIR/app.py" "$SOCKS_HOST" "$SOCKS_PORT" "$can"
    local_stop
}

url() {
    case $1 in
        UDP) echo "url = turn:$RELAY_HOST:$PORT?transport=udp" ;;
        TCP) echo "url = turn:$RELAY_HOST:$PORT?transport=tcp" ;;
        DTLS) echo "url = turns:$RELAY_HOST:$TLS_PORT?transport=udp" ;;
        TLS) echo "url = turns:$RELAY_HOST:$TLS_PORT?transport=tcp" ;;
    esac
}

make_certificate

# --- against the suite itself: no relay is asked ---
if [ "$LOCAL_UNDER_TEST" != callveil ]; then
    relays "$LOCAL_UNDER_TEST" udp,tcp,flush,duplex
    peer_saw_only_the_relay "$LOCAL_UNDER_TEST"
    finish
fi

# --- coturn, its certificate checked by CA and address ---
# Not duplex. To start reading from one side again, coturn (4.6.1, and 4.17.1 still) looks at what
# waits to be written to that same side, not to the other: with more than 192 KiB waiting both ways it
# never does. Of streams that a bare client of RFC 6062 made, 3 MiB each way at once on a busy
# machine, 4 of 30 by TLS and 1 of 30 by TCP stopped, with 96 kB unread in coturn's socket.
RELAY_UNDER_TEST=coturn relay_start "listen = $(relay_listen_on $RELAY_HOST)"
relays "coturn, UDP" udp "$(url UDP)"
relays "coturn, DTLS" udp "$(url DTLS)" "ca-file = $WORK/cert.pem"
relays "coturn, TCP" udp,tcp "$(url TCP)"
relays "coturn, TLS" udp,tcp "$(url TLS)" "ca-file = $WORK/cert.pem"
# Datagrams by the first that works, streams by the first that can.
relays "coturn, DTLS and TLS" udp,tcp,brief "$(url DTLS), $(url TLS | sed 's/url = //')" \
    "ca-file = $WORK/cert.pem"
relays "coturn, TLS by its name" udp,tcp,brief \
    "url = turns:relay.test:$TLS_PORT?transport=tcp" "ca-file = $WORK/cert.pem"
RELAY_UNDER_TEST=coturn relay_stop
peer_saw_only_the_relay coturn

# Without the option it answers 405, as above. By TCP and TLS its answer to a move is no STUN message
# (4.6.1: the 24 bytes of a MESSAGE-INTEGRITY, and no header), so that there nothing can be kept.
COTURN_EXTRA=--mobility RELAY_UNDER_TEST=coturn relay_start "listen = $(relay_listen_on $RELAY_HOST)"
relays "coturn, UDP, moves" moves "$(url UDP)"
relays "coturn, DTLS, moves" moves "$(url DTLS)" "ca-file = $WORK/cert.pem"
RELAY_UNDER_TEST=coturn relay_stop
peer_saw_only_the_relay "coturn with mobility"

# --- Erlang ---
$RELAY_WRAPPER "$LOCAL_DIR/p1stun.escript" $RELAY_HOST $PORT $REALM "$USER_NAME" "$USER_PASSWORD" \
    $RELAY_ADDRESSES >"$WORK/relay.err" 2>&1 &
relay_pid=$!
wait_for_relay "tcp://$RELAY_HOST:$PORT"
relays "p1_stun, UDP" udp "$(url UDP)"
relays "p1_stun, TCP" udp "$(url TCP)"
RELAY_UNDER_TEST=p1_stun relay_stop
peer_saw_only_the_relay p1_stun

# --- ours, pinned ---
pin="pin = $(pin_of "$WORK/cert.pem")"
wrong_pin="pin = sha256/$(head -c 32 /dev/zero | base64)"
RELAY_STATS=127.0.0.1:9641 relay_start "listen = $(relay_listen_on $RELAY_HOST)"
relays "callveil, UDP" udp "$(url UDP)"
relays "callveil, DTLS" udp "$(url DTLS)" "$pin"
relays "callveil, TCP" udp,tcp,flush,duplex "$(url TCP)"
relays "callveil, TLS" udp,tcp,flush,duplex "$(url TLS)" "$pin"
relays "callveil, UDP, moves" moves "$(url UDP)"
relays "callveil, DTLS, moves" moves "$(url DTLS)" "$pin"
relays "callveil, TCP, moves" moves "$(url TCP)"
relays "callveil, TLS, moves" moves "$(url TLS)" "$pin"

# --- the first url is dead ---
# A port where nobody is answers at once; an address where nobody is never does.
for dead in "turn:$RELAY_HOST:9?transport=udp" "turns:$RELAY_HOST:9?transport=tcp" \
    "turns:10.99.0.99:$TLS_PORT?transport=udp" "turn:10.99.0.99:$PORT?transport=tcp"; do
    relays "after the dead $dead" udp,tcp,brief "url = $dead, $(url TLS | sed 's/url = //')" \
        "$pin"
done

# --- not the relay that it should be ---
relay_requests() {
    in_relay curl --noproxy '*' -s http://127.0.0.1:9641/stats.json |
        /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["counters"]["requests"])'
}

# never NAME LINE...: apps get errors, and the relay not one request, with or without a password.
never() {
    local name=$1 before
    shift
    before=$(relay_requests)
    LOCAL_READY=no local_start "$@"
    checks_of "$name" /usr/bin/python3 "$LOCAL_DIR/down.py" "$SOCKS_HOST" "$SOCKS_PORT"
    if local_is_ready; then
        fail "$name: /readyz says so" "$WORK/local.err"
    else
        pass "$name: /readyz says so"
    fi
    if [ -n "$before" ] && [ "$(relay_requests)" = "$before" ]; then
        pass "$name: the relay was asked for nothing"
    else
        fail "$name: the relay was asked for nothing" "$WORK/local.err"
    fi
    local_stop
}
never "a wrong pin, DTLS and TLS" "$(url DTLS), $(url TLS | sed 's/url = //')" "$wrong_pin"
never "a certificate of no known CA" "$(url DTLS), $(url TLS | sed 's/url = //')"
never "a certificate for another name" \
    "url = turns:elsewhere.test:$TLS_PORT?transport=tcp" "ca-file = $WORK/cert.pem"
relay_stop
peer_saw_only_the_relay callveil
finish
