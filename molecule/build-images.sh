#!/bin/sh
# Build stand-ins for the two official images from Debian's packages alone, for machines that reach
# no container registry. Needs Debian or Ubuntu, podman, mmdebstrap and root. Prints what to export.
set -eu

debian=localhost/prefect-maintenance-debian
postgres=localhost/prefect-maintenance-postgres
cd "$(dirname "$0")/.."
. molecule/limits.sh

for program in podman mmdebstrap; do
    command -v "$program" > /dev/null || {
        echo "$0: $program is missing; install it: apt-get install podman mmdebstrap" >&2
        exit 1
    }
done

# The release, the mirror, the proxy and its certificates are this machine's own.
# shellcheck source=/dev/null
. /etc/os-release
sources=/etc/apt/sources.list
for candidate in "/etc/apt/sources.list.d/$ID.sources" "/etc/apt/sources.list.d/$ID.list"; do
    if [ -e "$candidate" ]; then
        sources=$candidate
    fi
done
options=$(mktemp)
trap 'rm -f "$options"' EXIT
apt-config dump Acquire | grep -E '::(Proxy|CAInfo)[^ ]* "..*";$' > "$options" || true

mmdebstrap --quiet --variant=minbase --include=ca-certificates --aptopt="$options" \
    "$VERSION_CODENAME" - "$sources" | podman import --quiet - "$debian" > /dev/null
podman build --quiet --build-arg="BASE=$debian" --tag="$postgres" molecule/postgres > /dev/null

echo "export MOLECULE_DEBIAN_IMAGE=$debian MOLECULE_POSTGRES_IMAGE=$postgres"
