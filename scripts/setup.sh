#!/bin/sh
# Installs what building and testing require and this machine lacks, with its package managers, and prints what it does.
# Works on Debian and Ubuntu; elsewhere it prints what is missing. A second run finds everything in place and does nothing.
set -eu

# The oldest Rust that builds longrun: `rust-version` of Cargo.toml.
wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")

who=setup
. "$(dirname "$0")/packages.sh"

# True when version $1 is at least version $2.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

rust_is_there() {
	command -v cargo >/dev/null && command -v rustc >/dev/null &&
		at_least "$(rustc --version 2>/dev/null | cut -d ' ' -f 2)" "$wanted"
}

# SQLite and the TLS library are built from C.
command -v cc >/dev/null || apt_install gcc libc6-dev

# Tests start a temporary PostgreSQL cluster with the server's programs. Only these are needed: where the distribution
# allows it, installing them creates no cluster of the system.
postgres_is_there() { ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || command -v postgres >/dev/null; }
if ! postgres_is_there; then
	apt_install postgresql-common
	if [ -d /etc/postgresql-common ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
		echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
	elif [ -f /etc/postgresql-common/createcluster.conf ]; then
		as_root sed -i 's/^#\{0,1\}create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
	fi
	apt_install postgresql
fi

# A test checks the alert rules and the dashboard with promtool. Its package would start a Prometheus server, which is not
# wanted here, so its unit is masked. (`systemctl unmask prometheus` undoes this.)
if ! command -v promtool >/dev/null; then
	if [ -d /run/systemd/system ]; then as_root systemctl mask --quiet prometheus; fi
	apt_install prometheus
fi

# A test runs the example worker in Python, which needs only the standard library.
command -v python3 >/dev/null || apt_install python3

# Tests sign in at an OpenID Connect provider, whose packages are kept apart from the system's, and create RSA keys.
python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
command -v openssl >/dev/null || apt_install openssl
"$(dirname "$0")/oidc-provider/python.sh" >/dev/null

PATH="$PATH:$HOME/.cargo/bin"
if ! rust_is_there; then
	if ! command -v rustup >/dev/null && apt-cache show rustup >/dev/null 2>&1; then
		apt_install rustup
	fi
	if command -v rustup >/dev/null; then
		say "installing the stable Rust toolchain with rustup"
		rustup toolchain install stable --profile minimal --component clippy --component rustfmt
		rustup default stable
	else
		say "installing rustup and the stable Rust toolchain with its own installer (into ~/.cargo and ~/.rustup)"
		command -v curl >/dev/null || apt_install curl ca-certificates
		curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
			sh -s -- -y -q --profile minimal --component clippy --component rustfmt
	fi
	rust_is_there || { say "Rust $wanted or newer is needed; found $(rustc --version 2>&1)" >&2; exit 1; }
fi
say "ready: $(rustc --version), $(cc --version | head -n 1)"
