#!/usr/bin/env bash
# Create the virtual environment of this project: tools/dev/create_env.sh .venv
#
# PYTHON chooses the interpreter. The command does nothing if the environment
# is complete, with the same requirements.txt and the same Python.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=${1:-.venv}
python=${PYTHON:-python3}

fail() {
    echo "create_env: $*" >&2
    exit 1
}

version_of() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

stamp=$(cat requirements.txt setup.cfg | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/ready" 2>/dev/null)" = "$stamp" ]; then
    made_by=$(version_of "$venv/bin/python" || true)
    if [ -z "${PYTHON:-}" ] || [ "$made_by" = "$(version_of "$python")" ]; then
        exit 0
    fi
    echo "$venv has Python $made_by, and PYTHON=$python is another version:" \
        "creating $venv again"
fi

version=$(version_of "$python") ||
    fail "PYTHON=$python does not run; give one that does, as in" \
        "make PYTHON=python3.11"
case $version in
3.10 | 3.11 | 3.12) ;;
*)
    fail "$python is Python $version, and the pinned mmcv and mmdet run on" \
        "3.10 to 3.12: choose one of these, as in make PYTHON=python3.11"
    ;;
esac

if [ "$(version_of "$venv/bin/python" || true)" != "$version" ]; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
rm -f "$venv/ready"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pinned() { grep -E "^$1[=<>]" requirements.txt; }

echo "[1/4] torch and torchvision: a download of 2 to 3 GB"
pip install -q "$(pinned setuptools)" wheel ninja psutil
pip install -q "$(pinned torch)" "$(pinned torchvision)"

# A build in isolation would not see torch, and mmcv would leave out its
# operators without a warning. A wheel in pip's cache may be of another torch.
build_mmcv() {
    pip install -v --no-build-isolation "$@" "$(pinned mmcv)" 2>&1 |
        tee "$venv/mmcv.log" |
        sed -un 's|.*\[\([0-9]*0\)/\([0-9]*\)\].*|      \1 of \2 files|p' ||
        fail "mmcv did not build; the reason is at the end of $venv/mmcv.log"
}
echo "[2/4] mmcv: compiles its operators the first time, 7 to 15 minutes" \
    "on two cores"
build_mmcv
if ! "$venv/bin/python" -c 'import mmcv.ops' 2>/dev/null; then
    echo "      the cached build of mmcv is of another torch: compiling again"
    build_mmcv --no-cache-dir --force-reinstall --no-deps
    "$venv/bin/python" -c 'import mmcv.ops' ||
        fail "mmcv was built without its operators; see $venv/mmcv.log"
fi

echo "[3/4] mmengine, mmdet, mmsegmentation and the rest"
pip install -q -r requirements.txt

echo "[4/4] mmnorm itself, in place"
pip install -q --no-build-isolation --no-deps -e .
"$venv/bin/python" -c 'import mmcv.ops, mmdet, mmseg, mmnorm' ||
    fail "the installed packages do not import together; see above"
echo "$stamp" >"$venv/ready"
