#!/bin/sh
# Proves that the build script finds uap-core's rules without a network, in two copies of this crate:
# one that takes its packages from the registry's cache, one with vendored packages and no registry.
#
#     sh shared/user-agent/check-offline.sh
#
# What it needs of the registry has to be in cargo's cache, which any build of the workspace fills.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
export CARGO_TARGET_DIR="$temp/target" CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0

# The workspace, reduced to this crate. Development dependencies are left out: vendoring would take
# more time for them than for all else.
mkdir -p "$temp/copy/shared"
cp -R "$root/shared/user-agent" "$temp/copy/shared/"
cp "$root/Cargo.lock" "$root/rust-toolchain.toml" "$temp/copy/"
sed -e 's|^members = .*|members = ["shared/user-agent"]|' -e '/^default-members/d' \
    -e '/^\[profile/,$d' "$root/Cargo.toml" > "$temp/copy/Cargo.toml"
manifest="$temp/copy/shared/user-agent/Cargo.toml"
sed '/^\[dev-dependencies\]/,$d' "$manifest" > "$temp/manifest"
mv "$temp/manifest" "$manifest"
rm -rf "$temp/copy/shared/user-agent/examples"

# check WHERE: builds offline, and looks whether rules and tests come from a folder below WHERE.
check() {
    (cd "$temp/copy" && cargo check --quiet --offline --package user-agent)
    found=$(sed -n 's/^cargo::rustc-env=UAP_CORE=//p' "$CARGO_TARGET_DIR"/debug/build/user-agent-*/output)
    case $found in
        "$1"/*) echo "found $found" ;;
        *) echo "found $found, not below $1" >&2 && exit 1 ;;
    esac
    for file in $(grep -o '"test[a-z_]*/[a-z_]*\.yaml"' "$root/shared/user-agent/src/tests.rs" | tr -d '"' | sort -u); do
        test -s "$found/$file" || { echo "$found/$file is missing" >&2; exit 1; }
    done
    rm -rf "$CARGO_TARGET_DIR"
}

check "${CARGO_HOME:-$HOME/.cargo}/registry"

mkdir "$temp/copy/.cargo"
(cd "$temp/copy" && cargo vendor --offline > .cargo/config.toml 2> "$temp/log") || { cat "$temp/log" >&2; exit 1; }
# An empty home: no registry to fall back to.
mkdir "$temp/home"
export RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}"
export CARGO_HOME="$temp/home"
check "$temp/copy/vendor"
