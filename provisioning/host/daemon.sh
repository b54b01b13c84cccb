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

# A container could ask whatever is published at the server's own addresses, past its networks, and
# what the cloud tells its servers (docs/security.md). Docker sets this again whenever it starts.
guard="$ROOT/usr/local/sbin/ai-lab-guard"
write_if_different "$guard" <<'GUARD'
# From the lab's containers nothing new comes in to the server, nor goes to the cloud's metadata.
refuse() {
  iptables -w 60 -t "$1" -C "${@:2}" -j DROP 2>/dev/null ||
    iptables -w 60 -t "$1" -I "${@:2}" -j DROP
}
refuse filter INPUT -i br-+ -m conntrack --ctstate NEW
refuse mangle PREROUTING -i br-+ -d 100.100.100.200
GUARD
write_if_different "$ROOT/etc/systemd/system/docker.service.d/ai-lab-guard.conf" <<'UNIT'
[Service]
ExecStartPost=/bin/bash /usr/local/sbin/ai-lab-guard
UNIT
[[ $CHANGED == no ]] || systemctl daemon-reload
bash "$guard" || fail "the firewall takes no rule; see 'iptables -S' on the server"
say "Docker $(docker_answers) answers"
