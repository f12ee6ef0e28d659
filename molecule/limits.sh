# shellcheck shell=sh
# To be sourced in the checkout. Podman as root raises its containers' limits, which a machine that
# is a guest itself may forbid; then they get limits that every machine grants.
# shellcheck disable=SC3045 # dash and bash both know -n
if [ "$(id -u)" = 0 ] && [ -z "${CONTAINERS_CONF:-}" ] && ! (ulimit -n 1048576) 2> /dev/null; then
    mkdir -p .cache
    export CONTAINERS_CONF="$PWD/.cache/containers.conf"
    echo '[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]' > "$CONTAINERS_CONF"
fi
