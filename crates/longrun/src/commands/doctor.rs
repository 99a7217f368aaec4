//! `longrun doctor`: recounts everything in the store and compares it with the recorded totals and with the stored
//! evidence. Servers may run at the same time.

use std::io;
use std::path::PathBuf;

use store::{Finding, Report, Sealed, Store as _};

use crate::connection::OutputArgs;
use crate::exit::{Exit, note};
use crate::progress::Spinner;
use crate::render::{self, Answer, Style, count, printable};
use crate::store_args::StoreArgs;

/// What `longrun doctor` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the evidence; default: the one in the configuration
    #[arg(long, value_name = "DIR")]
    evidence: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// How many missing objects are reported one by one.
const SHOWN: usize = 20;

/// Checks the store; the answer is no if an invariant does not hold.
///
/// # Errors
/// When the store cannot be used.
pub async fn run(args: Args) -> anyhow::Result<Exit> {
    let settings = args.store.settings()?;
    let store = Sealed::new(settings.open_existing().await?, settings.keyring()?);
    let spinner = Spinner::start("recounting");
    let mut report = store.doctor().await?;
    let place = settings.evidence(args.evidence);
    let is_there = place.exists();
    if is_there {
        for detail in place.open(u64::MAX)?.missing(&store, SHOWN).await? {
            let invariant = "evidence that is on record is kept, whole";
            report
                .findings
                .push(Finding { invariant, detail: format!("{detail} is missing, or has a different size") });
        }
    }
    drop(spinner);
    if !is_there {
        note(format!("the evidence was not checked: {place} does not exist; name it with --evidence"));
    }
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
        let (operations, organizations) = (count(*operations, "operation"), count(*organizations, "organization"));
        let found = match findings.len() as u64 {
            0 => style.good("sound"),
            found => style.bad(&count(found, "finding")),
        };
        let mut text = format!("checked {operations} of {organizations}: {found}\n");
        for finding in findings {
            text += &format!("  {} {}\n", style.bad("✗"), printable(&finding.to_string()));
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        self.0.findings.iter().map(|finding| finding.invariant.to_owned()).collect()
    }
}
