#!/bin/sh
# `callveil invite`, `callveil join` and `callveil config` of both roles, with the built binary: $1.
# Prints TAP. Everything stays in a folder of its own; no relay runs.
set -u

# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"
export HOME="$dir/home" XDG_CONFIG_HOME=
mkdir "$HOME"
mode_is() { [ "$(stat -c %a "$2")" = "$1" ]; }

cat >"$dir/relay.conf" <<CONF
[relay]
listen = udp://0.0.0.0:3478, tcp://0.0.0.0:3478, tls://0.0.0.0:443, dtls://0.0.0.0:443
public-address = 203.0.113.5
certificate = $dir/cert.pem
private-key = $dir/key.pem
users-file = $dir/users.conf
[users]
olga = by-hand
CONF
sed '/users-file/d' "$dir/relay.conf" >"$dir/nobody.conf"
printf '[relay]\nlistn = x\nsecret = s\n' >"$dir/bad.conf"
sed "s|users-file = .*|users-file = $dir/wild.conf|; /public-address/d; s|listen = .*|listen = udp://0.0.0.0:1|" \
    "$dir/relay.conf" >"$dir/wild-relay.conf"

invite() { s=$1; shift; run "$s" invite -c "$dir/relay.conf" "$@"; }

# ---- invite ----

