# Proves what the lab stands on.
# Arguments: the driver's minimum major version, or "none" without a GPU; an image already pulled.
minimum=${1:?minimum driver} image=${2:?image}
limit=480 # beside six containers being made it took 99 s (docs/facts/measured.md §3)

version=$(docker_answers) || fail "Docker does not answer; see 'journalctl -u docker' on the server"
say "Docker $version answers"
[[ $minimum != none ]] || exit 0

driver=$(driver_version) || fail "nvidia-smi fails on the server; see 'dmesg | grep -i nvidia'"
((${driver%%.*} >= minimum)) ||
  fail "NVIDIA driver $driver is installed and $minimum or later is needed"
say "driver $driver answers"

seen=$(mktemp)
cleanup() {
  rm -f "$seen"
  docker rm -f ai-lab-proof >/dev/null 2>&1 || true
}
cleanup
see_gpu() {
  timeout "$limit" docker run --rm --name ai-lab-proof --gpus all "$image" nvidia-smi >"$seen" 2>&1
}
code=0
with_heartbeat "a container that looks for the GPU" see_gpu || code=$?
last=$(tail -n 1 "$seen")
((code != 124)) ||
  fail "waited $limit s for a container to see the GPU; last seen: ${last:-nothing};" \
    "see 'docker ps -a' and 'journalctl -u docker' on the server, then run pulumi up again"
((code == 0)) ||
  fail "a container does not see the GPU: ${last:-nvidia-smi said nothing and ended with $code};" \
    "see 'docker info' and 'nvidia-ctk --version' on the server"
say "a container sees the GPU"
