#!/bin/sh
# What `docker compose up` needs, made once: ./secrets, ./data, and .env with who owns them. What is there stays as it is.
#
#   VIDBATCH_API_KEY=… sh compose/secrets.sh     the key is asked for where it is not given
set -eu
cd "$(dirname "$0")/.."

say() { echo "secrets: $*"; }

# Containers run as other users than this one: the files may be read by all, and only their owner enters the folder.
keep() {
  if [ -s "secrets/$1" ]; then
    say "secrets/$1 is there already"
  else
    cat > "secrets/$1"
    chmod 0644 "secrets/$1"
    say "secrets/$1 is written: $2"
  fi
}

mkdir -p data secrets
chmod 0700 secrets

od -An -N32 -tx1 /dev/urandom | tr -d ' \n' |
  keep redis_password "the password of Redis, of 64 random digits"
{ printf whsec_; head -c 32 /dev/urandom | base64 | tr -d '\n'; } |
  keep notify_secret "what webhooks of schedules are signed with; their receiver needs it too"

if [ ! -s secrets/vidbatch_api_key ] && [ -z "${VIDBATCH_API_KEY:-}" ] && [ -t 0 ]; then
  printf 'secrets: the API key (nothing is shown; without one, press Enter): ' >&2
  stty -echo; read -r VIDBATCH_API_KEY || true; stty echo; echo >&2
fi
if [ -z "${VIDBATCH_API_KEY:-}" ] && [ ! -s secrets/vidbatch_api_key ]; then
  VIDBATCH_API_KEY=simulator-only
  say "no API key was given (VIDBATCH_API_KEY): the simulator takes any, the real API will refuse this one"
fi
printf %s "${VIDBATCH_API_KEY:-}" | keep vidbatch_api_key "the API key; to exchange it, write another one into the file"

# Who works as root gives the data to the image's own user: no container of ours is root.
uid=$(id -u) gid=$(id -g)
if [ "$uid" = 0 ]; then
  uid=1000 gid=1000
  chown "$uid:$gid" data
fi
touch .env
for line in "VIDBATCH_SECRETS=./secrets" "VIDBATCH_UID=$uid" "VIDBATCH_GID=$gid"; do
  grep -q "^${line%%=*}=" .env || echo "$line" >> .env
done
say "done; next: docker compose up -d --wait"
