//! The unit that turns a freshly booted machine into the planned Kubernetes node.
