//! Where the loop's memory lies between two lives: one JSON file, replaced whole.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use crate::healing::Memory;
use crate::telemetry::healing::MemoryUnsaved;

/// Reads the memory; none there is a fresh one. One that cannot be read is set aside and told: budgets begin anew,
/// and a lock is not forgotten in silence.
#[must_use]
pub fn load(path: &Path) -> Memory {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Memory::default(),
        Err(error) => {
            MemoryUnsaved { tried: "read", error: &error }.emit();
            return Memory::default();
        }
    };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        MemoryUnsaved { tried: "understand", error: &error }.emit();
        // Whether it can be set aside or not, the service goes on.
        let _ = std::fs::rename(path, path.with_extension("json.unreadable"));
        Memory::default()
    })
}

/// Replaces the memory.
///
/// # Errors
/// The file system's.
pub fn save(path: &Path, memory: &Memory) -> std::io::Result<()> {
    let json = serde_json::to_vec(memory).map_err(std::io::Error::other)?;
    let next = path.with_extension("json.next");
    let mut file = File::create(&next)?;
    file.write_all(&json)?;
    file.sync_data()?;
    std::fs::rename(&next, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
