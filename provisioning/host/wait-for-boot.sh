# Waits until the server's own start is over: cloud-init, then whatever holds the package database.

if [[ -z $ROOT && $(id -u) -ne 0 ]]; then
  fail "the host scripts need root; log in as root"
fi

if command -v cloud-init >/dev/null; then
  say "waiting for cloud-init"
  code=0
  with_heartbeat "cloud-init" timeout 900 cloud-init status --wait || code=$?
  # 2 is "done, with recoverable errors" on newer releases.
  if [[ $code -ne 0 && $code -ne 2 ]]; then
    fail "cloud-init ended with $code (124 means: not within 900 s);" \
      "see 'cloud-init status --long' on the server"
  fi
fi

apt_is_free() {
  ! command -v fuser >/dev/null ||
    ! fuser -v "$ROOT/var/lib/dpkg/lock-frontend" "$ROOT/var/lib/dpkg/lock" \
      "$ROOT/var/lib/apt/lists/lock"
}
wait_until 600 "the package database to be free" \
  "end what holds it (see 'fuser -v /var/lib/dpkg/lock-frontend'), then run pulumi up again" \
  apt_is_free
say "the server is up"
