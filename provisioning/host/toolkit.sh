# Installs the NVIDIA container toolkit where it is missing.
# Arguments: its repository.
repository=${1:?repository}

if ! command -v nvidia-ctk >/dev/null; then
  fetch_key "$repository/gpgkey" "$ROOT/etc/apt/keyrings/nvidia-container-toolkit.asc"
  # Written here: the list that mirrors serve points back at the original host.
  write_if_different "$ROOT/etc/apt/sources.list.d/nvidia-container-toolkit.list" <<LIST
deb [signed-by=/etc/apt/keyrings/nvidia-container-toolkit.asc] $repository/stable/deb/amd64 /
LIST
  apt_get update || fail "apt-get update failed; check the network, or set mirrors.toolkitRepo"
  apt_install nvidia-container-toolkit
fi
version=$(nvidia-ctk --version)
say "${version%%$'\n'*}"
