//! Fetching over a directory and over a played S3: what lands, what does not, and what is left behind.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::*;
use crate::runtime::release::bundle::{CARD, HASHED, MANIFEST, MODEL, SIGNATURE, sha256};
use crate::runtime::release::manifest::tests::manifest;
use crate::telemetry::bundles::REASONS;

type Files = BTreeMap<String, Vec<u8>>;

/// A bundle as far as fetching is concerned: five files and the manifest that hashes them.
fn bundle(name: &str, version: &str) -> Files {
    let mut files: Files =
        HASHED.into_iter().map(|file| (file.to_owned(), format!("{file} of {name}/{version}").into_bytes())).collect();
    let mut manifest = manifest();
    (manifest.name, manifest.version) = (name.to_owned(), version.to_owned());
    manifest.files = files.iter().map(|(file, bytes)| (file.clone(), sha256(bytes))).collect();
    files.insert(MANIFEST.to_owned(), toml::to_string(&manifest).expect("written").into_bytes());
    files
}

fn options(url: &str, folder: &std::path::Path) -> Options {
    Options {
        url: url.to_owned(),
        credentials: Credentials::default(),
        ca_file: None,
        landing: folder.join("state/models"),
        beside: folder.join("models"),
        every: Duration::from_mins(1),
        timeout: Duration::from_secs(30),
        bundle_len_max: 1 << 20,
        landed_max: 8,
        seed: 7,
    }
}

// ---- A directory ----------------------------------------------------------------------------------------------------

/// A store that is a directory, and the place where bundles land.
struct Ground {
    folder: tempfile::TempDir,
    source: Source,
}

impl Ground {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(edit: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("store")).expect("a directory");
        let mut options = options(&format!("file://{}", folder.path().join("store").display()), folder.path());
        edit(&mut options);
        Self { folder, source: Source::new(options) }
    }

    fn upload(&self, place: &str, files: &Files) {
        let folder = self.folder.path().join("store").join(place);
        std::fs::create_dir_all(&folder).expect("a directory");
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).expect("written");
        }
    }

    fn landed(&self, place: &str) -> Files {
        let folder = self.folder.path().join("state/models").join(place);
        let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path());
        let name = |path: &std::path::Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        entries.map(|path| (name(&path), std::fs::read(&path).expect("a file"))).collect()
    }

    /// Looks once; nothing half fetched may ever be left.
    async fn look(&mut self) -> Looked {
        let looked = self.source.look().await.expect("a store that can be read");
        let left = std::fs::read_dir(self.folder.path().join("state/models")).into_iter().flatten();
        let left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
        looked
    }

    #[track_caller]
    fn check_failed(looked: &Looked, place: &str, reason: &'static str) {
        assert_eq!(looked, &Looked { landed: Vec::new(), failed: vec![(place.to_owned(), reason)] });
    }
}

#[test]
fn every_fault_has_a_metric() {
    let text = String::new;
    let faults = [
        Fault::Unreachable(text()),
        Fault::Denied(text()),
        Fault::Slow,
        Fault::Incomplete(text()),
        Fault::Hash { file: text(), found: text(), stated: text() },
        Fault::Changed(text()),
        Fault::Name(text()),
        Fault::TooLarge { what: text(), bytes: 2, bytes_max: 1 },
        Fault::TooMany(text()),
        Fault::Malformed(text()),
        Fault::Taken(text()),
        Fault::Disk(text()),
    ];
    assert_eq!(faults.each_ref().map(Fault::name), REASONS);
}

#[test]
fn a_url_names_a_place_and_no_secret() {
    let check = |url: &str, is_right: bool| assert_eq!(url_fault(url).is_none(), is_right, "{url}");
    check("s3://bucket/models", true);
    check("az://container", true);
    check("gs://bucket/a/b", true);
    check("file:///var/models", true);
    check("file://host/models", false);
    check("https://bucket.s3.amazonaws.com", false);
    check("s3://key:secret@bucket", false);
    check("az://container?sig=secret", false);
    check("models", false);
    let credentials = Credentials::of([("AWS_SECRET_ACCESS_KEY", "geheim"), ("HOME", "/root")]);
    let shown = format!("{credentials:?}");
    assert!(shown.contains("***") && !shown.contains("geheim") && !shown.contains("root"), "{shown}");
}

