//! images: what is pinned.

use super::Cx;
use crate::config::{
    code,
    diag::{Finding, short},
    raw::RawCluster,
    read::At,
};
use std::collections::BTreeMap;

impl Cx<'_, '_> {
    /// images.digests.
    pub(super) fn image_digests(&mut self, raw: &RawCluster) -> BTreeMap<String, String> {
        let mut digests = BTreeMap::new();
        let field = raw.images.get().and_then(|images| images.digests.get());
        for (image, digest) in field.into_iter().flat_map(|map| &map.value.0) {
            let sound = self.tagged_image(image);
            let hex = digest.value.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                let message = format!("`{}` is no digest", short(&digest.value));
                let finding = Finding::new(code::DIGEST, message);
                self.found.error_at(&digest.place, finding.hint("write `sha256:` and 64 hex digits in lower case"));
            } else if sound {
                digests.insert(image.value.clone(), digest.value.clone());
            }
        }
        digests
    }

    /// An image as manifests name it: repository and tag.
    fn tagged_image(&mut self, at: &At<String>) -> bool {
        let message = match at.value.rsplit_once(':') {
            _ if at.value.contains('@') => "it has a digest already",
            Some((repository, tag)) if repository.contains('/') && !tag.contains('/') => {
                let repository = At { value: repository.to_owned(), place: at.place.clone() };
                let tag = At { value: tag.to_owned(), place: at.place.clone() };
                return self.image_repository(&repository).is_some() && self.image_tag(&tag).is_some();
            }
            _ => "manifests name images with registry and tag",
        };
        let finding = Finding::new(code::DIGEST, format!("`{}` cannot be pinned: {message}", short(&at.value)));
        self.found.error_at(&at.place, finding.hint("write `registry.k8s.io/pause:3.10.2: sha256:...`"));
        false
    }
}
