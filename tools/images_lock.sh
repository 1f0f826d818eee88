#!/usr/bin/env bash
# images_lock.sh: asks the registries for the digest of each image in images.lock, and writes it behind its name.
# The digest is that of the list of all platforms. Nothing is written unless all of them answer.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf 'images-lock: %s\n' "$1" >&2; exit 1; }

if command -v skopeo >/dev/null; then
  manifest() { skopeo inspect --raw "docker://$1"; }
elif docker buildx version >/dev/null 2>&1; then
  manifest() { docker buildx imagetools inspect --raw "$1"; }
else
  fail "needs skopeo, or docker with buildx"
fi

new=$(mktemp)
trap 'rm -f "$new"' EXIT
while IFS= read -r line; do
  case "$line" in '#'* | '') printf '%s\n' "$line" >>"$new"; continue ;; esac
  image=${line%%@*}
  digest=$(manifest "$image" </dev/null | sha256sum) || fail "$image: its registry does not tell its digest; see the message above"
  printf '%s@sha256:%s\n' "$image" "${digest%% *}" >>"$new"
done <images.lock
grep -v '^# None is known yet' "$new" >images.lock
