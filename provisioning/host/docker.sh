# Installs Docker where it is missing.
# Arguments: docker-ce's repository for Ubuntu; its signing key.
repository=${1:?repository} key=${2:?key}

if ! command -v dockerd >/dev/null; then
  codename=$(release_codename)
  keyring="$ROOT/etc/apt/keyrings/docker.asc"
  fetch_key "$key" "$keyring"
  write_if_different "$ROOT/etc/apt/sources.list.d/docker.list" <<LIST
deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.asc] $repository $codename stable
LIST
  apt_get update || fail "apt-get update failed; check the server's network, or set mirrors.dockerApt"
  apt_install docker-ce docker-ce-cli containerd.io
fi
systemctl enable docker >/dev/null 2>&1
systemctl start docker
wait_until 120 "Docker to answer" "see 'journalctl -u docker' on the server" docker_answers
say "Docker $(docker_answers) answers"
