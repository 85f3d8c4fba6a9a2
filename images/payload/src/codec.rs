//! [`Codec`]: the encoder and the decoder of a build, with a memory of what nodes share.

use crate::{
    cache::Memory,
    check::{self, CheckError},
    cloud_init::{self, Content},
    content::{packed, unbase64},
    error::{DecodeError, EncodeError},
    gzip::{self, Parts, Unpacked, gunzip},
    ignition::{self, Behind},
    options::{EncodeOptions, Gzip},
    profile::{Format, Profile},
    tree::{Artifact, NodeTree, TreeFile},
    validate::validate,
};
use nodekiln_plan::{Secret, Sha256};
use serde_json::value::RawValue;
use std::sync::Arc;

/// Contents behind a text of a payload.
#[derive(Clone)]
pub(crate) struct Contents {
    pub bytes: Arc<Secret>,
    pub sha256: Sha256,
}

impl Contents {
    pub(crate) fn new(unpacked: Unpacked) -> Self {
        Self { sha256: unpacked.sha256(), bytes: Arc::new(Secret::new(unpacked.bytes)) }
    }
}

/// Encodes and decodes payloads, and remembers what many of them share. One serves all threads of a build.
///
/// Its memory holds contents, keys among them, in their encoded form: as for encoders' buffers, it is not wiped.
pub struct Codec {
    resources: Memory<Encoded, Arc<RawValue>>,
    texts: Memory<Encoded, Arc<Content>>,
    members: Memory<Encoded, Option<Arc<[u8]>>>,
    behind: Memory<Arc<str>, Behind>,
    packed: Memory<Arc<str>, Contents>,
    parts: Parts,
}

impl Default for Codec {
    /// With an empty memory.
    fn default() -> Self {
        let held = |contents: &Contents| contents.bytes.expose().len();
        Self {
            resources: Memory::new(),
            texts: Memory::new(),
            members: Memory::new(),
            behind: Memory::weighing(Behind::held),
            packed: Memory::weighing(held),
            parts: Memory::weighing(|part| part.bytes.expose().len()),
        }
    }
}

/// What an encoding depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Encoded(Sha256, Gzip);

impl From<&Encoded> for Encoded {
    fn from(key: &Encoded) -> Self {
        *key
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Codec(..)")
    }
}

impl Codec {
    /// See [`crate::encode`].
    ///
    /// # Errors
    /// [`EncodeError::Faults`] with everything that [`validate`] finds.
    pub fn encode(
        &self,
        tree: &NodeTree,
        profile: &Profile,
        options: &EncodeOptions,
    ) -> Result<Vec<Artifact>, EncodeError> {
        let faults = validate(tree, profile);
        if !faults.is_empty() {
            return Err(EncodeError::Faults(faults));
        }
        match profile.format {
            Format::Ignition => Ok(vec![ignition::encode(self, tree, options)?]),
            Format::CloudInit => cloud_init::encode(self, tree, profile, options),
        }
    }

    /// See [`crate::decode`].
    ///
    /// # Errors
    /// Anything that [`Codec::encode`] would not have written.
    pub fn decode(&self, artifacts: &[Artifact], profile: &Profile) -> Result<NodeTree, DecodeError> {
        match profile.format {
            Format::Ignition => {
                let config = artifacts.iter().find(|artifact| artifact.name == ignition::CONFIG);
                ignition::decode(self, config.ok_or(DecodeError::Missing(ignition::CONFIG))?.bytes.expose())
            }
            Format::CloudInit => cloud_init::decode(self, artifacts, profile),
        }
    }

    /// See [`crate::check`].
    ///
    /// # Errors
    /// A payload that does not decode, or all differences by name.
    pub fn check(&self, tree: &NodeTree, artifacts: &[Artifact], profile: &Profile) -> Result<NodeTree, CheckError> {
        let decoded = self.decode(artifacts, profile)?;
        let differences = check::differences(tree, &decoded, profile.format);
        if differences.is_empty() { Ok(decoded) } else { Err(CheckError::Differs(differences)) }
    }

