# Helpers that recipes share. Sourced by recipes, never run; `prepare` gives each
# recipe OUT (the folder to fill), WORK (scratch), the variables of its `reads:`
# line and ART_<name> for every artefact of its `needs:` line.
# shellcheck shell=bash

# Where a needed artefact lies.
art() {
	local var=ART_${1//[-.]/_}
	printf '%s\n' "${!var}"
}

# Static and the same on every machine: no VCS stamp, no build path, no cgo.
# The environment's GOFLAGS and GOPROXY hold; only a toolchain of the machine's
# own is used, since no other can be fetched everywhere.
go_env() {
	export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS="${GOFLAGS:+$GOFLAGS }-buildvcs=false -trimpath"
	unset GOBIN GOOS GOARCH
}

# go_module DIR MODULE@VERSION... writes a module that requires the given ones, so
# that their commands can be built although `go install` refuses them (their go.mod
# has replace directives, or several modules must agree on shared ones).
go_module() {
	local dir=$1 m
	shift
	mkdir -p "$dir"
	{
		printf 'module nodekiln.test/%s\n\ngo 1.26.0\n\n' "$(basename "$dir")"
		for m in "$@"; do printf 'require %s %s\n' "${m%@*}" "${m#*@}"; done
	} >"$dir/go.mod"
}

# apt's lists are refreshed once per run of `prepare`, not once per recipe.
apt_update() {
	[ -e "$APT_UPDATED" ] && return
	apt-get -q update
	: >"$APT_UPDATED"
}

# debs DIR PACKAGE... unpacks packages without installing them: no script runs.
debs() {
	local dir=$1 deb
	shift
	apt_update
	mkdir -p "$WORK/debs" "$dir"
	(cd "$WORK/debs" && apt-get -q -o APT::Sandbox::User=root download "$@")
	for deb in "$WORK"/debs/*.deb; do dpkg-deb -x "$deb" "$dir"; done
}

# with_libraries ROOT DEST PROGRAM... copies programs of a Debian root, what they
# are dynamically linked with and the loader, at their own paths.
with_libraries() {
	local root=$1 dest=$2 path
	shift 2
	{
		printf '%s\n' "$@"
		for path in "$@"; do chroot "$root" ldd "$path" | grep -o '/[^ ]*' || true; done
	} | sort -u | while read -r path; do
		# /lib is a link to /usr/lib there: resolve it, or the tree gets two of them.
		path=$(chroot "$root" realpath -s "$path")
		case $path in /lib/* | /lib64/* | /bin/* | /sbin/*) path=/usr$path ;; esac
		install -D "$root$path" "$dest$path"
	done
	for path in bin sbin lib lib64; do
		mkdir -p "$dest/usr/$path"
		ln -sfn "usr/$path" "$dest/$path"
	done
}
