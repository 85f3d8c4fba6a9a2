//! The numbers of findings. Stable: scripts match them. A number that is retired is not used again.

use serde::{Serialize, Serializer};
use std::fmt;

/// A rule's number, shown as `NK0201`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NK{:04}", self.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        $($(#[$doc])* pub const $name: Code = Code($number);)*

        /// Every code.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    /// Not YAML.
    SYNTAX = 101;
    /// Not UTF-8.
    ENCODING = 102;
    /// Larger than nodekiln reads.
    TOO_LARGE = 103;
    /// A tab where YAML has structure.
    TAB = 104;
    /// A key twice in one mapping.
    DUPLICATE_KEY = 105;
    /// More than one document, or none.
    DOCUMENTS = 106;
    /// Aliases that multiply the input, or lead into themselves.
    ALIAS = 107;
    /// Nested too deeply.
    DEPTH = 108;
    /// A tag or directive that is not read.
    TAG = 109;
    /// A character that no text file has.
    CONTROL = 110;
    /// A key that is not plain text.
    KEY = 111;

    /// A key that nobody knows here.
    UNKNOWN_KEY = 201;
    /// A mapping where a text is due and the like.
    TYPE = 202;
    /// A number or boolean where a text is due.
    QUOTE = 203;
    /// A required value is missing or null.
    MISSING = 204;
    /// Known, but not supported by this version.
    UNSUPPORTED = 205;
    /// A value that YAML 1.1 and 1.2 read differently.
    AMBIGUOUS = 206;

    /// Not what may stand here.
    VALUE = 301;
    /// Not one of the choices.
    CHOICE = 302;
    /// A Kubernetes version that cannot be built.
    VERSION = 303;
    /// A validity or deadline that cannot be.
    DURATION = 304;
    /// Something is listed twice.
    DUPLICATE = 305;
    /// An unknown name of a preflight check.
    CHECK_NAME = 306;

    /// A subnet that cannot be used.
    SUBNET = 401;
    /// Networks or addresses that overlap.
    OVERLAP = 402;
    /// Families that do not match.
    FAMILIES = 403;
    /// Too few addresses.
    TOO_SMALL = 404;
    /// controlPlaneEndpoint.
    ENDPOINT = 405;
    /// An address that no machine can have here.
    ADDRESS = 406;
    /// What `cni: bridge` cannot do.
    BRIDGE = 407;
    /// A machine's static network.
    NETWORK = 408;

    /// Number and parts of nodes.
    ROLES = 501;
    /// A label.
    LABEL = 502;
    /// A taint.
    TAINT = 503;
    /// How a node proves who it is.
    IDENTITY = 504;
    /// The member that a node takes the place of.
    REPLACES = 505;
    /// Where an installer writes the OS.
    DISK = 506;
    /// An etcd that is run by somebody else.
    EXTERNAL_ETCD = 507;

    /// A file's or unit's place that is not the user's.
    RESERVED = 601;
    /// A place that cannot be written on this OS.
    READ_ONLY = 602;
    /// An SSH key.
    SSH_KEY = 603;
    /// What the OS profile does not take.
    PROFILE = 604;
    /// Self-updates of the OS with several control planes.
    UPDATES = 605;

    /// Where a program comes from.
    BINARY = 701;
    /// How the machine gets its configuration.
    DELIVERY = 702;
    /// A fetch before the network exists.
    FETCH = 703;
    /// An image's digest.
    DIGEST = 704;

    /// An argument or field that nodekiln sets itself.
    OWNED = 801;
    /// A kernel setting that the node needs otherwise.
    SYSCTL = 802;
    /// A feature gate of kubeadm's that has no meaning here.
    FEATURE_GATE = 803;

    /// A named input file cannot be used.
    INPUT = 901;
    /// A node that cannot be planned as it is described.
    PLAN = 902;
    /// A payload that its platform does not take.
    BUDGET = 903;
    /// A file of `patches`.
    PATCH = 904;
    /// An object of `addons.manifests`.
    MANIFEST = 905;
    /// A file of `os.snippets`.
    SNIPPET = 906;
    /// Secrets that are wrong, or do not do for this cluster.
    SECRETS = 907;
}

