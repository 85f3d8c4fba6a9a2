//! Encryption at rest: kube-apiserver's EncryptionConfiguration.

use super::ClassSite;
use crate::draft::{Part, Shared};
use nodekiln_plan::AbsPath;
use serde_json::json;

/// Stands for a key while the file is text.
fn mark(index: u8) -> String {
    format!("@key {index}@")
}

/// Its name.
pub(crate) const FILE: &str = "encryption-config.json";

/// Where it lies: below certificatesDir, which the pod mounts already.
pub(crate) fn path(site: &ClassSite) -> AbsPath {
    site.pki(FILE)
}

/// Whether kube-apiserver reads our file: a user may bring one, or a KMS.
pub(crate) fn wanted(site: &ClassSite) -> bool {
    super::arg::last(&site.cluster.api_server.extra_args, "encryption-provider-config").is_none()
}

/// Secrets by XSalsa20 and Poly1305, which unlike AES-GCM bears random nonces without a rotation schedule. The first key
/// encrypts, all decrypt. `identity` after them reads what an earlier cluster wrote in clear text.
pub(crate) fn config(site: &ClassSite) -> Vec<Part> {
    let names: Vec<(u8, &String)> = (0..).zip(&site.shape.encryption_keys).collect();
    let keys: Vec<_> = names.iter().map(|(index, name)| json!({"name": name, "secret": mark(*index)})).collect();
    let text = super::pretty(&json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{
            "resources": ["secrets"],
            "providers": [
                {"secretbox": {"keys": keys}},
                {"identity": {}},
            ],
        }],
    }));
    let marks: Vec<_> =
        names.iter().map(|(index, _)| (mark(*index), Part::Base64(Shared::EncryptionKey(*index)))).collect();
    let marks: Vec<_> = marks.iter().map(|(mark, part)| (mark.as_str(), part.clone())).collect();
    crate::draft::fill_in_all(&text, &marks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{component::Site, node::fixture, secrets::Shape};

    /// All keys in one provider: the API server encrypts with the first, whatever order its providers are in.
    #[test]
    fn every_key_in_its_order() {
        let cluster = fixture::cluster("flatcar", &["cp1"]);
        for names in [&["key1"][..], &["key2", "key1"]] {
            let shape =
                Shape { encryption_keys: names.iter().map(|name| (*name).to_owned()).collect(), ..Shape::default() };
            let site = Site::new(&cluster, &cluster.nodes[0], &shape).unwrap();
            let parts = config(&site);
            let text: String = parts
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text.clone(),
                    Part::Base64(Shared::EncryptionKey(index)) => format!("secret {index}"),
                    other => panic!("{other:?}"),
                })
                .collect();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let keys: Vec<_> = (names.iter().enumerate())
                .map(|(index, name)| json!({"name": name, "secret": format!("secret {index}")}))
                .collect();
            let providers = json!([{"secretbox": {"keys": keys}}, {"identity": {}}]);
            assert_eq!(value["resources"], json!([{"resources": ["secrets"], "providers": providers}]));
        }
    }
}
