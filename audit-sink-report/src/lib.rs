#![doc = include_str!("../README.md")]

mod aggregation;
mod cells;
mod config;
mod crosstab;
mod facts;
mod files;
mod hour;
mod html;
mod journal;
mod known;
mod lines;
mod payload;
mod ranked;
mod report;
mod reports;
mod row;
mod section;
mod sink;
mod store;
mod table;
mod text;
mod tidy;
mod visible;

pub use aggregation::{Aggregation, Fields};
pub use config::{ReportConfig, ReportFormat};
pub use crosstab::Crosstab;
pub use facts::{Class, Details, Facts};
pub use hour::{Day, Hour};
pub use known::Known;
pub use report::Report;
pub use reports::{Published, Reports};
pub use row::Row;
pub use section::Section;
pub use sink::ReportSink;
