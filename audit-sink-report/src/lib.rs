#![doc = include_str!("../README.md")]

mod config;
mod section;
mod sink;

pub use config::{ReportConfig, ReportFormat};
pub use section::Section;
pub use sink::ReportSink;
