#!/usr/bin/env bash
# triton.sh [FOLDER]: installs a tritonserver, and a Python for its models, into FOLDER: about 330 MB, no root.
# FOLDER is $EDGELOOP_TRITON, else edgeloop/triton in the user's cache. PYTHON picks the interpreter (3.11 or 3.12).
set -euo pipefail
folder=${1:-${EDGELOOP_TRITON:-${XDG_CACHE_HOME:-$HOME/.cache}/edgeloop/triton}}
server=nvidia-pytriton==0.7.0 # tritonserver 2.51.0
# numpy below 2: with numpy 2 this server's Python models get and send wrong values, without an error.
stub=(numpy==1.26.4 onnxruntime==1.32.0 flatbuffers==25.12.19 packaging==26.3 protobuf==7.36.2)

fail() { printf 'tritonserver: %s\n' "$1" >&2; exit 1; }

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; }

for python in "${PYTHON:-python3}" python3.12 python3.11 ""; do
  [ -n "$python" ] || fail "needs Python 3.11 or 3.12, which numpy below 2 has wheels for; install one, or set PYTHON"
  suits "$python" && break
done
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
wanted="$server ${stub[*]} python$version"
mkdir -p "$folder"
exec 9>"$folder/.lock"
command -v flock >/dev/null && flock 9
[ "$(cat "$folder/installed" 2>/dev/null)" = "$wanted" ] && [ -x "$folder/stub/bin/python3" ] && exit 0
rm -rf "$folder"/{vend,stub,lib,installed}

get() { "$python" -m pip --disable-pip-version-check --quiet "$@" --root-user-action=ignore || fail "the packages could not be installed; see pip's message above"; }
get install --no-deps --only-binary :all: --target "$folder/vend" "$server"
"$python" -m venv --without-pip "$folder/stub" || fail "no virtual environment could be made; on Debian: apt-get install python3-venv"
get --python "$folder/stub/bin/python3" install --no-deps --only-binary :all: "${stub[@]}"
home=$folder/vend/pytriton/tritonserver
cp "$home/python_backend_stubs/$version/triton_python_backend_stub" "$home/backends/python/"
chmod +x "$home/backends/python/triton_python_backend_stub" "$home/bin/tritonserver"

# The stub is linked to libpython, which a Debian Python comes without.
library=libpython$version.so.1.0
found() {
  local place
  place=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR") or "")')/$library
  [ -e "$place" ] || place=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null | sed -n "s|^\s*$library .*=> ||p" | head -n 1)
  [ -n "$place" ] && echo "$place"
}
if ! found >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "libpython$version" || true
fi
found >/dev/null || fail "needs $library; on Debian: apt-get install libpython$version"
mkdir -p "$folder/lib"
ln -sfn "$(found)" "$folder/lib/$library"
printf '%s\n' "$wanted" >"$folder/installed"
