//! A store by its URL: who to sign in as, how to connect, what its errors mean.
//!
//! HTTP goes over the client that is here anyway, with TLS by rustls: the roots are compiled in, so that an image needs
//! no certificates, and `models.source_ca_file` adds others. Plain HTTP is refused unless the environment allows it
//! (`AWS_ALLOW_HTTP`, `AZURE_ALLOW_HTTP`). Credentials are never shown.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::TokioExecutor;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Prefix;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Fault, Options};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take to begin.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How often one request is tried again at once; the rest is for the next look.
const RETRIES_MAX: usize = 2;
/// How long that may take.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);

/// Variables of the environment that say how to sign in to a store. Their values are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(Vec<(String, String)>);

impl Credentials {
    /// How the names of variables begin that a store reads.
    const PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

    /// Takes what stores read out of an environment.
    #[must_use]
    pub fn of<'e>(environment: impl IntoIterator<Item = (&'e str, &'e str)>) -> Self {
        let is_meant = |name: &str| Self::PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let meant = environment.into_iter().filter(|(name, _)| is_meant(name));
        Self(meant.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect())
    }

    /// Leaves a variable out.
    #[cfg(test)]
    pub(super) fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(known, _)| known != name).cloned().collect())
    }

    fn iter<K: std::str::FromStr>(&self, prefix: &str) -> impl Iterator<Item = (K, &str)> {
        let of_store = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        // A variable that the store does not know is somebody else's.
        of_store.filter_map(|(name, value)| Some((name.parse().ok()?, value.as_str())))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.0.iter().map(|(name, _)| (name, "***"))).finish()
    }
}

/// Tells what is wrong with the URL of a store; `None` when nothing is.
#[must_use]
pub fn url_fault(url: &str) -> Option<&'static str> {
    const EXPECTED: &str = "expected \"s3://bucket/prefix\", \"az://container/prefix\", \"gs://bucket/prefix\" or \
                            \"file:///directory\"";
    let Ok(url) = Url::parse(url) else { return Some(EXPECTED) };
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Some("credentials and the like stand in the environment (AWS_*, AZURE_*, GOOGLE_*), not in the URL");
    }
    match (url.scheme(), url.host_str()) {
        ("s3" | "az" | "gs", Some(_)) => None,
        ("file", None | Some("")) if url.path().len() > 1 => None,
        _ => Some(EXPECTED),
    }
}

/// Opens the store of a URL; returns it with the prefix bundles lie below.
///
/// # Errors
/// What cannot be meant, in one line.
pub(super) fn open(options: &Options) -> Result<(Arc<dyn ObjectStore>, Prefix), String> {
    if let Some(fault) = url_fault(&options.url) {
        return Err(fault.to_owned());
    }
    let url = Url::parse(&options.url).map_err(|error| error.to_string())?;
    let host = url.host_str().unwrap_or_default();
    let said = |error: object_store::Error| format!("tried to open {}: {}", options.url, chain(&error));
    let connect = Connect::new(options.ca_file.as_deref())?;
    let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let keys = &options.credentials;
    let store: Arc<dyn ObjectStore> = match url.scheme() {
        "s3" => {
            let mut builder = AmazonS3Builder::new().with_bucket_name(host);
            for (key, value) in keys.iter("aws_") {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.with_retry(retry).with_http_connector(connect).build().map_err(said)?)
        }
        "az" => {
            let mut builder = MicrosoftAzureBuilder::new().with_container_name(host);
            for (key, value) in keys.iter("azure_") {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.with_retry(retry).with_http_connector(connect).build().map_err(said)?)
        }
        "gs" => {
            let mut builder = GoogleCloudStorageBuilder::new().with_bucket_name(host);
            for (key, value) in keys.iter("google_") {
                builder = builder.with_config(key, value);
            }
            Arc::new(builder.with_retry(retry).with_http_connector(connect).build().map_err(said)?)
        }
        _ => {
            let root = url.to_file_path().map_err(|()| format!("{} is no path", options.url))?;
            let store = LocalFileSystem::new_with_prefix(&root).map_err(said)?;
            return Ok((Arc::new(store), Prefix::default()));
        }
    };
    let prefix = Prefix::from_url_path(url.path()).map_err(|error| error.to_string())?;
    Ok((store, prefix))
}

/// How the library words an answer that refuses.
const REFUSED: [&str; 2] = ["status code: 401", "status code: 403"];

/// Says which fault an error of a store is.
pub(super) fn fault(error: &object_store::Error) -> Fault {
    use object_store::Error;
    match error {
        Error::Precondition { .. } | Error::NotModified { .. } => Fault::Changed("its tag is another one".to_owned()),
        Error::NotFound { path, .. } => Fault::Changed(format!("{path} is gone")),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Fault::Denied(chain(error)),
        Error::InvalidPath { .. } => Fault::Name(format!("a key below the prefix is no path: {}", chain(error))),
        _ => {
            let text = chain(error);
            // A listing that is refused has no error of its own in the library: the status is in its words only.
            let is_refused = REFUSED.iter().any(|status| text.contains(status));
            if is_refused { Fault::Denied(text) } else { Fault::Unreachable(text) }
        }
    }
}

/// Writes an error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

/// Makes the client of a store.
#[derive(Clone, Debug)]
struct Connect {
    tls: rustls::ClientConfig,
}

impl Connect {
    fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let tls = match ca_file {
            None => builder.with_webpki_roots().with_no_client_auth(),
            Some(path) => {
                let said = |error: String| format!("tried to read the certificates in {}: {error}", path.display());
                let mut roots = rustls::RootCertStore::empty();
                let found = CertificateDer::pem_file_iter(path).map_err(|error| said(error.to_string()))?;
                for certificate in found {
                    let certificate = certificate.map_err(|error| said(error.to_string()))?;
                    roots.add(certificate).map_err(|error| said(error.to_string()))?;
                }
                if roots.is_empty() {
                    return Err(said("there are none".to_owned()));
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        Ok(Self { tls })
    }
}

impl HttpConnector for Connect {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut tcp = Tcp::new();
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let is_plain = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let https = HttpsConnectorBuilder::new().with_tls_config(self.tls.clone());
        let https = if is_plain { https.https_or_http() } else { https.https_only() };
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_max_idle_per_host(2);
        Ok(HttpClient::new(Web { client: client.build(https.enable_http1().wrap_connector(tcp)) }))
    }
}

/// A client of HTTP as stores want it.
#[derive(Debug)]
struct Web {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
}

/// A future of an answer.
type Answering<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Web {
    fn call<'s, 'a>(&'s self, request: HttpRequest) -> Answering<'a>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async move {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.client.request(request)).await;
            let answer = answer.map_err(|late| HttpError::new(HttpErrorKind::Timeout, late))?;
            let answer = answer.map_err(|error| {
                let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Request };
                HttpError::new(kind, error)
            })?;
            let broken = |error: hyper::Error| HttpError::new(HttpErrorKind::Interrupted, error);
            Ok(answer.map(|body| HttpResponseBody::new(body.map_err(broken))))
        })
    }
}
