#!/bin/sh
# pixl: the Deno runtime and the program in one file. The first start unpacks both into a folder of this user; each start asks the program which
# permissions the command line needs, and runs it with exactly these.
set -eu
sum=@SUM@

PATH=${PATH:-/usr/bin:/bin}
for tool in env sed id mkdir mktemp rm awk tail sha256sum cut gzip tar mv; do
  command -v "$tool" >/dev/null || { echo "pixl: '$tool' is not on the PATH: add it" >&2; exit 2; }
done

# Settings of Deno's own could widen the permissions (DENO_PERMISSION_BROKER_PATH overrules every flag), so none comes through.
for name in $(env | sed -n 's/^\(DENO_[A-Za-z0-9_]*\)=.*/\1/p'); do unset "$name"; done
unset NODE_OPTIONS NODE_EXTRA_CA_CERTS LD_PRELOAD LD_LIBRARY_PATH

home=${PIXL_HOME:-${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}}
home=${home:-/var/tmp/pixl-$(id -u)}/pixl
dir=$home/$sum
if [ ! -x "$dir/deno" ]; then
  umask 077
  mkdir -p "$home" || { echo "pixl: Cannot unpack into '$home': set PIXL_HOME to a folder that this user can write" >&2; exit 5; }
  tmp=$(mktemp -d "$home/unpack.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT
  at=$(awk '/^__PAYLOAD__$/ { print NR + 1; exit }' "$0")
  found=$(tail -n +"$at" "$0" | sha256sum | cut -c 1-64)
  [ "$found" = "$sum" ] || { echo "pixl: This file is damaged: copy it again" >&2; exit 3; }
  tail -n +"$at" "$0" | gzip -dc | tar -C "$tmp" -xf -
  mv -T "$tmp" "$dir" 2>/dev/null || [ -x "$dir/deno" ]
  trap - EXIT
  rm -rf "$tmp"
fi
# Somebody else's folder could hold somebody else's program.
[ -O "$dir/deno" ] || { echo "pixl: '$dir' belongs to another user: remove it, or set PIXL_HOME" >&2; exit 5; }

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
