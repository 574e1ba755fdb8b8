#!/bin/bash
#
# pion/turn (Go) against the relay. Debian's package of it, so nothing is fetched.

. "$(dirname "$0")/lib.sh"
interop_enter "$0" "$@"

export GO111MODULE=off GOFLAGS= GOPATH=/usr/share/gocode
export GOCACHE=${GOCACHE:-$TREE/.cache/go-build}
if ! go build -o "$WORK/pion" "$INTEROP_DIR/pion/main.go" 2>"$WORK/go.err"; then
    fail "the pion client builds" "$WORK/go.err"
    finish
fi

relay_start
checks_of pion "$WORK/pion" "127.0.0.1:$PORT" "127.0.0.1:$TLS_PORT" "$REALM" \
    "$USER_NAME" "$USER_PASSWORD"
relay_stop
finish
