#!/bin/sh
# Runs cargo for meson.
#
#     cargo.sh build CARGO SOURCES TARGET-DIR PROFILE OUT-DIR DEPFILE NAME… -- ARGUMENT…
#     cargo.sh test CARGO SOURCES TARGET-DIR PROFILE
#
# `build` passes the arguments on, puts the files that are named into OUT-DIR, and writes DEPFILE, so that ninja does it again only
# when a source file has changed. `test` runs what needs neither programs of others nor a browser. $CARGO_TARGET_DIR
# takes the place of TARGET-DIR.
set -eu

what=$1 cargo=$2 sources=$3 profile=$5
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$4}
export CARGO_TARGET_DIR
shift 5

build() {
    out=$1 depfile=$2 names=''
    shift 2
    first=$out/$1
    while [ "$1" != -- ]; do
        names="$names $1"
        shift
    done
    shift
    # Profile and target decide where things lie, and cargo tells.
    made=$("$cargo" build --locked --manifest-path "$sources/Cargo.toml" --profile "$profile" \
        --message-format json-render-diagnostics "$@" | tr ',' '\n')
    dependencies="$sources/Cargo.toml $sources/Cargo.lock"
    for name in $names; do
        path=$(printf '%s\n' "$made" | sed -n "s|.*\"\(/[^\"]*/$name\)\".*|\1|p" | head -n 1)
        [ -n "$path" ] || { echo "cargo.sh: cargo has made no $name" >&2; exit 1; }
        # Renamed over the old one: a program that has it loaded keeps its own.
        cp -- "$path" "$out/$name.new"
        mv -- "$out/$name.new" "$out/$name"
        list=${path%.so}
        dependencies="$dependencies $(sed -n 's|^[^:]*: ||p' "${list%.dylib}.d")"
    done
    printf '%s: %s\n' "$first" "$dependencies" >"$depfile"
}

run_tests() {
    cd -- "$sources"
    if "$cargo" nextest --version >/dev/null 2>&1; then
        exec "$cargo" nextest run --locked --no-fail-fast --cargo-profile "$profile" \
            -E 'not binary(/^(peer_.*|web_player|in_sync|packaging)$/)'
    fi
    set -- --lib --bins
    for file in tests/*.rs; do
        name=${file##*/}
        case $name in
            peer_* | web_player.rs | in_sync.rs | packaging.rs) ;;
            *) set -- "$@" --test "${name%.rs}" ;;
        esac
    done
    exec "$cargo" test --locked --no-fail-fast --profile "$profile" "$@" -- --test-threads=2
}

case $what in
    build) build "$@" ;;
    test) run_tests ;;
    *) echo "cargo.sh: build or test, not $what" >&2; exit 2 ;;
esac