# The link's pin is that of the certificate that lies there afterwards.
invites() {
    invite 0 alice && cp "$dir/out" "$dir/link" && mode_is 640 "$dir/users.conf" || return 1
    pin=$(openssl x509 -in "$dir/cert.pem" -noout -pubkey |
        openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64)
    password=$(sed -n 's/^alice = //p' "$dir/users.conf")
    [ ${#password} -eq 26 ] && [ "$(cat "$dir/out")" = \
        "callveil://alice:$password@203.0.113.5/?dtls=443&tls=443&pin=sha256/$pin" ]
}
certificate_is_kept() {
    cp "$dir/cert.pem" "$dir/before" && invite 0 bob && cmp -s "$dir/before" "$dir/cert.pem"
}
passwords_differ() {
    [ "$(sed -n 's/^alice = //p' "$dir/users.conf")" != "$(sed -n 's/^bob = //p' "$dir/users.conf")" ]
}
lists() { invite 0 --list && [ "$(cat "$dir/out")" = "$1" ] && silent err; }
no_change() { cp "$dir/users.conf" "$dir/before"; "$@" && cmp -s "$dir/before" "$dir/users.conf"; }
removes() { invite 0 --remove "$1" && silent out && ! grep -q "^$1 " "$dir/users.conf"; }
relay_conf_is_valid() { run 0 config -c "$dir/relay.conf" --check && out_has ok; }
full_disk() {
    [ -c /dev/full ] || return 0
    "$bin" invite -c "$dir/relay.conf" full >/dev/full 2>"$dir/err"
    status=$?
    : >"$dir/out"
    "$bin" invite -c "$dir/relay.conf" --remove full 2>/dev/null
    [ "$status" -eq 1 ] && err_has "cannot write"
}

check "an invitation has transports, password and pin, and makes the certificate" invites
check "a certificate that is there stays" certificate_is_kept
check "each password is another" passwords_differ
check "those invited are listed, and no others" lists "$(printf 'alice\nbob')"
check "the configuration with its users file is valid" relay_conf_is_valid
check "a name is given once" no_change refused 1 "alice: there is such a user already" \
    invite -c "$dir/relay.conf" alice
check "also if it stands in the configuration" no_change refused 1 "there is such a user already" \
    invite -c "$dir/relay.conf" olga
check "a name that no line can hold is refused" no_change refused 2 "cannot start with '['" \
    invite -c "$dir/relay.conf" "[x]"
check "--host is checked" no_change refused 1 "is neither a host name nor an IP address" \
    invite -c "$dir/relay.conf" --host "relay example" carol
check "without an address to name, --host is asked for" refused 1 "name it with --host" \
    invite -c "$dir/wild-relay.conf" carol
check "and nobody was added" [ ! -e "$dir/wild.conf" ]
check "a removed user is gone" removes alice
check "removing somebody unknown is a failure" refused 1 "carol: there is no such user" \
    invite -c "$dir/relay.conf" --remove carol
check "who stands in the configuration is left to the operator" refused 1 \
    "stands in the configuration" invite -c "$dir/relay.conf" --remove olga
check "a link that cannot be written is a failure" full_disk
check "without a users file it says how to get one" refused 2 'add "users-file = ' \
    invite -c "$dir/nobody.conf" x
check "an invitation needs a name" refused 2 "callveil invite: NAME is missing" invite
check "and one only" refused 2 "callveil invite: one NAME only" invite a b
check "--list takes none" refused 2 "--list takes no NAME" invite --list a
check "--list and --remove exclude each other" refused 2 "one of --list and --remove" \
    invite --list --remove a
check "a mistake in the configuration is pointed at" refused 2 "bad.conf:2:" \
    invite -c "$dir/bad.conf" a
check "an unknown option gets a guess" refused 2 '(did you mean "--list"?)' invite --lsit

# ---- join ----

conf="$HOME/.config/callveil/local.conf"
joins() {
    "$bin" join --no-check - <"$dir/link" >"$dir/out" 2>"$dir/err"
    status=$?
    [ "$status" -eq 0 ] && silent err && out_has "$conf" && out_has "callveil local"
}
private() { mode_is 600 "$conf" && mode_is 700 "$HOME/.config/callveil"; }
no_password_shown() { ! grep -qF "$(sed -n 's/^password = "\(.*\)"/\1/p' "$conf")" "$dir/out"; }
local_conf_is_valid() { run 0 config --role local --check && [ "$(cat "$dir/out")" = "$conf: ok" ]; }
check_guesses() { run 0 config -c "$conf" --check && out_has ok; }
keeps() {
    cp "$conf" "$dir/before"
    refused 1 "--force" join --no-check "$(cat "$dir/link")" && cmp -s "$dir/before" "$conf"
}
forces() {
    cp "$conf" "$dir/before"
    run 0 join --no-check --force 'callveil://new:pw@r.example/?tls=443' && cmp -s "$dir/before" "$conf.old" &&
        grep -q 'turns:r.example:443?transport=tcp' "$conf"
}
elsewhere() {
    run 0 join --no-check -c "$dir/other.conf" 'callveil://new:pw@r.example/?tls=443' &&
        out_has "callveil local -c $dir/other.conf" && mode_is 600 "$dir/other.conf"
}
xdg() {
    XDG_CONFIG_HOME="$dir/xdg" run 0 join --no-check 'callveil://new:pw@r.example/?tls=443' &&
        mode_is 700 "$dir/xdg/callveil" && mode_is 600 "$dir/xdg/callveil/local.conf"
}
piped() {
    printf '\n  callveil://new:pw@r.example/?tls=443 \r\n' |
        "$bin" join --no-check -c "$dir/piped.conf" - >"$dir/out" 2>"$dir/err"
    status=$?
    [ "$status" -eq 0 ] && [ -s "$dir/piped.conf" ]
}
bad_link() {
    refused 2 "callveil join: a port stands behind the host" \
        join --no-check -c "$dir/none.conf" 'callveil://a:hush@r.example:443/?tls=443' &&
        ! err_has hush && [ ! -e "$dir/none.conf" ]
}

check "a link on standard input becomes local.conf" joins
check "the password is not shown" no_password_shown
check "file and folder are the owner's alone" private
check "the file is valid" local_conf_is_valid
check "config --check sees whose it is" check_guesses
check "an existing file is left alone" keeps
check "--force keeps the old one" forces
check "-c says where to" elsewhere
check "XDG_CONFIG_HOME says where to" xdg
check "blanks from pasting do not matter" piped
check "a malformed link is refused with the reason, and without the password" bad_link
check "a missing link is refused" refused 2 "LINK is missing" join
check "a link that the shell took apart is noticed" refused 2 "single quotes" join a b
check "an empty standard input is refused" refused 2 "no link on standard input" join -
check "a folder that does not exist is an error" refused 1 "No such file" \
    join --no-check -c "$dir/no/where.conf" 'callveil://new:pw@r.example/?tls=443'

# ---- config of local ----

local_defaults() { run 0 config --role local --defaults && out_has "[upstream]" && ! out_has "[relay]"; }

check "the defaults of local are its own" local_defaults
check "a role that does not exist is refused" run 2 config --role peer --defaults

echo "1..$n"
exit $failed
