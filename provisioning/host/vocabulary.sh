# Checks the token vocabulary that OneAPI would otherwise download, and would die without.
# Arguments: the file; its sha256.
file=${1:?file} wanted=${2:?sha256}

[[ -f $file ]] || fail "$file was not uploaded; run pulumi up again"
found=$(sha256sum "$file" | cut -d ' ' -f 1)
if [[ $found != "$wanted" ]]; then
  rm -f "$file"
  fail "$file is damaged (sha256 $found, wanted $wanted) and was removed; run pulumi up again"
fi
chmod 0644 "$file"
say "the vocabulary is in place"
