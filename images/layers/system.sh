#!/bin/sh
# Debian packages that the version asks for. On a host there is nothing to do: the machine is its owner's.
#
# TARGET           host or image
# SYSTEM_PACKAGES  names, separated by spaces; may be empty
# OFFLINE          1: nothing is asked of the network
#
# Network: the Debian mirrors of the base, in an image.
set -eu

if [ "$TARGET" = host ] || [ -z "$SYSTEM_PACKAGES" ]; then
    exit 0
fi
if [ "${OFFLINE:-0}" = 1 ]; then
    echo "The Debian packages $SYSTEM_PACKAGES cannot be installed offline." >&2
    exit 3
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update
# Names are separated by spaces.
# shellcheck disable=SC2086
apt-get install --yes --no-install-recommends -- $SYSTEM_PACKAGES
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/aux-cache /var/log/*
