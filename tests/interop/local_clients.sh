#!/bin/bash
#
# Clients of other people through `callveil local` and our relay: curl, OpenSSH, proxychains4,
# npm's socks, PySocks, aioice. Apps' host has no route to the peers (local/place.sh), and names
# are known to a DNS server among the peers only.

. "$(dirname "$0")/lib.sh"
interop_enter "$0" "$@"
. "$INTEROP_DIR/local/place.sh"
[ "$LOCAL_UNDER_TEST" = callveil ] || PLACE_RESOLVER=$PEER # the stand-in has no other
place_enter "clients of the local proxy"
peer_start

SIZE=$((64 << 20))
N_PARALLEL=20
head -c $SIZE /dev/urandom >"$WORK/big.bin"
head -c 1000003 /dev/urandom >"$WORK/small.bin"
big_sum=$(sha256sum <"$WORK/big.bin" | cut -d ' ' -f 1)
small_sum=$(sha256sum <"$WORK/small.bin" | cut -d ' ' -f 1)

# --- names ---

# dns SPACE ADDRESS LOG OPTION...: a DNS server that knows nothing but what it is told.
dns() {
    local space=$1 address=$2 log=$3
    shift 3
    nsenter -t "$space" -n dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv \
        --no-hosts --user= --group= --pid-file= --bind-interfaces --listen-address="$address" \
        --except-interface=lo --log-queries --log-facility="$log" "$@" >/dev/null 2>&1 &
    background_pids+=($!)
    for _ in {1..50}; do
        grep -q ': started' "$log" 2>/dev/null && return
        sleep 0.1
    done
    fail "the DNS server starts" "$log"
    finish
}

# An answer too long for a datagram, each of whose addresses is the peer's.
in_peer ip route add local 10.99.1.128/25 dev lo
many=()
for n in {130..249}; do
    many+=(--host-record="many.peer.test,10.99.1.$n")
done
dns "$peer_space" $PEER "$WORK/dns.log" --local=/peer.test/ \
    --host-record=www.peer.test,$PEER,$PEER6 --host-record=ssh.peer.test,$PEER \
    --host-record=four.peer.test,$PEER --host-record=six.peer.test,$PEER6 "${many[@]}"
# The machine's own resolver, which nobody must ask; that it would be heard of if somebody did is
# shown by asking it.
if [ "$LOCAL_UNDER_TEST" = callveil ]; then
    dns $$ $APP_ADDRESS "$WORK/own-dns.log"
    getent ahostsv4 control.test
fi

relay_start "listen = $(relay_listen_on $RELAY_HOST 127.0.0.1)"
if [ "$LOCAL_UNDER_TEST" != callveil ]; then
    TURN_HOST=$RELAY_HOST TURN_PORT=$PORT TURN_USER=$USER_NAME TURN_PASSWORD=$USER_PASSWORD
fi
pin="pin = $(pin_of "$WORK/cert.pem")"
url="url = turns:$RELAY_HOST:$TLS_PORT?transport=udp, turns:$RELAY_HOST:$TLS_PORT?transport=tcp"
local_start "$url" "$pin" "dns = $PEER"
socks=$SOCKS_HOST:$SOCKS_PORT

# --- curl ---

fetch() {
    curl --noproxy none.test -q -sS -m 60 "$@" 2>"$WORK/curl.err"
}

# is NAME EXPECTED GOT
is() {
    if [ -n "$2" ] && [ "$2" = "$3" ]; then
        pass "$1"
    else
        echo "# expected $2, got $3"
        fail "$1" "$WORK/curl.err"
    fi
}

sum_of() {
    fetch "$@" | sha256sum | cut -d ' ' -f 1
}

by_name=(--socks5-hostname "$socks")
by_address=(--socks5 "$socks")
is "curl: $SIZE bytes down, by name" "$big_sum" \
    "$(sum_of "${by_name[@]}" http://www.peer.test/big.bin)"
is "curl: $SIZE bytes up, by name" "$big_sum" \
    "$(fetch "${by_name[@]}" -T "$WORK/big.bin" http://www.peer.test/up)"
for host in four.peer.test six.peer.test $PEER "[$PEER6]"; do
    is "curl --socks5-hostname: $host" "$small_sum" \
        "$(sum_of "${by_name[@]}" "http://$host/small.bin")"
done
for host in $PEER "[$PEER6]"; do
    is "curl --socks5: $host" "$small_sum" "$(sum_of "${by_address[@]}" "http://$host/small.bin")"
done
is "curl: the peer saw the relay" 10.99.1.1 "$(fetch "${by_name[@]}" http://four.peer.test/whoami)"
is "curl: a name with 120 addresses (DNS over TCP)" "$small_sum" \
    "$(sum_of "${by_name[@]}" http://many.peer.test:81/small.bin)"

mkdir "$WORK/parallel"
fetch "${by_name[@]}" --parallel --parallel-immediate --parallel-max $N_PARALLEL \
    -o "$WORK/parallel/#1" "http://www.peer.test/small.bin?[1-$N_PARALLEL]"
is "curl: $N_PARALLEL downloads at once from one host and port" \
    "$N_PARALLEL of $N_PARALLEL" \
    "$(sha256sum "$WORK"/parallel/* | grep -c "^$small_sum ") of $(ls "$WORK/parallel" | wc -l)"

# fails NAME REPS URL [CURL_OPTION...]: curl's error names the reply code.
fails() {
    local name=$1 reps=$2 target=$3 status rep
    shift 3
    fetch "${by_name[@]}" "$@" -o /dev/null "$target"
    status=$?
    rep=$(sed -n 's/.*SOCKS5 connection to .* (\([0-9]*\)).*/\1/p' "$WORK/curl.err" | tail -n 1)
    is "curl: $name is reply $reps" "97 yes" \
        "$status $([[ " $reps " == *" ${rep:-none} "* ]] && echo yes || echo "$rep")"
}

