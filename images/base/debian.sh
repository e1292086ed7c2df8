#!/bin/sh
# A small Debian as one tar file, for machines that cannot reach a registry: the interpreter, and the certificates that this machine trusts.
# The files depend only on the packages and certificates, not on the day.
#
# ROOT              an empty folder to make it in, on a file system that allows devices
# SUITE             the Debian release, such as bookworm
# MIRROR            where its packages are
# UPDATES_MIRROR    where its suite SUITE-updates is; empty: without
# SECURITY_MIRROR   where its suite SUITE-security is; empty: without
# CA_BUNDLE         the certificates that this machine trusts, in one PEM file; empty: Debian's own
# OUTPUT            the tar file to write
#
# Needs root, debootstrap, Debian's keys, and its own mount namespace, so that nothing stays mounted.
#
# Network: the mirrors.
set -eu
umask 022
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

# A proxy that is only configured for apt.
proxy=
eval "$(apt-config shell proxy Acquire::http::Proxy 2>/dev/null || :)"
if [ -n "$proxy" ]; then export http_proxy="${http_proxy:-$proxy}"; fi

mkdir -p "$ROOT/etc/dpkg/dpkg.cfg.d"
# Manuals are left out, now and when a layer installs more packages; licences are kept.
cat >"$ROOT/etc/dpkg/dpkg.cfg.d/image" <<'CONFIGURATION'
# A failed build is discarded, so nothing has to survive a power cut.
force-unsafe-io
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
CONFIGURATION

debootstrap --variant=minbase --force-check-gpg --include=python3,ca-certificates "$SUITE" "$ROOT" "$MIRROR"

# Certificates that this machine trusts and Debian does not, as separate files: they stay when Debian's change.
if [ -n "$CA_BUNDLE" ]; then
  awk -v folder="$ROOT/usr/local/share/ca-certificates" '
    /-----BEGIN CERTIFICATE-----/ { body = "" }
    { body = body $0 "\n" }
    /-----END CERTIFICATE-----/ {
      if (NR == FNR) known[body] = 1
      else if (!(body in known)) {
        known[body] = 1
        file = sprintf("%s/machine-%03d.crt", folder, ++count)
        printf "%s", body >file
        close(file)
      }
    }' "$ROOT/etc/ssl/certs/ca-certificates.crt" "$CA_BUNDLE"
  chroot "$ROOT" update-ca-certificates
fi

# No translations of package lists, and no package starts a service in an image.
echo 'Acquire::Languages "none";' >"$ROOT/etc/apt/apt.conf.d/image"
printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
chmod 755 "$ROOT/usr/sbin/policy-rc.d"

{
  echo "deb $MIRROR $SUITE main"
  if [ -n "$UPDATES_MIRROR" ]; then echo "deb $UPDATES_MIRROR $SUITE-updates main"; fi
  if [ -n "$SECURITY_MIRROR" ]; then echo "deb $SECURITY_MIRROR $SUITE-security main"; fi
} >"$ROOT/etc/apt/sources.list"
mount -t proc proc "$ROOT/proc"
chroot "$ROOT" apt-get --quiet --quiet update
chroot "$ROOT" apt-get --quiet --quiet --yes --no-install-recommends dist-upgrade
umount "$ROOT/proc"

# Debian's newest date is used instead of today's.
epoch=$(sed -n 's/^Date: //p' "$ROOT"/var/lib/apt/lists/*Release | while read -r date; do
  date -u -d "$date" +%s
done | sort -n | tail -n 1)

cd -- "$ROOT"
find usr/share/doc -type f ! -name copyright -delete
find usr/share/doc -type l ! -name copyright -delete
find usr/share/doc -depth -type d -empty -delete
rm -rf usr/share/info/* usr/share/lintian/* usr/share/locale/* usr/share/man/*
rm -rf var/lib/apt/lists/* var/cache/apt/* var/cache/debconf/*-old var/cache/ldconfig/aux-cache
rm -rf var/lib/dpkg/*-old var/lib/dpkg/lock* etc/*- root/.cache tmp/* run/*
find var/log -type f -delete
# Accounts record the day on which they were created.
sed -i "s/^\([^:]*:[^:]*:\)[0-9]*:/\1$((epoch / 86400)):/" etc/shadow
# Nothing of this machine; an engine mounts its own over them, and does not create them because they exist.
printf '127.0.0.1\tlocalhost\n::1\tlocalhost\n' >etc/hosts
: >etc/resolv.conf
echo localhost >etc/hostname
chmod 644 etc/hosts etc/resolv.conf etc/hostname

tar --create --file "$OUTPUT" --format gnu --sort name --numeric-owner --mtime "@$epoch" --clamp-mtime \
  --exclude './dev/*' --exclude './proc/*' --exclude './sys/*' .
