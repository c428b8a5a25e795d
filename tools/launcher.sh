#!/bin/sh
# pixl: the Deno runtime and the program in one file. The first start unpacks both into a folder of this user; each start asks the program which
# permissions the command line needs, and runs it with exactly these.
set -eu
sum=@SUM@

PATH=${PATH:-/usr/bin:/bin}
for tool in env sed id find mkdir mktemp rm awk tail sha256sum cut gzip tar mv; do
  command -v "$tool" >/dev/null || { echo "pixl: '$tool' is not on the PATH: add it" >&2; exit 2; }
done

# Settings of Deno's own could widen the permissions (DENO_PERMISSION_BROKER_PATH overrules every flag), so none comes through.
for name in $(env | sed -n 's/^\(DENO_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
unset NODE_OPTIONS NODE_EXTRA_CA_CERTS LD_PRELOAD LD_LIBRARY_PATH
# Deno sends what it fetches through a proxy whatever the permissions are.
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy

# A folder that somebody else may write to could hold somebody else's program.
ours() { [ -O "$1" ] && [ ! -L "$1" ] && [ -z "$(find "$1" -maxdepth 0 -perm /022)" ]; }
refuse() { echo "pixl: $1: set PIXL_HOME to a folder of your own" >&2; exit 5; }

home=${PIXL_HOME:-${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}}
umask 077
if [ -z "$home" ]; then
  home=/var/tmp/pixl-$(id -u)
  mkdir "$home" 2>/dev/null || ours "$home" || refuse "'$home' is not ours alone"
fi
home=$home/pixl
dir=$home/$sum
mkdir -p "$home" 2>/dev/null || refuse "Cannot write to '$home'"
ours "$home" || refuse "'$home' is not ours alone"
if [ ! -x "$dir/deno" ] || [ ! -f "$dir/pixl.js" ]; then
  tmp=$(mktemp -d "$home/unpack.XXXXXX") || refuse "Cannot write to '$home'"
  trap 'rm -rf "$tmp"' EXIT
  at=$(awk '/^__PAYLOAD__$/ { print NR + 1; exit }' "$0")
  found=$(tail -n +"$at" "$0" | sha256sum | cut -c 1-64)
  [ "$found" = "$sum" ] || { echo "pixl: This file is damaged: copy it again" >&2; exit 3; }
  tail -n +"$at" "$0" | gzip -dc | tar -C "$tmp" -xf - || { echo "pixl: Cannot unpack into '$home': is the disk full?" >&2; exit 4; }
  # Another start may have put it there meanwhile; what is not whole is replaced.
  if ! mv -T "$tmp" "$dir" 2>/dev/null && { [ ! -x "$dir/deno" ] || [ ! -f "$dir/pixl.js" ]; }; then
    rm -rf "$dir"
    mv -T "$tmp" "$dir"
  fi
  rm -rf "$tmp"
  trap - EXIT
fi
for file in "$dir" "$dir/deno" "$dir/pixl.js"; do ours "$file" || refuse "'$file' is not ours alone"; done

# Compiled code is cached beside the program, not in the user's home.
export DENO_DIR="$dir/cache" DENO_NO_UPDATE_CHECK=1
set -f
IFS='
'
common='--quiet
--no-config
--no-lock
--no-remote
--no-npm
--cached-only'
# Asking for permissions writes nothing and talks to nobody but the name server: it reads the settings and prints flags.
ask() { "$dir/deno" run $common --no-prompt --allow-read --allow-net --allow-env "$dir/pixl.js" "$@"; }
if [ $# -eq 0 ] || [ "$1" = permissions ]; then
  ask "$@"
  exit
fi
flags=$(ask permissions -- "$@") || exit $?
exec "$dir/deno" run $common $flags "$dir/pixl.js" "$@"
__PAYLOAD__