    /// The file's contents as a resource of Ignition.
    pub(crate) fn resource(&self, file: &TreeFile, policy: Gzip) -> Result<Arc<RawValue>, EncodeError> {
        let bytes = file.contents.expose();
        // What has a part of many nodes is as a whole one node's.
        if let Some(packed) = self.in_parts(file, policy) {
            return ignition::resource(bytes, Some(&packed));
        }
        let make = || ignition::resource(bytes, packed(bytes, policy).as_deref());
        if is_alone(file) {
            return make();
        }
        self.resources.try_get_or(&Encoded(file.sha256, policy), bytes.len(), make)
    }

    /// The file's contents as cloud-init's `content`.
    pub(crate) fn content(&self, file: &TreeFile, policy: Gzip) -> Arc<Content> {
        let bytes = file.contents.expose();
        if let Some(packed) = self.in_parts(file, policy) {
            return Arc::new(Content::of(bytes, Some(&packed)));
        }
        let make = || Arc::new(Content::of(bytes, packed(bytes, policy).as_deref()));
        if is_alone(file) {
            return make();
        }
        self.texts.get_or(&Encoded(file.sha256, policy), bytes.len(), make)
    }

    /// gzip of a file's contents of which a part is shared.
    fn in_parts(&self, file: &TreeFile, policy: Gzip) -> Option<Vec<u8>> {
        let shared = file.shared.as_ref()?;
        let own_from = match policy {
            Gzip::WhereSmaller => gzip::GZIP_FROM,
            Gzip::WhereShared => gzip::OWN_FROM,
            Gzip::Never => return None,
        };
        gzip::in_parts(file.contents.expose(), &shared.range, own_from, |part| {
            let make = || gzip::sized(part, gzip::GZIP_FROM).map(Arc::from);
            self.members.get_or(&Encoded(shared.sha256, policy), part.len(), make)
        })
    }

    /// What stands behind a resource of Ignition.
    pub(crate) fn behind(
        &self,
        resource: &str,
        read: impl FnOnce(&Parts) -> Result<Behind, DecodeError>,
    ) -> Result<Behind, DecodeError> {
        self.behind.try_get_or(resource, resource.len(), || read(&self.parts))
    }

    /// What stands behind gzip in base64.
    pub(crate) fn contents_of_gzip_base64(&self, text: &str) -> Option<Contents> {
        let make = || unbase64(text).and_then(|packed| gunzip(&packed, Some(&self.parts))).map(Contents::new).ok_or(());
        self.packed.try_get_or(text, text.len(), make).ok()
    }
}

