# Counts the connections that each address opens to the visitors' door, where one carries one
# question (provisioning/caddy/Visitors.caddyfile): 60 at once, then one a second.
guard="$ROOT/usr/local/sbin/ai-lab-door"
write_if_different "$guard" <<'GUARD'
# Before Docker sends them on, which hides the port; not what the lab's containers ask of others.
# Docker sets this again whenever it starts.
rule=(PREROUTING ! -i br-+ -p tcp --dport 443 --syn -m hashlimit --hashlimit-name ai-lab-door
  --hashlimit-mode srcip --hashlimit-above 1/second --hashlimit-burst 60
  --hashlimit-htable-expire 120000 -j DROP)
iptables -w 60 -t mangle -C "${rule[@]}" 2>/dev/null ||
  iptables -w 60 -t mangle -A "${rule[@]}"
GUARD
write_if_different "$ROOT/etc/systemd/system/docker.service.d/ai-lab-door.conf" <<'UNIT'
[Service]
ExecStartPost=/bin/bash /usr/local/sbin/ai-lab-door
UNIT
[[ $CHANGED == no ]] || systemctl daemon-reload
bash "$guard" || fail "the firewall takes no rule; see 'iptables -t mangle -S' on the server"
say "one address may ask the visitors' door 60 times, then once a second"
