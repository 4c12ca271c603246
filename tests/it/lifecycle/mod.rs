//! What happens to a collection after it was made.

use serde_json::Value;

use crate::harness::Space;

mod concurrent;
pub mod made_up;
mod migrate;
mod reembed;
mod sizes;
mod transfer;
mod upkeep;

impl Space {
    /// Runs `collection COMMAND NAME --json`.
    #[track_caller]
    fn collection(&self, code: i32, command: &str, more: &[&str]) -> Value {
        let arguments = [&["collection", command, &self.name, "--json"], more].concat();
        self.run(&arguments).expect(code).json()
    }
}
