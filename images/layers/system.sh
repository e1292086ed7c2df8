#!/bin/sh
# Debian packages that the version needs, and the user that containers run as. On a host it does nothing: the machine
# belongs to its user.
#
# TARGET           host or image
# SYSTEM_PACKAGES  names, separated by spaces; may be empty
# IMAGE_USER       uid:gid, in an image
# OFFLINE          1: no network access
# SSL_CERT_FILE    certificates to trust; may be missing
#
# Network: the Debian mirrors of the base, in an image.
set -eu

if [ "$TARGET" = host ]; then
    exit 0
fi

# Some libraries fail for a user without a name.
uid=${IMAGE_USER%:*}
gid=${IMAGE_USER#*:}
grep -q "^[^:]*:[^:]*:$gid:" /etc/group || echo "comfy:x:$gid:" >>/etc/group
grep -q "^[^:]*:[^:]*:$uid:" /etc/passwd ||
    echo "comfy:x:$uid:$gid::/home/comfy:/bin/sh" >>/etc/passwd

if [ -z "$SYSTEM_PACKAGES" ]; then
    exit 0
fi
if [ "${OFFLINE:-0}" = 1 ]; then
    echo "The Debian packages $SYSTEM_PACKAGES cannot be installed offline." >&2
    exit 3
fi

export DEBIAN_FRONTEND=noninteractive
set -- ${SSL_CERT_FILE:+-o "Acquire::https::CAInfo=$SSL_CERT_FILE"}
apt-get "$@" update
# Names are separated by spaces.
# shellcheck disable=SC2086
apt-get "$@" install --yes --no-install-recommends -- $SYSTEM_PACKAGES
