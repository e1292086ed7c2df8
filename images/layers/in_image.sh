#!/bin/sh
# In the build of an image: runs a layer's script, then makes what it left behind reproducible.
# What neither the script nor this file is to leave goes: temporary files, caches, logs. Everything that is
# new gets the layer's time, folders that were merely looked into too.
#
# $1                 the script, beside this one
# WRITES             the folder that the script writes to, if it runs no code but this project's: then nothing new is
#                    looked for elsewhere, nor in $VENV. Without it, everywhere
# SOURCE_DATE_EPOCH  the time
# installer.env      beside this file, where there is one: where packages come from, and certificates
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

# settle PATH… [find's tests]: gives what is new the layer's time.
settle() {
    # The runtime lends these three to every container.
    TZ=UTC0 find "$@" -newer "$mark" ! -path /etc/hosts ! -path /etc/hostname ! -path /etc/resolv.conf \
        -exec touch -h -t "$settle_to" {} +
}

# Memory, not the image: it is another file system.
mark=/dev/shm/before
there=/dev/shm/there
litter >"$there"
: >"$mark"
# File times move in steps of at most 10 milliseconds.
sleep 0.02

HOME=/tmp/home
export HOME
mkdir -p "$HOME"
sh "$here/$1"

# What lay there before is emptied at most: an engine notes when a file of a lower layer was removed.
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
