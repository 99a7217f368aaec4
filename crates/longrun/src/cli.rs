//! The command line as clap sees it: every command by name; what each takes stands beside what it does.

use clap::{Parser, Subcommand};

use crate::commands::{
    attestation, audit, backup, bulk, command_runner, completions, config, context, delete_organization, demo, detect,
    dev, doctor, encryption, evaluate, evaluation_worker, evidence, health, list, man, migrate, operations,
    organization, pause, policy, restore, schedules, search, serve, sessions, stats, token, top, views, waiver, watch,
    worker, workers,
};

/// Asynchronous operations as a service, with evidence evaluation built in.
#[derive(Debug, Parser)]
#[command(
    name = "longrun",
    version,
    max_term_width = 120,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = crate::exit::TABLE
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the main job on real evidence, end to end over HTTP, and exit
    Demo(demo::Args),
    /// Run a server for development: one process, everything in one folder
    Dev(dev::Args),
    /// Run a server for production
    Serve(serve::Args),
    /// Check or show the configuration of a server
    #[command(subcommand)]
    Config(Config),
    /// Ask a server whether it is ready, e.g. for a container's health check
    Health(health::Args),
    /// Bring the store's database up to this version, or move a SQLite store into PostgreSQL
    Migrate(migrate::Args),
    /// Recount everything in the store and compare
    Doctor(doctor::Args),
    /// Copy the store and its evidence into a folder
    Backup(backup::Args),
    /// Bring a backup back, where there is no store
    Restore(restore::Args),
    /// Make keys for encryption at rest, see what is encrypted with which, and change them
    #[command(subcommand)]
    Encryption(Encryption),
    /// Make, list, replace and revoke API tokens, at a server or in the store
    #[command(subcommand)]
    Token(Token),
    /// Make, list, limit, pause, resume and delete organizations, at a server or in the store
    #[command(subcommand)]
    Organizations(Organizations),
    /// List and end the sessions of people who signed in, at a server or in the store
    #[command(subcommand)]
    Sessions(Sessions),
    /// Read the audit log, of a server or in the store
    #[command(subcommand)]
    Audit(Audit),
    /// Pause and resume kinds, directly in the store
    #[command(subcommand)]
    Kinds(Kinds),
    /// Keep a server's address and a token for it, for all commands
    Login(context::LoginArgs),
    /// Forget a server and its token
    Logout(context::LogoutArgs),
    /// List servers that were logged in to, and choose among them
    #[command(subcommand)]
    Context(Context),
    /// List, read, create and wait for operations
    #[command(subcommand, visible_alias = "ops")]
    Operations(Operations),
    /// Create operations again and again, at times
    #[command(subcommand)]
    Schedules(Schedules),
    /// Save names for filters, and see what they show
    #[command(subcommand)]
    Views(Views),
    /// Show how much happened and how long it took, as a chart
    Stats(stats::Args),
    /// Show what waits, runs and fails, live, on the whole terminal
    Top(top::Args),
    /// List who runs operations now
    Workers(workers::Args),
    /// Evaluate, detect, store and fetch evidence
    #[command(subcommand)]
    Evidence(Evidence),
    /// Violations that the organization lives with
    #[command(subcommand)]
    Waiver(Waiver),
    /// Fetch the signed result of an evaluation
    Attestation(attestation::AttestationArgs),
    /// Check a signed result, without a server; exit with 1 when it is not genuine or says that policies were violated,
    /// with 3 when none looked at the evidence
    Verify(attestation::VerifyArgs),
    /// Check policies before they are used
    #[command(subcommand)]
    Policy(Policy),
    /// Run operations by a command, as a remote worker
    Worker(worker::Args),
    /// Measure, each beside a baseline in the same run
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Print the completions of a shell
    Completions(completions::Args),
    /// Write the manual pages into a folder
    Man(man::Args),
    /// Evaluate evidence for a server, by standard input and output
    #[command(name = evaluation_worker::NAME, hide = true)]
    EvaluationWorker,
    /// Limit itself and become a command, for a server
    #[command(name = command_runner::NAME, hide = true)]
    Runner(command_runner::Args),
}

