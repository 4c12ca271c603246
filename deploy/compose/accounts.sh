#!/usr/bin/env bash
# Sets the password of Kibana's account and makes facedex's role and user. May be run again.
# Environment: ELASTIC_PASSWORD, KIBANA_PASSWORD, FACEDEX_PASSWORD, COLLECTION
set -euo pipefail

put() { # PATH, with the body on standard input: passwords are seen in no list of processes
  curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused --cacert /ca/ca.crt \
    --config <(printf 'user = "elastic:%s"\n' "$ELASTIC_PASSWORD") \
    --request PUT --header 'Content-Type: application/json' --data @- --output /dev/null "https://es01:9200/_security/$1"
}

put user/kibana_system/_password <<<"{\"password\": \"$KIBANA_PASSWORD\"}"

# Collections are aliases: facedex needs the alias's name and the indices behind it.
put role/facedex <<EOT
{
  "cluster": ["monitor", "manage_index_templates"],
  "indices": [{"names": ["facedex-*", "$COLLECTION"], "privileges": ["manage", "read", "write"]}]
}
EOT
put user/facedex <<<"{\"password\": \"$FACEDEX_PASSWORD\", \"roles\": [\"facedex\"], \"full_name\": \"facedex\"}"
printf 'the accounts kibana_system and facedex are ready\n'
