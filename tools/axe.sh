#!/usr/bin/env bash
# axe.sh [FOLDER]: axe-core's script (MPL-2.0, 0.7 MB) into FOLDER, by npm; the browser tests look there whether pages are accessible.
# FOLDER is $EDGELOOP_AXE, else edgeloop/axe in the user's cache. Nothing to do where it is there.
set -euo pipefail
version=4.14.1
folder=${1:-${EDGELOOP_AXE:-${XDG_CACHE_HOME:-$HOME/.cache}/edgeloop/axe}}

fail() { printf 'axe-core is not installed: the browser tests do without it. %s\n' "$1" >&2; exit 1; }

[ -s "$folder/axe.min.js" ] && exit 0
command -v npm >/dev/null || fail "Put npm on PATH"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "axe-core@$version" >/dev/null) || fail "npm cannot fetch it"
tar -xzf "$work"/axe-core-*.tgz -C "$work"
mkdir -p "$folder"
cp "$work"/package/{axe.min.js,LICENSE} "$folder/"
