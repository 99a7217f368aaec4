//! `longrun schedules`: list, get, create, update, delete, pause, resume, trigger.

use std::path::PathBuf;

use clap_complete::ArgValueCompleter;
use longrun_client::{Answer, Client, NewOperation, ScheduleWish};

use super::operations::{about, input, seconds, shown};
use crate::config::Span;
use crate::connection::{ClientArgs, OutputArgs};
use crate::exit::{Exit, Tally};
use crate::render::{self, Format};

/// What `longrun schedules list` takes.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What commands for named schedules take: `get`, `delete`, `pause`, `resume`, `trigger`.
#[derive(Debug, clap::Args)]
pub struct NamesArgs {
    /// Names of the schedules
    #[arg(required = true, value_name = "NAME", add = ArgValueCompleter::new(crate::completing::schedules))]
    names: Vec<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// When a schedule is due, and how due times are handled.
#[derive(Debug, clap::Args)]
struct TermsArgs {
    /// Cron expression: minute, hour, day of the month, month, day of the week; with six fields, the first one is the
    /// second
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "every")]
    cron: Option<String>,
    /// Interval between due times, e.g. 10m
    #[arg(long, value_name = "DURATION")]
    every: Option<Span>,
    /// Time zone of --cron, e.g. Europe/Berlin; default: UTC
    #[arg(long, value_name = "ZONE", conflicts_with = "every")]
    time_zone: Option<String>,
    /// What to do while its last operation has not ended: run both at the same time, skip the due time, or cancel the
    /// last one
    #[arg(long, value_name = "HOW", value_parser = ["allow", "skip", "cancel_previous"])]
    overlap: Option<String>,
    /// Which due times are made up for if they were missed by more than a minute
    #[arg(long, value_name = "WHICH", value_parser = ["none", "latest", "all"])]
    catch_up: Option<String>,
    /// Delay each due time by a varying amount of up to this long, e.g. 5m
    #[arg(long, value_name = "DURATION")]
    jitter: Option<Span>,
}

/// The operations that a schedule creates.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Operations to create")]
struct TemplateArgs {
    /// Type of the resource that the operations are about
    #[arg(long, value_name = "TYPE", requires_all = ["resource_id", "kind"])]
    resource_type: Option<String>,
    /// Id of the resource that the operations are about
    #[arg(long, value_name = "ID", requires_all = ["resource_type", "kind"])]
    resource_id: Option<String>,
    /// Id of the project that the operations belong to
    #[arg(long, value_name = "ID", requires = "kind")]
    project_id: Option<String>,
    /// Id of the project's version
    #[arg(long, value_name = "ID", requires = "kind")]
    project_version_id: Option<String>,
    /// Input of the operations, as JSON
    #[arg(long, value_name = "JSON", conflicts_with = "input_file", requires = "kind")]
    input: Option<String>,
    /// Read the input from a file; - is standard input
    #[arg(long, value_name = "FILE", requires = "kind")]
    input_file: Option<PathBuf>,
    /// Priority, from -100 to 100; higher ones run first
    #[arg(long, value_name = "N", allow_negative_numbers = true, requires = "kind")]
    priority: Option<i16>,
    /// Time limit of each attempt, e.g. 60s
    #[arg(long, value_name = "DURATION", requires = "kind")]
    timeout: Option<Span>,
    /// Maximum number of attempts
    #[arg(long, value_name = "N", requires = "kind")]
    max_attempts: Option<u32>,
    /// How long to keep the operations after they have ended, e.g. 30d
    #[arg(long, value_name = "DURATION", requires = "kind")]
    retain_for: Option<Span>,
}

