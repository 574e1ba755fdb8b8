#!/bin/bash
#
# aioice (Python) against the relay.

. "$(dirname "$0")/lib.sh"
interop_enter "$0" "$@"

relay_start
# Debian's own interpreter: python3-aioice is installed for it, not for another in PATH.
checks_of aioice /usr/bin/python3 "$INTEROP_DIR/aioice_client.py" \
    127.0.0.1 $PORT $TLS_PORT "$USER_NAME" "$USER_PASSWORD"
relay_stop
finish
