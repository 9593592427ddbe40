#!/usr/bin/env bash
# Create a small environment with another torch, without OpenMMLab's toolboxes:
# tools/dev/create_torch_env.sh 2.1.2 .venv-torch-2.1.2
#
# PYTHON chooses the interpreter. The command does nothing if the environment
# is complete.
set -euo pipefail
cd "$(dirname "$0")/../.."
torch=${1:-}
venv=${2:-.venv-torch-$torch}

fail() {
    echo "create_torch_env: $*" >&2
    exit 1
}

[[ $torch =~ ^2\.([0-9]+)\.[0-9]+$ ]] ||
    fail "TORCH is '$torch', not a version of torch 2: give a version, as in" \
        "make test-torch TORCH=2.1.2"
minor=${BASH_REMATCH[1]}
# torch 2.1 has wheels up to Python 3.11.
python=${PYTHON:-python3}
((minor > 1)) || python=${PYTHON:-python3.10}
# Wheels before torch 2.3 are built against numpy 1.
numpy=numpy
((minor > 2)) || numpy='numpy<2'

stamp=$(cat requirements.txt "$0" | sha256sum | cut -d' ' -f1)
[ "$(cat "$venv/ready" 2>/dev/null)" != "$stamp" ] || exit 0

"$python" -c '' 2>/dev/null ||
    fail "'$python' does not run: give an interpreter, as in" \
        "make test-torch TORCH=$torch PYTHON=python3.11"
rm -rf "$venv"
"$python" -m venv "$venv"
echo '*' >"$venv/.gitignore"
echo "torch $torch for $("$python" --version): a download of 2 to 3 GB"
"$venv/bin/python" -m pip --disable-pip-version-check install -q \
    "torch==$torch" "$numpy" "$(grep '^mmengine=' requirements.txt)" \
    "$(grep '^setuptools<' requirements.txt)" \
    pytest pytest-xdist hypothesis psutil
"$venv/bin/python" -c 'import torch, mmnorm' ||
    fail "mmnorm does not import with torch $torch; the reason is above"
echo "$stamp" >"$venv/ready"
