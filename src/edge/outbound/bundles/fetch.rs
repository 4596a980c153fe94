//! One bundle on its way: into a directory that nobody looks at, then with one rename to its place.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::{GetOptions, ObjectMeta, ObjectStore};
use sha2::{Digest, Sha256};

use super::listing::Offered;
use super::{Fault, Options, store};
use crate::runtime::release::bundle::{FILE_BYTES_MAX, HASHED, MANIFEST, MODEL, MODEL_BYTES_MAX, SIGNATURE};
use crate::runtime::release::manifest::{Manifest, is_word};
use crate::runtime::release::signature;

/// How directories of bundles on their way begin; nobody takes them for a bundle.
pub const STAGING: &str = ".staging-";
/// A manifest or a signature longer than this is none.
const TEXT_BYTES_MAX: u64 = 1 << 20;

/// What came of fetching.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// It lies in the landing place now.
    Landed {
        /// Bytes of all its files.
        bytes: u64,
    },
    /// It was here already.
    Known,
}

/// Removes what an earlier process left half fetched.
pub(super) fn sweep(landing: &Path) {
    let Ok(entries) = fs::read_dir(landing) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(STAGING) {
            // What cannot be removed is in nobody's way, and the next fetch of it says why.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A directory that goes when it is dropped, unless it was moved to its place.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // Gone already when it was renamed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Fetches one bundle and puts it in its place.
///
/// # Errors
/// [`Fault`]; nothing is left behind then.
pub(super) async fn fetch(store: &dyn ObjectStore, offered: &Offered, options: &Options) -> Result<Fetched, Fault> {
    let (name, version) = words(&offered.name)?;
    let sizes = check_sizes(offered, options.bundle_len_max)?;
    let manifest_bytes = text(store, offered, MANIFEST).await?;
    let manifest = parse(&manifest_bytes, name, version)?;
    if is_here(options, &offered.name, &manifest_bytes)? {
        sign_late(store, offered, options).await?;
        return Ok(Fetched::Known);
    }
    check_room(options)?;
    let staging = Staging(options.landing.join(format!("{STAGING}{name}-{version}")));
    let _left_over = fs::remove_dir_all(&staging.0);
    fs::create_dir_all(&staging.0).map_err(|error| disk(&error))?;
    for file in HASHED {
        let stated = manifest.files.get(file).ok_or_else(|| Fault::Malformed(format!("it has no hash of {file}")))?;
        let found = file_to(store, &offered.files[file], &staging.0.join(file)).await?;
        if found != *stated {
            return Err(Fault::Hash { file: file.to_owned(), found, stated: stated.clone() });
        }
    }
    if offered.files.contains_key(SIGNATURE) {
        let signature = text(store, offered, SIGNATURE).await?;
        write(&staging.0.join(SIGNATURE), &signature).map_err(|error| disk(&error))?;
    }
    write(&staging.0.join(MANIFEST), &manifest_bytes).map_err(|error| disk(&error))?;
    put(&staging.0, &options.landing.join(name), version).map_err(|error| disk(&error))?;
    Ok(Fetched::Landed { bytes: sizes })
}

/// Takes NAME/VERSION apart; both become directories.
fn words(name: &str) -> Result<(&str, &str), Fault> {
    match name.split_once('/') {
        Some((first, second)) if is_word(first) && is_word(second) => Ok((first, second)),
        _ => Err(Fault::Name(format!("{name:?} is not NAME/VERSION, each 1 to 64 of a-z 0-9 - . _"))),
    }
}

/// Checks that every file is there and none is over its bound; returns how much it is together.
fn check_sizes(offered: &Offered, bundle_len_max: u64) -> Result<u64, Fault> {
    let mut sum = 0_u64;
    for file in HASHED.into_iter().chain([MANIFEST]) {
        let Some(object) = offered.files.get(file) else {
            return Err(Fault::Incomplete(format!("{file} is missing")));
        };
        let bytes_max = match file {
            MODEL => MODEL_BYTES_MAX,
            MANIFEST => TEXT_BYTES_MAX,
            _ => FILE_BYTES_MAX,
        };
        over(file, object.size, bytes_max)?;
        sum = sum.saturating_add(object.size);
    }
    if let Some(signature) = offered.files.get(SIGNATURE) {
        over(SIGNATURE, signature.size, TEXT_BYTES_MAX)?;
        sum = sum.saturating_add(signature.size);
    }
    over("the bundle", sum, bundle_len_max)?;
    Ok(sum)
}

fn over(what: &str, bytes: u64, bytes_max: u64) -> Result<(), Fault> {
    if bytes > bytes_max { Err(Fault::TooLarge { what: what.to_owned(), bytes, bytes_max }) } else { Ok(()) }
}

fn parse(bytes: &Bytes, name: &str, version: &str) -> Result<Manifest, Fault> {
    let text = std::str::from_utf8(bytes).map_err(|error| Fault::Malformed(error.to_string()))?;
    let manifest = Manifest::parse(text).map_err(Fault::Malformed)?;
    if (manifest.name.as_str(), manifest.version.as_str()) != (name, version) {
        let (name, version) = (manifest.name, manifest.version);
        return Err(Fault::Name(format!("its manifest says it is {name}/{version}: put it below that name")));
    }
    Ok(manifest)
}

/// Tells whether this very bundle lies in one of the directories.
fn is_here(options: &Options, place: &str, manifest: &Bytes) -> Result<bool, Fault> {
    for root in [&options.beside, &options.landing] {
        match fs::read(root.join(place).join(MANIFEST)) {
            Ok(bytes) if bytes == *manifest => return Ok(true),
            Ok(_) => return Err(Fault::Taken(root.display().to_string())),
            Err(_) => {}
        }
    }
    Ok(false)
}

/// Fetches a signature that came after its bundle.
async fn sign_late(store: &dyn ObjectStore, offered: &Offered, options: &Options) -> Result<(), Fault> {
    let place = options.landing.join(&offered.name);
    if !offered.files.contains_key(SIGNATURE) || !place.join(MANIFEST).is_file() {
        return Ok(());
    }
    let signature = text(store, offered, SIGNATURE).await?;
    if fs::read(place.join(SIGNATURE)).is_ok_and(|known| known == signature) {
        return Ok(());
    }
    let beside = place.join(format!("{STAGING}{SIGNATURE}"));
    let moved = write(&beside, &signature).and_then(|()| fs::rename(&beside, place.join(SIGNATURE)));
    moved.and_then(|()| File::open(&place)?.sync_all()).map_err(|error| disk(&error))
}

/// Checks that the landing place has room for one more.
fn check_room(options: &Options) -> Result<(), Fault> {
    let names = |path: &Path| {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(is_word))
    };
    let landed: usize = names(&options.landing).map(|name| names(&name.path()).count()).sum();
    if landed < options.landed_max {
        return Ok(());
    }
    let landing = options.landing.display();
    Err(Fault::TooMany(format!("{landed} bundles lie in {landing} already: remove those that are not needed")))
}

/// Reads a short file into memory.
async fn text(store: &dyn ObjectStore, offered: &Offered, file: &str) -> Result<Bytes, Fault> {
    let object = offered.files.get(file).ok_or_else(|| Fault::Incomplete(format!("{file} is missing")))?;
    let mut all = Vec::new();
    each(store, object, |bytes| {
        all.extend_from_slice(bytes);
        Ok(())
    })
    .await?;
    Ok(all.into())
}

/// Writes a file as it comes and returns its hash.
async fn file_to(store: &dyn ObjectStore, object: &ObjectMeta, path: &Path) -> Result<String, Fault> {
    let mut file = File::create(path).map_err(|error| disk(&error))?;
    let mut hash = Sha256::new();
    each(store, object, |bytes| {
        hash.update(bytes);
        file.write_all(bytes).map_err(|error| disk(&error))
    })
    .await?;
    file.sync_all().map_err(|error| disk(&error))?;
    Ok(signature::hex(&hash.finalize()))
}

/// Reads an object as it was listed, neither a byte more nor one less.
async fn each(
    store: &dyn ObjectStore,
    object: &ObjectMeta,
    mut take: impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let as_listed = GetOptions { if_match: object.e_tag.clone(), ..GetOptions::default() };
    let got = store.get_opts(&object.location, as_listed).await.map_err(|error| store::fault(&error))?;
    let file = object.location.filename().unwrap_or_default();
    if got.meta.size != object.size {
        return Err(Fault::Changed(format!("{file} had {} bytes and has {}", object.size, got.meta.size)));
    }
    let (mut stream, mut read) = (got.into_stream(), 0_u64);
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|error| store::fault(&error))?;
        read = read.saturating_add(bytes.len() as u64);
        if read > object.size {
            return Err(Fault::Changed(format!("{file} has more than the {} bytes it was listed with", object.size)));
        }
        take(&bytes)?;
    }
    if read < object.size {
        return Err(Fault::Incomplete(format!("{file} ended after {read} of {} bytes", object.size)));
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Moves a whole directory to its place; after this it is there also when the power fails.
fn put(staging: &Path, folder: &Path, version: &str) -> std::io::Result<()> {
    File::open(staging)?.sync_all()?;
    fs::create_dir_all(folder)?;
    fs::rename(staging, folder.join(version))?;
    File::open(folder)?.sync_all()?;
    folder.parent().map_or(Ok(()), |landing| File::open(landing)?.sync_all())
}

fn disk(error: &std::io::Error) -> Fault {
    Fault::Disk(error.to_string())
}
