#!/bin/bash
#
# A relay behind a 1:1 NAT, as cloud machines are: it is bound to a private address, and
# told its public one. This namespace is the router between three others:
#
#     client 198.18.1.2 --+-- router --+-- relay 10.2.0.2 (198.18.3.5 from outside)
#     peer   198.18.2.2 --+   (nft)
#
# 198.18.0.0/15 is the range for tests like this one (RFC 2544), so it has to be allowed.

. "$(dirname "$0")/lib.sh"
interop_enter "$0" "$@"

# host NAME ADDRESS GATEWAY: a network namespace with one address, and its process's pid.
host() {
    local name=$1 address=$2 gateway=$3
    unshare --net sleep 300 &
    background_pids+=($!)
    eval "${name}_pid=$!"
    # The namespace exists once it is no longer ours.
    for _ in {1..50}; do
        [ "$(readlink "/proc/$!/ns/net")" != "$(readlink /proc/self/ns/net)" ] && break
        sleep 0.05
    done
    ip link add "$name" type veth peer name eth0 netns "$!" &&
        ip addr add "$gateway/24" dev "$name" && ip link set "$name" up &&
        nsenter -t "$!" -n sh -c "ip link set lo up && ip addr add $address/24 dev eth0 &&
            ip link set eth0 up && ip route add default via $gateway"
}

if [ "$INTEROP_INSIDE" != own ] || ! host client 198.18.1.2 198.18.1.1 2>"$WORK/host.err"; then
    skip "a relay behind a NAT" "no network namespaces here"
    finish
fi
host peer 198.18.2.2 198.18.2.1
host relay 10.2.0.2 10.2.0.1
echo 1 >/proc/sys/net/ipv4/ip_forward
nft -f - <<'EOF'
table ip nat {
    chain pre  { type nat hook prerouting priority dstnat; ip daddr 198.18.3.5 dnat to 10.2.0.2; }
    chain post { type nat hook postrouting priority srcnat; ip saddr 10.2.0.2 snat to 198.18.3.5; }
}
EOF

# From here on relay_pid is lib.sh's: the relay's own process.
RELAY_WRAPPER="nsenter -t $relay_pid -n"
relay_pid=
RELAY_PEERS=198.18.0.0/15 relay_start "listen = udp://0.0.0.0:$PORT" "public-address = 198.18.3.5"
if grep -q 'peers will see 198.18.3.5' "$WORK/relay.err"; then
    pass "the start-up line names the public address"
else
    fail "the start-up line names the public address" "$WORK/relay.err"
fi
nsenter -t "$peer_pid" -n /usr/bin/python3 "$INTEROP_DIR/nat_client.py" peer >"$WORK/peer.out" \
    2>"$WORK/peer.err" &
background_pids+=($!)
for _ in {1..100}; do
    grep -q ready "$WORK/peer.err" 2>/dev/null && break
    sleep 0.1
done
checks_of "NAT" nsenter -t "$client_pid" -n /usr/bin/python3 "$INTEROP_DIR/nat_client.py" client \
    198.18.3.5 "$PORT" "$USER_NAME" "$USER_PASSWORD"

# What the peer saw, by its own word: one line for each source of a datagram.
if [ "$(sort -u "$WORK/peer.out")" = 198.18.3.5 ]; then
    pass "NAT: the peer saw the relay's public address and no other"
else
    fail "NAT: the peer saw the relay's public address and no other" "$WORK/peer.out"
fi
relay_stop
finish
