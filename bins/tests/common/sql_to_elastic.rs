//! `sql-to-elastic` between a database of its own and a fake cluster.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::process::{Child, Command, Stdio};

use rusqlite::types::Value as Sql;

use crate::common::{Lab, Ran};
use crate::elastic::Cluster;

/// A database of an application, and a cluster.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    pub(crate) cluster: Cluster,
}

impl Site {
    pub(crate) fn new(rows: u32) -> Self {
        Self { lab: Lab::new(rows), cluster: Cluster::start() }
    }

    /// The program with the variables that every deployment sets.
    pub(crate) fn command(&self, variables: &[(&str, &str)], args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sql-to-elastic"));
        command
            .args(args)
            .current_dir(self.lab.path(""))
            .env_clear()
            .env("DATABASE_URL", format!("sqlite:///{}", self.lab.path("app.db").display()))
            .env("ELASTICSEARCH_HOST", self.cluster.url())
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, variables: &[(&str, &str)], args: &[&str]) -> Ran {
        Ran::of(self.command(variables, args).output().unwrap())
    }

    pub(crate) fn send(&self) -> Ran {
        self.run(&[], &[])
    }

    pub(crate) fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(&[], args);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub(crate) fn rows_of_other_shape(&self, message: &str) {
        self.lab.add_value(1000, Sql::Text(message.to_owned()));
    }
}
