#!/usr/bin/env bash
# Sets up a node of a cluster that `ray up` starts, and may run again at any time:
#     bash ~/rank-shards/jobs/node.sh [EXTRA]        EXTRA: of pyproject.toml, such as cloud
# The variable PYTHON names another Python than python3.
set -euo pipefail

fail() {
    echo "error: $(hostname): $1" >&2
    exit 1
}

python=${PYTHON:-python3}
"$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    || fail "$python must be Python 3.11 or later with venv (Debian and Ubuntu: apt install python3-venv)"
cd ~/rank-shards
[[ -x .venv/bin/pip ]] || "$python" -m venv .venv    # the base needs no torch and no CUDA
.venv/bin/pip install --quiet --constraint constraints.txt --editable ".${1:+[$1]}"

# Ray's launcher calls `ray` and `python`, but neither is on the path of an ordinary account.
grep -qsF rank-shards/jobs/shell.sh ~/.bashrc \
    || echo 'if [ -f ~/rank-shards/jobs/shell.sh ]; then . ~/rank-shards/jobs/shell.sh; fi' >>~/.bashrc

# Without a token anybody who reaches Ray can run commands as this user. Ray copies the head's token to the workers.
if [[ ! -s ~/.ray/auth_token ]]; then
    (umask 077; mkdir -p ~/.ray; od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >~/.ray/auth_token)
fi
