# Sourced by ci.sh: what is released, built for arm64 and amd64 with Debian's packages alone.

# Debian security's Rust has the sources of core and std and so builds them for any target, which a rustup without
# rust-src cannot. rustup's cargo comes first in PATH and would be taken by cargo itself, so PATH is set.
debian_cargo() {
    need /usr/bin/cargo cargo-web
    need /usr/lib/rustlib/src/rust/library/core rust-web-src
    [ "$(/usr/bin/rustc --version | cut -d. -f2)" -ge 88 ] ||
        die "$(/usr/bin/rustc --version) is too old; Debian security has 1.88 or newer: apt-get install rustc-web cargo-web"
    PATH=/usr/bin:/bin RUSTC_BOOTSTRAP=1 /usr/bin/cargo "$@" --locked --target-dir build/debian
}

. "${BASH_SOURCE[0]%/*}/release.sh"

# The same bytes from any folder and any user's registry.
remapped() {
    echo "--remap-path-prefix=$PWD=/jetpace --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
}

# static_build ARCH PACKAGE --bin NAME ...: against musl, fully static, with the smallest std. 4 KiB pages and no unwind
# tables save 140 KB; on arm64 the tiny code model, whose addresses reach 1 MiB (the linker refuses more), and a second look
# for repeated instructions 24 KB; SHA-256 as a loop 7 KB.
STATIC=build/debian/aarch64-unknown-linux-musl/release-static
static_build() {
    local cpu musl cc lib own
    cpu=$(cpu "$1")
    musl=/usr/lib/$cpu-linux-musl cc=$cpu-linux-gnu-gcc lib=$PWD/build/debian/no_unwind-$1
    case $1 in
        arm64) need $cc gcc-aarch64-linux-gnu && own="-C code-model=tiny -C llvm-args=-machine-outliner-reruns=2" ;;
        # Debian's musl specs know no static position-independent program.
        amd64) need $cc gcc-x86-64-linux-gnu && own="-C relocation-model=static" ;;
    esac
    need_arch "$1" "$musl/libc.a" musl-dev
    need file file
    mkdir -p "$lib"
    rm -f "$lib"/*
    $cc -specs="$musl/musl-gcc.specs" -Os -c agent/static/stubs.c -o "$lib/stubs.o"
    $cpu-linux-gnu-ar rcs "$lib/libunwind.a" "$lib/stubs.o"
    RUSTFLAGS="-C linker=$cc -C link-self-contained=no -C link-arg=-specs=$musl/musl-gcc.specs -L native=$musl \
        -L native=$lib -C link-arg=-Wl,-z,max-page-size=4096 -C force-unwind-tables=no $own \
        --cfg sha2_backend_soft=\"compact\" $(remapped)" \
        debian_cargo build -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size --profile release-static \
        --target "$cpu-unknown-linux-musl" --no-default-features -p "${@:2}"
}

# static_agent ARCH: the agent that runs as root; prints nothing, dies where it is not static.
static_agent() {
    static_build "$1" jetpace --bin jetpace
    local built=build/debian/$(cpu "$1")-unknown-linux-musl/release-static/jetpace
    # Debian's musl links dynamically without a word where its specs are not followed.
    file "$built" | grep -q 'statically linked' || die "not static: $(file "$built")"
}

# The mirror that this Debian itself uses; it has the other releases, too.
mirror() { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | sed -n 1p; }

# sysroot ARCH: Debian 11's C library, unpacked: glibc 2.31, JetPack 5's. What is linked with it runs there and on all later.
sysroot() {
    local root=$PWD/build/sysroot/$1 link
    if [ ! -e "$root/complete" ]; then
        need mmdebstrap mmdebstrap
        rm -rf "$root"
        mkdir -p build/sysroot
        mmdebstrap --quiet --variant=extract --architectures="$1" --include=libc6-dev bullseye "$root" \
            "$(mirror)" >&2
        # Its links name libraries by absolute paths.
        for link in "$root"/usr/lib/*-linux-gnu/*.so "$root"/lib64/*.so.*; do
            case $(readlink "$link") in
                /*) ln -sfn "$root$(readlink "$link")" "$link" ;;
            esac
        done
        touch "$root/complete"
    fi
    echo "$root"
}

# full_build ARCH: what people type and link, against glibc 2.31.
full_build() {
    local cpu root flags
    cpu=$(cpu "$1")
    root=$(sysroot "$1")
    need "$cpu-linux-gnu-gcc" "gcc-${cpu/_/-}-linux-gnu"
    need_arch "$1" "/usr/lib/rustlib/$cpu-unknown-linux-gnu/lib" libstd-rust-web-dev
    # Debian 11's start files and libgcc_s as well: the compiler's own want glibc 2.34 and 2.35. A compiler for the machine
    # that it runs on looks into no sysroot by itself.
    local libraries=$root/usr/lib/$cpu-linux-gnu
    flags="-C linker=$cpu-linux-gnu-gcc -C link-arg=--sysroot=$root -C link-arg=-Wl,--sysroot=$root \
        -C link-arg=-B$libraries -C link-arg=-L$libraries -C link-arg=-L$root/lib/$cpu-linux-gnu $(remapped)"
    local build=(debian_cargo build --release --config 'profile.release.strip=true' --target "$cpu-unknown-linux-gnu")
    RUSTFLAGS=$flags "${build[@]}" -p jetpace --bin jetpace --features cuda
    RUSTFLAGS=$flags "${build[@]}" -p jetpace-capi
    RUSTFLAGS=$flags "${build[@]}" -p jetpace-nvtx
    local folder=build/debian/$cpu-unknown-linux-gnu/release file newest
    for file in jetpace libjetpace.so libjetpace_nvtx.so; do
        newest=$("$cpu-linux-gnu-objdump" -T "$folder/$file" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -1)
        [ "$(printf '%s\n' "$newest" GLIBC_2.31 | sort -V | tail -1)" = GLIBC_2.31 ] ||
            die "$folder/$file needs $newest; Debian 11 and JetPack 5 have 2.31"
    done
}
