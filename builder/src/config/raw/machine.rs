//! The tables of what machines are: nodes, pools, their operating system, programs and kernel.

use super::*;

raw! {
    /// nodes[].
    RawNode {
        /// Host name and Node name.
        name: String = "name" => note().required(),
        /// Its part in the cluster.
        role: String = "role" => note().required().one_of(|| names(&choices::ROLES)),
        /// The machine's address, or one of each family.
        address: OneOrMany<String> = "address" => note().required(),
        /// MAC address of its network port, by which the port is found.
        mac: String = "mac",
        /// UUID of the machine (SMBIOS).
        uuid: String = "uuid",
        /// A static network; DHCP without it.
        network: RawNetwork = "network",
        /// Labels of the Node.
        labels: Named<String> = "labels",
        /// Taints of the Node, `key[=value]:Effect`. Given, they replace the role's default; `[]` is none.
        taints: List<String> = "taints",
        /// How it proves who it is: by certificates in its payload, or by a bootstrap token.
        identity: String = "identity" => note().one_of(|| names(&choices::IDENTITIES)).default("baked"),
        /// Life of its bootstrap token; `0` never ends.
        ttl: Ttl = "ttl",
        /// The disk that an installer writes the operating system to.
        disk: String = "disk" => note().pattern("^/dev/"),
        /// A dead etcd member whose place it takes, `NAME` or `NAME@ADDRESS`.
        replaces: String = "replaces",
        /// The kubelet's version, where it is not the cluster's.
        kubernetes_version: Version = "kubernetesVersion" => note().pattern(VERSION),
        /// Its part of podSubnet. By default the next free one, in the order of the nodes.
        pod_cidr: String = "podCIDR",
        /// Fields of KubeletConfiguration, over the cluster's.
        kubelet: Object = "kubelet",
        /// Flags of the kubelet, over the cluster's.
        kubelet_extra_args: List<RawArg> = "kubeletExtraArgs",
        /// Modules, sysctls and swap, over the cluster's.
        kernel: RawKernel = "kernel",
        /// The operating system, over the cluster's.
        os: RawOs = "os",
        /// Where programs come from, over the cluster's.
        binaries: RawBinaries = "binaries",
    } later []
}

raw! {
    /// pools[].
    RawPool {
        /// Name of the pool, and of its machines that have no host name of their own.
        name: String = "name" => note().required(),
        /// Life of its bootstrap token, from the secrets' creation or last renewal; `0` never ends.
        ttl: Ttl = "ttl" => note().required(),
        /// Labels of its Nodes.
        labels: Named<String> = "labels",
        /// Taints of its Nodes, `key[=value]:Effect`.
        taints: List<String> = "taints",
        /// The kubelet's version, where it is not the cluster's.
        kubernetes_version: Version = "kubernetesVersion" => note().pattern(VERSION),
        /// Fields of KubeletConfiguration, over the cluster's.
        kubelet: Object = "kubelet",
        /// Flags of the kubelet, over the cluster's.
        kubelet_extra_args: List<RawArg> = "kubeletExtraArgs",
        /// Modules, sysctls and swap, over the cluster's.
        kernel: RawKernel = "kernel",
        /// The operating system, over the cluster's.
        os: RawOs = "os",
        /// Where programs come from, over the cluster's.
        binaries: RawBinaries = "binaries",
    } later []
}

raw! {
    /// nodes[].network.
    RawNetwork {
        /// Addresses with prefix length, `192.0.2.10/24`.
        addresses: List<String> = "addresses",
        /// The default gateway, or one of each family.
        gateway: OneOrMany<String> = "gateway",
        /// DNS servers.
        nameservers: List<String> = "nameservers",
    } later []
}

