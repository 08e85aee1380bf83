#!/usr/bin/env bash
# Installs what cmake/debian-packages.txt lists and this machine lacks. Touches the network only when something is
# missing; says nothing when nothing is.
set -euo pipefail
cd "$(dirname "$0")/.."

mapfile -t packages < <(sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' cmake/debian-packages.txt)

if ! command -v dpkg-query >/dev/null; then
  echo "deps: no dpkg on this system; needed, by their Debian 12 names: ${packages[*]}" >&2
  exit 0
fi

missing=()
for p in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "deps: run as root or install sudo; missing: ${missing[*]}" >&2; exit 1; }
  sudo=(sudo)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 </dev/null && return
  echo "deps: apt-get $* failed:" >&2
  cat "$log" >&2
  exit 1
}
echo "deps: installing ${missing[*]}" >&2
apt update
apt install -y --no-install-recommends "${missing[@]}"
