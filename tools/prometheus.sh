#!/usr/bin/env bash
# prometheus.sh [FOLDER]: unpacks Debian's prometheus and promtool into FOLDER/bin: about 200 MB, no service, no root.
# FOLDER is $EDGELOOP_PROMETHEUS, else edgeloop/prometheus in the user's cache. Nothing to do where both are on PATH.
set -euo pipefail
folder=${1:-${EDGELOOP_PROMETHEUS:-${XDG_CACHE_HOME:-$HOME/.cache}/edgeloop/prometheus}}

fail() { printf 'prometheus is not installed: the tests that need it will be skipped. %s\n' "$1" >&2; exit 1; }

command -v prometheus >/dev/null && command -v promtool >/dev/null && exit 0
[ -x "$folder/bin/prometheus" ] && [ -x "$folder/bin/promtool" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "Put prometheus and promtool on PATH"
[ "$(id -u)" != 0 ] || apt-get update -qq || true
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root prometheus) || fail "apt-get cannot download it; on Debian: sudo apt-get update"
dpkg-deb -x "$work"/prometheus_*.deb "$work/root"
mkdir -p "$folder/bin"
cp "$work"/root/usr/bin/{prometheus,promtool} "$folder/bin/"