#[tokio::test]
async fn a_whole_bundle_lands_once_and_is_found_again_after_a_restart() {
    let mut ground = Ground::new();
    let files = bundle("card-fraud", "2.0.0");
    ground.upload("card-fraud/2.0.0", &files);
    ground.upload("card-fraud", &Files::from([("README.md".to_owned(), b"for people".to_vec())]));
    assert_eq!(ground.look().await.landed, ["card-fraud/2.0.0"]);
    assert_eq!(ground.landed("card-fraud/2.0.0"), files);
    assert_eq!(ground.look().await, Looked::default());
    ground.source = Source::new(ground.source.options.clone());
    assert_eq!(ground.look().await, Looked::default());
}

#[tokio::test]
async fn a_signature_comes_along_or_later() {
    let mut ground = Ground::new();
    let mut files = bundle("card-fraud", "2.0.0");
    ground.upload("card-fraud/2.0.0", &files);
    assert_eq!(ground.look().await.landed.len(), 1);
    files.insert(SIGNATURE.to_owned(), b"signed".to_vec());
    ground.upload("card-fraud/2.0.0", &files);
    assert_eq!(ground.look().await, Looked::default());
    assert_eq!(ground.landed("card-fraud/2.0.0"), files);
    let mut signed = bundle("card-fraud", "3.0.0");
    signed.insert(SIGNATURE.to_owned(), b"signed".to_vec());
    ground.upload("card-fraud/3.0.0", &signed);
    assert_eq!(ground.look().await.landed, ["card-fraud/3.0.0"]);
    assert_eq!(ground.landed("card-fraud/3.0.0"), signed);
}

#[tokio::test]
async fn half_a_bundle_waits_for_its_other_half() {
    let mut ground = Ground::new();
    let files = bundle("card-fraud", "2.0.0");
    let mut half = files.clone();
    half.remove(MODEL);
    ground.upload("card-fraud/2.0.0", &half);
    Ground::check_failed(&ground.look().await, "card-fraud/2.0.0", "incomplete");
    // It changes nothing, so it sits a look out; then it changes, and is looked at at once.
    assert_eq!(ground.look().await, Looked::default());
    ground.upload("card-fraud/2.0.0", &files);
    assert_eq!(ground.look().await.landed, ["card-fraud/2.0.0"]);
}

#[tokio::test]
async fn what_is_not_what_its_manifest_says_stays_out() {
    let mut ground = Ground::new();
    let mut files = bundle("card-fraud", "2.0.0");
    files.insert(CARD.to_owned(), b"another card".to_vec());
    ground.upload("card-fraud/2.0.0", &files);
    Ground::check_failed(&ground.look().await, "card-fraud/2.0.0", "hash");
    assert!(ground.landed("card-fraud/2.0.0").is_empty());
    // Tried again later, in case it was on its way; others are fetched meanwhile.
    ground.upload("card-fraud/2.0.1", &bundle("card-fraud", "2.0.1"));
    assert_eq!(ground.look().await.landed, ["card-fraud/2.0.1"]);
    Ground::check_failed(&ground.look().await, "card-fraud/2.0.0", "hash");
}

