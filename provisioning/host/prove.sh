# Proves what the lab stands on, and prints it as facts.
# Arguments: the driver's minimum major version, or "none" without a GPU; an image already pulled.
minimum=${1:?minimum driver} image=${2:?image}

version=$(docker_answers) || fail "Docker does not answer; see 'journalctl -u docker' on the server"
say "fact docker $version"
[[ $minimum != none ]] || exit 0

driver=$(driver_version) || fail "nvidia-smi fails on the server; see 'dmesg | grep -i nvidia'"
((${driver%%.*} >= minimum)) ||
  fail "NVIDIA driver $driver is installed and $minimum or later is needed"
say "fact driver $driver"
nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits |
  while IFS= read -r gpu; do say "fact gpu $gpu"; done

seen=$(timeout 180 docker run --rm --gpus all "$image" nvidia-smi 2>&1) ||
  fail "a container does not see the GPU: $(tail -n 1 <<<"$seen");" \
    "see 'docker info' and 'nvidia-ctk --version' on the server"
say "fact container sees the GPU"
