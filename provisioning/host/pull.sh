# Pulls one image; what was already loaded of it is kept between attempts.
# Arguments: the image.
image=${1:?image}

if docker image inspect "$image" >/dev/null 2>&1; then
  say "$image is there"
  exit 0
fi

log=$(mktemp)
cleanup() { rm -f "$log"; }
pull() { docker pull "$image" 2>&1 | tee "$log"; }

on_docker_hub() {
  local first=${image%%/*}
  [[ $image != */* || ($first != *[.:]* && $first != localhost) ]]
}

# Where no mirror has an image, Docker asks Docker Hub itself in the end, and its only message is
# that the Hub is out of reach: so the mirrors are asked what they have (docs/facts/measured.md §3).
unknown_to_mirrors() {
  local name=$image mirror said unknown=1
  on_docker_hub || return 1
  [[ $name == */* ]] || name=library/$name
  while IFS= read -r mirror; do
    if said=$(timeout 60 docker manifest inspect "$mirror/$name" 2>&1); then
      return 1
    fi
    [[ $said != *'no such manifest'* && $said != *'manifest unknown'* ]] || unknown=0
  done < <(docker info --format '{{json .RegistryConfig.Mirrors}}' |
    grep -oE '//[^/"]+' | cut -d / -f 3)
  return "$unknown"
}

advice="check its name and tag in the setting images"
for attempt in 1 2 3 4 5; do
  say "pulling $image (attempt $attempt of 5)"
  if with_heartbeat "pulling $image" pull; then
    exit 0
  fi
  last=$(tail -n 1 "$log")
  if grep -qiE 'manifest unknown|not found|denied|unauthorized|invalid reference' "$log"; then
    fail "$image cannot be had: $last; $advice"
  fi
  if unknown_to_mirrors; then
    fail "$image cannot be had: no registry mirror knows it; $advice"
  fi
  if grep -qi 'no such host' "$log"; then
    fail "$image: its registry's name does not resolve: $last; check images and mirrors"
  fi
  if grep -qi 'no space left' "$log"; then
    fail "$image: the disk is full; set a larger diskSizeGiB"
  fi
  grep -qiE 'EOF|time(d)? ?out|deadline exceeded|connection re(set|fused)|toomanyrequests|50[234]' \
    "$log" || fail "$image: ${last:-docker pull said nothing}; read the lines above"
  sleep $((attempt * 2))
done
fail "$image did not come in 5 attempts: $last; try again later, or set another mirror or registry"
