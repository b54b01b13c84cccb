#!/bin/sh
# v0.6.10, which is what can be built, reads a second vocabulary that labs do not have: it gets a
# copy of the first one (docs/facts/oneapi.md §2). Its token counts are therefore not to be trusted.
if [ -f "$TIKTOKEN_CACHE_DIR/$CL100K" ]; then
  mkdir -p /tmp/vocabularies
  for name in "$CL100K" "$O200K"; do
    cp "$TIKTOKEN_CACHE_DIR/$CL100K" "/tmp/vocabularies/$name"
  done
  export TIKTOKEN_CACHE_DIR=/tmp/vocabularies
fi
exec /one-api "$@"
