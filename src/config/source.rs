//! The object store that bundles come from: the keys of `[models]` that begin with `source`.

use super::reader::Reader;
use super::size::Size;
use super::{count, positive};
use crate::edge::outbound::bundles::{Credentials, Options, url_fault};

/// Reads the keys; what goes wrong is a fault of the reader.
pub(super) fn read(reader: &mut Reader) -> Option<Options> {
    let every = positive(reader, "models.source_every").to_std();
    let timeout = positive(reader, "models.source_timeout").to_std();
    let bundle_len_max = reader.get::<Size>("models.source_bundle_max").bytes();
    let is_in_range = (1 << 20..=1 << 30).contains(&bundle_len_max);
    reader.expect(is_in_range, "models.source_bundle_max", "expected 1MiB to 1GiB");
    let landed_max = count(reader, "models.source_landed_max", 1_000).get();
    let ca_file = reader.path("models.source_ca_file");
    let url = reader.optional("models.source")?;
    if let Some(fault) = url_fault(&url) {
        reader.fault("models.source", fault);
    }
    let state = reader.path("state.directory");
    reader.expect(state.is_some(), "state.directory", "models.source lands bundles there; set for example \"state\"");
    Some(Options {
        url,
        credentials: Credentials::of(reader.variables()),
        ca_file,
        landing: state?.join("models"),
        beside: reader.get::<String>("models.directory").into(),
        every,
        timeout,
        bundle_len_max: u64::try_from(bundle_len_max).unwrap_or(u64::MAX),
        landed_max,
        seed: 0,
    })
}
