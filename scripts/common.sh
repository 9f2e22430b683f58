# Sourced by the scripts of this project: where things are kept, and how they speak.
# shellcheck shell=bash

set -euo pipefail

me=$(basename -- "$0")
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd -- "$root"

# Everything made outside the repository is under this one folder and may be removed at any time.
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/gst-plugin-moq
tools=$cache/tools
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
# Where rustup puts cargo, for a shell that was opened before it was there.
export PATH=$tools/bin:$PATH:$HOME/.cargo/bin

# The player page is kept by what it is made from; what builds it, and drives a browser in the tests, is beside it.
page_key=$(find examples/web-player -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16)
page=$cache/web/$page_key
page_build=$cache/web-build

say() { printf '%s: %s\n' "$me" "$*"; }

# One line that says what is wrong and what to do.
die() {
    printf '%s: %s\n' "$me" "$*" >&2
    exit 1
}

# Bad usage is not a failure of what was to be done.
bad_usage() {
    printf '%s: %s (%s --help tells more)\n' "$me" "$*" "$0" >&2
    exit 2
}

# The comment at the top of the calling script is its help.
print_help() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' -- "$0"; }

have() { command -v "$1" >/dev/null 2>&1; }

# Creates the list of GStreamer's plugins in a file of our own, so that tests neither use nor disturb the
# user's. Made without G_DEBUG: a plugin of the system that logs a critical would be blacklisted.
private_registry() {
    mkdir -p "$cache"
    export GST_REGISTRY=$cache/registry.bin
    env -u G_DEBUG -u GST_PLUGIN_PATH gst-inspect-1.0 >/dev/null 2>&1 || die "gst-inspect-1.0 does not run"
}
