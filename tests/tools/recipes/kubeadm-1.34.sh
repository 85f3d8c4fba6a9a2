#!/usr/bin/env bash
# kubeadm of an older minor, as an oracle for what we write for that minor. Nothing else of it is needed.
# inputs: lib.sh recipes/kubernetes.sh
# uses: go
# reads: KUBEADM_1_34_VERSION
# gives: bin/kubeadm-1.34=kubeadm
set -euo pipefail
KUBERNETES_VERSION=$KUBEADM_1_34_VERSION PROGRAMS=kubeadm bash "$TOOLS/recipes/kubernetes.sh"
