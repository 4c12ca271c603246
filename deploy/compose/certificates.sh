#!/usr/bin/env bash
# Makes an authority and the nodes' certificates in /certs, and puts the authority's certificate alone into /ca. What is
# there is kept. Runs as root in Elasticsearch's image, which has elasticsearch-certutil.
set -euo pipefail

certutil=/usr/share/elasticsearch/bin/elasticsearch-certutil
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ ! -f /certs/ca/ca.key ]; then
  "$certutil" ca --silent --pem --days 3650 --out "$work/ca.zip"
  unzip -q "$work/ca.zip" -d /certs
fi
if [ ! -f /certs/es03/es03.key ]; then
  "$certutil" cert --silent --pem --days 1095 --in /setup/instances.yml \
    --ca-cert /certs/ca/ca.crt --ca-key /certs/ca/ca.key --out "$work/nodes.zip"
  unzip -q -o "$work/nodes.zip" -d /certs
fi

# Elasticsearch runs as a user of the group 0; the authority's key is for this script alone.
chown -R root:0 /certs
find /certs -type d -exec chmod 750 {} +
find /certs -type f -exec chmod 640 {} +
chmod 600 /certs/ca/ca.key
install -m 644 /certs/ca/ca.crt /ca/ca.crt
