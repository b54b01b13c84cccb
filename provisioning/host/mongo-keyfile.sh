# Puts MongoDB's key in place. The key comes on stdin and is shown nowhere.
folder=ai-lab/mongo
umask 077
mkdir -p "$folder"
new=$(mktemp "$folder/.keyfile.XXXXXX")
cleanup() { rm -f "$new"; }
cat >"$new"
size=$(tr -d '[:space:]' <"$new" | wc -c)
if ((size < 6 || size > 1024)) || grep -q '[^A-Za-z0-9+/=[:space:]]' "$new"; then
  fail "MongoDB's key must be 6 to 1024 characters of base64, and $size came in"
fi
chmod 0400 "$new"
# 999 is mongodb in its image; it refuses a key that another user owns or others may read.
# A rehearsal has no right to give files away, and its own user stands for 999.
if [[ -z $ROOT || $(id -u) -eq 0 ]]; then
  chown 999:999 "$new"
fi
mv -f "$new" "$folder/keyfile"
# Where the folder is mounted, the container's user must get to the file.
chmod 0711 "$folder"
say "the key is in place"
