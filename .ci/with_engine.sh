#!/bin/sh
# Runs a command with a Docker engine: the running one, else Debian's, which is installed and started for it.
#
#   .ci/with_engine.sh COMMAND [ARGUMENT…]
#
# An engine started here keeps its data below TMPDIR, stops with the command, and leaves only the packages behind.
# Starting one needs root and apt. If that fails, the command runs anyway, and fails if it needs an engine.
# Reads: DOCKER_HOST, TMPDIR. Exit codes: the command's own.
set -eu

here=$(cd -- "$(dirname -- "$0")" && pwd)
place=
daemon=

answers() {
  sh "$here/../scripts/with_environment.sh" python -c 'from runpod_comfy.images.docker.connection import connect; connect()'
}

install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get --quiet --quiet update &&
    apt-get --quiet --quiet --yes --no-install-recommends install \
      docker.io debootstrap debian-archive-keyring
}

start() {
  place=$(mktemp -d "${TMPDIR:-/tmp}/engine.XXXXXX")
  export DOCKER_HOST="unix://$place/docker.sock"
  dockerd --data-root "$place/data" --exec-root "$place/exec" --pidfile "$place/pid" --host "$DOCKER_HOST" \
    >"$place/log" 2>&1 &
  daemon=$!
  for _ in $(seq 60); do
    if answers 2>/dev/null; then return; fi
    if ! kill -0 "$daemon" 2>/dev/null; then break; fi
    sleep 1
  done
  echo "The engine did not start:" >&2
  tail -n 20 "$place/log" >&2
  return 1
}

# Even after a signal: the shell gets here when it exits.
# shellcheck disable=SC2329
stop() {
  if [ -n "$daemon" ]; then
    kill "$daemon" 2>/dev/null || :
    wait "$daemon" 2>/dev/null || :
  fi
  if [ -n "$place" ]; then
    # The engine leaves its network namespace mounted.
    umount "$place"/exec/netns/* 2>/dev/null || :
    rm -rf -- "$place"
  fi
}
trap stop EXIT
trap 'exit 130' HUP INT TERM

if [ -n "${DOCKER_HOST:-}" ] || answers 2>/dev/null; then
  exec "$@"
fi
# With systemd the package starts its own engine.
if install >&2; then
  answers 2>/dev/null || start || :
else
  echo "No Docker engine could be installed." >&2
fi
status=0
"$@" || status=$?
exit "$status"
