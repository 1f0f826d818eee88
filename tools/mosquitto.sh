#!/usr/bin/env bash
# Installs the Mosquitto that the tests talk to, where that is possible without asking anybody.
set -euo pipefail
PATH="$PATH:/usr/sbin"
command -v mosquitto >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq || true # what is known of packages may do
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mosquitto && exit 0
  echo "mosquitto could not be installed; see apt-get's message above: the tests that need it will be skipped" >&2
  exit 1
else
  echo "mosquitto is not installed: the tests that need it will be skipped. On Debian: sudo apt-get install mosquitto" >&2
fi
