#!/usr/bin/env bash
# vision.sh [FOLDER]: makes a virtual environment with torchvision, and the torch that suits it, in FOLDER: about 5.6 GB.
# FOLDER is $EDGELOOP_VISION, else edgeloop/vision in the user's cache. PYTHON picks the interpreter (3.11 or newer).
set -euo pipefail
folder=${1:-${EDGELOOP_VISION:-${XDG_CACHE_HOME:-$HOME/.cache}/edgeloop/vision}}
constraints=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/constraints.txt
pair=(torch==2.14.1 torchvision==0.29.1)
# What learns, exports and checks; the other versions are those of constraints.txt.
others=(numpy safetensors pydantic typer rich annotated-types pillow onnx onnxruntime pytest pytest-timeout hypothesis)

fail() { printf 'torchvision: %s\n' "$1" >&2; exit 1; }

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  fail "needs Python 3.11 or newer; install one, or set PYTHON"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
read -ra locked <<<"$(grep -iE "^($(IFS='|' && echo "${others[*]}"))==" "$constraints" | tr '\n' ' ')"
wanted="${pair[*]} ${locked[*]} python$version"
mkdir -p "$folder"
exec 9>"$folder/.lock"
command -v flock >/dev/null && flock 9
[ "$(cat "$folder/installed" 2>/dev/null)" = "$wanted" ] && [ -x "$folder/venv/bin/python" ] && exit 0
rm -rf "$folder"/{venv,installed,constraints}

"$python" -m venv --without-pip "$folder/venv" || fail "no virtual environment could be made; on Debian: apt-get install python3-venv"
grep -v '^torch==' "$constraints" >"$folder/constraints"
"$python" -m pip --disable-pip-version-check --quiet --python "$folder/venv/bin/python" install --root-user-action=ignore \
  -c "$folder/constraints" "${pair[@]}" "${locked[@]}" ||
  fail "the packages could not be installed; see pip's message above. With too little disk: about 6 GB are needed"
printf '%s\n' "$wanted" >"$folder/installed"
