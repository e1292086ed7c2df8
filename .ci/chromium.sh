#!/bin/sh
# Makes sure that there is a Chromium, which tests open reports in: the installed one, else Debian's, which is installed.
#
#   .ci/chromium.sh
#
# Installing needs root and apt. Exit codes: 0 there is one, 1 none could be installed.
set -eu

if command -v chromium >/dev/null; then exit 0; fi
export DEBIAN_FRONTEND=noninteractive
{
  apt-get --quiet --quiet update &&
    apt-get --quiet --quiet --yes --no-install-recommends install chromium
} >&2 && command -v chromium >/dev/null && exit 0
echo "No Chromium could be installed." >&2
exit 1