#[tokio::test]
async fn faults_that_stay_are_told_once_until_the_store_changes() {
    let check = async |place: &str, files: Files, reason: &'static str| {
        let mut ground = Ground::new();
        ground.upload(place, &files);
        Ground::check_failed(&ground.look().await, place, reason);
        for _ in 0..4 {
            assert_eq!(ground.look().await, Looked::default(), "{place}");
        }
    };
    check("Card Fraud/2.0.0", bundle("card-fraud", "2.0.0"), "name").await;
    check("card-fraud/.hidden", bundle("card-fraud", ".hidden"), "name").await;
    check("card-fraud/9.9.9", bundle("card-fraud", "2.0.0"), "name").await;
    let mut broken = bundle("card-fraud", "2.0.0");
    broken.insert(MANIFEST.to_owned(), b"not a manifest".to_vec());
    check("card-fraud/2.0.0", broken, "malformed").await;
    let mut large = bundle("card-fraud", "2.0.0");
    large.insert(MODEL.to_owned(), vec![0; 2 << 20]);
    check("card-fraud/2.0.0", large, "too_large").await;
}

#[tokio::test]
async fn a_version_is_never_replaced_by_another_bundle() {
    let mut ground = Ground::new();
    let files = bundle("card-fraud", "2.0.0");
    ground.upload("card-fraud/2.0.0", &files);
    assert_eq!(ground.look().await.landed.len(), 1);
    let mut other = bundle("card-fraud", "2.0.0");
    let text = String::from_utf8(other[MANIFEST].clone()).expect("text").replace("test 1", "test 2");
    other.insert(MANIFEST.to_owned(), text.into_bytes());
    ground.upload("card-fraud/2.0.0", &other);
    Ground::check_failed(&ground.look().await, "card-fraud/2.0.0", "taken");
    assert_eq!(ground.landed("card-fraud/2.0.0"), files);
}

#[tokio::test]
async fn the_landing_place_has_a_bound_and_may_be_gone() {
    let mut ground = Ground::with(|options| options.landed_max = 1);
    for version in ["1", "2"] {
        ground.upload(&format!("card-fraud/{version}"), &bundle("card-fraud", version));
    }
    let looked = ground.look().await;
    assert_eq!(looked.landed, ["card-fraud/1"]);
    assert_eq!(looked.failed, [("card-fraud/2".to_owned(), "too_many")]);
    // Where a file lies instead of the directory, nothing can be written.
    let mut ground = Ground::new();
    std::fs::write(ground.folder.path().join("state"), b"in the way").expect("written");
    ground.upload("card-fraud/1", &bundle("card-fraud", "1"));
    Ground::check_failed(&ground.look().await, "card-fraud/1", "disk");
}

#[tokio::test]
async fn what_a_crash_left_is_swept_away() {
    let ground = Ground::new();
    let left = ground.folder.path().join("state/models").join(format!("{STAGING}card-fraud-1"));
    std::fs::create_dir_all(&left).expect("a directory");
    std::fs::write(left.join(MODEL), b"half").expect("written");
    let again = Source::new(ground.source.options.clone());
    assert!(!left.exists());
    drop(again);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_tried_again() {
    let mut ground = Ground::with(|options| options.url = options.url.replace("/store", "/later"));
    assert_eq!(ground.source.look().await.map_err(|fault| fault.name()), Err("unreachable"));
    let pauses: Vec<Duration> = (0..3).map(|_| ground.source.pause()).collect();
    assert!(pauses.iter().all(|pause| (96..=144).contains(&pause.as_secs())), "{pauses:?}");
    std::fs::create_dir(ground.folder.path().join("later")).expect("a directory");
    assert_eq!(ground.look().await, Looked::default());
    assert!((48..=72).contains(&ground.source.pause().as_secs()));
}

// ---- A played S3 ----------------------------------------------------------------------------------------------------

/// What the store does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Trouble {
    #[default]
    None,
    /// Every answer is 503.
    Down,
    /// Every answer is 403.
    Denied,
    /// Bodies of objects end in the middle, the connection with them.
    Truncated,
    /// Bodies of objects never come.
    Silent,
    /// An object is replaced between listing and reading.
    Replaced,
    /// A key climbs out of the prefix.
    Climbing,
}

