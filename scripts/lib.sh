# Shell functions that the scripts beside this file share; to be sourced by bash, after `set -euo pipefail`.
#
# Three promises are kept here, once, for all of them.  What is missing is installed (Debian packages, as root or through
# sudo).  Nothing is installed into the server: the extension is built in a copy of the tree and staged, and throw-away
# clusters find it through their settings.  Nothing is left behind: clusters live in one temporary directory, which goes
# with them when the script ends, however it ends.
#
#   top       the checkout      tmp   the temporary directory, in $EB_TMP (default /tmp), owned by the unprivileged user
#   pg_bin, pg_lib, pg_share, pg_major            of the server that PG_CONFIG names
#   as CMD    runs CMD as the unprivileged user

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ext=pg_eventbus
keep_tmp=
# Servers, messages and sort order are the same wherever this runs.
export LC_ALL=C.UTF-8
unset LANGUAGE
watched_pids=()

die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Seconds since the script began, for progress lines.
say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"
	elif [ -t 0 ] && command -v sudo >/dev/null; then sudo "$@"
	elif sudo -n true 2>/dev/null; then sudo -n "$@"
	else die "this needs root or sudo: $*"
	fi
}

# Install Debian packages that are not there yet.  A new server package would start a cluster of its own: not asked for.
install_packages() {
	local p missing=() confdir=/etc/postgresql-common/createcluster.d quiet
	for p; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	say "installing ${missing[*]}"
	quiet=$(mktemp)
	if ! {
		{ [ -n "$(find /var/lib/apt/lists -name '*Packages*' -mmin -1440 2>/dev/null | head -n 1)" ] || as_root apt-get update; } &&
			as_root mkdir -p "$confdir" &&
			echo 'create_main_cluster = false' | as_root tee "$confdir/zz-$ext.conf" >/dev/null &&
			as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
	} </dev/null >"$quiet" 2>&1; then
		as_root rm -f "$confdir/zz-$ext.conf"
		tail -n 20 "$quiet" >&2
		rm -f "$quiet"
		return 1
	fi
	as_root rm -f "$confdir/zz-$ext.conf"
	rm -f "$quiet"
}

# need COMMAND=PACKAGE ...: install the packages of those commands that are not on the path.
need() {
	local pair packages=()
	for pair; do
		command -v "${pair%%=*}" >/dev/null || packages+=("${pair#*=}")
	done
	[ ${#packages[@]} -eq 0 ] && return
	command -v apt-get >/dev/null || die "please install: ${packages[*]}"
	install_packages "${packages[@]}"
}

# The server to build for: $PG_CONFIG, else the newest one of the machine that can build extensions, else Debian's.
find_postgres() {
	local c v
	if [ -z "${PG_CONFIG:-}" ]; then
		for c in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5,5Vr); do
			[ -x "$c/postgres" ] && [ -x "$c/pg_config" ] && [ -f "$("$c/pg_config" --pgxs)" ] || continue
			PG_CONFIG=$c/pg_config
			break
		done
	fi
	if [ -z "${PG_CONFIG:-}" ] && command -v apt-get >/dev/null; then
		[ -n "$(apt-cache show postgresql 2>/dev/null)" ] || as_root apt-get update >/dev/null
		v=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
		install_packages "postgresql-$v" "postgresql-server-dev-$v" libc6-dev
		PG_CONFIG=/usr/lib/postgresql/$v/bin/pg_config
	fi
	PG_CONFIG=${PG_CONFIG:-pg_config}
	command -v "$PG_CONFIG" >/dev/null || die "no pg_config: install PostgreSQL with its development files, or set PG_CONFIG"
	export PG_CONFIG
	pg_bin=$("$PG_CONFIG" --bindir)
	pg_lib=$("$PG_CONFIG" --pkglibdir)
	pg_share=$("$PG_CONFIG" --sharedir)
	pg_test=$(dirname "$("$PG_CONFIG" --pgxs)")/../test
	pg_major=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
	[ -x "$pg_bin/initdb" ] || die "$pg_bin has no server"
	[ "$pg_major" -ge 15 ] || die "pg_eventbus needs PostgreSQL 15 or later, $PG_CONFIG is of $pg_major"
}

# The server refuses root: then everything that runs it runs as this user.
pick_user() {
	run_user=
	if [ "$(id -u)" = 0 ]; then
		if id postgres >/dev/null 2>&1; then run_user=postgres; else run_user=nobody; fi
	fi
}

# (Descriptor 8 is a lock of scripts/test, which a server must not inherit.)
as() {
	if [ -n "$run_user" ]; then
		runuser -u "$run_user" -- env HOME="$tmp" "$@" 8>&-
	else
		"$@" 8>&-
	fi
}

# Sets up user, temporary directory and clean-up.  The path is short: sockets lie in it.
begin() {
	pick_user
	tmp=$(mktemp -d "${EB_TMP:-/tmp}/$ext.XXXXXX")
	trap clean_up EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	[ -z "$run_user" ] || chown "$run_user" "$tmp"
	cd "$tmp"
}

# Stops what still runs in the temporary directory, then removes it.
clean_up() {
	local rc=$? pid dir
	trap - EXIT HUP INT TERM
	set +e
	cd /
	for pid in ${watched_pids[@]+"${watched_pids[@]}"}; do kill "$pid" 2>/dev/null; done
	[ -z "$keep_tmp" ] || exit $rc
	while IFS= read -r dir; do
		as "$pg_bin/pg_ctl" -D "${dir%/postmaster.pid}" -m immediate -w -t 20 stop >/dev/null 2>&1
	done < <(find "$tmp" -name postmaster.pid 2>/dev/null)
	rm -rf "$tmp"
	exit $rc
}

# Files of the checkout that matter: tracked or new, not ignored, still there.  Zero-terminated, relative to $top.
tree_files() {
	(
		cd "$top"
		if [ -e .git ] && command -v git >/dev/null && git -c safe.directory="$top" ls-files >/dev/null 2>&1; then
			git -c safe.directory="$top" ls-files -z -co --exclude-standard
		else
			find . -type f -not -path './build/*' -not -path './.git/*' -not -name '*.o' -not -name '*.so' -not -name '*.bc' -printf '%P\0'
		fi | while IFS= read -r -d '' f; do [ ! -f "$f" ] || printf '%s\0' "$f"; done
	)
}

same_file() {
	cmp -s "$1" "$2" && { { [ -x "$1" ] && [ -x "$2" ]; } || { [ ! -x "$1" ] && [ ! -x "$2" ]; }; }
}

# copy_tree DIR: bring DIR up to date with the checkout; what an earlier copy brought and the checkout has no more goes.  What
# differs gets the time of the copy, so that make sees it even if it comes from an older checkout than the objects do.
copy_tree() {
	local dir=$1 f
	mkdir -p "$dir"
	[ ! -f "$dir/.files" ] || mv "$dir/.files" "$dir/.files.old"
	tree_files >"$dir/.files"
	while IFS= read -r -d '' f; do
		same_file "$top/$f" "$dir/$f" || printf '%s\0' "$f"
	done <"$dir/.files" >"$dir/.changed"
	tar -C "$top" --null --no-recursion -T "$dir/.changed" -cf - | tar -C "$dir" --no-same-owner -m -xf -
	[ -f "$dir/.files.old" ] || return 0
	comm -23 <(tr '\0' '\n' <"$dir/.files.old" | sort) <(tr '\0' '\n' <"$dir/.files" | sort) |
		while IFS= read -r f; do rm -f "$dir/$f" "$dir/${f%.c}.o"; done
}

# build_copy NAME COPT: compile the checkout with the flags COPT in build/NAME (which works as a cache) and stage it in
# $tmp/NAME.  The unprivileged user needs to read neither the checkout nor build/.
build_copy() {
	local name=$1 copt=$2 dir=${EB_BUILD_DIR:-$top/build}/$1 flags log
	mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] || dir=$tmp/src-$name
	mkdir -p "$dir"
	log=$dir/make.log
	copy_tree "$dir"
	flags="$("$PG_CONFIG" --version) $PG_CONFIG $copt"
	(
		cd "$dir"
		if [ "$(cat .flags 2>/dev/null)" != "$flags" ]; then
			make -s PG_CONFIG="$PG_CONFIG" with_llvm=no clean
			printf '%s\n' "$flags" >.flags
		fi
		make -s -j"$(nproc)" PG_CONFIG="$PG_CONFIG" with_llvm=no COPT="$copt" all
		make -s PG_CONFIG="$PG_CONFIG" with_llvm=no COPT="$copt" install DESTDIR="$tmp/$name"
	) >"$log" 2>&1 </dev/null || { cat "$log" >&2; return 1; }
	chmod -R a+rX "$tmp/$name"
}

