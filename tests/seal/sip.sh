#!/bin/bash
#
# A SIP phone inside `callveil run` calls one outside: baresip to baresip over UDP, without a
# registrar, media by a STUN server's mapping and by ICE. The outside one sends back what it hears.
#
# The place is that of the local proxy's suites (interop/local/place.sh): the sealed phone's host,
# which has no route to the other, the relay's, and the peers' with the second phone and the STUN
# server. What the peers' host receives, and all of the uplink, is captured.

. "$(dirname "$0")/../interop/lib.sh"
interop_enter "$0" "$@"
. "$INTEROP_DIR/local/place.sh"
. "$TREE/tests/seal/user.sh"

STUN=$PEER
CALL_SECONDS=4
# PCMU, 20 ms a packet; half of them, for a machine that has other things to do.
LEAST_PACKETS=$((CALL_SECONDS * 50 / 2))

# What apps find inside (relay/seal/place.h), and what peers may be told.
KNOWN='^(192\.0\.2\.2|10\.99\.1\.[12]|fd63:616c:6c76::2)$'

# --- phones -----------------------------------------------------------------------------

# phone_make FOLDER ACCOUNT LINE...: a configuration of baresip, with these lines besides.
phone_make() {
    local folder=$1 account=$2
    shift 2
    mkdir -p "$folder"
    echo "$account" >"$folder/accounts"
    : >"$folder/contacts"
    {
        printf '%s\n' 'poll_method epoll' 'module_path /usr/lib/baresip/modules' \
            'module g711.so' 'module aubridge.so' 'module aufile.so' 'module sndfile.so' \
            'module stun.so' 'module ice.so' 'module_tmp account.so' 'module_app menu.so' \
            'audio_alert aubridge,alert' 'ringback_disabled yes' \
            'rtp_ports 16000-16100' "$@"
    } >"$folder/config"
}

# received FOLDER: packets of 160 samples, of which a phone has decoded so many that way.
received() {
    local bytes
    bytes=$(stat -c %s "$1"/dump-*-dec.wav 2>/dev/null)
    echo $((${bytes:-0} / 320))
}

# wait_for FILE WORDS: a line with them, within 10 seconds.
wait_for() {
    for _ in {1..100}; do
        grep -qs "$2" "$1" && return
        sleep 0.1
    done
    return 1
}

# capture NAME COMMAND...: tcpdump by way of COMMAND (in_peer, env), of what comes in or of all.
capture_pids=()
capture() {
    local name=$1
    shift
    "$@" -U --immediate-mode -n -s 0 -Z root -w "$WORK/pcap/$name" 2>"$WORK/pcap/$name.err" &
    capture_pids+=($!)
    background_pids+=($!)
    wait_for "$WORK/pcap/$name.err" 'listening on'
}

captures_end() {
    local pid
    for pid in "${capture_pids[@]}"; do
        kill -TERM "$pid" && wait "$pid"
    done 2>/dev/null
    capture_pids=()
}

# --- what was seen ----------------------------------------------------------------------

# is_none NAME: $WORK/found must be empty; what stands there is the reason.
is_none() {
    if [ -s "$WORK/found" ]; then
        fail "$1" "$WORK/found"
    else
        pass "$1"
    fi
}

# enough NAME N LOG
enough() {
    if [ "${2:-0}" -ge $LEAST_PACKETS ]; then
        pass "$1 (${2:-0})"
    else
        fail "$1 (${2:-0})" "$3"
    fi
}

# Sources of IP packets, in a capture, one a line. Neighbours' and groups' business of the relay's
# own interface has link-local addresses.
sources() {
    tcpdump -n -r "$1" 'ip or (ip6 and not src net fe80::/10 and not src host ::)' 2>/dev/null |
        sed -nE 's/^[^ ]+ IP6? ([^ ]+) > .*/\1/p' | sed -E 's/^(([0-9]+\.){3}[0-9]+)\..*/\1/' |
        sort -u
}

# Every IPv4 address, and every IPv6 address of a private network, in the text that came in.
addresses_told() {
    strings -n 4 "$1" |
        grep -oE '\b([0-9]{1,3}\.){3}[0-9]{1,3}\b|\bf[de][0-9a-f]{2}:[0-9a-f:]+' | sort -u
}

# The laptop's address in four bytes, plain and as STUN's XOR has it.
addresses_in_binary() {
    /usr/bin/python3 - "$1" $APP_ADDRESS <<'END'
import socket, sys
plain = socket.inet_aton(sys.argv[2])
data = open(sys.argv[1], "rb").read()
for what, key in (("plain", bytes(4)), ("XOR", b"\x21\x12\xa4\x42")):
    n = data.count(bytes(a ^ b for a, b in zip(plain, key)))
    if n:
        print(f"{what}: {n} times")
END
}

