# shellcheck shell=bash
#
# tests/browser/lib.sh - the place of the suites that put browsers beside `callveil local`
#
#     laptop 10.99.0.2 -------- router 10.99.0.1 | 10.98.0.1 -------- far 10.98.0.2
#     browsers, callveil local  relay 10.97.0.1
#
# Three network namespaces; the router is the suite's own one. A suite enters it by
# interop_enter (tests/interop/lib.sh), sources this, and calls network_or_skip.

export RELAY_ADDRESS=10.97.0.1 LAPTOP_ADDRESS=10.99.0.2 FAR_ADDRESS=10.98.0.2
export ROUTER_ADDRESS=10.99.0.1
export SITE_NAME=call.far.test SCRIPT_NAME=script.far.test
export STATS_TOKEN=$LOCAL_TOKEN
export MEDIA_PORT=$TLS_PORT # DTLS
export WORK
RELAY_PEERS=10.98.0.0/24
SOCKS_PORT=1080 TURN_PORT=3478

# Ends the suite without a failure where no namespace can be made.
network_or_skip() {
    export ROUTER=$$
    if make_network 2>"$WORK/ip.err"; then
        LOCAL_WRAPPER="nsenter --target $LAPTOP --net"
        return
    fi
    skip "$1" "no namespaces or veth pairs can be made here"
    finish
}

# Profiles, caches and crash folders go with the suite.
own_home() {
    export HOME=$WORK/home XDG_CONFIG_HOME=$WORK/home XDG_CACHE_HOME=$WORK/home TMPDIR=$WORK
    mkdir -p "$HOME"
}

# within WHAT COMMAND...: until the command succeeds, ten seconds at most.
within() {
    for _ in {1..100}; do
        "${@:2}" 2>/dev/null && return
        sleep 0.1
    done
    echo "# no $1 after 10 seconds" >&2
    return 1
}

# --- the network ------------------------------------------------------------------------

# space_start VARIABLE: a network namespace that lives as long as this process in it.
space_start() {
    unshare --net sleep 600 &
    background_pids+=($!)
    printf -v "$1" %s $!
    export "${1?}"
    sleep 0.3
    nsenter --target $! --net ip link set lo up
}

in_laptop() { nsenter --target "$LAPTOP" --net "$@"; }
in_far() { nsenter --target "$FAR" --net "$@"; }

# link_up SPACE NET: a veth pair, the router's end and SPACE's, and SPACE's default routes.
link_up() {
    local space=$1 net=$2 pid=${!1} name=${1,,}
    ip link add "to-$name" type veth peer name uplink netns "$pid" &&
        ip addr add "10.$net.0.1/24" dev "to-$name" &&
        ip addr add "fd$net::1/64" dev "to-$name" nodad &&
        ip link set "to-$name" up &&
        nsenter --target "$pid" --net bash -c "
            ip addr add 10.$net.0.2/24 dev uplink && ip addr add fd$net::2/64 dev uplink nodad &&
            ip link set uplink up && ip route add default via 10.$net.0.1 &&
            ip -6 route add default via fd$net::1" ||
        { echo "# no link to $space" >&2; return 1; }
}

# An interface gets its last address (IPv6, link-local) two seconds after it was made. A browser that
# runs by then ends what it is loading with an error: the network has changed.
settled() {
    within "link-local address of $1" nsenter --target "${!1}" --net bash -c \
        "ip -6 addr show dev uplink scope link -tentative | grep -q inet6"
}

make_network() {
    space_start LAPTOP && space_start FAR &&
        link_up LAPTOP 99 && link_up FAR 98 &&
        ip addr add $RELAY_ADDRESS/32 dev lo &&
        echo 1 >/proc/sys/net/ipv4/ip_forward &&
        echo 1 >/proc/sys/net/ipv6/conf/all/forwarding &&
        settled LAPTOP && settled FAR
}

# --- what is beyond the relay -----------------------------------------------------------

# resolver_start ADDRESS NAME LOG [in_SPACE]: answers for NAME and what is below it ("#": for
# every name), and that there are no others.
resolver_start() {
    start_background "${@:4}" dnsmasq --keep-in-foreground --conf-file=/dev/null --user=root \
        --pid-file= --no-resolv --no-hosts --bind-interfaces --listen-address="$1" \
        --address="/$2/$FAR_ADDRESS" --local="/$2/" --local="/#/" --log-queries --log-facility="$3"
}

wait_for_site() {
    within site in_far bash -c "exec 3<>/dev/tcp/$FAR_ADDRESS/443"
}

# What the machine's resolver would answer is right, so that to ask it is a leak and no failure.
start_services() {
    echo "nameserver $ROUTER_ADDRESS" >"$WORK/resolv.conf"
    mount --bind "$WORK/resolv.conf" "$(readlink -f /etc/resolv.conf)" || return
    resolver_start $ROUTER_ADDRESS '#' "$WORK/router-dns.log"
    resolver_start $FAR_ADDRESS far.test "$WORK/far-dns.log" in_far
    make_certificate
    start_background in_far node "$BROWSER_DIR/site.mjs" $FAR_ADDRESS \
        "$WORK/cert.pem" "$WORK/key.pem" $SCRIPT_NAME
    wait_for_site || return
    printf '#!/bin/sh\nexec nsenter --target %s --net /usr/bin/chromium "$@"\n' "$FAR" \
        >"$WORK/far-chromium"
    chmod +x "$WORK/far-chromium"
}

# --- the relay and the local proxy ------------------------------------------------------

start_relay() {
    relay_start "listen = $(relay_listen_on $RELAY_ADDRESS)"
}

# start_local LINE...: the laptop's `callveil local`, by DTLS and then TLS; LINEs go to [upstream].
start_local() {
    local_start "url = turns:$RELAY_ADDRESS:$TLS_PORT?transport=udp, \
turns:$RELAY_ADDRESS:$TLS_PORT?transport=tcp" "pin = $(pin_of "$WORK/cert.pem")" \
        "dns = $FAR_ADDRESS" "$@"
}
