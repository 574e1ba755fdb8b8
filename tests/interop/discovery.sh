#!/bin/bash
#
# NAT behaviour discovery (RFC 5780) with coturn's tools: two addresses with two ports each.

. "$(dirname "$0")/lib.sh"
interop_enter "$0" "$@"

OTHER_PORT=$((PORT + 1)) # where coturn puts it, too
OTHER="127.0.0.2:$OTHER_PORT"

# finds NAME PATTERN COMMAND...: the tools exit 0 after a timeout as well, so only what they
# say counts. Some of them wait for ever: they get ten seconds.
finds() {
    local name=$1 pattern=$2
    shift 2
    timeout -k 5 10 "$@" >"$WORK/tool.out" 2>&1
    if grep -qE "$pattern" "$WORK/tool.out" && ! grep -q 'receive timeout' "$WORK/tool.out"; then
        pass "$name"
    else
        fail "$name" "$WORK/tool.out"
    fi
}

# What the n-th answer printed by the tool says of itself.
origin_of_response() {
    awk -v n="$1" '/^RFC 5780 response/ { in_n = $4 == n }
        in_n && /Response origin/ { origin = $NF } END { print origin }' "$WORK/tool.out"
}

relay_start "listen = udp://127.0.0.1:$PORT, udp://127.0.0.1:$OTHER_PORT, \
udp://127.0.0.2:$PORT, udp://127.0.0.2:$OTHER_PORT, tcp://127.0.0.1:$PORT" \
    "behavior-discovery = yes" "hide-client-address = no"

finds "OTHER-ADDRESS is the other address and port" "Other addr: : $OTHER" \
    turnutils_stunclient -p $PORT 127.0.0.1
if [ "$(origin_of_response 1)" = "127.0.0.1:$PORT" ] && [ "$(origin_of_response 2)" = "$OTHER" ]; then
    pass "CHANGE-REQUEST is answered from the other address and port"
else
    fail "CHANGE-REQUEST is answered from the other address and port" "$WORK/tool.out"
fi
finds "the mapping behaviour is found" 'No NAT! \(Endpoint Independent Mapping\)' \
    turnutils_natdiscovery -m -p $PORT -L 127.0.0.5 127.0.0.1
finds "the client's own address is told" 'UDP reflexive addr: 127.0.0.5:' \
    turnutils_natdiscovery -m -p $PORT -L 127.0.0.5 127.0.0.1
finds "the filtering behaviour is found" 'Endpoint Independent Filtering' \
    turnutils_natdiscovery -f -p $PORT -L 127.0.0.5 127.0.0.1
relay_stop

# Off by default: each answer from elsewhere is a way to make the relay knock at strangers.
COTURN_EXTRA=--no-rfc5780 relay_start
timeout -k 5 10 turnutils_stunclient -p $PORT 127.0.0.1 >"$WORK/tool.out" 2>&1
if grep -q 'UDP reflexive addr' "$WORK/tool.out" && ! grep -q 'Other addr' "$WORK/tool.out"; then
    pass "nothing is offered unless it is turned on"
else
    fail "nothing is offered unless it is turned on" "$WORK/tool.out"
fi
relay_stop
finish