/// Whether nobody else holds the file's contents: then no other node has them, and they are not worth looking up.
fn is_alone(file: &TreeFile) -> bool {
    Arc::strong_count(&file.contents) == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixture::{empty, file},
        tree::SharedPart,
    };
    use std::ops::Range;

    /// What all nodes' file has.
    fn shared() -> Vec<u8> {
        (0..100).flat_map(|line| format!("line {line}: {}\n", line * line).into_bytes()).collect()
    }

    /// A node whose file has it behind a head, and before a tail of its own.
    fn node(name: &str) -> NodeTree {
        let (head, tail) = (format!("{name}\n").repeat(40), format!("{name}: {}\n", Sha256::of(name.as_bytes())));
        let shared = shared();
        let mut file =
            file("/var/lib/nodekiln/plan.json", "0600", &[head.as_bytes(), &shared, tail.as_bytes()].concat());
        file.shared = Some(part(head.len()..head.len() + shared.len()));
        NodeTree { node: Some(name.parse().unwrap()), files: vec![file], ..empty() }
    }

    fn part(range: Range<usize>) -> SharedPart {
        SharedPart { range, sha256: Sha256::of(&shared()) }
    }

    fn encode(codec: &Codec, tree: &NodeTree, profile: &Profile, gzip: Gzip) -> Vec<Artifact> {
        codec.encode(tree, profile, &EncodeOptions { gzip, ..Default::default() }).unwrap()
    }

    fn same(a: &[Artifact], b: &[Artifact]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.name == b.name && a.bytes == b.bytes)
    }

    /// For two nodes each, as things are kept that come by for the second time.
    #[test]
    fn a_shared_part_is_packed_once_and_unpacked_once() {
        for profile in Profile::all() {
            let codec = Codec::default();
            for name in ["n1", "n2"] {
                let tree = node(name);
                let artifacts = encode(&codec, &tree, profile, Gzip::WhereSmaller);
                codec.check(&tree, &artifacts, profile).unwrap();
            }
            let shared = shared();
            let key = Encoded(Sha256::of(&shared), Gzip::WhereSmaller);
            let packed = codec.members.get_or(&key, shared.len(), || panic!("packed again")).unwrap();
            let make = || -> Result<_, ()> { panic!("unpacked again") };
            let unpacked = codec.parts.try_get_or(&*packed, packed.len(), make).unwrap();
            assert!(unpacked.bytes.expose() == shared);
        }
    }

    /// What was encoded before leaves no trace.
    #[test]
    fn parts_are_pure() {
        for profile in Profile::all() {
            for gzip in Gzip::ALL {
                let warm = Codec::default();
                for name in ["n1", "n2", "n3", "n1", "n2"] {
                    let hinted = node(name);
                    let mut whole = node(name);
                    whole.files[0].shared = None;
                    for tree in [&hinted, &whole] {
                        let (fresh, warm) =
                            (encode(&Codec::default(), tree, profile, gzip), encode(&warm, tree, profile, gzip));
                        assert!(same(&fresh, &warm), "{name}");
                    }
                    // The hint is taken, but where nothing is compressed.
                    let [hinted, whole] = [&hinted, &whole].map(|tree| encode(&warm, tree, profile, gzip));
                    assert_eq!(same(&hinted, &whole), gzip == Gzip::Never, "{name}");
                }
            }
        }
    }

    /// A hint is no part of what a node is, and a wrong one is none.
    #[test]
    fn a_hint_says_nothing() {
        let codec = Codec::default();
        for profile in Profile::all() {
            let mut whole = node("n1");
            whole.files[0].shared = None;
            let artifacts = encode(&codec, &whole, profile, Gzip::WhereSmaller);
            let decoded = codec.check(&node("n1"), &artifacts, profile).unwrap();
            assert_eq!(decoded.files[0].shared, None);
            let len = whole.files[0].contents.expose().len();
            for range in [
                Range { start: 2000, end: 300 },
                0..len + 1,
                len + 1..len + 2000,
                0..100,
                usize::MAX - 5000..usize::MAX,
            ] {
                let mut tree = node("n1");
                tree.files[0].shared = Some(part(range.clone()));
                assert!(same(&encode(&codec, &tree, profile, Gzip::WhereSmaller), &artifacts), "{range:?}");
            }
        }
    }

    /// One whose digest is another's makes a payload of other contents: that is found.
    #[test]
    fn a_hint_that_lies_is_found() {
        for profile in Profile::all() {
            let codec = Codec::default();
            for _ in 0..2 {
                encode(&codec, &node("n1"), profile, Gzip::WhereSmaller);
            }
            let mut tree = node("n2");
            let shared = tree.files[0].shared.as_mut().unwrap();
            shared.range.start -= 1;
            let artifacts = encode(&codec, &tree, profile, Gzip::WhereSmaller);
            let path = tree.files[0].path.clone();
            let found = codec.check(&tree, &artifacts, profile).unwrap_err();
            assert_eq!(found, CheckError::Differs(vec![format!("{path}: different")]));
        }
    }
}
