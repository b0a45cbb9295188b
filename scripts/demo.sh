#!/bin/sh
# demo.sh BIN  -- the main job from end to end, in a directory of its own; leaves nothing running
set -eu
bin=$1
here=$(cd "$(dirname "$0")/.." && pwd)
if [ "$(id -u)" = 0 ]; then
    # Started by root, an endpoint would map identities to users; as root only in name it is an ordinary one.
    exec unshare --user --map-user=65534 --map-group=65534 "$0" "$bin"
fi
work=$(mktemp -d)
export HOME="$work/home" PATH="$bin:$PATH" CHILTEPIN_SANDBOX_DIR="$work/sandbox" PYTHONWARNINGS=ignore
mkdir -p "$HOME"
cp "$here/examples/laptop/chiltepin.yaml" "$here/examples/laptop/workflow.py" "$work"
cd "$work"

bold='' plain=''
if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); fi
say() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; }
run() { say "$@"; "$@"; }
clean() {
    code=$?
    if [ -n "${sandbox_is_up:-}" ]; then
        [ $code = 0 ] || chiltepin destroy --yes --purge || true
        chiltepin sandbox down 2>/dev/null || true
    fi
    cd /
    rm -rf "$work"
    exit $code
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

run chiltepin sandbox up
sandbox_is_up=1
eval "$(chiltepin sandbox env)"
run chiltepin plan
run chiltepin apply --yes --quiet
run python workflow.py
run chiltepin status
say "sed -i 's/Laptop, plots/Laptop, figures/' chiltepin.yaml"
sed -i 's/Laptop, plots/Laptop, figures/' chiltepin.yaml
run chiltepin plan
run chiltepin destroy --yes --purge
run chiltepin sandbox down
sandbox_is_up=
printf '\nThat was all of it; nothing is left running.\n'
