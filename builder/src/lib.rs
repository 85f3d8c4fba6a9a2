//! Builds immutable Kubernetes nodes: one cluster.yaml in, a boot payload per machine out.
