//! The flags that set the configuration, shared by every command that reads it.

use std::path::{Path, PathBuf};

use super::{ConfigError, Flag, Hidden, Loaded, load};
use crate::environment::file_variable;

/// The file that is read if it exists and no other is named.
const DEFAULT_FILE: &str = "longrun.toml";

/// Where the configuration comes from: the file, then environment variables, then these flags.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Configuration")]
pub struct ConfigArgs {
    /// Configuration file; default: the one that the environment variable LONGRUN_CONFIG names, or longrun.toml in the
    /// current folder, if it exists
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Store for the operations: sqlite:PATH or postgres://USER@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL")]
    pub store: Option<Hidden>,
    /// Standby of the store for reading lists and operations: postgres://USER@HOST:PORT/DATABASE
    #[arg(long, value_name = "URL")]
    pub read_store: Option<Hidden>,
    /// Address on which the API listens
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Address on which health checks and metrics are served
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<String>,
    /// PEM file with the certificate and its chain
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// PEM file with the certificate's private key
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<String>,
    /// Log format: json or human
    #[arg(long, value_name = "FORM")]
    pub log_format: Option<String>,
}

impl ConfigArgs {
    /// Loads the configuration from all layers.
    ///
    /// # Errors
    /// [`ConfigError`], with every problem.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let file = self.file();
        // A variable that is not Unicode cannot be one of longrun's.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        load(file.as_deref(), &environment, &self.flags())
    }

    /// The configuration file: the named one, or the default one if it exists.
    pub fn file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| file_variable("LONGRUN_CONFIG")).or_else(|| {
            let default = Path::new(DEFAULT_FILE);
            default.exists().then(|| default.to_owned())
        })
    }

    fn flags(&self) -> Vec<Flag> {
        let exposed = |text: &Option<Hidden>| text.as_ref().map(|text| text.expose().to_owned());
        let given = [
            ("store", "--store", exposed(&self.store)),
            ("read_store", "--read-store", exposed(&self.read_store)),
            ("listen", "--listen", self.listen.clone()),
            ("admin_listen", "--admin-listen", self.admin_listen.clone()),
            ("tls.cert", "--tls-cert", self.tls_cert.clone()),
            ("tls.key", "--tls-key", self.tls_key.clone()),
            ("log.format", "--log-format", self.log_format.clone()),
        ];
        let given = given.into_iter();
        given.filter_map(|(key, name, value)| Some(Flag { key, name, value: value? })).collect()
    }
}
