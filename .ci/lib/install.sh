# shellcheck shell=bash
# Installs what the build and the servers need, and nothing when it is all there.

install_all() {
    install_packages
    jars kafka >/dev/null
    jars opensearch >/dev/null
}

# --- Debian and Ubuntu packages ---

install_packages() {
    local missing java
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} > 0)) || return 0
    command -v apt-get >/dev/null || die "missing, and no apt-get to install them with: ${missing[*]}"

    say "installing ${missing[*]}"
    quietly as_root apt-get update
    java=$(java_package)
    quietly without_service_start as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends -o Acquire::Retries=3 "${missing[@]/#java/$java}"
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || die "still missing after their installation: ${missing[*]}"
}

# What is looked for is what is used, however it came here; the packages are named only where it is absent.
missing_packages() {
    need_command gcc cc
    need_command g++ c++
    need_command make make
    need_command pkg-config pkg-config
    need libssl-dev pkg-config --exists openssl
    need_command openssl openssl
    need_command curl curl
    need java find_java
    need_command maven mvn
    need postgresql postgres_bin
    need_command mariadb-server mariadbd
    need_command nginx nginx
}

need_command() {
    need "$1" command -v "$2"
}

need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || echo "$package"
}

# The default of a release may be older than 17 or newer than 21.
java_package() {
    local version
    for version in 17 21; do
        # A package may be known by name only, without a version to install.
        if [[ $(apt-cache policy "openjdk-$version-jre-headless") == *"Candidate: $version"* ]]; then
            echo "openjdk-$version-jre-headless"
            return 0
        fi
    done
    die "neither Java 17 nor 21 is among the packages"
}

# Runs COMMAND and shows the end of what it says only if it fails.
quietly() {
    local output
    if ! output=$("$@" 2>&1 </dev/null); then
        tail -n 40 <<<"$output" >&2
        return 1
    fi
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    else
        sudo "$@"
    fi
}

# Keeps the packages from starting servers on the standard ports: ours run on their own.
without_service_start() {
    local policy=/usr/sbin/policy-rc.d status=0
    if [[ -e $policy ]]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root install -m 0755 /dev/stdin "$policy"
    "$@" || status=$?
    as_root rm -f "$policy"
    return "$status"
}

# --- jars ---

# Prints the folder with the jars of .ci/NAME/pom.xml; fills it first when it is not there.
jars() {
    local name=$1 key folder
    key=$(cat "$CI_DIR/$name"/* | sha256sum | cut -c1-16)
    folder=${XDG_CACHE_HOME:-$HOME/.cache}/audit-log-toolkit/$name-$key
    [[ -d $folder ]] || fetch_jars "$name" "$folder"
    echo "$folder"
}

# Whole or not at all: the folder gets its name last.
fetch_jars() {
    local name=$1 folder=$2 partial
    say "fetching the jars of $name"
    mkdir -p "${folder%/*}"
    partial=$(mktemp -d "$folder.XXXXXX")
    retry mvn --batch-mode --quiet --no-transfer-progress --file "$CI_DIR/$name/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$partial" >&2
    compile_sources "$CI_DIR/$name" "$partial"
    mv -T "$partial" "$folder" 2>/dev/null || rm -rf "$partial" # another run was faster
}

# The compiler is part of the Java runtime's own modules, though the package has no `javac`.
compile_sources() {
    local source=$1 folder=$2
    compgen -G "$source/*.java" >/dev/null || return 0
    "$(find_java)" -m jdk.compiler/com.sun.tools.javac.Main -d "$folder/classes" \
        -cp "$(printf '%s:' "$folder"/*.jar)" "$source"/*.java
}

retry() {
    local attempt
    for attempt in 1 2; do
        "$@" && return 0
        say "attempt $attempt failed: $1"
        sleep 5
    done
    "$@"
}
