# Puts in place what starts the models again with Xinference's container.
# Arguments: the folder that the container sees.
folder=${1:?folder}

for name in relaunch.py models.json; do
  [[ -s $folder/$name ]] || fail "$folder/$name was not uploaded; run pulumi up again"
  chmod 0644 "$folder/$name"
done
chmod 0755 "$folder"
say "the models will be started with the container"
