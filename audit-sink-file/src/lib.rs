#![doc = include_str!("../README.md")]

mod array;
mod check;
mod compress;
mod config;
mod journal;
mod log;
mod paths;
mod recover;
mod replay;
mod sink;
mod stage;
mod stream;

pub use config::{Compression, FileConfig, Layout};
pub use sink::FileSink;