/// What helps against any finding of `code` that says nothing better itself. Why there is none for the others:
/// [`SELF_EXPLAINED`].
pub(super) fn hint(code: Code) -> Option<&'static str> {
    Some(match code {
        SYNTAX => "look here and in the lines above for quotes, brackets and indentation",
        ENCODING => "save the file as UTF-8",
        TOO_LARGE => "no cluster needs as much: what all nodes share belongs to the cluster's own fields",
        DOCUMENTS | DUPLICATE_KEY | KEY => "cluster.yaml is one document of plain keys, each once",
        ALIAS | DEPTH => "write it out, or lay what all nodes share into the cluster's own fields",
        MISSING => "write it; `nodekiln schema` tells what it looks like",
        DURATION => "durations are written as in Go: 8760h, 1h30m, 90s",
        CHECK_NAME => "`all` stands alone; other names are listed one by one",
        SUBNET => "a network is written by its first address and prefix length, such as 10.244.0.0/16",
        OVERLAP => "take other networks for pods and services: the machines keep their addresses",
        FAMILIES => "one of each family, in the order of `networking.serviceSubnet`",
        TOO_SMALL => "give a larger network: a smaller prefix length",
        ENDPOINT => {
            "it leads to the API servers: a name or address of a balancer, or of a control plane, and port 6443"
        }
        ADDRESS => "give the address by which the other machines reach this one",
        BRIDGE => "take `cni: flannel`, or `none` and a network add-on",
        NETWORK => "addresses are written with their prefix length; a gateway lies in one of their networks",
        LABEL => {
            "`[PREFIX/]NAME: VALUE` of letters, digits, `-`, `_` and `.`, at most 63 characters each; leave out what the kubelet sets"
        }
        TAINT => "write `KEY:EFFECT` or `KEY=VALUE:EFFECT`, such as dedicated=db:NoSchedule",
        REPLACES => "`replaces` names a member that is dead and no longer among the nodes",
        EXTERNAL_ETCD => "write https:// with `caFile`, `certFile` and `keyFile`",
        RESERVED => "leave it out, or take another name",
        READ_ONLY => "take a folder below /etc, /opt or /var",
        DELIVERY => "give `delivery.baseURL`, where the output's folder `serve` is published",
        OWNED | SYSCTL | FEATURE_GATE => "leave it out",
        INPUT => "input files lie beside cluster.yaml or below its folder, and are named relative to it",
        PATCH => {
            "a merge patch is a mapping, a JSON patch a list of operations such as {op: add, path: /a/b, value: c}"
        }
        MANIFEST => "an object has apiVersion, kind and metadata.name",
        _ => return None,
    })
}

/// Codes without a hint for all of their findings, and why.
#[cfg(test)]
pub(super) const SELF_EXPLAINED: &[(Code, &str)] = &[
    (TAB, "each finding says what helps"),
    (TAG, "each finding says what helps"),
    (CONTROL, "each finding says what helps"),
    (UNKNOWN_KEY, "each finding names the nearest key, or all of them"),
    (TYPE, "the message says what is due"),
    (QUOTE, "each finding says what helps"),
    (UNSUPPORTED, "each finding says what helps"),
    (AMBIGUOUS, "each finding says what helps"),
    (VALUE, "the message says what is due"),
    (CHOICE, "the message lists the choices"),
    (VERSION, "each finding says what helps"),
    (DUPLICATE, "each finding says what helps"),
    (ROLES, "each finding says what helps"),
    (IDENTITY, "each finding says what helps"),
    (DISK, "each finding says what helps"),
    (SSH_KEY, "each finding says what helps"),
    (PROFILE, "each finding says what helps"),
    (UPDATES, "each finding says what helps"),
    (BINARY, "the message says what is due"),
    (FETCH, "each finding says what helps"),
    (DIGEST, "each finding says what helps"),
    (PLAN, "the message says what cannot be planned; the planner adds a hint where there is a way out"),
    (BUDGET, "each finding says what helps"),
    (SNIPPET, "the message says what the format lacks"),
    (SECRETS, "the message says what is due"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_four_digits() {
        let set: std::collections::BTreeSet<_> = ALL.iter().collect();
        assert_eq!(set.len(), ALL.len());
        assert!(ALL.iter().all(|c| c.to_string().len() == 6));
    }

    #[test]
    fn every_code_has_a_hint_or_a_reason() {
        for code in ALL {
            let reasons = SELF_EXPLAINED.iter().filter(|(other, _)| other == code).count();
            assert_eq!(usize::from(hint(*code).is_some()) + reasons, 1, "{code}");
        }
    }
}
