#!/usr/bin/env bash
# shellcheck disable=SC2034,SC2317,SC2329 # each script uses a part of this
#
# What every host script begins with. The builder puts this text before each of them.
set -euo pipefail

# Empty on a real server. The rehearsal points it at a tree of its own.
ROOT="${LAB_ROOT:-}"

say() { printf '%s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# No script ends without a word: neither where a command fails that nobody expected to, nor at the
# step's time limit. BASH_COMMAND is the command as it is written here, so no value is shown.
cleanup() { :; }
on_exit() {
  local code=$1 last=$2
  cleanup
  if ((code != 0)) && [[ $last != exit* ]]; then
    printf 'error: "%s" ended with %s; read the lines above, then run pulumi up again\n' \
      "$last" "$code" >&2
  fi
}
trap 'on_exit "$?" "$BASH_COMMAND"' EXIT
trap 'trap cleanup EXIT
  fail "the step did not end within its time limit; it was busy with: $BASH_COMMAND"' TERM

# wait_until SECONDS WHAT ADVICE COMMAND...: the last thing seen goes into the error.
wait_until() {
  local limit=$1 what=$2 advice=$3 started=$SECONDS told=$SECONDS seen=''
  shift 3
  until seen=$("$@" 2>&1); do
    if ((SECONDS - started >= limit)); then
      fail "waited $limit s for $what; last seen: $(tail -n 1 <<<"${seen:-nothing}"); $advice"
    fi
    if ((SECONDS - told >= 20)); then
      told=$SECONDS
      say "waiting for $what ($((SECONDS - started)) s)"
    fi
    sleep 0.5
  done
}

# with_heartbeat WHAT COMMAND...: SSH has no keepalive, so silence would end the session.
with_heartbeat() {
  local what=$1 started=$SECONDS told=$SECONDS
  shift
  "$@" &
  local pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    if ((SECONDS - told >= 20)); then
      told=$SECONDS
      say "still busy: $what ($((SECONDS - started)) s)"
    fi
    sleep 0.2
  done
  wait "$pid"
}

# write_if_different PATH: the new text comes on stdin; CHANGED tells whether the file did.
CHANGED=no
write_if_different() {
  local path=$1 new
  CHANGED=no
  if ! { mkdir -p "$(dirname "$path")" && new=$(mktemp "$path.XXXXXX") && cat >"$new"; }; then
    fail "cannot write $path; is the disk full?"
  fi
  if cmp -s "$new" "$path"; then
    rm -f "$new"
    return
  fi
  if ! { chmod 0644 "$new" && mv -f "$new" "$path"; }; then
    fail "cannot write $path"
  fi
  CHANGED=yes
}

installed() {
  [[ $(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null || true) == ii* ]]
}

# Time limits, because mirrors have been seen hanging for a quarter of an hour.
apt_get() {
  with_heartbeat "apt-get $1" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a apt-get -q -y \
    -o DPkg::Lock::Timeout=600 -o Acquire::Retries=5 \
    -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 "$@"
}

apt_install() {
  apt_get install --no-install-recommends "$@" ||
    fail "apt-get could not install $*; read its lines above, then run pulumi up again"
}

# fetch_key URL PATH: a proxy's error page is no key.
fetch_key() {
  local url=$1 path=$2 text
  text=$(curl -fsSL --retry 5 --connect-timeout 20 --max-time 60 "$url") ||
    fail "cannot fetch the signing key $url; check the server's network, or set another mirror"
  grep -q 'BEGIN PGP PUBLIC KEY BLOCK' <<<"$text" ||
    fail "$url is no signing key; set another mirror in the settings"
  write_if_different "$path" <<<"$text"
}

release_codename() {
  local codename
  codename=$(sed -n 's/^VERSION_CODENAME=//p' "$ROOT/etc/os-release" | tr -d '"')
  case $codename in
    jammy | noble) printf '%s' "$codename" ;;
    *) fail "this is Ubuntu '${codename:-unknown}'; the lab knows 22.04 (jammy) and 24.04 (noble)" ;;
  esac
}

driver_version() {
  nvidia-smi --query-gpu=driver_version --format=csv,noheader | sed -n 1p
}

docker_answers() { docker version --format '{{.Server.Version}}'; }

# After a few failed starts systemd refuses any more until it is told to forget them.
start_unit() {
  systemctl reset-failed "$1" >/dev/null 2>&1 || true
  systemctl "${2:-start}" "$1"
}
