//! `facedex serve`, by area.

mod access;
mod audit;
mod keys;
mod site;
