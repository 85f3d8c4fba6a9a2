//! Steps against the Kubernetes API: the lines of `api.ndjson`.

use crate::{name::NodeName, net::Cidr};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// Label and value of objects that firstboot deletes once a later generation has no such object: bootstrap tokens.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "nodekiln");

/// Annotation of a bootstrap token's Secret: the pool or node whose machines come by it. A renewal makes a new token, and
/// the old one stays good until its own end: a Secret goes when nobody of this name comes by token any more.
pub const TOKEN_OWNER: &str = "nodekiln/token-owner";

/// One step, one line of `api.ndjson`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ApiStep {
    /// Server-side apply of this object by the field manager `nodekiln`. Done once per generation for the cluster.
    Apply(serde_json::Value),
    /// Bring a Node to this state. Checked at every rebuild of a node.
    Node(NodeStep),
}

impl fmt::Debug for ApiStep {
    /// Without contents: the object may be a Secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply(object) => write!(f, "Apply({} {})", object["kind"], object["metadata"]["name"]),
            Self::Node(step) => f.debug_tuple("Node").field(step).finish(),
        }
    }
}

/// What a Node must bear. A Node that does not exist is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeStep {
    /// The Node.
    pub name: NodeName,
    /// Labels that are set; others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations that are set; others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Taints that are added when missing; others stay. `spec.taints` is one atomic list for the API server, so this
    /// is read, merged and written with the resourceVersion read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// `spec.podCIDRs`, set only on a Node that has none: the API server never lets them change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<Cidr>,
}

/// A taint's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaintEffect {
    /// New pods stay away.
    NoSchedule,
    /// New pods stay away if they can.
    PreferNoSchedule,
    /// Running pods leave too.
    NoExecute,
}

/// A Node taint. Its text form is `key[=value]:Effect`. Key and effect together are unique on a Node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taint {
    /// Effect.
    pub effect: TaintEffect,
    /// A qualified name.
    pub key: String,
    /// May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// A text that is no [`Taint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TaintError {
    /// No `:Effect`.
    #[error("a taint is written key[=value]:Effect")]
    Syntax,
    /// An effect that does not exist.
    #[error("the effect `{0}` is not NoSchedule, PreferNoSchedule or NoExecute")]
    Effect(String),
}

impl FromStr for Taint {
    type Err = TaintError;

    /// Splits the parts. Whether the key is a qualified name is for the caller to check.
    fn from_str(text: &str) -> Result<Self, TaintError> {
        let (rest, effect) = text.rsplit_once(':').ok_or(TaintError::Syntax)?;
        let effect = match effect {
            "NoSchedule" => TaintEffect::NoSchedule,
            "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
            "NoExecute" => TaintEffect::NoExecute,
            other => return Err(TaintError::Effect(other.to_owned())),
        };
        let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
        if key.is_empty() {
            return Err(TaintError::Syntax);
        }
        Ok(Self { effect, key: key.to_owned(), value: value.to_owned() })
    }
}

impl fmt::Display for Taint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        write!(f, ":{:?}", self.effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints() {
        for good in ["gpu=yes:NoSchedule", "node-role.kubernetes.io/control-plane:NoExecute"] {
            assert_eq!(good.parse::<Taint>().unwrap().to_string(), good);
        }
        assert_eq!("gpu".parse::<Taint>(), Err(TaintError::Syntax));
        assert_eq!(":NoSchedule".parse::<Taint>(), Err(TaintError::Syntax));
        assert_eq!("a:Never".parse::<Taint>(), Err(TaintError::Effect("Never".into())));
    }

    /// A number is the same on the node as it was in the user's manifest, to the last bit.
    #[test]
    fn numbers_are_not_rounded() {
        for number in ["7e84", "0.1", "1.7976931348623157e308", "5e-324", "123456789012345680.0"] {
            let read: f64 = number.parse().unwrap();
            let line = serde_json::to_string(&ApiStep::Apply(serde_json::json!({ "n": read }))).unwrap();
            let Ok(ApiStep::Apply(again)) = serde_json::from_str(&line) else { panic!("{line}") };
            assert_eq!(again["n"].as_f64().map(f64::to_bits), Some(read.to_bits()), "{line}");
        }
    }

    #[test]
    fn lines() {
        let step = ApiStep::Node(NodeStep {
            name: "n1".parse().unwrap(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            taints: vec!["a:NoSchedule".parse().unwrap()],
            pod_cidrs: vec![],
        });
        let line = serde_json::to_string(&step).unwrap();
        assert_eq!(line, r#"{"node":{"name":"n1","taints":[{"effect":"NoSchedule","key":"a"}]}}"#);
        assert_eq!(serde_json::from_str::<ApiStep>(&line).unwrap(), step);
    }
}