# Settings by which a server finds the extension staged in $tmp/NAME.
staged_conf() {
	echo "dynamic_library_path = '$tmp/$1$pg_lib:\$libdir'"
	if [ "$pg_major" -ge 18 ]; then
		echo "extension_control_path = '$tmp/$1$pg_share:\$system'"
	else
		echo "extension_destdir = '$tmp/$1'"
	fi
}

# cluster_start NAME CONF: a new cluster in $tmp/NAME with the settings of the file CONF, reachable by its socket only.
# Exports PGHOST, PGPORT, PGUSER.
cluster_start() {
	local dir=$tmp/$1
	as mkdir -m 700 "$dir"
	as "$pg_bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync --no-instructions >"$dir.initdb" 2>&1 ||
		{ cat "$dir.initdb" >&2; return 1; }
	{
		cat "$2"
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$dir'"
		echo "port = 5432"
	} | as tee -a "$dir/data/postgresql.conf" >/dev/null
	as "$pg_bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w start >"$dir.start" 2>&1 ||
		{ cat "$dir.start" "$dir/log" >&2; return 1; }
	export PGHOST=$dir PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
}

cluster_stop() {
	as "$pg_bin/pg_ctl" -D "$tmp/$1/data" -m "${2:-fast}" -w stop >/dev/null 2>&1
}

# psql of the server's own version, without start-up file, stopping at the first error.
sql() { as "$pg_bin/psql" -XqAt -v ON_ERROR_STOP=1 "$@"; }

# npm packages that tests and the demo use, versions as test/package.json pins them; prints their directory.
npm_packages() {
	local dir=${EB_BUILD_DIR:-$top/build}/npm
	mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] || dir=$tmp/npm
	mkdir -p "$dir"
	if ! cmp -s "$top/test/package.json" "$dir/package.json" || [ ! -d "$dir/node_modules" ]; then
		cp "$top/test/package.json" "$dir/package.json"
		(cd "$dir" && timeout 180 npm install --loglevel=error --fetch-retries=1 --no-audit --no-fund --no-package-lock --ignore-scripts </dev/null >npm.log 2>&1) || {
			tail -n 20 "$dir/npm.log" >&2
			rm -f "$dir/package.json"
			return 1
		}
	fi
	echo "$dir/node_modules"
}

# webhook_events FILE: the real events that the demo and the benchmark use, one entry of eb.put_events a line.
webhook_events() {
	local modules
	modules=$(npm_packages) && "$top/scripts/webhook-events" "$modules" >"$1"
}

# What a person types before a command to run it as the unprivileged user.
as_prefix() { [ -z "$run_user" ] || printf 'runuser -u %s -- ' "$run_user"; }
