//! `facedex serve`, by area.

mod door;
