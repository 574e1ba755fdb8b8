#!/bin/sh
# `callveil demo` of the built binary: $1. Prints TAP.
#
# The demo is its own end-to-end test: calls, datagrams and a stream through a real local
# proxy and a real relay, every byte checked. Here: that it says so, and leaves nothing behind.
set -u

bin=$(realpath "$1")
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0

report() {
    if [ "$1" -eq 0 ]; then
        echo "ok $2"
    else
        echo "not ok $2"
        sed 's/^/#   /' "$dir/out" "$dir/err"
        failed=1
    fi
}

mkdir "$dir/work"
(cd "$dir/work" && HOME=$dir/work TMPDIR=$dir/work "$bin" demo --seconds 1) \
    >"$dir/out" 2>"$dir/err" </dev/null
report $? "1 - calls, datagrams and a stream go through proxy and relay"
[ "$(tail -n 1 "$dir/out")" = "ok: every peer saw the relay's address only" ]
report $? "2 - the last line says what was shown"
[ "$(grep -c '^  peer [A-D] .* 127\.0\.0\.[2-5]:[0-9]* *127\.0\.0\.9:[0-9]* ' "$dir/out")" -eq 4 ]
report $? "3 - each peer has its own address, and the others saw the relay's"
[ "$(grep -c '127\.0\.0\.9:[0-9]*' "$dir/out")" -eq 7 ] &&
    grep -q '^  datagrams   50 of 50 ' "$dir/out" && grep -q '^  a stream    256 KB ' "$dir/out"
report $? "4 - the app's peer and the name server saw the relay's address too"
[ ! -s "$dir/err" ]
report $? "5 - nothing is complained about"
[ -z "$(ls -A "$dir/work")" ]
report $? "6 - no file is left behind"
echo "1..6"
exit $failed
