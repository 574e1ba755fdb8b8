# shellcheck shell=bash
#
# tests/interop/local/place.sh - where the suites of the local proxy take place
#
#     apps and `callveil local`        relay                       peers
#     10.99.0.2, fd99::2  ------  10.99.0.1, fd99::1
#                                 10.99.1.1, fd99:1::1  ------  10.99.1.2, 10.99.1.3, fd99:1::2
#
# Three network namespaces; the suite itself is in the apps'. Nobody forwards packets and the apps'
# has no route to the peers', so whatever arrives came through the relay. 10.99.1.77 is nobody's.
#
# Sourced after lib.sh. Sets relay_space and peer_space; in_relay and in_peer run commands there.

RELAY_HOST=10.99.0.1
APP_ADDRESS=10.99.0.2
RELAY_ADDRESSES="10.99.1.1 fd99:1::1"
PEER=10.99.1.2
PEER2=10.99.1.3
PEER6=fd99:1::2
NOBODY=10.99.1.77
RELAY_PEERS="10.99.1.0/24, fd99:1::/64"
LOCAL_DIR=$INTEROP_DIR/local

# namespace NAME: a network namespace that lives as long as the process NAME_space in it.
namespace() {
    unshare --net sleep 600 &
    background_pids+=($!)
    eval "$1_space=$!"
    for _ in {1..50}; do
        [ "$(readlink "/proc/$!/ns/net")" != "$(readlink /proc/self/ns/net)" ] && break
        sleep 0.05
    done
    nsenter -t "$!" -n ip link set lo up
}

# Not for the background: the pid would be that of a shell around the command.
in_relay() {
    nsenter -t "$relay_space" -n "$@"
}

in_peer() {
    nsenter -t "$peer_space" -n "$@"
}

# place_make: 0, or why there is none in $WORK/place.err.
place_make() {
    [ "$INTEROP_INSIDE" = own ] || return
    namespace relay
    namespace peer
    # nodad: an IPv6 address is otherwise "tentative" for a second.
    {
        ip link add uplink type veth peer name apps netns "$relay_space" &&
            ip addr add $APP_ADDRESS/24 dev uplink && ip link set uplink up &&
            ip addr add fd99::2/64 dev uplink nodad &&
            in_relay ip addr add $RELAY_HOST/24 dev apps && in_relay ip link set apps up &&
            in_relay ip addr add fd99::1/64 dev apps nodad &&
            in_relay ip link add peers type veth peer name eth0 netns "$peer_space" &&
            in_relay ip addr add 10.99.1.1/24 dev peers && in_relay ip link set peers up &&
            in_relay ip addr add fd99:1::1/64 dev peers nodad &&
            in_peer ip addr add $PEER/24 dev eth0 && in_peer ip addr add $PEER2/24 dev eth0 &&
            in_peer ip link set eth0 up && in_peer ip addr add $PEER6/64 dev eth0 nodad
    } 2>"$WORK/place.err" || return
    RELAY_WRAPPER="nsenter -t $relay_space -n"
    # What this mount namespace says about names is the suites' own.
    printf '127.0.0.1 localhost\n%s relay.test elsewhere.test\n' $RELAY_HOST >"$WORK/hosts"
    printf 'nameserver %s\n' "${PLACE_RESOLVER:-$APP_ADDRESS}" >"$WORK/resolv.conf"
    {
        mount --bind "$WORK/hosts" /etc/hosts &&
            mount --bind "$WORK/resolv.conf" "$(readlink -f /etc/resolv.conf)"
    } 2>"$WORK/place.err"
}

# place_enter: makes it, or ends the suite as skipped.
place_enter() {
    if ! place_make; then
        skip "$1" "no network namespaces here"
        finish
    fi
}

# peer_start: the servers that apps talk to. What it saw stands in $WORK/peer.saw.
peer_start() {
    nsenter -t "$peer_space" -n /usr/bin/python3 "$LOCAL_DIR/peer.py" "$WORK" >"$WORK/peer.saw" \
        2>"$WORK/peer.err" &
    background_pids+=($!)
    for _ in {1..100}; do
        grep -qs ready "$WORK/peer.err" && return
        sleep 0.1
    done
    fail "the peer starts" "$WORK/peer.err"
    finish
}

# peer_saw_only_the_relay NAME: who talked to it, so far, over all protocols.
peer_saw_only_the_relay() {
    local others
    others=$(sort -u "$WORK/peer.saw" | grep -vxE '10\.99\.1\.1|fd99:1::1')
    if [ -s "$WORK/peer.saw" ] && [ -z "$others" ]; then
        pass "$1: the peers saw the relay's addresses and no other"
    else
        sort "$WORK/peer.saw" | uniq -c >"$WORK/peer.sources"
        fail "$1: the peers saw the relay's addresses and no other" "$WORK/peer.sources"
    fi
}

# The stand-in: Debian's dante where the relay is, which tells whether the suites are right.
start_dante_local() {
    SOCKS_HOST=$RELAY_HOST
    cat >"$WORK/danted.conf" <<END
logoutput: $WORK/local.err
internal: $SOCKS_HOST port = $SOCKS_PORT
external: peers
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: root
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass {
    from: 0.0.0.0/0 to: 0/0
    command: bind connect udpassociate bindreply udpreply
}
socks pass {
    from: 0/0 to: 0/0
    command: bind connect udpassociate bindreply udpreply
}
END
    $RELAY_WRAPPER danted -f "$WORK/danted.conf" -p "$WORK/danted.pid" >/dev/null 2>&1 &
    local_pid=$!
}
