# Sourced by ./lab and ./test from the top of the checkout: `setup` makes $VENV with everything that is locked, once.
# Needs Python 3.11 or newer; takes uv when it is there, else the standard library's venv and pip.
ROOT=$(pwd)
VENV=$ROOT/.venv

say() { echo "$*" >&2; }

find_python() {
    for PYTHON in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then return; fi
    done
    say "Python 3.11 or newer is needed and was not found; name one with PYTHON=/path/to/python."
    exit 2
}

make_venv() {
    [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1 && return
    "$PYTHON" -m venv "$VENV" >/dev/null 2>&1 && return
    # Debian without python3-venv: an empty environment, and the system's pip puts one into it.
    if "$PYTHON" -m venv --without-pip "$VENV" >/dev/null 2>&1 &&
        "$PYTHON" -m pip --python "$VENV/bin/python" install -q --disable-pip-version-check pip >/dev/null 2>&1; then
        return
    fi
    say "This Python cannot make a virtual environment: install python3-venv (apt-get install python3-venv) and try again."
    exit 2
}

setup() {
    stamp=$(cat requirements.lock pyproject.toml | cksum)
    if [ -f "$VENV/.stamp" ] && [ "$(cat "$VENV/.stamp")" = "$stamp $ROOT" ]; then return; fi
    say "Setting up .venv (once; needs the package registry)…"
    find_python
    if command -v uv >/dev/null 2>&1; then
        [ -x "$VENV/bin/python" ] || uv venv -q --python "$PYTHON" "$VENV"
        uv pip install -q --python "$VENV/bin/python" --require-hashes -r requirements.lock
        uv pip install -q --python "$VENV/bin/python" --no-deps -e .
    else
        make_venv
        "$VENV/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
        "$VENV/bin/python" -m pip install -q --disable-pip-version-check --no-deps -e .
    fi
    echo "$stamp $ROOT" >"$VENV/.stamp"
}
