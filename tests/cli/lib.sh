# What the command line's tests share, to be sourced with the binary as $1: a folder of their own
# ($dir), run() and what it left behind, and check() for TAP.
# shellcheck shell=sh
# shellcheck disable=SC2034 # for those who source it

bin=$(realpath "$1")
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
n=0
failed=0

# run STATUS ARG...: runs the binary and keeps its output in $dir/out and $dir/err.
run() {
    expected=$1
    shift
    "$bin" "$@" >"$dir/out" 2>"$dir/err" </dev/null
    status=$?
    [ "$status" -eq "$expected" ]
}

# check "promise" COMMAND...: one test.
check() {
    promise=$1
    shift
    n=$((n + 1))
    if "$@"; then
        echo "ok $n - $promise"
    else
        echo "not ok $n - $promise"
        echo "# status ${status-}; stdout and stderr:"
        sed 's/^/#   /' "$dir/out" "$dir/err"
        failed=1
    fi
}

out_has() { grep -qF -- "$1" "$dir/out"; }
err_has() { grep -qF -- "$1" "$dir/err"; }
err_is_one_line() { [ "$(wc -l <"$dir/err")" -eq 1 ]; }
silent() { [ ! -s "$dir/$1" ]; }

# refused STATUS TEXT ARG...: nothing on stdout, one line on stderr that holds TEXT.
refused() {
    wanted=$1 text=$2
    shift 2
    run "$wanted" "$@" && silent out && err_is_one_line && err_has "$text"
}
