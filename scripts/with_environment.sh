#!/bin/sh
# Runs a program of the project's environment (.venv), making the environment first if it is
# missing or older than its list of packages. Without a program it only makes the environment.
#
#   scripts/with_environment.sh [--dev] [PROGRAM [ARGUMENT…]]
#
# --dev: with the tools for tests and checks.
# Reads: PYTHON, the Python to make the environment with (3.11 or newer).
# Exit codes: the program's own; 2 if PYTHON is not such a Python, 3 if the environment could not be made,
# 130 if that was interrupted.
set -eu

root=$(cd -- "$(dirname -- "$0")/.." && pwd)
environment=$root/.venv
packages=runtime.txt
dev=
if [ "${1:-}" = --dev ]; then
  packages=default.lock
  dev=$1
  shift
fi

new_enough() {
  [ "$("$1" -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null)" = True ]
}

find_python() {
  for candidate in python3.11 python3 python3.12 python3.13 python3.14; do
    if new_enough "$candidate"; then echo "$candidate"; return; fi
  done
  return 1
}

if [ ! -x "$environment/bin/python" ] || ! cmp -s -- "$root/lockfiles/$packages" "$environment/$packages"; then
  if [ -n "${PYTHON-}" ]; then
    python=$PYTHON
    if ! new_enough "$python"; then
      echo "PYTHON is $python, which is not a working Python 3.11 or newer: set it to another one, or unset it." >&2
      exit 2
    fi
  elif ! python=$(find_python); then
    echo "No Python 3.11 or newer was found on the PATH: install one, or set PYTHON to it." >&2
    exit 3
  fi
  "$python" "$root/scripts/make_environment.py" ${dev:+"$dev"} || exit $?
fi
unset PYTHON
[ $# -gt 0 ] || exit 0
program=$environment/bin/$1
shift
exec "$program" "$@"
