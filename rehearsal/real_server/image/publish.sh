#!/bin/sh
# Makes /srv: an authority with a certificate for all names, a signing key, and three signed package
# repositories. Argument: the kernel's release, whose headers the driver's step asks for.
set -eu
kernel=$1
export GNUPGHOME=/srv/gnupg
umask 022
mkdir -p "$GNUPGHOME"
chmod 700 "$GNUPGHOME"

openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj '/CN=rehearsal' \
  -keyout /srv/ca.key -out /srv/ca.crt 2>/dev/null
sed 's/^/DNS:/' names | paste -sd , | sed 's/^/subjectAltName=/' >/srv/names.ext
openssl req -newkey rsa:2048 -nodes -subj '/CN=mirror' -keyout /srv/mirror.key 2>/dev/null |
  openssl x509 -req -days 3650 -CA /srv/ca.crt -CAkey /srv/ca.key -extfile /srv/names.ext \
    -out /srv/mirror.crt 2>/dev/null

gpg --batch --quiet --passphrase '' --quick-generate-key rehearsal rsa3072 sign never
gpg --armor --export rehearsal >/srv/key.asc

# package FOLDER NAME VERSION DEPENDS [TREE]
package() {
  tree=$(mktemp -d)
  mkdir -p "$tree/DEBIAN" "$1"
  [ -z "${5-}" ] || cp -r "$5/." "$tree"
  find "$tree" \( -path '*/bin/*' -o -path '*/DEBIAN/*' \) -exec chmod 755 {} +
  cat >"$tree/DEBIAN/control" <<CONTROL
Package: $2
Version: $3
Architecture: amd64
Maintainer: rehearsal <rehearsal@localhost>
Depends: $4
Description: part of a rehearsed server
CONTROL
  chmod 755 "$tree"
  dpkg-deb --root-owner-group -Zgzip --build "$tree" "$1/$2.deb" >/dev/null
}

# signed FOLDER: the Release of a suite, whose lists are there, signed.
signed() {
  apt-ftparchive -o APT::FTPArchive::Release::Codename=jammy release "$1" >/srv/Release
  mv /srv/Release "$1/Release"
  gpg --batch --quiet --yes --clearsign -o "$1/InRelease" "$1/Release"
}

# flat FOLDER: a repository without suites.
flat() {
  (cd "$1" && apt-ftparchive packages . >Packages)
  signed "$1"
}

# renamed FOLDER OLD NEW: Debian's package under another name, which Debian's own conflicts with.
renamed() {
  tree=$(mktemp -d)
  apt-get download -qq "$2"
  dpkg-deb -R "$2"_*.deb "$tree/it"
  sed -i -e "s/^Package: .*/Package: $3/" -e '/^\(Conflicts\|Breaks\|Replaces\|Recommends\):/d' \
    "$tree/it/DEBIAN/control"
  mkdir -p "$1"
  dpkg-deb --root-owner-group -Zgzip --build "$tree/it" "$1/$3.deb" >/dev/null
}

docker=/srv/docker-ce
suite=$docker/dists/jammy
renamed $docker/pool docker.io docker-ce
renamed $docker/pool docker-cli docker-ce-cli
package $docker/pool containerd.io 1.7.24-1 containerd
mkdir -p $suite/stable/binary-amd64
(cd $docker && apt-ftparchive packages pool >$suite/stable/binary-amd64/Packages)
signed $suite

toolkit=/srv/libnvidia-container/stable/deb/amd64
package $toolkit nvidia-container-toolkit 1.18.0-1 runc packages/toolkit
flat $toolkit

package /srv/restricted nvidia-driver-580-server 580.126.09-0ubuntu0.22.04.1 systemd packages/driver
package /srv/restricted "linux-headers-$kernel" 1 base-files
flat /srv/restricted