impl Command {
    /// Whether it makes files that are its user's alone.
    pub const fn works_on_a_store(&self) -> bool {
        match self {
            Command::Demo(_)
            | Command::Dev(_)
            | Command::Serve(_)
            | Command::Migrate(_)
            | Command::Doctor(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Encryption(_)
            | Command::Token(_)
            | Command::Organizations(_)
            | Command::Sessions(_)
            | Command::Audit(_)
            | Command::Kinds(_)
            | Command::Bench(_) => true,
            Command::Config(_)
            | Command::Operations(_)
            | Command::Stats(_)
            | Command::Login(_)
            | Command::Logout(_)
            | Command::Context(_)
            | Command::Top(_)
            | Command::Health(_)
            | Command::Views(_)
            | Command::Schedules(_)
            | Command::Evidence(_)
            | Command::Waiver(_)
            | Command::Attestation(_)
            | Command::Verify(_)
            | Command::Policy(_)
            | Command::Worker(_)
            | Command::Workers(_)
            | Command::Completions(_)
            | Command::Man(_)
            | Command::EvaluationWorker
            | Command::Runner(_) => false,
        }
    }
}

/// `longrun encryption`.
#[derive(Debug, Subcommand)]
pub enum Encryption {
    /// Make a file with a new key
    GenerateKey(encryption::GenerateKeyArgs),
    /// Count what is encrypted with which key
    Status(encryption::StatusArgs),
    /// Encrypt everything anew that is not encrypted with the active key; servers may go on
    Rotate(encryption::RotateArgs),
}

/// `longrun config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Validate the configuration and tell every problem
    Check(config::CheckArgs),
    /// Show the effective configuration, secrets masked, with where each value came from
    Show(config::ShowArgs),
}

/// `longrun token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token and print its secret, once
    Create(token::CreateArgs),
    /// List tokens, without their secrets
    List(token::ListArgs),
    /// Revoke a token for good
    Revoke(token::RevokeArgs),
    /// Replace a token by another one of the same name and rights and print its secret, once; the old one ends later
    Rotate(token::RotateArgs),
}

/// `longrun organizations`.
#[derive(Debug, Subcommand)]
pub enum Organizations {
    /// List organizations with what waits and runs
    List(pause::OrganizationsArgs),
    /// Make an organization
    Create(organization::CreateArgs),
    /// Set what an organization may have; it goes before the servers' configuration
    SetLimits(organization::SetLimitsArgs),
    /// Start nothing more of an organization; what runs goes on
    Pause(pause::OrganizationArgs),
    /// Let an organization go on
    Resume(pause::OrganizationArgs),
    /// Delete an organization with its operations, tokens and evidence; without --yes only tell what that would be
    Delete(delete_organization::Args),
}

/// `longrun sessions`.
#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// List sessions, oldest first
    List(sessions::ListArgs),
    /// End a session for good, on all servers
    Revoke(sessions::RevokeArgs),
}

/// `longrun audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List who called what, newest first
    List(audit::ListArgs),
    /// Write entries as JSON lines, newest first
    Export(audit::ExportArgs),
}

/// `longrun kinds`.
#[derive(Debug, Subcommand)]
pub enum Kinds {
    /// List the kinds that are paused
    List(pause::KindsArgs),
    /// Start nothing more of a kind; what runs goes on
    Pause(pause::KindArgs),
    /// Let a kind go on
    Resume(pause::KindArgs),
}

/// `longrun context`.
#[derive(Debug, Subcommand)]
pub enum Context {
    /// List contexts; a star marks the current one
    List(context::ListArgs),
    /// Call the server of this context from now on
    Use(context::NameArgs),
    /// Show a context, without its token
    Show(context::ShowArgs),
    /// Forget a context with its token, which stays valid
    Delete(context::NameArgs),
}

