//! `facedex serve`, by area, through the real binary.

mod access;
mod audit;
mod keys;
mod site;
