#!/bin/sh
# The command line of the built binary: $1. Prints TAP.
#
# What a script or a person relies on: which stream, which exit status, and that a
# mistake is answered with one line that says what to do.
set -u

# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# ---- callveil itself ----

helps() { run 0 "$@" && silent err && out_has "usage: callveil COMMAND" && out_has credential; }
helps_on() { c=$1; shift; run 0 "$@" && silent err && out_has "usage: callveil $c"; }
no_arguments() { run 2 && silent out && err_has "usage: callveil COMMAND"; }
version() { run 0 "$1" && silent err && grep -qE '^callveil [0-9]+\.[0-9]+\.[0-9]+$' "$dir/out"; }
every_command_is_explained() {
    for c in relay demo invite join config credential; do
        helps_on "$c" help "$c" || return 1
        helps_on "$c" "$c" --help || return 1
    done
}
full_disk() {
    [ -c /dev/full ] || return 0
    "$bin" --help >/dev/full 2>"$dir/err"
    status=$?
    : >"$dir/out"
    [ "$status" -eq 1 ] && err_has "cannot write"
}

check "help goes to standard output" helps --help
check "help is a command, too" helps help
check "no argument is wrong usage" no_arguments
check "the version is printed" version --version
check "every command is explained" every_command_is_explained
check "an unknown command gets a guess" \
    refused 2 'unknown command "crednetial" (did you mean "credential"?)' crednetial
check "a command unlike any other gets none" refused 2 'unknown command "xyzzy"; see' xyzzy
check "help on an unknown command gets a guess" \
    refused 2 'unknown command "rely" (did you mean "relay"?)' help rely
check "an unknown option gets a guess" \
    refused 2 'unknown option "--verison" (did you mean "--version"?)' --verison
check "an empty command is refused" refused 2 'unknown command ""' ""
check "unprintable bytes are not echoed" refused 2 'a\x1b[2J' "$(printf 'a\033[2J')"
check "a help that cannot be written is a failure" full_disk

# ---- credential ----

cat >"$dir/relay.conf" <<CONF
[relay]
listen = udp://0.0.0.0:3478, tcp://0.0.0.0:3478, udp://203.0.113.5:3478, udp://[2001:db8::1]:3478
public-address = 203.0.113.5
secret = newest
secret = oldest
CONF
printf '[relay]\n[users]\nalice = a\n' >"$dir/users.conf"
printf '[relay]\nlisten = udp://0.0.0.0:3478\nsecret = s\n' >"$dir/wildcard.conf"
printf '[relay]\nscret = s\n' >"$dir/bad.conf"

field() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$dir/out"; }
# issued NAME TTL ARG...: the expiry is TTL from now, and the password is the newest secret's.
issued() {
    name=$1 ttl=$2
    shift 2
    before=$(date +%s)
    run 0 credential -c "$dir/relay.conf" "$@" && silent err || return 1
    user=$(field username)
    expiry=${user%%:*}
    [ "${user#*:}" = "$name" ] && [ "$(field ttl)" = "$ttl" ] || return 1
    [ "$expiry" -ge $((before + ttl)) ] && [ "$expiry" -le $((before + ttl + 10)) ] || return 1
    [ "$(field password)" = "$(printf %s "$user" |
        openssl dgst -sha1 -hmac newest -binary | openssl base64)" ]
}
lists_uris() {
    run 0 credential -c "$dir/relay.conf" alice &&
        grep -o '"turns*:[^"]*"' "$dir/out" | tr -d '"' >"$dir/uris" || return 1
    cat >"$dir/expected" <<URIS
turn:203.0.113.5:3478?transport=udp
turn:[2001:db8::1]:3478?transport=udp
turn:203.0.113.5:3478?transport=tcp
URIS
    cmp -s "$dir/uris" "$dir/expected"
}
# What a wildcard listener is reached at may be found out or not, but is never a wildcard.
no_wildcard_uri() {
    run 0 credential -c "$dir/wildcard.conf" alice && ! out_has "0.0.0.0"
}
names_the_file() {
    run 2 credential -c "$dir/bad.conf" alice && silent out && err_has "bad.conf:2:"
}
credential_refused() {
    text=$1
    shift
    refused 2 "callveil credential: $text" credential -c "$dir/relay.conf" "$@"
}
too_long_a_name() { credential_refused "NAME is too long" "$(printf %0500d 0)"; }

check "a credential lasts an hour by default" issued alice 3600 alice
check "a credential lasts as long as asked" issued alice 600 alice --ttl 10m
check "options may stand in front" issued alice 30 --ttl=30s alice
check "a credential may last a week" issued alice 604800 alice --ttl 7d
check "no credential lasts longer" credential_refused '--ttl: "8d"' alice --ttl 8d
check "no credential has ended already" credential_refused '--ttl: "0"' alice --ttl 0
check "a time that is none is refused" credential_refused '--ttl: "1w"' alice --ttl 1w
check "a time beyond all numbers is refused" \
    credential_refused '--ttl: ' alice --ttl 99999999999999999999d
check "a name may hold colons" issued @alice:example.org 3600 @alice:example.org
check "a name may start with a dash" issued -x 3600 -- -x
check "a missing name is refused" credential_refused "NAME is missing"
check "an empty name is refused" credential_refused "NAME: it is empty" ""
check "control characters in a name are refused" \
    credential_refused "NAME: it contains a control character" "$(printf 'a\tb')"
check "a name that is not UTF-8 is refused" \
    credential_refused "NAME: it is not UTF-8" "$(printf 'a\377')"
check "a name that fits no USERNAME is refused" too_long_a_name
check "two names are refused" credential_refused "one NAME" a b
check "an unknown option of a command gets a guess" \
    credential_refused 'unknown option "--tll" (did you mean "--ttl"?)' a --tll 1h
check "an option without its value is refused" credential_refused "--ttl needs a value" a --ttl
check "each address is listed once, by protocol" lists_uris
check "a wildcard address is not handed to clients" no_wildcard_uri
check "a configuration without a secret is refused" \
    refused 2 "has no secret" credential -c "$dir/users.conf" alice
check "a mistake in the configuration is pointed at" names_the_file
check "a missing configuration is refused" \
    refused 2 "No such file" credential -c "$dir/none.conf" alice

# ---- demo: its command line; the call itself is a test of its own ----

check "a demo of no length is refused" refused 2 "callveil demo: --seconds: " demo --seconds 0
check "a demo without end is refused" refused 2 "callveil demo: --seconds: " demo --seconds 601
check "the demo takes no arguments" refused 2 'unexpected argument "now"' demo now
check "an unknown log level is refused" refused 2 "callveil demo: --log-level: " \
    demo --log-level loud

echo "1..$n"
exit $failed
