#!/usr/bin/env bash
# vision.sh [FOLDER]: makes a Python with torchvision in FOLDER and prints its path: about 6 GB, no root.
# FOLDER is $EDGELOOP_VISION, else edgeloop/vision in the user's cache. PYTHON picks the interpreter (3.11 or newer).
# It is apart from the project's own environment: torchvision fits one torch only.
set -euo pipefail
folder=${1:-${EDGELOOP_VISION:-${XDG_CACHE_HOME:-$HOME/.cache}/edgeloop/vision}}
python=${PYTHON:-python3}
wanted="torch==2.14.1 torchvision==0.29.1 numpy==2.4.6"

fail() { printf 'torchvision: %s\n' "$1" >&2; exit 1; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || fail "needs Python 3.11 or newer; set PYTHON"
mkdir -p "$folder"
exec 9>"$folder/.lock"
command -v flock >/dev/null && flock 9
if [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ] || [ ! -x "$folder/venv/bin/python" ]; then
  rm -rf "$folder"/{venv,installed}
  "$python" -m venv "$folder/venv" >&2 || fail "no virtual environment could be made; on Debian: apt-get install python3-venv"
  # shellcheck disable=SC2086  # a list of packages
  "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check $wanted >&2 ||
    fail "the packages could not be installed; see pip's message above. They take 6 GB of disk"
  printf '%s\n' "$wanted" >"$folder/installed"
fi
printf '%s\n' "$folder/venv/bin/python"
