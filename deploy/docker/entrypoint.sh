#!/bin/sh
# Takes what Consul's image takes: `agent ...`, another command of consul, flags alone, or a program of one's own.
#
#   CONSUL_DATA_DIR, CONSUL_CONFIG_DIR     /consul/data and /consul/config
#   CONSUL_BIND_INTERFACE                  becomes -bind=ADDRESS of that interface
#   CONSUL_CLIENT_INTERFACE                becomes -client=ADDRESS of that interface
#   CONSUL_LOCAL_CONFIG                    JSON that is written to local.json of the configuration
set -eu

data=${CONSUL_DATA_DIR:-/consul/data}
config=${CONSUL_CONFIG_DIR:-/consul/config}

address_of() {
  found=$(ip -o -4 addr list "$1" | head -n1 | awk '{print $4}' | cut -d/ -f1)
  if [ -z "$found" ]; then
    echo "entrypoint: interface \"$1\" has no IPv4 address" >&2
    exit 1
  fi
  echo "$found"
}

bind=
if [ -n "${CONSUL_BIND_INTERFACE:-}" ]; then
  bind="-bind=$(address_of "$CONSUL_BIND_INTERFACE")"
fi
client=
if [ -n "${CONSUL_CLIENT_INTERFACE:-}" ]; then
  client="-client=$(address_of "$CONSUL_CLIENT_INTERFACE")"
fi
if [ -n "${CONSUL_LOCAL_CONFIG:-}" ]; then
  printf '%s\n' "$CONSUL_LOCAL_CONFIG" > "$config/local.json"
fi

case ${1:-} in
  '' | -*) set -- consul "$@" ;;
esac
if [ "$1" = agent ]; then
  shift
  # Flags of the command line come last and so win.
  set -- consul agent "-data-dir=$data" "-config-dir=$config" ${bind:+"$bind"} ${client:+"$client"} "$@"
elif [ "$1" != consul ] && ! command -v "$1" > /dev/null 2>&1; then
  # `members`, `kv get x`: a command of consul's.
  set -- consul "$@"
fi
exec "$@"
