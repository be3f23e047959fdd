# For .ci/bare, .ci/sid and .ci/wheels, which source it: a Debian in a folder, and what its programs need of this machine.
# Needs root.

# What has been fetched once need not be fetched again. An empty folder does as well.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rbkit-ci

# own_mounts ARGUMENTS: the script once more, with mounts and processes of its own, which end with it, however it ends.
# Nobody else sees anything mounted in the folder, so it is safe to remove. Returns only in that second run.
own_mounts() {
    if [ -z "${RBKIT_OWN_MOUNTS:-}" ]; then
        RBKIT_OWN_MOUNTS=1 exec unshare --mount --propagation private --pid --fork --kill-child "$0" "$@"
    fi
    unset RBKIT_OWN_MOUNTS
    trap 'exit 143' TERM INT # without one, the first of a system's processes does not heed them
}

# debian SUITE FOLDER PACKAGES: makes it, with the packages (separated by commas) and nothing that is not needed.
debian() {
    local fetched=$cache/debs
    if ! command -v debootstrap >/dev/null; then
        (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debootstrap) >/dev/null
    fi
    mkdir -p "$fetched" "$2"
    debootstrap --cache-dir="$fetched" --variant=minbase --include="$3" "$1" "$2" >"$2.log" 2>&1 ||
        { tail -50 "$2.log" >&2; return 1; }
    rm "$2.log"
}

# furnish FOLDER: mounts what programs expect there, and copies what it takes to reach a network as from here: names of
# hosts, pip's files, certificates, files and folders that variables name. $variables has those variables from then on.
furnish() {
    local root=$1 file line word
    local names='PIP_[A-Z_]+|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|npm_config_[a-z_]+|(https?|no|HTTPS?|NO)_(proxy|PROXY)'
    local of_files='^(PIP_(CERT|CLIENT_CERT|CONFIG_FILE|CONSTRAINT|FIND_LINKS)|SSL_CERT_.*|NODE_EXTRA_CA_CERTS|npm_config_cafile)='
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev" # with pts and shm
    chmod 755 "$root"
    : >"$root/etc/pip.conf"
    for file in /etc/pip.conf "$HOME/.pip/pip.conf" "$HOME/.config/pip/pip.conf"; do
        [ ! -f "$file" ] || cat "$file" >>"$root/etc/pip.conf"
    done
    variables=(LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTEST_ADDOPTS="${PYTEST_ADDOPTS:-}")
    variables+=(RBKIT_TEST_TIMEOUT_FACTOR="${RBKIT_TEST_TIMEOUT_FACTOR:-2}")
    take_files "$root" /etc/hosts /etc/resolv.conf /etc/ssl/certs/ca-certificates.crt
    while IFS= read -r line; do
        variables+=("$line")
        [[ ! $line =~ $of_files ]] || for word in ${line#*=}; do take_files "$root" "$word"; done
    done < <(env | grep -E "^($names)=" | grep -v '^PIP_CACHE_DIR=')
}

# take_files FOLDER PATH...: those files, or all below them, to the same places. Written from within, where an absolute
# link that is there already cannot lead to a file of this machine. (Here a link that leads nowhere is none.)
take_files() {
    local root=$1 path
    shift
    for path in "$@"; do
        [[ $path != /* ]] || [ ! -e "$path" ] || find -L "$path" -type f -print0
    done | tar --create --dereference --absolute-names --null --files-from=- | chroot "$root" tar --extract --absolute-names
}
