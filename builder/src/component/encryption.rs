//! Encryption at rest: kube-apiserver's EncryptionConfiguration.

use super::Site;
use crate::draft::{Part, Shared};
use nodekiln_plan::AbsPath;
use serde_json::json;

/// Stands for the key while the file is text.
const KEY: &str = "@key@";

/// Where it lies: below certificatesDir, which the pod mounts already.
pub(crate) fn path(site: &Site) -> AbsPath {
    site.pki("encryption-config.json")
}

/// Whether kube-apiserver reads our file: a user may bring one, or a KMS.
pub(crate) fn wanted(site: &Site) -> bool {
    super::arg::last(&site.cluster.api_server.extra_args, "encryption-provider-config").is_none()
}

/// Secrets by XSalsa20 and Poly1305, which unlike AES-GCM bears random nonces without a rotation schedule. `identity`
/// after it reads what an earlier cluster wrote in clear text.
pub(crate) fn config() -> Vec<Part> {
    let text = super::pretty(&json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{
            "resources": ["secrets"],
            "providers": [
                {"secretbox": {"keys": [{"name": "key1", "secret": KEY}]}},
                {"identity": {}},
            ],
        }],
    }));
    crate::draft::fill_in(&text, KEY, &Part::Base64(Shared::EncryptionKey))
}
