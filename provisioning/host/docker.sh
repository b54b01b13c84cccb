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
  systemctl enable docker >/dev/null 2>&1
  systemctl start docker
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