fails "a closed port" 5 http://$PEER:9/
fails "no such host" "4" http://$NOBODY/
fails "no such name" 4 http://nosuch.peer.test/
fails "a name without an address" 4 http://peer.test/
[ "$LOCAL_UNDER_TEST" != callveil ] || fails "a peer that the relay denies" 2 http://10.98.0.1/

# --- OpenSSH ---

start_sshd() {
    if [ "$(cat /proc/self/setgroups)" != allow ]; then
        echo "it needs more than a user namespace" >&2
        return 1
    fi
    mount -t tmpfs none /run && mkdir -p /run/sshd &&
        ssh-keygen -q -t ed25519 -N '' -f "$WORK/host_key" &&
        ssh-keygen -q -t ed25519 -N '' -f "$WORK/id" && cp "$WORK/id.pub" "$WORK/authorized_keys" ||
        return
    cat >"$WORK/sshd_config" <<END
ListenAddress $PEER:2222
HostKey $WORK/host_key
AuthorizedKeysFile $WORK/authorized_keys
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PidFile none
UsePAM no
Subsystem sftp internal-sftp
END
    nsenter -t "$peer_space" -n /usr/sbin/sshd -D -f "$WORK/sshd_config" -E "$WORK/sshd.log" &
    background_pids+=($!)
    echo "[ssh.peer.test]:2222 $(cut -d ' ' -f 1,2 "$WORK/host_key.pub")" >"$WORK/known_hosts"
    for _ in {1..50}; do
        grep -q 'Server listening' "$WORK/sshd.log" 2>/dev/null && return
        sleep 0.1
    done
    return 1
}

ssh_options=(-F none -i "$WORK/id" -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=15
    -o UserKnownHostsFile="$WORK/known_hosts" -o StrictHostKeyChecking=yes
    -o ProxyCommand="nc -X 5 -x $socks %h %p")
if start_sshd 2>"$WORK/ssh.err"; then
    {
        seen=$(timeout 30 ssh "${ssh_options[@]}" -p 2222 root@ssh.peer.test \
            'echo ${SSH_CONNECTION%% *}')
        timeout 60 scp "${ssh_options[@]}" -q -P 2222 "$WORK/small.bin" \
            "root@ssh.peer.test:$WORK/scp.up"
        timeout 60 scp "${ssh_options[@]}" -q -P 2222 "root@ssh.peer.test:$WORK/big.bin" \
            "$WORK/scp.down"
    } 2>"$WORK/curl.err"
    is "OpenSSH through nc -X 5: the far side saw the relay" 10.99.1.1 "$seen"
    is "scp up" "$small_sum" "$(sha256sum <"$WORK/scp.up" | cut -d ' ' -f 1)"
    is "scp down, $SIZE bytes" "$big_sum" "$(sha256sum <"$WORK/scp.down" | cut -d ' ' -f 1)"
else
    skip "OpenSSH" "sshd cannot be started here ($(tail -n 1 "$WORK/ssh.err"))"
fi

# --- proxychains4 ---

cat >"$WORK/proxychains.conf" <<END
strict_chain
proxy_dns
remote_dns_subnet 224
[ProxyList]
socks5 $SOCKS_HOST $SOCKS_PORT
END
for host in www.peer.test $PEER; do
    is "proxychains4 curl: $host" "$small_sum" \
        "$(proxychains4 -q -f "$WORK/proxychains.conf" curl --noproxy '*' -q -sS -m 30 \
            "http://$host/small.bin" 2>"$WORK/curl.err" | sha256sum | cut -d ' ' -f 1)"
done

# --- libraries ---

checks_of "npm socks" node "$INTEROP_DIR/node/socks.mjs" "$SOCKS_HOST" "$SOCKS_PORT"
checks_of PySocks /usr/bin/python3 "$LOCAL_DIR/pysocks.py" "$SOCKS_HOST" "$SOCKS_PORT"
checks_of "loopback TURN" /usr/bin/python3 "$LOCAL_DIR/turn.py" "$TURN_HOST" "$TURN_PORT" \
    "$TURN_USER" "$TURN_PASSWORD" "$SOCKS_HOST" "$SOCKS_PORT"
local_stop

# --- users ---

if [ "$LOCAL_UNDER_TEST" = callveil ]; then
    LOCAL_USERS='bob = opensesame' local_start "$url" "$pin" "dns = $PEER"
    is "curl with a user and password" "$small_sum" \
        "$(sum_of "${by_name[@]}" --proxy-user bob:opensesame http://www.peer.test/small.bin)"
    fetch "${by_name[@]}" --proxy-user bob:wrong http://www.peer.test/small.bin >/dev/null
    is "curl with a wrong password is rejected" "97 1" \
        "$? $(grep -c 'rejected by the SOCKS5 server' "$WORK/curl.err")"
    fetch "${by_name[@]}" http://www.peer.test/small.bin >/dev/null
    is "curl without a user is rejected" 97 $?
    local_stop
fi
relay_stop

# --- who saw what ---

peer_saw_only_the_relay "all clients"
is "the DNS server was asked by the relay only" "10.99.1.1" \
    "$(sed -n 's/.*query\[.*\] .* from //p' "$WORK/dns.log" | sort -u | tr '\n' ' ' | sed 's/ $//')"
if [ "$LOCAL_UNDER_TEST" = callveil ]; then
    is "and this machine's resolver for nothing" "control.test" \
        "$(sed -n 's/.*query\[[A-Z]*\] \(.*\) from .*/\1/p' "$WORK/own-dns.log" | sort -u)"
fi
finish