#[derive(Default)]
struct Played {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    trouble: Mutex<Trouble>,
    /// Pages of listings that were asked for.
    pages: Mutex<usize>,
    unsigned: Mutex<usize>,
}

type Shared = Arc<Played>;

const PAGE: usize = 4;

/// Answers `ListObjectsV2`, four keys a page.
async fn list(
    State(played): State<Shared>,
    Query(asked): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let trouble = *played.trouble.lock().expect("a lock");
    if !headers.get("authorization").is_some_and(|value| value.as_bytes().starts_with(b"AWS4-HMAC-SHA256")) {
        *played.unsigned.lock().expect("a lock") += 1;
    }
    match trouble {
        Trouble::Down => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Trouble::Denied => return StatusCode::FORBIDDEN.into_response(),
        Trouble::None | Trouble::Truncated | Trouble::Silent | Trouble::Replaced | Trouble::Climbing => {}
    }
    *played.pages.lock().expect("a lock") += 1;
    let objects = played.objects.lock().expect("a lock");
    let prefix = asked.get("prefix").cloned().unwrap_or_default();
    let after = asked.get("continuation-token").cloned().unwrap_or_default();
    let mut keys: Vec<_> = objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > after).collect();
    let is_cut = keys.len() > PAGE;
    keys.truncate(PAGE);
    let mut xml = String::from("<?xml version=\"1.0\"?><ListBucketResult>");
    for (key, bytes) in &keys {
        let key = if trouble == Trouble::Climbing { key.replace("card-fraud", "..") } else { (*key).clone() };
        let (size, tag) = (bytes.len(), sha256(bytes));
        write!(
            xml,
            "<Contents><Key>{key}</Key><LastModified>2026-03-01T10:00:00.000Z</LastModified>\
             <ETag>\"{tag}\"</ETag><Size>{size}</Size></Contents>"
        )
        .expect("written");
    }
    let next = keys.last().filter(|_| is_cut);
    if let Some((key, _)) = next {
        write!(xml, "<NextContinuationToken>{key}</NextContinuationToken>").expect("written");
    }
    write!(xml, "<IsTruncated>{is_cut}</IsTruncated></ListBucketResult>").expect("written");
    ([("content-type", "application/xml")], xml).into_response()
}

async fn object(State(played): State<Shared>, Path(key): Path<String>, headers: HeaderMap) -> Response {
    let Some(bytes) = played.objects.lock().expect("a lock").get(&key).cloned() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let tag = format!("\"{}\"", sha256(&bytes));
    let trouble = *played.trouble.lock().expect("a lock");
    let tag = if trouble == Trouble::Replaced { format!("\"{}\"", sha256(b"another")) } else { tag };
    if headers.get("if-match").is_some_and(|wanted| wanted.as_bytes() != tag.as_bytes()) {
        return StatusCode::PRECONDITION_FAILED.into_response();
    }
    let len = bytes.len();
    let body = match trouble {
        Trouble::Truncated => {
            let half = Bytes::from(bytes[..len / 2].to_vec());
            let cut = std::io::Error::other("cut");
            Body::from_stream(futures_util::stream::iter([Ok(half), Err(cut)]))
        }
        Trouble::Silent => Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>()),
        Trouble::None | Trouble::Down | Trouble::Denied | Trouble::Replaced | Trouble::Climbing => bytes.into(),
    };
    let headers = [
        ("etag", tag),
        ("content-length", len.to_string()),
        ("last-modified", "Sun, 01 Mar 2026 10:00:00 GMT".to_owned()),
    ];
    (headers, body).into_response()
}

/// A played S3 on a loopback port, with a source that reads it.
struct Cloud {
    played: Shared,
    ground: Ground,
}

