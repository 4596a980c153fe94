//! Replaying a history through the real scorer.
pub struct ReplayReport;
pub fn replay() {}
