# Keeps the system as it is while the lab stands, and brings the few tools the next steps need.
# Arguments: Ubuntu's package mirror, empty to keep what the image has.
mirror=${1-}

codename=$(release_codename)
[[ $(dpkg --print-architecture) == amd64 ]] ||
  fail "this server is $(dpkg --print-architecture); the lab's images are for amd64"

# A new kernel or driver under a running lab ends in "Driver/library version mismatch".
for unit in apt-daily.timer apt-daily-upgrade.timer apt-daily.service apt-daily-upgrade.service \
  unattended-upgrades.service; do
  if systemctl cat "$unit" >/dev/null 2>&1; then
    systemctl stop "$unit"
    [[ $unit == apt-daily*.service ]] || systemctl disable "$unit" >/dev/null 2>&1
  fi
done
write_if_different "$ROOT/etc/apt/apt.conf.d/90ai-lab" <<'CONF'
APT::Periodic::Update-Package-Lists "0";
APT::Periodic::Unattended-Upgrade "0";
CONF

# Docker's provider starts an ssh for each thing it looks at, many at once, and does not try again
# where sshd drops one. By default it begins to at ten that have not logged in yet.
write_if_different "$ROOT/etc/ssh/sshd_config.d/10-ai-lab.conf" <<<'MaxStartups 200:30:400'
if [[ $CHANGED == yes ]]; then
  sshd -t || fail "sshd refuses its configuration; see 'sshd -t' on the server"
  systemctl reload ssh.service || say "sshd takes its new limit when it next starts"
fi

mapfile -t kernels < <(
  dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' 'linux-image-*' 'linux-generic*' \
    'linux-virtual*' 2>/dev/null | sed -n 's/^ii *//p'
)
if ((${#kernels[@]})); then
  apt-mark hold "${kernels[@]}" >/dev/null
  say "held: ${kernels[*]}"
fi

if [[ -n $mirror ]]; then
  shopt -s nullglob
  for list in "$ROOT/etc/apt/sources.list" "$ROOT"/etc/apt/sources.list.d/ubuntu.sources; do
    [[ -f $list ]] || continue
    write_if_different "$list" < <(
      sed -E "s#https?://([a-z.]*archive|security)\.ubuntu\.com/ubuntu/?#$mirror/#g" "$list"
    )
    [[ $CHANGED == no ]] || say "$list uses $mirror"
  done
fi

missing=()
for package in ca-certificates curl; do
  installed "$package" || missing+=("$package")
done
if ((${#missing[@]})); then
  apt_get update || fail "apt-get update failed; check the server's network, or set mirrors.aptMirror"
  apt_install "${missing[@]}"
fi
say "Ubuntu $codename is ready"