/// What `longrun schedules create` takes.
#[derive(Debug, clap::Args)]
pub struct CreateArgs {
    /// Name of the schedule: letters, digits, '_', '-' and '.'
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    terms: TermsArgs,
    /// Create it paused
    #[arg(long)]
    paused: bool,
    /// Kind of the operations
    #[arg(long, help_heading = "Operations to create")]
    kind: String,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

/// What `longrun schedules update` takes.
#[derive(Debug, clap::Args)]
pub struct UpdateArgs {
    /// Name of the schedule
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    terms: TermsArgs,
    /// Kind of the operations: the operation is then replaced by this and its other given settings
    #[arg(long, help_heading = "Operations to create")]
    kind: Option<String>,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    server: ClientArgs,
}

impl TermsArgs {
    fn wish(self) -> ScheduleWish {
        ScheduleWish {
            cron: self.cron,
            every: self.every.map(seconds),
            time_zone: self.time_zone,
            overlap: self.overlap,
            catch_up: self.catch_up,
            jitter: self.jitter.map(seconds),
            ..ScheduleWish::default()
        }
    }
}

impl TemplateArgs {
    fn operation(self, kind: String) -> anyhow::Result<NewOperation> {
        let input = input(self.input.as_deref(), self.input_file.as_deref())?;
        Ok(NewOperation {
            kind,
            resource_type: self.resource_type,
            resource_id: self.resource_id,
            project_id: self.project_id,
            project_version_id: self.project_version_id,
            input,
            priority: self.priority,
            timeout: self.timeout.map(seconds),
            max_attempts: self.max_attempts,
            retain_for: self.retain_for.map(seconds),
            ..NewOperation::default()
        })
    }
}

/// Lists schedules, page by page.
///
/// # Errors
/// When the call fails.
pub async fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let mut page_token = String::new();
    loop {
        let page = client.schedules(&page_token).await?;
        page_token.clone_from(&page.value.next_page_token);
        render::print(args.output.format, &page)?;
        if page_token.is_empty() {
            return Ok(Exit::Done);
        }
    }
}

/// Creates a schedule.
///
/// # Errors
/// When the input is not JSON, or the call fails.
pub async fn create(args: CreateArgs) -> anyhow::Result<Exit> {
    let wish = ScheduleWish {
        name: Some(args.name),
        operation: Some(args.template.operation(args.kind)?),
        paused: args.paused.then_some(true),
        ..args.terms.wish()
    };
    let answer = args.server.client()?.create_schedule(&wish).await?;
    render::print(args.output.format, &answer)?;
    Ok(Exit::Done)
}

/// Changes a schedule.
///
/// # Errors
/// As those of [`create`].
pub async fn update(args: UpdateArgs) -> anyhow::Result<Exit> {
    let operation = args.kind.map(|kind| args.template.operation(kind)).transpose()?;
    let wish = ScheduleWish { operation, ..args.terms.wish() };
    let answer = args.server.client()?.update_schedule(&args.name, &wish).await;
    render::print(args.output.format, &answer.map_err(|error| about("schedule", &args.name, error))?)?;
    Ok(Exit::Done)
}

/// Makes a call for each named schedule and shows the answer; each is tried, whatever the result of the others.
async fn each<T>(
    args: &NamesArgs,
    call: impl AsyncFn(&Client, &str) -> Result<Answer<T>, longrun_client::Error>,
    show: impl Fn(Format, &str, &Answer<T>) -> std::io::Result<()>,
) -> anyhow::Result<Exit> {
    let client = args.server.client()?;
    let mut tally = Tally::new();
    for name in &args.names {
        match call(&client, name).await {
            Ok(answer) => show(args.output.format, name, &answer)?,
            Err(error) => tally.failed(&about("schedule", name, error)),
        }
    }
    Ok(tally.exit())
}

/// Shows schedules.
///
/// # Errors
/// When the answer cannot be written; the errors of the calls are reported. The same holds for the calls below.
pub async fn get(args: NamesArgs) -> anyhow::Result<Exit> {
    each(&args, async |client, name| client.schedule(name).await, shown).await
}

/// Deletes schedules.
///
/// # Errors
/// As those of [`get`].
pub async fn delete(args: NamesArgs) -> anyhow::Result<Exit> {
    let show = |format, id: &str, answer: &_| render::print(format, &render::operations::Deleted { id, answer });
    each(&args, async |client, name| client.delete_schedule(name).await, show).await
}

/// Pauses schedules.
///
/// # Errors
/// As those of [`get`].
pub async fn pause(args: NamesArgs) -> anyhow::Result<Exit> {
    each(&args, async |client, name| client.pause_schedule(name).await, shown).await
}

/// Resumes schedules.
///
/// # Errors
/// As those of [`get`].
pub async fn resume(args: NamesArgs) -> anyhow::Result<Exit> {
    each(&args, async |client, name| client.resume_schedule(name).await, shown).await
}

/// Creates the operations of schedules immediately.
///
/// # Errors
/// As those of [`get`].
pub async fn trigger(args: NamesArgs) -> anyhow::Result<Exit> {
    each(&args, async |client, name| client.trigger_schedule(name).await, shown).await
}
