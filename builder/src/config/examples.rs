//! Cluster files to start from, embedded: what `nodekiln init` writes.

/// An example.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// Name for `--example`.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// A complete cluster.yaml.
    pub text: &'static str,
}

/// All examples.
pub const ALL: &[Example] = &[
    Example {
        name: "single",
        about: "one machine that is control plane and worker",
        text: include_str!("examples/single.yaml"),
    },
    Example {
        name: "ha",
        about: "three control planes behind a load balancer, and a worker",
        text: include_str!("examples/ha.yaml"),
    },
    Example {
        name: "external-etcd",
        about: "etcd on three machines of its own, control planes and workers",
        text: include_str!("examples/external-etcd.yaml"),
    },
    Example {
        name: "dual-stack",
        about: "IPv4 and IPv6, three control planes without a load balancer of their own",
        text: include_str!("examples/dual-stack.yaml"),
    },
    Example {
        name: "pxe",
        about: "bare metal booted over the network, with pointers and a VIP",
        text: include_str!("examples/pxe.yaml"),
    },
];

/// The example of this name.
pub fn find(name: &str) -> Option<&'static Example> {
    ALL.iter().find(|example| example.name == name)
}
