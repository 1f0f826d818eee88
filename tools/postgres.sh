#!/usr/bin/env bash
# Installs the PostgreSQL that the tests run, where that is possible without asking anybody.
set -euo pipefail
for program in "$(command -v pg_ctl || true)" /usr/lib/postgresql/*/bin/pg_ctl; do
  [ -x "$program" ] && [ -x "$(dirname "$program")/initdb" ] && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  apt-get update -qq || true # what is known of packages may do
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql && exit 0
  echo "postgresql could not be installed; see apt-get's message above: the tests that need it will be skipped" >&2
  exit 1
else
  echo "postgresql is not installed: the tests that need it will be skipped. On Debian: sudo apt-get install postgresql" >&2
fi
