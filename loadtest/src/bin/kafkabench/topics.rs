//! Makes and removes topics.

use anyhow::bail;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::client;

/// What to make and remove.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Topics to make
    #[arg(long, num_args = 0..)]
    create: Vec<String>,
    /// Topics to remove; those that are not there are passed over
    #[arg(long, num_args = 0..)]
    delete: Vec<String>,
    /// Partitions of each
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Compacted instead of deleted by age
    #[arg(long)]
    compact: bool,
}

/// Makes topics and removes others.
pub(crate) fn run(bootstrap: &str, args: &Args) -> anyhow::Result<()> {
    let admin: AdminClient<DefaultClientContext> = client::client(bootstrap).create()?;
    let options =
        AdminOptions::new().operation_timeout(Some(client::ANSWER_WITHIN)).request_timeout(Some(client::ANSWER_WITHIN));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    if !args.delete.is_empty() {
        let names: Vec<&str> = args.delete.iter().map(String::as_str).collect();
        runtime.block_on(admin.delete_topics(&names, &options))?;
    }
    if args.create.is_empty() {
        return Ok(());
    }
    let policy = if args.compact { "compact" } else { "delete" };
    let made: Vec<NewTopic<'_>> = args
        .create
        .iter()
        .map(|name| {
            NewTopic::new(name, args.partitions, TopicReplication::Fixed(1))
                .set("cleanup.policy", policy)
                .set("message.timestamp.type", "LogAppendTime")
        })
        .collect();
    for result in runtime.block_on(admin.create_topics(&made, &options))? {
        if let Err((name, code)) = result {
            bail!("{name} was not made: {code}");
        }
    }
    Ok(())
}
