# Pulls one image; what was already loaded of it is kept between attempts.
# Arguments: the image.
image=${1:?image}

if docker image inspect "$image" >/dev/null 2>&1; then
  say "$image is there"
  exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
pull() { docker pull "$image" 2>&1 | tee "$log"; }
for attempt in 1 2 3 4 5; do
  say "pulling $image (attempt $attempt of 5)"
  if with_heartbeat "pulling $image" pull; then
    exit 0
  fi
  last=$(tail -n 1 "$log")
  if grep -qiE 'manifest unknown|not found|denied|unauthorized|invalid reference' "$log"; then
    fail "$image cannot be had: $last; check its name and tag in the setting images"
  fi
  if grep -qi 'no such host' "$log"; then
    fail "$image: its registry's name does not resolve: $last; check images and mirrors"
  fi
  if grep -qi 'no space left' "$log"; then
    fail "$image: the disk is full; set a larger diskGiB"
  fi
  grep -qiE 'EOF|time(d)? ?out|deadline exceeded|connection re(set|fused)|toomanyrequests|50[234]' \
    "$log" || fail "$image: $last"
  sleep $((attempt * 2))
done
fail "$image did not come in 5 attempts: $last; try again later, or set another mirror or registry"
