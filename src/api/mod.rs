//! The server: what other programs and the page ask.

pub mod access;
