# Puts the one daemon.json in place, and restarts Docker only if something changed.
# Arguments: the uploaded file; the runtime that Docker must know, or "none".
wanted=${1:?daemon.json} runtime=${2:?runtime}
config="$ROOT/etc/docker/daemon.json"
stamped="$ROOT/var/lib/ai-lab/docker-runs-with"

dockerd --validate --config-file "$wanted" >/dev/null ||
  fail "Docker refuses $wanted; this is a fault of the program or of mirrors.registryMirrors"

# Docker looks for the toolkit only when it starts, so a new toolkit counts as a change.
toolkit=$(dpkg-query -W -f='${Version}' nvidia-container-toolkit 2>/dev/null || true)
stamp="$(sha256sum <"$wanted" | cut -d ' ' -f 1) toolkit=$toolkit"
if [[ -f $config ]] && cmp -s "$wanted" "$config" &&
  [[ $(cat "$stamped" 2>/dev/null || true) == "$stamp" ]]; then
  say "Docker already runs with it"
else
  if [[ -f $config && ! -e $config.before-ai-lab ]]; then
    cp -p "$config" "$config.before-ai-lab"
  fi
  write_if_different "$config" <"$wanted"
  say "restarting Docker"
  start_unit docker restart ||
    fail "Docker does not restart; see 'journalctl -u docker' on the server"
fi
wait_until 120 "Docker to answer" "see 'journalctl -u docker' on the server" docker_answers
if [[ $runtime != none ]]; then
  runtimes=$(docker info --format '{{json .Runtimes}}')
  [[ $runtimes == *"\"$runtime\""* ]] ||
    fail "Docker does not know the runtime $runtime; see 'docker info' on the server"
fi
write_if_different "$stamped" <<<"$stamp"
say "Docker $(docker_answers) answers"
