//! `longrun doctor`: recounts everything in the store and compares. May run beside a server.

use std::io;

use store::{Report, Sealed, Store as _};

use crate::connection::OutputArgs;
use crate::exit::Exit;
use crate::progress::Spinner;
use crate::render::{self, Answer, Style, printable};
use crate::store_args::StoreArgs;

/// What `longrun doctor` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Examines the store; the answer is no when an invariant does not hold.
///
/// # Errors
/// When the store cannot be used.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let store = Sealed::new(args.store.open_existing().await?, args.store.keyring()?);
    let spinner = Spinner::start("recounting");
    let report = store.doctor().await?;
    drop(spinner);
    let is_sound = report.findings.is_empty();
    render::print(args.output.format, &Examination(report))?;
    Ok(Exit::yes_if(is_sound))
}

struct Examination(Report);

impl Answer for Examination {
    fn json(&self) -> io::Result<Vec<u8>> {
        let Report { organizations, operations, findings } = &self.0;
        let findings: Vec<_> = findings
            .iter()
            .map(|finding| serde_json::json!({"invariant": finding.invariant, "detail": finding.detail}))
            .collect();
        let report =
            serde_json::json!({"organizations": organizations, "operations": operations, "findings": findings});
        Ok(report.to_string().into_bytes())
    }

    fn table(&self, style: Style) -> String {
        let Report { organizations, operations, findings } = &self.0;
        let mut text = format!("looked at {operations} operations of {organizations} organizations: ");
        text += &match findings.len() {
            0 => format!("{}\n", style.good("sound")),
            1 => format!("{}\n", style.bad("1 finding")),
            count => format!("{}\n", style.bad(&format!("{count} findings"))),
        };
        for finding in findings {
            text += &format!("  {} {}\n", style.bad("✗"), printable(&finding.to_string()));
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        self.0.findings.iter().map(|finding| finding.invariant.to_owned()).collect()
    }
}
