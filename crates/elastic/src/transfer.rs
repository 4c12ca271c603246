//! Collections in and out as files.

pub mod deepface;
pub mod export;
pub mod import;