raw! {
    /// os, of the cluster or of a node.
    RawOs {
        /// Which operating system the machine's image holds.
        profile: String = "profile" => note().one_of(|| names(&choices::profiles())),
        /// How the payload gets to the machine, which limits its size.
        platform: String = "platform" => note().one_of(|| names(&Platform::ALL)).default("metal"),
        /// Processor architecture.
        arch: String = "arch" => note().one_of(|| names(&choices::ARCHITECTURES)).default("amd64"),
        /// Version of Ignition's specification.
        ignition_version: String = "ignitionVersion" => note().one_of(|| names(&choices::IGNITION_VERSIONS)).default("3.3.0"),
        /// Accounts, by name.
        users: List<RawUser> = "users",
        /// Time servers, instead of the system's own.
        time_servers: List<String> = "timeServers",
        /// Whether the operating system updates itself. Off by default: it would reboot by itself.
        updates: Switch = "updates",
        /// More files, by path, owned by root.
        files: List<RawFile> = "files",
        /// More systemd units, by name.
        units: List<RawUnit> = "units",
        /// Ignition configs or #cloud-config files that are merged below nodekiln's own.
        snippets: List<String> = "snippets",
    } later []
}

raw! {
    /// os.users[].
    RawUser {
        /// Name of the account.
        name: String = "name" => note().required(),
        /// Public keys, lines of an authorized_keys file.
        ssh_authorized_keys: List<Hidden> = "sshAuthorizedKeys",
        /// Hash of a password as crypt(5) has them.
        password_hash: Hidden = "passwordHash",
        /// Groups. By default the one that may become root.
        groups: List<String> = "groups",
    } later []
}

raw! {
    /// os.files[].
    RawFile {
        /// Absolute path on the node.
        path: String = "path" => note().required().pattern(ABSOLUTE),
        /// Permission bits, four octal digits, quoted.
        mode: FileMode = "mode" => note().default("0644").pattern("^0[0-7]{3}$"),
        /// What is in it. This or `file`.
        content: Hidden = "content",
        /// An input file, relative to cluster.yaml. This or `content`.
        file: String = "file",
    } later []
}

raw! {
    /// os.units[].
    RawUnit {
        /// Name of the unit with its suffix.
        name: String = "name" => note().required(),
        /// Whether it is started at boot.
        enabled: bool = "enabled",
        /// The unit file. Without it the image's own is meant.
        content: Hidden = "content",
        /// Drop-ins, by name.
        dropins: List<RawDropin> = "dropins",
    } later []
}

raw! {
    /// os.units[].dropins[].
    RawDropin {
        /// File name, ending in .conf.
        name: String = "name" => note().required().pattern("\\.conf$"),
        /// What is in it.
        content: Hidden = "content" => note().required(),
    } later []
}

raw! {
    /// binaries, of the cluster or of a node.
    RawBinaries {
        /// The kubelet.
        kubelet: RawBinary = "kubelet",
        /// containerd.
        containerd: RawBinary = "containerd",
        /// runc.
        runc: RawBinary = "runc",
        /// The CNI plugins: a folder, or an archive.
        cni_plugins: RawBinary = "cniPlugins",
        /// nodekiln-firstboot. By default the one that nodekiln holds, or that `--firstboot` gives.
        firstboot: RawBinary = "firstboot",
    } later []
}

raw! {
    /// binaries.NAME.
    RawBinary {
        /// Its place in the machine's image.
        path: String = "path" => note().pattern(ABSOLUTE),
        /// An input file, relative to cluster.yaml.
        file: String = "file",
        /// Where the machine fetches it; with `sha256` or `sha512`.
        url: String = "url" => note().pattern("^https?://"),
        /// SHA-256 of the file as it is served, 64 hex digits.
        sha256: String = "sha256" => note().pattern("^[0-9A-Fa-f]{64}$"),
        /// SHA-512 of the file as it is served, 128 hex digits.
        sha512: String = "sha512" => note().pattern("^[0-9A-Fa-f]{128}$"),
        /// Where the machine fetches a system extension image that holds it.
        sysext: String = "sysext",
    } later []
}

raw! {
    /// kernel, of the cluster or of a node.
    RawKernel {
        /// Modules to load, beyond nodekiln's own.
        modules: List<String> = "modules",
        /// Settings, by name, beyond nodekiln's own.
        sysctls: List<RawSysctl> = "sysctls",
        /// Whether swap is left alone. By default it is turned off.
        swap: bool = "swap",
    } later []
}

raw! {
    /// kernel.sysctls[].
    RawSysctl {
        /// Name of the setting.
        name: String = "name" => note().required(),
        /// Its value: a whole number, or a text of several.
        value: NumberOrText = "value" => note().required(),
        /// Only raise: a larger number that is already set stays.
        floor: bool = "floor",
    } later []
}
