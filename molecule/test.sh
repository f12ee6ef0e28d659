#!/usr/bin/env bash
# Run the scenarios: all of them, or those named. With --if-possible, a machine without podman is
# told so in one line, and no more.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=1
if [ "${1:-}" = --if-possible ]; then
    missing=0
    shift
fi

ci_as_root() {
    [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null
}

installed() {
    command -v podman > /dev/null && command -v mmdebstrap > /dev/null
}

if ci_as_root && ! installed; then
    # Tests that run meanwhile install packages of their own (lab/debian.py), under the same lock.
    mkdir -p .cache
    flock .cache/apt.lock sh -c 'apt-get -qq update &&
        DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
            containernetworking-plugins mmdebstrap podman runc > /dev/null'
fi
if ! command -v podman > /dev/null; then
    echo "The container tests were not run: podman is missing. Install it, then: make molecule"
    exit "$missing"
fi

MAKEFLAGS='' "${MAKE:-make}" --silent .cache/molecule/.made

. molecule/limits.sh

# In CI everything comes from packages; elsewhere the official images are pulled.
if [ -z "${MOLECULE_DEBIAN_IMAGE:-}${MOLECULE_POSTGRES_IMAGE:-}" ] && ci_as_root; then
    MOLECULE_DEBIAN_IMAGE=localhost/prefect-maintenance-debian
    MOLECULE_POSTGRES_IMAGE=localhost/prefect-maintenance-postgres
    export MOLECULE_DEBIAN_IMAGE MOLECULE_POSTGRES_IMAGE
    if ! podman image exists "$MOLECULE_POSTGRES_IMAGE"; then
        molecule/build-images.sh > /dev/null
    fi
fi

# Its state lies in the checkout too, not in the home.
export ANSIBLE_HOME=$PWD/.cache/ansible
export PATH=$PWD/.cache/molecule/bin:$PATH
export MOLECULE_PROJECT_DIRECTORY=$PWD
ansible-playbook -i molecule/inventory molecule/image.yml > .cache/molecule.log 2>&1 || {
    cat .cache/molecule.log
    exit 1
}

run() {
    if molecule test --scenario-name "$1" > ".cache/molecule-$1.log" 2>&1; then
        echo "$1: passed in $SECONDS s"
    else
        cat ".cache/molecule-$1.log"
        echo "$1: FAILED, see above"
        return 1
    fi
}
export -f run

if [ $# -eq 0 ]; then
    set -- fleet default schedule sqlite
fi
# Two at a time, because each spends half of its time waiting.
printf '%s\n' "$@" | xargs -P 2 -I{} bash -c 'run {}'
