//! Dead letters (placeholder until merged).
use crate::edge::kafka::lane::{Fetched, Output, Sink};
/// Where a record failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "placeholder")]
pub enum Stage { Decode, Schema, Validate, Key, Time, Feature, Conflict, Panic }
impl Stage {
    /// Name.
    #[must_use]
    pub const fn name(self) -> &'static str { match self { Self::Decode => "decode", Self::Schema => "schema", Self::Validate => "validate", Self::Key => "key", Self::Time => "time", Self::Feature => "feature", Self::Conflict => "conflict", Self::Panic => "panic" } }
}
/// Options.
#[derive(Clone, Debug)]
pub struct Options { /** bound */ pub value_len_max: usize }
/// Letter.
#[derive(Debug)]
pub struct Letter<'a> { /** input */ pub input: &'a Fetched, /** reason */ pub reason: &'a str, /** stage */ pub stage: Stage, /** error */ pub error: &'a str }
impl Letter<'_> {
    /// Writes.
    #[must_use]
    pub fn write(&self, _options: &Options) -> Output {
        let headers = vec![("fraudd-dead-reason".into(), Some(bytes::Bytes::copy_from_slice(self.reason.as_bytes()))), ("fraudd-dead-stage".into(), Some(bytes::Bytes::from_static(self.stage.name().as_bytes()))), ("fraudd-dead-error".into(), Some(bytes::Bytes::copy_from_slice(self.error.as_bytes())))];
        Output { sink: Sink::Dead, partition: self.input.partition, key: self.input.key.clone(), payload: self.input.payload.clone(), headers, timestamp_ms: None }
    }
}
