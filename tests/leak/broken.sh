#!/bin/bash
#
# The leak test is tested: a build with a direct way out (broken.py) must make it fail. TAP.
#
# Passing here takes more than a suite that fails: its judge must have named each leak.

set -u
here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
n=0
n_failed=0

# report STATUS NAME LOG
report() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
        return
    fi
    echo "not ok $n - $2"
    n_failed=$((n_failed + 1))
    tail -n 30 "$3" | sed 's/^/#   /'
}

finish() {
    echo "1..$n"
    [ "$n_failed" -eq 0 ]
    exit
}

# sees NAME PATTERN: the judge said so.
sees() {
    grep -qE "$2" "$work/suite.log"
    report $? "$1" "$work/suite.log"
}

# What is built already is taken along, in the place where it is relative to its sources: then only
# the file with the direct way is compiled. Not when meson would have to look at it anew, which it
# does where it was set up.
program=$(realpath "${CALLVEIL:-$tree/build/relay/callveil}")
built=$(dirname "$(dirname "$program")")
name=$(basename "$built")
if [ "$(dirname "$built")" != "$tree" ] || [ ! -f "$built/build.ninja" ] ||
    [ -n "$(find "$tree" -path "$tree/build*" -prune -o -name 'meson*' \
        -newer "$built/build.ninja" -print)" ]; then
    built=
    name=build
fi

mkdir "$work/tree"
(cd "$tree" && tar -c --exclude='./build*' --exclude='node_modules' --exclude=.git .) |
    tar -x -C "$work/tree"
if [ -n "$built" ]; then
    (cd "$tree" && tar -c --exclude="$name/tests" --exclude="$name/meson-logs" "$name") |
        tar -x -C "$work/tree"
    touch "$work/tree/$name/build.ninja"
fi
"$here/broken.py" "$work/tree" >"$work/edit.log" 2>&1
status=$?
report $status "the direct way is added to a copy of the tree" "$work/edit.log"
[ $status -eq 0 ] || finish

cd "$work/tree" || exit 1
{
    { [ -n "$built" ] || meson setup "$name" -Dtests=false --buildtype=debugoptimized; } &&
        ninja -C "$name" -j "${N_JOBS:-2}" relay/callveil &&
        ! cmp -s "$program" "$name/relay/callveil"
} >"$work/build.log" 2>&1
status=$?
report $status "the copy builds" "$work/build.log"
[ $status -eq 0 ] || finish

CALLVEIL=$work/tree/$name/relay/callveil "$here/leak.py" relay-killed dtls-and-tls \
    >"$work/suite.log" 2>&1
[ $? -eq 1 ]
report $? "the leak test fails with it" "$work/suite.log"
for case in relay-killed dtls-and-tls; do
    sees "$case: the uplink is found to show more than the relay" \
        "^not ok [0-9]+ - $case: the uplink shows the relay and nothing else"
done
from_app='^# outside the relay: 192\.168\.7\.2 \* >'
sees "the judge names a datagram to a peer" "$from_app 198\.18\.2\.2 4000 udp"
sees "the judge names a connection to a peer" "$from_app 198\.18\.2\.2 4000 tcp"
sees "the judge names a lookup at the local resolver" "$from_app 192\.168\.7\.1 53 udp"
sees "the judge names a name that was readable" '^# "zkqname" is readable outside the relay'
sees "peers are found to have seen the app's host" \
    '^not ok [0-9]+ - dtls-and-tls: peers see the relay and nobody else'
sees "and nothing else is wrong with the build" \
    '^ok [0-9]+ - dtls-and-tls: every kind of traffic works'
finish
