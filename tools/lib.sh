# shellcheck shell=bash
# What tools/bootstrap, tools/docker_engine and the Makefile share. Source it; it changes nothing by itself.

CELERIAC_STATE="${XDG_STATE_HOME:-$HOME/.local/state}/celeriac"

say() { printf '%s\n' "celeriac: $*"; }

die() {
    printf '%s\n' "celeriac: error: $*" >&2
    exit 1
}

# Run a command quietly; on failure show the end of what it printed.
quietly() {
    local output
    output="$(mktemp)"
    if "$@" >"$output" 2>&1; then
        rm -f "$output"
        return 0
    fi
    tail -n 15 "$output" | sed 's/^/    /' >&2
    rm -f "$output"
    return 1
}

# Try a command three times; networks hiccup.
retry() {
    local attempt
    for attempt in 1 2 3; do
        if quietly "$@"; then return 0; fi
        if [ "$attempt" -lt 3 ]; then
            say "attempt $attempt of 3 failed, trying again" >&2
            sleep $((attempt * 3))
        fi
    done
    return 1
}

# apt_install PACKAGE... installs what is missing: only as root on Debian, and one at a time across our tools.
apt_install() {
    command -v apt-get >/dev/null || die "this machine has no apt-get; install by hand: $*"
    [ "$(id -u)" -eq 0 ] || die "not root; run: sudo apt-get install --yes $*"
    mkdir -p "$CELERIAC_STATE"
    say "installing $*"
    (
        flock 8
        export DEBIAN_FRONTEND=noninteractive
        local install=(apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "$@")
        # A fresh machine has no package lists; an old one has stale ones.
        "${install[@]}" >/dev/null 2>&1 || { retry apt-get update && quietly "${install[@]}"; }
    ) 8>"$CELERIAC_STATE/apt.lock" || die "apt-get could not install: $*"
}

# uv does not read pip's configuration: hand it this machine's, without overriding what the caller set for uv.
# Hashes are required for every install, so taking the best match of all indexes is safe.
uv_environment() {
    local settings
    settings="$(
        "$1" -m pip config list 2>/dev/null | "$1" -c '
import ast, os, shlex, sys

pip = {}
for line in sys.stdin:
    name, _, value = line.partition("=")
    section, _, key = name.strip().partition(".")
    if section in ("global", "install", ":env:") and (section != "global" or key not in pip):
        pip[key] = str(ast.literal_eval(value.strip())).split()

# Directories count only where they are the one source there is: beside an index they hide files, and so hashes, from a lock.
local_only = "no-index" in pip or "".join(pip.get("index-url", [])).startswith("file:")
def usable(key):
    return [place for place in pip.get(key, []) if local_only or place.startswith(("http://", "https://"))]

uv = {
    "UV_DEFAULT_INDEX": " ".join(pip.get("index-url", [])),
    "UV_INDEX": " ".join(usable("extra-index-url")),
    "UV_FIND_LINKS": ",".join(usable("find-links")),
    "UV_NO_INDEX": " ".join(pip.get("no-index", [])),
    "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", [])),
    "UV_HTTP_TIMEOUT": " ".join(pip.get("timeout", pip.get("default-timeout", []))),
    "SSL_CERT_FILE": " ".join(pip.get("cert", [])),
    "HTTPS_PROXY": " ".join(pip.get("proxy", [])),
    "UV_INDEX_STRATEGY": "unsafe-best-match",
    "UV_SYSTEM_CERTS": "" if pip.get("cert") else "1",
}
for name, value in uv.items():
    if value and name not in os.environ:
        print("export", f"{name}={shlex.quote(value)}")
'
    )" || die "pip's configuration could not be read; try: $1 -m pip config list"
    eval "$settings"
}
