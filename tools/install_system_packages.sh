#!/usr/bin/env bash
# Installs what is missing of tools/system_packages.txt, with sudo where needed. Asks for nothing if all is there.
set -euo pipefail
missing=()
for package in $(sed -e '/^#/d' -e 's/^[^:]*://' "$(dirname "$0")/system_packages.txt"); do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo)
export DEBIAN_FRONTEND=noninteractive
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "installed: ${missing[*]}"