/// `longrun operations`.
#[derive(Debug, Subcommand)]
pub enum Operations {
    /// List operations, newest first
    List(list::ListArgs),
    /// Search for operations by a filter, with everything that is known of them
    Search(search::SearchArgs),
    /// Count operations by a filter, exactly wherever the filter allows it
    Count(search::CountArgs),
    /// Show operations
    Get(operations::GetArgs),
    /// Create an operation
    Create(operations::CreateArgs),
    /// Create up to 1,000 operations from a file, all or none
    CreateBatch(operations::CreateBatchArgs),
    /// Cancel operations: what is pending ends at once, what runs is asked to stop
    Cancel(operations::IdsArgs),
    /// Try failed operations again, or repeat ended ones with another input
    Retry(operations::RetryArgs),
    /// Delete operations that have ended
    Delete(operations::IdsArgs),
    /// Wait until operations have ended; exit with 1 when one has failed
    Wait(operations::WaitArgs),
    /// Print every transition of operations as it happens, until interrupted
    Watch(watch::WatchArgs),
    /// Show what happened to operations: attempts, workers, progress
    Events(operations::IdsArgs),
    /// Cancel, retry or delete all operations that match a filter
    #[command(subcommand)]
    Bulk(Bulk),
}

/// `longrun operations bulk`.
#[derive(Debug, Subcommand)]
pub enum Bulk {
    /// Cancel them: what is pending ends at once, what runs is asked to stop
    Cancel(bulk::BulkArgs),
    /// Try again those that failed
    Retry(bulk::BulkArgs),
    /// Delete those that have ended
    Delete(bulk::BulkArgs),
}

/// `longrun schedules`.
#[derive(Debug, Subcommand)]
pub enum Schedules {
    /// List schedules, by name
    List(schedules::ListArgs),
    /// Show schedules
    Get(schedules::NamesArgs),
    /// Make a schedule
    Create(schedules::CreateArgs),
    /// Change what is given of a schedule; its operation is replaced as a whole
    Update(schedules::UpdateArgs),
    /// Delete schedules; what they have created stays
    Delete(schedules::NamesArgs),
    /// Create nothing by schedules until they are resumed
    Pause(schedules::NamesArgs),
    /// Let schedules go on from now
    Resume(schedules::NamesArgs),
    /// Create the operations of schedules now
    Trigger(schedules::NamesArgs),
}

/// `longrun views`.
#[derive(Debug, Subcommand)]
pub enum Views {
    /// List views with how many operations they show
    List(views::ListArgs),
    /// Make a view
    Create(views::CreateArgs),
    /// Show a view and the newest operations in it
    Show(views::ShowArgs),
    /// Delete a view; the operations that it shows stay
    Delete(views::NameArgs),
}

/// `longrun evidence`.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "made once a process, and a Box would hide the arguments from clap")]
pub enum Evidence {
    /// Evaluate evidence against policies; exit with 1 when one is violated, with 3 when none looked at it
    Evaluate(evaluate::Args),
    /// Tell what kind of evidence a file is, without a server; exit with 1 when it is none that is known
    Detect(detect::Args),
    /// Store evidence
    Put(evidence::PutArgs),
    /// Fetch stored evidence
    Get(evidence::GetArgs),
    /// List stored evidence, newest first
    List(evidence::ListArgs),
    /// Delete stored evidence for good
    Delete(evidence::DeleteArgs),
    /// Evaluate again what is meant, by the requests of the newest evaluations
    Reevaluate(evidence::ReevaluateArgs),
}

/// `longrun waiver`.
#[derive(Debug, Subcommand)]
pub enum Waiver {
    /// Add a waiver: what it covers makes no evaluation fail any more
    Add(waiver::AddArgs),
    /// List waivers, those that have expired included
    List(waiver::ListArgs),
    /// Remove a waiver
    Remove(waiver::RemoveArgs),
}

/// `longrun policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Parse and lint policies and run their examples; exit with 1 when something is wrong
    Check(policy::CheckArgs),
    /// Run the cases of policies, and tell which lines of them no case evaluates; exit with 1 when one comes out otherwise
    Test(policy::test::TestArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_says_what_it_is_for() {
        fn look(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{name} {}", arg.get_id());
            }
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
    }

    #[test]
    fn no_flag_takes_a_token() {
        fn flags(command: &clap::Command, found: &mut Vec<String>) {
            found.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned));
            command.get_subcommands().for_each(|command| flags(command, found));
        }
        let mut found = Vec::new();
        flags(&Cli::command(), &mut found);
        assert!(found.iter().any(|flag| flag == "token-file"));
        assert!(found.iter().all(|flag| flag != "token" && flag != "secret"), "`ps` would show it: {found:?}");
    }
}
