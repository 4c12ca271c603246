//! `facedex serve`, by area.

mod access;
mod door;
mod keys;
