#!/bin/sh
# Redis with the password that is in a file; with `healthy`, whether it answers who has that password.
set -eu

password=/run/secrets/redis_password
if [ ! -r "$password" ] || [ ! -s "$password" ]; then
  echo "redis: $password is missing, empty, or not to be read by user $(id -u): run \`make secrets\`" >&2
  exit 2
fi

# Spaces and line ends around it are none of it, as everywhere in vidbatch. No command line ever holds it.
secret=$(sed -e 's/^[[:space:]]*//' -e 's/[[:space:]]*$//' "$password")

if [ "${1:-}" = healthy ]; then
  # of one name or the other, by the version of the client
  export VALKEYCLI_AUTH="$secret" REDISCLI_AUTH="$secret"
  [ "$(valkey-cli --user vidbatch ping)" = PONG ]
  exit
fi

umask 077
digest=$(printf %s "$secret" | sha256sum | cut -d ' ' -f 1)
# What SECURITY.md says of one user for all; the channels of Celery's events are there for Flower.
# Nobody can be the user `default`, who is off. It keeps its rights all the same: Redis reads its own file back as that user,
# and would leave out every transaction that it may not carry out, which is most of the ledger.
cat > /run/vidbatch/users.acl <<END
user default off resetpass ~* &* +@all
user vidbatch on #$digest ~vidbatch:* &vidbatch:* &vidbatch:celery:4:/0.celeryev/* -@all +@read +@write +@connection +@scripting +@transaction +@pubsub -@dangerous +info +time
END
exec valkey-server /etc/vidbatch/redis.conf "$@"
