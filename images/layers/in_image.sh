#!/bin/sh
# In the build of an image: runs a layer's script, then makes its result reproducible.
# Removes temporary files, caches and logs. Everything new gets the layer's time, including folders that were
# only read.
#
# $1                 the script, beside this one
# WRITES             the folder that the script writes to, if it only runs this project's code: then new files are only
#                    searched for there, not in $VENV. Without it, everywhere
# SOURCE_DATE_EPOCH  the time of new files
# installer.env      beside this file, if it exists: the sources of packages, and certificates
#
# Network: what the script uses.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
if [ -f "$here/installer.env" ]; then
    set -a
    # shellcheck source=/dev/null
    . "$here/installer.env"
    set +a
fi

litter() {
    find /tmp /var/tmp /root/.cache /var/log /var/cache/apt /var/lib/apt/lists /var/cache/ldconfig/aux-cache \
        /var/cache/debconf/*-old /var/lib/dpkg/*-old "$@" 2>/dev/null || true
}

# settle PATH… [find's tests]: gives new files the layer's time.
settle() {
    # The runtime mounts these three into every container.
    TZ=UTC0 find "$@" -newer "$mark" ! -path /etc/hosts ! -path /etc/hostname ! -path /etc/resolv.conf \
        -exec touch -h -t "$settle_to" {} +
}

# In memory, not in the image: it is another file system.
mark=/dev/shm/before
there=/dev/shm/there
litter >"$there"
: >"$mark"
# File times have a resolution of at most 10 milliseconds.
sleep 0.02

HOME=/tmp/home
export HOME
mkdir -p "$HOME"
sh "$here/$1"

# Existing files are only emptied: an engine records the removal of a file of a lower layer.
litter | grep -vxFf "$there" | xargs -r -d '\n' rm -rf --
litter -type f -newer "$mark" | while read -r written; do : >"$written"; done
settle_to=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M.%S)
if [ -n "${WRITES:-}" ]; then
    for place in /tmp /var/tmp; do
        [ ! -d "$place" ] || settle "$place"
    done
    settle "$(dirname "$WRITES")" -prune
    settle "$WRITES" -xdev -path "$VENV" -prune -o
else
    settle / -xdev
fi
