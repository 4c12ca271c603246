//! `facedex serve`, by area.

mod access;
mod keys;
