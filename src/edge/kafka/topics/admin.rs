//! Asks the broker for topics, and makes them.

use std::collections::BTreeMap;

use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use super::super::client;
use super::super::options::Options;
use super::{Found, REQUEST_TIMEOUT, Shape, Topic};
use crate::edge::kafka::connect::Error;

/// What became of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was made now.
    Made,
    /// It was there; nothing was changed.
    There,
    /// The broker refused.
    Refused(String),
}

/// A client that describes and makes topics.
pub struct Administrator {
    client: AdminClient<DefaultClientContext>,
    asker: BaseConsumer,
    servers: String,
}

impl Administrator {
    /// Makes the client; no connection is tried yet.
    ///
    /// # Errors
    /// Files of keys or certificates that librdkafka cannot use.
    pub fn new(options: &Options) -> Result<Self, Error> {
        let client = client::admin(options).create().map_err(|error| Error::of_creation(&error))?;
        let asker = client::reader(options).create().map_err(|error| Error::of_creation(&error))?;
        Ok(Self { client, asker, servers: options.bootstrap_servers.clone() })
    }

    /// Describes those of the topics that exist.
    ///
    /// # Errors
    /// A broker that does not answer in time, or that refuses to describe a topic.
    pub async fn find(&self, topics: &[Topic]) -> Result<BTreeMap<String, Found>, Error> {
        let mut found = BTreeMap::new();
        // All topics in one request: asking for one by name could make it, where brokers do so by themselves.
        let metadata = self.client.inner().fetch_metadata(None, REQUEST_TIMEOUT);
        let metadata = metadata.map_err(|error| Error::of(&error, &self.servers))?;
        for topic in topics {
            let Some(there) = metadata.topics().iter().find(|there| there.name() == topic.name) else { continue };
            let partitions = there.partitions();
            let replicas = partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
            let one = Found {
                partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
                replicas: u32::try_from(replicas).unwrap_or(u32::MAX),
                settings: BTreeMap::new(),
            };
            found.insert(topic.name.clone(), one);
        }
        let named: Vec<_> = found.keys().map(|name| ResourceSpecifier::Topic(name)).collect();
        if !named.is_empty() {
            let asked = self.client.describe_configs(&named, &times()).await;
            for resource in asked.map_err(|error| Error::of(&error, &self.servers))?.into_iter().flatten() {
                let OwnedResourceSpecifier::Topic(name) = resource.specifier else { continue };
                let Some(there) = found.get_mut(&name) else { continue };
                let entries = resource.entries.into_iter();
                there.settings = entries.filter_map(|entry| Some((entry.name, entry.value?))).collect();
            }
        }
        for topic in topics.iter().filter(|topic| !found.contains_key(&topic.name)) {
            self.check_hidden(&topic.name)?;
        }
        Ok(found)
    }

    /// Tells a topic that is hidden from us from one that is not there. Only a consumer may ask by name: a
    /// producer's question could make the topic.
    fn check_hidden(&self, name: &str) -> Result<(), Error> {
        let asked = self.asker.fetch_metadata(Some(name), REQUEST_TIMEOUT);
        let metadata = asked.map_err(|error| Error::of(&error, &self.servers))?;
        let refused = metadata.topics().iter().find_map(rdkafka::metadata::MetadataTopic::error);
        match refused.map(RDKafkaErrorCode::from) {
            None | Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(()),
            Some(code) => Err(Error::of_code(code, &format!("topic {name}"), &self.servers)),
        }
    }

    /// Counts the brokers.
    ///
    /// # Errors
    /// A broker that does not answer in time.
    pub fn broker_count(&self) -> Result<usize, Error> {
        let metadata = self.client.inner().fetch_metadata(None, REQUEST_TIMEOUT);
        metadata.map(|metadata| metadata.brokers().len()).map_err(|error| Error::of(&error, &self.servers))
    }

    /// Makes topics; `is_dry` has the broker check them without making any.
    ///
    /// # Errors
    /// A broker that does not answer in time.
    pub async fn make(&self, topics: &[Topic], shape: Shape, is_dry: bool) -> Result<BTreeMap<String, Made>, Error> {
        let copies = i32::try_from(shape.replicas).unwrap_or(i32::MAX);
        let settings: Vec<_> = topics.iter().map(|topic| topic.settings(shape.replicas)).collect();
        let wanted: Vec<NewTopic<'_>> = topics
            .iter()
            .zip(&settings)
            .map(|(topic, settings)| {
                let partitions = i32::try_from(topic.partition_count(shape.partitions)).unwrap_or(i32::MAX);
                let new = NewTopic::new(&topic.name, partitions, TopicReplication::Fixed(copies));
                settings.iter().fold(new, |new, (key, value)| new.set(key, value))
            })
            .collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let asked = self.client.create_topics(&wanted, &times().validate_only(is_dry)).await;
        let answers = asked.map_err(|error| Error::of(&error, &self.servers))?;
        let told = answers.into_iter().map(|answer| match answer {
            Ok(name) => (name, Made::Made),
            Err((name, RDKafkaErrorCode::TopicAlreadyExists)) => (name, Made::There),
            Err((name, code)) => {
                let said = Error::of_code(code, &format!("topic {name}"), &self.servers).to_string();
                (name, Made::Refused(said))
            }
        });
        Ok(told.collect())
    }
}

fn times() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}
