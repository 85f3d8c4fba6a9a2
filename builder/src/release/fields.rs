//! The fields of the components' configurations, with the types that Go reads them into: data, made from the components'
//! own types, which a test holds it against.

use serde_json::Value;
use std::{collections::BTreeMap, sync::LazyLock};

/// What a field takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A whole number of 32 bits that is not negative.
    Uint32,
    /// Any number.
    Float,
    /// A text such as `10s`.
    Duration,
    /// The same, or a number of nanoseconds.
    DurationOrNanoseconds,
    /// A text such as `512Mi`, or a number.
    Quantity,
    /// A text such as `2026-01-01T00:00:00Z`.
    Time,
    /// A list of these.
    List(Box<Kind>),
    /// A mapping of the user's own keys to these.
    Map(Box<Kind>),
    /// A mapping whose fields have rows of their own.
    Object,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        if let Some(items) = text.strip_prefix("[]") {
            return Some(Self::List(Box::new(Self::parse(items)?)));
        }
        if let Some(values) = text.strip_prefix("map[string]") {
            return Some(Self::Map(Box::new(Self::parse(values)?)));
        }
        Some(match text {
            "string" => Self::Text,
            "bool" => Self::Boolean,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "uint32" => Self::Uint32,
            "float32" | "float64" => Self::Float,
            "duration" => Self::Duration,
            "duration-or-nanoseconds" => Self::DurationOrNanoseconds,
            "quantity" => Self::Quantity,
            "time" => Self::Time,
            "object" => Self::Object,
            _ => return None,
        })
    }
}

/// The fields of a component's configuration by path, such as `authentication.webhook.cacheTTL`, of all releases: which of
/// them has a field of the kubelet's is asked of [`super::Release::has_kubelet_field`].
#[derive(Debug)]
pub struct Fields(BTreeMap<&'static str, Kind>);

impl Fields {
    fn new(text: &'static str) -> Self {
        let rows = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (path, kind) = line.split_once(' ').expect("a row is a path and a type: a test reads them all");
            (path, Kind::parse(kind).expect("every type is known: a test reads them all"))
        });
        Self(rows.collect())
    }

    /// What the field `path` takes; `None`: there is none. Below a list, `[]` stands in the path for its items.
    pub fn kind(&self, path: &str) -> Option<&Kind> {
        self.0.get(path)
    }

    /// What the field `key` right below `above`, which is empty or a path that ends in `.`, takes, and its path.
    pub fn below(&self, above: &str, key: &str) -> Option<(String, &Kind)> {
        // A key is no path, whatever it looks like.
        let path = Some(format!("{above}{key}")).filter(|_| !key.contains(['.', '[', '{']))?;
        let kind = self.kind(&path)?;
        Some((path, kind))
    }

    /// The names of the fields right below `above`, which is empty or a path that ends in `.`.
    pub fn names(&self, above: &str) -> impl Iterator<Item = &'static str> {
        let names = self.0.keys().filter_map(move |path| path.strip_prefix(above));
        names.filter(|name| !name.contains('.'))
    }

    /// The path of the first field of `config` that is not among these, or that `has` denies. Items of lists may have any.
    pub fn unknown(&self, config: &Value, has: impl Fn(&str) -> bool) -> Option<String> {
        self.unknown_below("", config, &has)
    }

    fn unknown_below(&self, above: &str, config: &Value, has: &dyn Fn(&str) -> bool) -> Option<String> {
        let Value::Object(map) = config else { return None };
        map.iter().find_map(|(key, value)| match self.below(above, key).filter(|(path, _)| has(path)) {
            None => Some(format!("{above}{key}")),
            Some((path, Kind::Object)) => self.unknown_below(&format!("{path}."), value, has),
            Some(_) => None,
        })
    }
}

/// KubeletConfiguration, kubelet.config.k8s.io/v1beta1.
pub static KUBELET_FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new(include_str!("kubelet-fields.txt")));
/// KubeProxyConfiguration, kubeproxy.config.k8s.io/v1alpha1.
pub static KUBE_PROXY_FIELDS: LazyLock<Fields> = LazyLock::new(|| Fields::new(include_str!("kube-proxy-fields.txt")));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::tests::release;
    use serde_json::json;

    #[test]
    fn fields_are_whole() {
        for (fields, some, kind) in [
            (&*KUBELET_FIELDS, "logging.options.json.splitStream", Kind::Boolean),
            (&*KUBELET_FIELDS, "reservedMemory[].limits", Kind::Map(Box::new(Kind::Quantity))),
            (&*KUBELET_FIELDS, "tlsCurvePreferences", Kind::List(Box::new(Kind::Int32))),
            (&*KUBE_PROXY_FIELDS, "clientConnection.qps", Kind::Float),
        ] {
            assert_eq!(fields.kind("apiVersion"), Some(&Kind::Text));
            assert_eq!(fields.kind(some), Some(&kind), "{some}");
            for path in fields.0.keys() {
                let Some((above, _)) = path.rsplit_once('.') else { continue };
                let due = match above.strip_suffix("[]") {
                    Some(list) => (list, Kind::List(Box::new(Kind::Object))),
                    None => (above, Kind::Object),
                };
                assert_eq!(fields.kind(due.0), Some(&due.1), "{path}");
            }
        }
        assert!(KUBELET_FIELDS.names("authentication.x509.").eq(["clientCAFile"]));
        assert!(KUBELET_FIELDS.names("").all(|name| !name.contains('[')));
    }

    #[test]
    fn unknown_fields_are_found_by_path() {
        for (config, want) in [
            (json!({"maxPods": 1, "evictionHard": {"anything": "1"}}), None),
            (json!({"maxPodz": 1}), Some("maxPodz")),
            (json!({"logging": {"options": {"jason": {}}}}), Some("logging.options.jason")),
            (json!({"tlsCurvePreferences": []}), Some("tlsCurvePreferences")),
            (json!({"authentication.anonymous.enabled": true}), Some("authentication.anonymous.enabled")),
            (json!({"logging": {"vmodule[].verbosity": 4}}), Some("logging.vmodule[].verbosity")),
        ] {
            let found = KUBELET_FIELDS.unknown(&config, |path| release("v1.35.0").has_kubelet_field(path));
            assert_eq!(found.as_deref(), want);
        }
    }
}