# judge NAME: both captures of a call.
judge() {
    local name=$1 peer=$WORK/pcap/$1.peer uplink=$WORK/pcap/$1.uplink n_rtp
    n_rtp=$(tcpdump -n -r "$peer" 'udp and src host 10.99.1.1 and udp[4:2] = 180' 2>/dev/null |
        wc -l)
    enough "$name: the peer's capture has RTP, from the relay" "$n_rtp" "$peer.err"
    sources "$peer" | grep -vxE '10\.99\.1\.1|fd99:1::1' >"$WORK/found"
    is_none "$name: the peer's capture has the relay's addresses and no other"
    if strings "$peer" | grep -q 'INVITE sip:bob@' && strings "$peer" | grep -q '^Via: ' &&
        strings "$peer" | grep -q '^Contact: ' && strings "$peer" | grep -q '^c=IN IP4 '; then
        pass "$name: it has an INVITE with Via, Contact and SDP"
    else
        fail "$name: it has an INVITE with Via, Contact and SDP"
    fi
    addresses_told "$peer" | grep -vE "$KNOWN" >"$WORK/found"
    is_none "$name: which contain no address of the laptop"
    addresses_in_binary "$peer" >"$WORK/found" 2>&1
    is_none "$name: nor in binary"
    # Closed sockets tell the relay so by ICMP. An INVITE that is too long for one packet inside
    # is so outside, too.
    tcpdump -n -r "$uplink" "ip and not (host $APP_ADDRESS and host $RELAY_HOST and
        ((udp and port $TLS_PORT) or (ip[6:2] & 0x1fff != 0 and ip[9] = 17) or icmp[0] = 3))" \
        >"$WORK/found" 2>/dev/null || echo "tcpdump fails" >"$WORK/found"
    is_none "$name: the uplink has DTLS with the relay and nothing else"
}

# 440 Hz for longer than a call lasts.
tone_make() {
    /usr/bin/python3 - "$1" <<'END'
import math, struct, sys, wave
with wave.open(sys.argv[1], "wb") as f:
    f.setparams((1, 2, 8000, 0, "NONE", None))
    f.writeframes(b"".join(struct.pack("<h", round(9000 * math.sin(i * math.tau * 440 / 8000)))
                           for i in range(20 * 8000)))
END
}

# The tone that went out and came back: neither silence nor another.
is_tone() {
    /usr/bin/python3 - "$1" <<'END'
import warnings
warnings.simplefilter("ignore")
import audioop, sys, wave
with wave.open(sys.argv[1]) as f:
    rate, n = f.getframerate() * f.getnchannels(), f.getnframes()
    data = f.readframes(n)
second = max((data[i:i + 2 * rate] for i in range(0, len(data) - 2 * rate + 1, rate)),
             key=lambda d: audioop.rms(d, 2), default=b"")
hertz = audioop.cross(second, 2) / 2 if second else 0
print(f"{len(data)} bytes, {audioop.rms(second, 2) if second else 0} rms, {hertz} Hz")
sys.exit(not (second and audioop.rms(second, 2) > 500 and 400 < hertz < 480))
END
}

# --- calls ------------------------------------------------------------------------------

# call NAME SEALED PLAIN: parameters of the two accounts.
call() {
    local name=$1 alice=$WORK/home/$1 bob=$WORK/bob-$1 status bob_pid
    phone_make "$bob" "<sip:bob@$PEER>;regint=0;answermode=auto$3" "sip_listen $PEER:5060" \
        'net_interface eth0' 'audio_source aubridge,back' 'audio_player aubridge,back' \
        "snd_path $bob"
    phone_make "$alice" "<sip:alice@192.0.2.2>;regint=0$2" \
        "audio_source aufile,$WORK/tone.wav" 'audio_player aubridge,ear' "snd_path $alice"
    capture "$name.peer" in_peer tcpdump -i eth0 -Q in || fail "$name: the peer's side is captured"
    capture "$name.uplink" tcpdump -i uplink || fail "$name: the uplink is captured"

    nsenter -t "$peer_space" -n stdbuf -oL baresip -4 -f "$bob" -t 25 >"$bob/log" 2>&1 </dev/null &
    bob_pid=$!
    background_pids+=($bob_pid)
    wait_for "$bob/log" 'baresip is ready' || fail "$name: the plain phone starts" "$bob/log"
    timeout -k 2 20 $LOCAL_WRAPPER "$CALLVEIL" run -- stdbuf -oL baresip -f "$alice" -s \
        -t $CALL_SECONDS -e "/dial sip:bob@$PEER" >"$alice/log" 2>&1 </dev/null
    status=$?
    wait_for "$bob/log" 'session closed'
    kill -TERM $bob_pid && wait $bob_pid
    captures_end

    if [ $status -eq 0 ] && grep -q 'Call established' "$alice/log"; then
        pass "$name: the sealed phone's call is established, and ends well"
    else
        echo "# status $status"
        fail "$name: the sealed phone's call is established, and ends well" "$alice/log"
    fi
    enough "$name: the sealed phone receives RTP" "$(received "$alice")" "$alice/log"
    enough "$name: the plain phone receives RTP" "$(received "$bob")" "$bob/log"
    if is_tone "$alice"/dump-*-dec.wav >"$WORK/tone" 2>&1; then
        pass "$name: the sealed phone hears its own tone from there"
    else
        fail "$name: the sealed phone hears its own tone from there" "$WORK/tone"
    fi
    judge "$name"
}

place_enter "a sealed SIP phone"
user_make
mkdir "$WORK/pcap"
tone_make "$WORK/tone.wav"
# baresip answers checks of its second address from its first, and fails them one after another.
in_peer ip addr del $PEER2/24 dev eth0
in_peer turnserver -S -n --no-cli --listening-ip $STUN --listening-port 3478 --log-file stdout \
    --pidfile "$WORK/stun.pid" >"$WORK/stun.log" 2>&1 &
background_pids+=($!)
relay_start "listen = $(relay_listen_on $RELAY_HOST)"
local_start "url = turns:$RELAY_HOST:$TLS_PORT?transport=udp" "pin = $(pin_of "$WORK/cert.pem")"

call stun ";medianat=stun;stunserver=stun:$STUN:3478" ""
call ice ";medianat=ice;stunserver=stun:$STUN:3478" ";medianat=ice;stunserver=stun:$STUN:3478"

local_stop
relay_stop
finish
