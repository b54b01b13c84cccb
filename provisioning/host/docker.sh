# Installs Docker where it is missing.
# Arguments: docker-ce's repository for Ubuntu; its signing key.
repository=${1:?repository} key=${2:?key}

# The first whose API (1.44) knows a health check's start interval; an older one refuses every
# container that asks for it.
oldest=25

install_docker() {
  local codename keyring
  codename=$(release_codename)
  keyring="$ROOT/etc/apt/keyrings/docker.asc"
  fetch_key "$key" "$keyring"
  write_if_different "$ROOT/etc/apt/sources.list.d/docker.list" <<LIST
deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] $repository $codename stable
LIST
  apt_get update || fail "apt-get update failed; check the server's network, or set mirrors.dockerApt"
  apt_install docker-ce docker-ce-cli containerd.io
}

start_docker() {
  local config="$ROOT/etc/docker/daemon.json"
  systemctl enable docker >/dev/null 2>&1 || say "Docker will not start by itself after a reboot"
  if ! start_unit docker; then
    [[ -f $config ]] || fail "Docker does not start; see 'journalctl -u docker' on the server"
    # The lab's own file comes with a later step, and only a running Docker gets there.
    say "Docker does not start; trying without $config, kept as daemon.json.refused"
    mv -f "$config" "$config.refused"
    start_unit docker || {
      mv -f "$config.refused" "$config"
      fail "Docker does not start, with $config or without;" \
        "see 'journalctl -u docker' on the server"
    }
  fi
  wait_until 120 "Docker to answer" "see 'journalctl -u docker' on the server" docker_answers
  version=$(docker_answers)
}

command -v dockerd >/dev/null || install_docker
start_docker
if ((${version%%.*} < oldest)); then
  say "the image's Docker $version is older than $oldest; bringing a newer one"
  install_docker
  start_docker
fi
((${version%%.*} >= oldest)) ||
  fail "Docker $version is there and $oldest or later is needed; choose another imageId"
say "Docker $version answers"
