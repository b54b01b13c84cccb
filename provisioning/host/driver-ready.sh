# After a possible reboot: the driver answers, and is new enough.
# Arguments: the major version that the models' server needs.
minimum=${1:?minimum driver}

[[ ! -e $ROOT/run/ai-lab-reboot-pending ]] ||
  fail "the server was to reboot for its driver and has not;" \
    "reboot it in the cloud's console, then run pulumi up again"
wait_until 180 "nvidia-smi to answer" \
  "see 'dmesg | grep -i nvidia' on the server; another image or instance type may be needed" \
  driver_version
version=$(driver_version)
((${version%%.*} >= minimum)) ||
  fail "NVIDIA driver $version is installed and $minimum or later is needed"
say "driver $version answers"
