#!/bin/sh
# `make lint`: runs every check, so that one call shows everything to fix.
# The arguments are the folders with Python code.
# Exit codes: 0 no faults, 1 faults found, 3 the environment could not be made.
set -eu

cd -- "$(dirname -- "$0")/.."
sh scripts/with_environment.sh --dev
status=0

check() {
  echo "lint: $1" >&2
  shift
  "$@" || status=1
}

# Pants computes every dependency, which is when it refuses an import against the arrows of src/BUILD;
# before that it names files that no BUILD file owns, such as a test that would never run.
# shellcheck disable=SC2329
arrows() {
  said=$(./pants tailor --check dependencies ::) || { echo "$said" >&2; return 1; }
}

check "ruff" .venv/bin/ruff check --quiet "$@"
check "format" .venv/bin/ruff format --quiet --check "$@"
check "types" .venv/bin/mypy src scripts tests benchmarks
check "shell" .venv/bin/shellcheck -x -P images/layers pants .ci/run .ci/*.sh scripts/*.sh images/*/*.sh benchmarks/worker_files/*.sh
check "arrows" arrows

if [ "$status" -ne 0 ]; then echo "lint: fix the faults above" >&2; fi
exit "$status"
