//! images: what is pinned.

use super::Cx;
use crate::{
    component::image,
    config::{Cluster, code, diag::Finding, nearest::nearest, raw::RawCluster, read::At, shown::short},
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

    /// Digests of images that nodekiln does not name: a spelling, or the image of another release.
    pub(super) fn unused_digests(&mut self, raw: &RawCluster, cluster: &Cluster) {
        let Some(field) = raw.images.get().and_then(|images| images.digests.get()) else { return };
        let used = image::all(cluster);
        for (image, _) in field.value.0.iter().filter(|(image, _)| !used.contains(&image.value)) {
            let message = format!("no manifest of nodekiln's names `{}`: nothing is pinned by it", short(&image.value));
            let finding = Finding::new(code::DIGEST, message);
            let finding = match nearest(&image.value, used.iter().map(String::as_str)) {
                Some(name) => finding.hint(format!("did you mean `{name}`?")),
                None => finding.hint("what your own manifests name is pinned there"),
            };
            self.found.warning_at(&image.place, finding);
        }
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
