# Sourced by the scripts that set up a machine: installs packages of the distribution. `who` is the prefix of its messages.

say() { printf '%s: %s\n' "$who" "$*"; }

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
		say "cannot run '$*': neither root nor sudo" >&2
		exit 1
	fi
}

refreshed=
apt_install() {
	if ! command -v apt-get >/dev/null; then
		say "please install: $*" >&2
		exit 1
	fi
	say "installing $* with apt-get"
	if [ -z "$refreshed" ]; then
		as_root apt-get update -qq
		refreshed=yes
	fi
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Makes node_modules of a folder match its lock file.
npm_install() {
	if ! cmp -s "$1/package-lock.json" "$1/node_modules/.stamp"; then
		say "installing $1/node_modules"
		(cd "$1" && npm ci --silent --no-audit --no-fund)
		cp "$1/package-lock.json" "$1/node_modules/.stamp"
	fi
}
