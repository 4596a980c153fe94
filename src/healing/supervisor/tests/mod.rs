//! The planner's promises: each row with its look-alike, the invariants over made-up histories, a simulated world.

mod course;
mod endings;
mod explained;
mod promises;
mod rows;
mod scene;
mod simulation;
