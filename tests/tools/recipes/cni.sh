#!/usr/bin/env bash
# The CNI plugins that a bridge network needs.
# inputs: lib.sh
# uses: go
# reads: CNI_PLUGINS_VERSION
# gives: cni=.
set -euo pipefail
source "$TOOLS/lib.sh"
go_env
module=github.com/containernetworking/plugins
plugins=(main/bridge main/loopback ipam/host-local meta/portmap meta/firewall)
plugins=("${plugins[@]/#/$module/plugins/}")
GOBIN=$OUT go install -ldflags "-s -w -X $module/pkg/utils/buildversion.BuildVersion=$CNI_PLUGINS_VERSION" \
	"${plugins[@]/%/@$CNI_PLUGINS_VERSION}"
