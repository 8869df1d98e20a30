#!/bin/sh
# Make any base image fit for a machine, or say in words what it lacks. Run as root while the image is built.
#
# A base keeps every program it has, the rest comes from its own apt-get. What else the guest needs is put beside this
# script: `python`, and the base's ENV as record_env.py writes it down. add_users.py makes the users.
set -eu

FOLDER=/usr/local/lib/flaude
# Root looks for git only here, see the Dockerfile.
SYSTEM_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
FIT_PYTHON='
import sys
assert sys.version_info >= (3, 9)
import ctypes, hashlib, json, os, select, socket, ssl, subprocess, tarfile, tempfile, threading, urllib.request
print(os.path.realpath(sys.executable))'

refuse() {
  echo "flaude-action cannot use this base image: $*" >&2
  exit 1
}

is_musl() {
  if [ -e /etc/alpine-release ]; then return 0; fi
  if [ -e /lib64/ld-linux-x86-64.so.2 ]; then return 1; fi
  for loader in /lib/ld-musl-*; do
    if [ -e "$loader" ]; then return 0; fi
  done
  return 1
}

# The distribution's own Python first: what stands first on the PATH of a toolchain may be anything.
find_python() {
  for found in /usr/bin/python3 /usr/local/bin/python3 /usr/bin/python3.[0-9]* "$(command -v python3 || :)"; do
    if python=$("$found" -I -S -c "$FIT_PYTHON" 2>/dev/null); then return 0; fi
  done
  return 1
}

# As root will run it: from the system's folders and with nothing of the base's ENV.
system_git() {
  env -i PATH="$SYSTEM_PATH" GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=flaude.probe GIT_CONFIG_VALUE_0=yes git "$@" 2>/dev/null
}

# Our settings reach git through the environment, which git before 2.31 ignores.
has_git() {
  [ "$(system_git config flaude.probe)" = yes ]
}

has_certificates() {
  for bundle in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem; do
    if [ -s "$bundle" ]; then return 0; fi
  done
  return 1
}

# Sets `lacking`, for people, and `packages`, for apt-get.
look() {
  lacking='' packages=''
  find_python || lack python3 "Python 3.9 or newer and its whole standard library$(it_has "$(python3 --version 2>/dev/null)")"
  has_git || lack git "git 2.31 or newer in a system folder like /usr/bin$(it_has "$(system_git --version)")"
  has_certificates || lack ca-certificates "CA certificates (/etc/ssl/certs/ca-certificates.crt)"
  command -v rg >/dev/null || lack ripgrep "ripgrep (rg)"
}

it_has() {
  if [ -n "$1" ]; then echo " (it has $1)"; fi
}

lack() {
  packages="$packages $1"
  lacking="$lacking${lacking:+, }$2"
}

install_packages() {
  command -v apt-get >/dev/null || refuse "it lacks $lacking. It has no apt-get to install that with, so add it yourself."
  # shellcheck disable=SC2086 - packages are words
  if ! (
    unset TMPDIR TMP TEMP
    export DEBIAN_FRONTEND=noninteractive
    apt-get update && apt-get install --yes --no-install-recommends $packages
  ); then
    refuse "it lacks $lacking, and its apt-get could not install$packages (see above). Add it yourself."
  fi
  rm -rf /var/lib/apt/lists/* /var/cache/apt/*
}

if is_musl; then
  refuse "it is built on musl, like Alpine, and Claude Code's program needs glibc. Take one built on Debian or Ubuntu."
fi
machine=$(uname -m)
[ "$machine" = x86_64 ] || refuse "it is for $machine, and machines run linux/amd64."
mkdir -p /tmp /var/tmp
chmod 1777 /tmp /var/tmp # for apt-get now, and later for the agent
look
if [ -n "$lacking" ]; then
  install_packages
  look
  [ -z "$lacking" ] || refuse "after apt-get it still lacks $lacking. Add it yourself."
fi

rm -rf $FOLDER/flaude_guest $FOLDER/__main__.py # of an older image of ours
ln -sfn "$python" $FOLDER/python
$FOLDER/python -I -S $FOLDER/record_env.py $FOLDER/image.env
$FOLDER/python -I -S $FOLDER/add_users.py
