#!/usr/bin/env bash
# install.sh PYTHON VENV EXTRA: makes VENV and installs this project with an extra, versions as locked.
set -euo pipefail
python=$1 venv=$2 extra=$3

fail() { printf '\nerror: %s\n' "$1" >&2; exit 1; }

command -v "$python" >/dev/null || fail "$python is not installed; install Python 3.11 or newer, or run: make PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "$("$python" --version) is too old; edgeloop needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" ||
  fail "no virtual environment could be made; on Debian: apt-get install python3-venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[$extra]" -c constraints.txt ||
  fail "the packages could not be installed; see pip's message above. Without a network: set PIP_FIND_LINKS to a folder with the wheels. With too little disk: about 1.5 GB are needed. For other versions than the locked ones: remove the line from constraints.txt"
