# Sourced by build.sh, deb.sh and wheel.sh: what stands in every release.

# cpu ARCH: the compilers' name of a Debian architecture.
cpu() {
    case $1 in
        arm64) echo aarch64 ;;
        amd64) echo x86_64 ;;
        *) echo "no build for $1; there are arm64 and amd64" >&2 && exit 2 ;;
    esac
}

# version: the workspace's.
version() { sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1; }

# dated: the time that stands in packages is the last commit's, so that two builds are equal.
dated() {
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
    export SOURCE_DATE_EPOCH
}
