//! `longrun organizations create` and `set-limits`, at a server or directly in the store. Servers may run at the same
//! time; they apply new limits within seconds.

use longrun_client::WantedLimits;
use operations::{Violation, check_name};
use store::Limits;

use super::audit::recorded;
use crate::config::ByteSize;
use crate::exit::{Exit, failure};
use crate::place::{Place, PlaceArgs};
use crate::render::{self, printable};

/// The limits of an organization; what is left out is taken from the servers' configuration.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitsArgs {
    /// Maximum number of operations that have not ended, over all servers; 0: unlimited
    #[arg(long, value_name = "N")]
    max_pending: Option<u64>,
    /// Operations that it may create per second, on each server; 0: unlimited
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Operations that it may create at once after a pause
    #[arg(long, value_name = "N")]
    burst: Option<u32>,
    /// Maximum size of an operation's input, e.g. 64KiB
    #[arg(long, value_name = "SIZE")]
    max_input: Option<ByteSize>,
    /// Maximum size of an operation's output, e.g. 64KiB
    #[arg(long, value_name = "SIZE")]
    max_output: Option<ByteSize>,
    /// How many of its operations start for each one of an organization of weight 1, while both have pending operations
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// How many of its operations of a kind may run at a time, e.g. scan=4; 0: unlimited; may be given several times
    #[arg(long, value_name = "KIND=N", value_parser = of_kind)]
    max_running: Vec<(String, u32)>,
}

fn of_kind(text: &str) -> Result<(String, u32), String> {
    let parts = text.split_once('=').and_then(|(kind, most)| Some((kind.to_owned(), most.parse().ok()?)));
    parts.ok_or_else(|| "must be a kind and a number, e.g. scan=4".to_owned())
}

/// What `longrun organizations create` takes.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// The organization
    #[arg(value_name = "ORG")]
    organization: String,
    #[command(flatten)]
    limits: LimitsArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

/// What `longrun organizations set-limits` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The limits are replaced as a whole: one that is not given reverts to the servers' configuration."
)]
pub struct SetLimitsArgs {
    /// The organization
    #[arg(value_name = "ORG")]
    organization: String,
    #[command(flatten)]
    limits: LimitsArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

impl LimitsArgs {
    fn limits(&self) -> anyhow::Result<Limits> {
        let limits = Limits {
            max_pending: self.max_pending,
            rate: self.rate,
            burst: self.burst,
            max_input: self.max_input.map(|size| size.0),
            max_output: self.max_output.map(|size| size.0),
            weight: self.weight,
            max_running: self.max_running.iter().cloned().collect(),
        };
        let told = limits.violations().into_iter().map(|Violation { field, description }| {
            let flag = field.replace('_', "-");
            format!("--{flag} {description}")
        });
        let told: Vec<String> = told.collect();
        if told.is_empty() { Ok(limits) } else { Err(anyhow::anyhow!(told.join("; "))) }
    }
}

/// Limits in the format of the API.
fn wanted(limits: Limits) -> WantedLimits {
    let Limits { max_pending, rate, burst, max_input, max_output, weight, max_running } = limits;
    WantedLimits { max_pending, rate, burst, max_input, max_output, weight, max_running }
}

/// Creates an organization.
///
/// # Errors
/// When it already exists, a limit is invalid, or the store cannot be used.
pub async fn create(args: CreateArgs) -> anyhow::Result<Exit> {
    check_name("ORG", &args.organization)?;
    let limits = args.limits.limits()?;
    let (name, shown) = (args.organization.as_str(), printable(&args.organization));
    match args.place.open_or_make().await? {
        Place::Server(client) => drop(client.create_organization(name, wanted(limits)).await?),
        Place::Store(store) => {
            let store = recorded(&*store, "", "organizations.create", vec![format!("organizations/{name}")]);
            if !store.create_organization(name, limits).await? {
                let hint = "`longrun organizations set-limits` changes its limits";
                return Err(failure(format!("the organization {shown} already exists"), hint));
            }
        }
    }
    render::write(format!("created {shown}\n"))?;
    Ok(Exit::Done)
}

/// Sets the limits of an organization.
///
/// # Errors
/// When there is no such organization, a limit is invalid, or the store cannot be used.
pub async fn set_limits(args: SetLimitsArgs) -> anyhow::Result<Exit> {
    check_name("ORG", &args.organization)?;
    let limits = args.limits.limits()?;
    let (name, shown) = (args.organization.as_str(), printable(&args.organization));
    match args.place.open().await? {
        Place::Server(client) => drop(client.set_organization_limits(name, wanted(limits)).await?),
        Place::Store(store) => {
            let target = vec![format!("organizations/{name}")];
            let store = recorded(&*store, name, "organizations.set_limits", target);
            if !store.set_limits(name, limits).await? {
                let hint = "`longrun organizations list` shows the existing ones";
                return Err(failure(format!("there is no organization {shown}"), hint));
            }
        }
    }
    render::write(format!("set the limits of {shown}\n"))?;
    Ok(Exit::Done)
}
