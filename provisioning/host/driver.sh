# Installs the NVIDIA driver where the image has none, and reboots only if it does not load.
# Arguments: the package; the major version that the models' server needs.
package=${1:?package} minimum=${2:?minimum driver}

if version=$(driver_version 2>/dev/null) && [[ -n $version ]]; then
  ((${version%%.*} >= minimum)) ||
    fail "the image brings NVIDIA driver $version and $minimum or later is needed;" \
      "choose an image without driver, or an Xinference version that runs on ${version%%.*}"
  say "driver $version is there"
  exit 0
fi

if ! command -v nvidia-smi >/dev/null; then
  say "installing $package"
  apt_get update || fail "apt-get update failed; check the server's network, or set mirrors.aptMirror"
  apt_install "linux-headers-$(uname -r)" "$package"
fi

modprobe -r nouveau 2>/dev/null || true
modprobe nvidia || say "the kernel does not take the driver yet"
if version=$(driver_version 2>/dev/null) && [[ -n $version ]]; then
  say "driver $version runs"
  exit 0
fi

pending="$ROOT/run/ai-lab-reboot-pending"
mkdir -p "$(dirname "$pending")"
: >"$pending"
say "rebooting: the driver needs it"
# The next step must not get in before the reboot: its session would die with the server. So new
# connections are refused from here on; this session stays. They are let in again if it fails.
systemctl stop ssh.socket 2>/dev/null || true
systemctl stop ssh.service
nohup bash -c 'sleep 2; reboot || { systemctl start ssh.socket; systemctl start ssh.service; }' \
  >/dev/null 2>&1 </dev/null &
