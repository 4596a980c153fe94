//! What a store offers: keys below the prefix, gathered into bundles.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures_util::StreamExt;
use object_store::path::Path as Prefix;
use object_store::{ObjectMeta, ObjectStore};
use xxhash_rust::xxh3::xxh3_64;

use super::{Fault, store};
use crate::runtime::release::bundle;

/// The most objects below the prefix.
pub const OBJECTS_MAX: usize = 20_000;
/// The most bundles that are offered at once.
const BUNDLES_MAX: usize = 256;

/// One bundle that a store has, whole or not.
#[derive(Debug)]
pub(super) struct Offered {
    /// NAME/VERSION, as the keys say.
    pub(super) name: String,
    /// The files of a bundle among its objects.
    pub(super) files: BTreeMap<String, ObjectMeta>,
    /// Stands for names, sizes, tags and times of all files.
    pub(super) looks: u64,
}

/// Lists the bundles below a prefix, by name.
///
/// # Errors
/// [`Fault::Unreachable`], [`Fault::Denied`], [`Fault::TooMany`], [`Fault::Name`] for a key that is no path.
pub(super) async fn list(store: &dyn ObjectStore, prefix: &Prefix) -> Result<Vec<Offered>, Fault> {
    let mut bundles: BTreeMap<String, BTreeMap<String, ObjectMeta>> = BTreeMap::new();
    let mut objects = store.list(Some(prefix));
    let mut count = 0;
    while let Some(object) = objects.next().await {
        let object = object.map_err(|error| store::fault(&error))?;
        count += 1;
        if count > OBJECTS_MAX {
            return Err(Fault::TooMany(format!("there are more than {OBJECTS_MAX} objects below the prefix")));
        }
        let Some((name, file)) = place(prefix, &object) else { continue };
        if bundles.len() >= BUNDLES_MAX && !bundles.contains_key(&name) {
            return Err(Fault::TooMany(format!("there are more than {BUNDLES_MAX} bundles below the prefix")));
        }
        bundles.entry(name).or_default().insert(file, object);
    }
    let offered = bundles.into_iter().map(|(name, files)| Offered { looks: looks(&files), name, files });
    Ok(offered.collect())
}

/// Returns NAME/VERSION and the file of a key that has these three parts and is a file of a bundle.
fn place(prefix: &Prefix, object: &ObjectMeta) -> Option<(String, String)> {
    let parts: Vec<_> = object.location.prefix_match(prefix)?.collect();
    let [name, version, file] = parts.as_slice() else { return None };
    let file = file.as_ref();
    let is_meant = bundle::HASHED.contains(&file) || [bundle::MANIFEST, bundle::SIGNATURE].contains(&file);
    is_meant.then(|| (format!("{}/{}", name.as_ref(), version.as_ref()), file.to_owned()))
}

fn looks(files: &BTreeMap<String, ObjectMeta>) -> u64 {
    let mut text = String::new();
    for (name, object) in files {
        let changed = object.last_modified.timestamp_micros();
        // Writing to a text cannot fail.
        let _ = write!(text, "{name} {} {changed} {:?};", object.size, object.e_tag);
    }
    // Nothing that was looked at has 0.
    xxh3_64(text.as_bytes()) | 1
}