impl Cloud {
    async fn new(edit: impl FnOnce(&mut Options)) -> Self {
        let played = Shared::default();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/bucket", get(list)).route("/bucket/{*key}", get(object));
        let router = router.with_state(Arc::clone(&played));
        // It ends with the runtime of its test.
        let _serving = tasks::once("played-s3", async move {
            axum::serve(listener, router).await.expect("served");
        });
        let ground = Ground::with(|options| {
            options.url = "s3://bucket/models/of/ours".to_owned();
            options.credentials = Credentials::of([
                ("AWS_ENDPOINT", endpoint.as_str()),
                ("AWS_ALLOW_HTTP", "true"),
                ("AWS_ACCESS_KEY_ID", "ours"),
                ("AWS_SECRET_ACCESS_KEY", "geheim"),
            ]);
            edit(options);
        });
        Self { played, ground }
    }

    fn upload(&self, place: &str, files: &Files) {
        let mut objects = self.played.objects.lock().expect("a lock");
        objects.extend(files.iter().map(|(name, bytes)| (format!("models/of/ours/{place}/{name}"), bytes.clone())));
    }

    fn set(&self, trouble: Trouble) {
        *self.played.trouble.lock().expect("a lock") = trouble;
    }
}

#[tokio::test]
async fn s3_is_listed_page_by_page_and_every_call_is_signed() {
    let mut cloud = Cloud::new(|_| {}).await;
    let files = bundle("card-fraud", "2.0.0");
    cloud.upload("card-fraud/2.0.0", &files);
    cloud.upload("card-fraud/3.0.0", &bundle("card-fraud", "3.0.0"));
    assert_eq!(cloud.ground.look().await.landed, ["card-fraud/2.0.0", "card-fraud/3.0.0"]);
    assert_eq!(cloud.ground.landed("card-fraud/2.0.0"), files);
    assert_eq!(*cloud.played.pages.lock().expect("a lock"), 3);
    assert_eq!(*cloud.played.unsigned.lock().expect("a lock"), 0);
}

#[tokio::test]
async fn s3_that_cannot_be_listed_is_told_and_comes_back() {
    let mut cloud = Cloud::new(|_| {}).await;
    cloud.upload("card-fraud/2.0.0", &bundle("card-fraud", "2.0.0"));
    for (trouble, reason) in [(Trouble::Down, "unreachable"), (Trouble::Denied, "denied"), (Trouble::Climbing, "name")]
    {
        cloud.set(trouble);
        assert_eq!(cloud.ground.source.look().await.map_err(|fault| fault.name()), Err(reason));
    }
    cloud.set(Trouble::None);
    assert_eq!(cloud.ground.look().await.landed, ["card-fraud/2.0.0"]);
}

#[tokio::test]
async fn s3_that_breaks_off_or_falls_silent_leaves_nothing_behind() {
    for (trouble, reasons) in [
        (Trouble::Truncated, ["unreachable", "incomplete"].as_slice()),
        (Trouble::Silent, &["slow"]),
        (Trouble::Replaced, &["changed"]),
    ] {
        let mut cloud = Cloud::new(|options| {
            if trouble == Trouble::Silent {
                options.timeout = Duration::from_millis(300);
            }
        })
        .await;
        cloud.upload("card-fraud/2.0.0", &bundle("card-fraud", "2.0.0"));
        cloud.set(trouble);
        let looked = cloud.ground.look().await;
        assert!(looked.landed.is_empty() && reasons.contains(&looked.failed[0].1), "{trouble:?}: {looked:?}");
        assert!(cloud.ground.landed("card-fraud/2.0.0").is_empty());
    }
}

#[tokio::test]
async fn plain_http_is_refused_unless_it_is_allowed() {
    let mut cloud = Cloud::new(|options| options.credentials = options.credentials.without("aws_allow_http")).await;
    cloud.upload("card-fraud/2.0.0", &bundle("card-fraud", "2.0.0"));
    assert_eq!(cloud.ground.source.look().await.map_err(|fault| fault.name()), Err("unreachable"));
    assert_eq!(*cloud.played.pages.lock().expect("a lock"), 0);
}
