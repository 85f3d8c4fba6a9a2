//! Those that read what we write, asked themselves: kubeadm (what would it have written?), systemd (does it take our
//! units without a word?), and Kubernetes' and etcd's own programs (do they take our flags and files?), Go (what does it read
//! into a configuration?).
// Measured times are printed: a developer reads them there.
#![allow(clippy::print_stderr)]

mod components;
mod external;
mod fields;
mod oracle;
mod units;
