#!/usr/bin/env bash
# images.sh: builds the four targets of Dockerfile, an image each. REGISTRY is put before their names, TAG is the version if not given;
# PLATFORMS, say linux/amd64,linux/arm64, needs docker buildx or podman; PUSH=1 sends them to the registry.
# PYTHON_IMAGE and TORCH_INDEX are the Dockerfile's arguments of these names; the base is the one in images.lock
# if that knows its digest and PYTHON_IMAGE is not set.
set -euo pipefail
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
tag=${TAG:-$version} prefix=${REGISTRY:+${REGISTRY%/}/}
targets=(aggregator generator-service operator agent)

fail() { printf 'images: %s\n' "$1" >&2; exit 1; }

base=$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)
locked=$(sed -n "s|^\($base@sha256:[0-9a-f]*\)\$|\1|p" images.lock)
[ -z "$locked" ] || PYTHON_IMAGE=${PYTHON_IMAGE:-$locked}

arguments=()
for name in PYTHON_IMAGE TORCH_INDEX; do
  [ -z "${!name+set}" ] || arguments+=(--build-arg "$name=${!name}")
done
[ -z "${PUSH:-}" ] || [ -n "$prefix" ] || fail "PUSH=1 needs REGISTRY"

if docker buildx version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
  build() { # NAME TARGET
    local output=--load
    [ -z "${PUSH:-}" ] || output=--push
    case "${PLATFORMS:-}:$output" in *,*:--load) fail "several platforms go to a registry only: set PUSH=1" ;; esac
    local attested=() # in a registry only: who built it from what, and a bill of what is in it
    [ -z "${PUSH:-}" ] || attested=(--provenance=mode=max --sbom=true)
    docker buildx build "${arguments[@]}" ${PLATFORMS:+--platform "$PLATFORMS"} "$output" "${attested[@]}" -t "$1" --target "$2" .
  }
elif program=$(command -v podman || command -v buildah); then
  build() {
    local name=(-t "$1")
    if [ -n "${PLATFORMS:-}" ]; then
      "$program" manifest rm "$1" >/dev/null 2>&1 || true
      name=(--platform "$PLATFORMS" --manifest "$1")
    fi
    "$program" build "${arguments[@]}" "${name[@]}" --target "$2" .
    [ -z "${PUSH:-}" ] || if [ -n "${PLATFORMS:-}" ]; then "$program" manifest push --all "$1" "docker://$1"; else "$program" push "$1"; fi
  }
else
  fail "needs docker with buildx, podman or buildah"
fi

for target in "${targets[@]}"; do
  image="${prefix}edgeloop-$target:$tag"
  printf '%s\n' "$image"
  build "$image" "$target"
done
