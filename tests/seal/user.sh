# shellcheck shell=bash
#
# tests/seal/user.sh - the ordinary user who runs `callveil local` and `callveil run`
#
# Sourced after interop/lib.sh. user_make sets LOCAL_WRAPPER, the prefix that makes a command the
# user's, and CALLVEIL, where the user may read it.

HERE_ID=1000

# Root of a namespace of one user cannot become another, but make one more namespace.
user_make() {
    local become="setpriv --reuid $HERE_ID --regid $HERE_ID --clear-groups"
    chmod 711 "$WORK"
    mkdir "$WORK/home" "$WORK/runtime"
    # Where the user may read it, whoever's the tree is.
    cp "$CALLVEIL" "$WORK/callveil"
    CALLVEIL=$WORK/callveil
    if [ "$(awk '{ print $3; exit }' /proc/self/uid_map)" -le $HERE_ID ]; then
        become="unshare --user --map-user=$HERE_ID --map-group=$HERE_ID"
    fi
    # LSan needs ptrace, which our processes forbid.
    cat >"$WORK/as_user" <<END
own() { [[ "$become" != setpriv* ]] || chown -R $HERE_ID:$HERE_ID "\$@"; }
own "$WORK/home" "$WORK/runtime" \$(ls -d "$WORK"/local.conf 2>/dev/null)
chmod 700 "$WORK/home" "$WORK/runtime"
exec $become env HOME="$WORK/home" XDG_RUNTIME_DIR="$WORK/runtime" \
    ASAN_OPTIONS=detect_leaks=0:exitcode=99 "\$@"
END
    LOCAL_WRAPPER="bash $WORK/as_user"
}
