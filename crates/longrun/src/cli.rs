//! The command line as clap sees it: every command by name. What a command accepts is defined next to its
//! implementation.

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
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Demonstrate the main use case on real evidence, end to end over HTTP, and exit
    Demo(demo::Args),
    /// Run a development server: one process, everything in one folder
    Dev(dev::Args),
    /// Run a production server
    Serve(serve::Args),
    /// Check or show the configuration of a server
    #[command(subcommand)]
    Config(Config),
    /// Ask a server whether it is ready, e.g. for a container's health check
    Health(health::Args),
    /// Bring the store's database up to this version, or move a SQLite store into PostgreSQL
    Migrate(migrate::Args),
    /// Recount everything in the store and compare it with the recorded totals
    Doctor(doctor::Args),
    /// Copy the store and its evidence into a folder
    Backup(backup::Args),
    /// Restore a backup to a location that has no store
    Restore(restore::Args),
    /// Create encryption keys, show what is encrypted with which key, and rotate keys
    #[command(subcommand)]
    Encryption(Encryption),
    /// Create, list, rotate and revoke API tokens, at a server or in the store
    #[command(subcommand)]
    Token(Token),
    /// Create, list, limit, pause, resume and delete organizations, at a server or in the store
    #[command(subcommand)]
    Organizations(Organizations),
    /// List and end the sessions of signed-in users, at a server or in the store
    #[command(subcommand)]
    Sessions(Sessions),
    /// Read the audit log, from a server or from the store
    #[command(subcommand)]
    Audit(Audit),
    /// Pause and resume kinds, directly in the store
    #[command(subcommand)]
    Kinds(Kinds),
    /// Save a server's address and a token for it, for use by all commands
    Login(context::LoginArgs),
    /// Remove a saved server and its token
    Logout(context::LogoutArgs),
    /// List the saved servers, and choose the current one
    #[command(subcommand)]
    Context(Context),
    /// List, read, create and wait for operations
    #[command(subcommand, visible_alias = "ops")]
    Operations(Operations),
    /// Create operations repeatedly on a schedule
    #[command(subcommand)]
    Schedules(Schedules),
    /// Save filters under names, and show what they match
    #[command(subcommand)]
    Views(Views),
    /// Show how many operations ran and how long they took, as a chart
    Stats(stats::Args),
    /// Show queues, running operations and failures live, on the whole terminal
    Top(top::Args),
    /// List the workers and what they are running
    Workers(workers::Args),
    /// Evaluate, detect, store and fetch evidence
    #[command(subcommand)]
    Evidence(Evidence),
    /// Accept policy violations, for a reason and optionally for a limited time
    #[command(subcommand)]
    Waiver(Waiver),
    /// Fetch the signed result of an evaluation
    Attestation(attestation::AttestationArgs),
    /// Verify a signed result without a server; exit with 1 if it is not genuine or reports violations, with 3 if no
    /// policy evaluated the evidence
    Verify(attestation::VerifyArgs),
    /// Check and test policies before using them
    #[command(subcommand)]
    Policy(Policy),
    /// Run operations with a command, as a remote worker
    Worker(worker::Args),
    /// Run benchmarks, each next to a baseline in the same run
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Print the completion script of a shell
    Completions(completions::Args),
    /// Write the manual pages into a folder
    Man(man::Args),
    /// Evaluate evidence for a server, over standard input and output
    #[command(name = evaluation_worker::NAME, hide = true)]
    EvaluationWorker,
    /// Apply resource limits to itself and then become a command, for a server
    #[command(name = command_runner::NAME, hide = true)]
    Runner(command_runner::Args),
}

impl Command {
    /// Whether the command works directly on a store, so that the files it creates must be private to its user.
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
    /// Create a file with a new key
    GenerateKey(encryption::GenerateKeyArgs),
    /// Count what is encrypted with which key
    Status(encryption::StatusArgs),
    /// Re-encrypt everything that is not encrypted with the active key; servers may keep running
    Rotate(encryption::RotateArgs),
}

/// `longrun config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Validate the configuration and report every problem
    Check(config::CheckArgs),
    /// Show the effective configuration and where each value came from, with secrets masked
    Show(config::ShowArgs),
}

/// `longrun token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Create a token and print its secret once
    Create(token::CreateArgs),
    /// List tokens, without their secrets
    List(token::ListArgs),
    /// Revoke a token permanently
    Revoke(token::RevokeArgs),
    /// Replace a token with a new one of the same name and rights, and print its secret once; the old token expires
    /// later
    Rotate(token::RotateArgs),
}

/// `longrun organizations`.
#[derive(Debug, Subcommand)]
pub enum Organizations {
    /// List organizations with their pending and running operations
    List(pause::OrganizationsArgs),
    /// Create an organization
    Create(organization::CreateArgs),
    /// Set the limits of an organization, which override those in the servers' configuration
    SetLimits(organization::SetLimitsArgs),
    /// Stop starting operations of an organization; running operations continue
    Pause(pause::OrganizationArgs),
    /// Start operations of an organization again
    Resume(pause::OrganizationArgs),
    /// Delete an organization with its operations, tokens and evidence; without --yes, only show what would be deleted
    Delete(delete_organization::Args),
}

/// `longrun sessions`.
#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// List sessions, oldest first
    List(sessions::ListArgs),
    /// End a session permanently, on all servers
    Revoke(sessions::RevokeArgs),
}

/// `longrun audit`.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// List audit entries (who called what), newest first
    List(audit::ListArgs),
    /// Write audit entries as JSON lines, newest first
    Export(audit::ExportArgs),
}

/// `longrun kinds`.
#[derive(Debug, Subcommand)]
pub enum Kinds {
    /// List the kinds that are paused
    List(pause::KindsArgs),
    /// Stop starting operations of a kind; running operations continue
    Pause(pause::KindArgs),
    /// Start operations of a kind again
    Resume(pause::KindArgs),
}

/// `longrun context`.
#[derive(Debug, Subcommand)]
pub enum Context {
    /// List contexts; a star marks the current one
    List(context::ListArgs),
    /// Make a context the current one
    Use(context::NameArgs),
    /// Show a context, without its token
    Show(context::ShowArgs),
    /// Remove a context and its token; the token stays valid
    Delete(context::NameArgs),
}

/// `longrun operations`.
#[derive(Debug, Subcommand)]
pub enum Operations {
    /// List operations, newest first
    List(list::ListArgs),
    /// Search for operations with a filter, in full detail
    Search(search::SearchArgs),
    /// Count the operations that match a filter; the count is exact wherever the filter allows it
    Count(search::CountArgs),
    /// Show operations
    Get(operations::GetArgs),
    /// Create an operation
    Create(operations::CreateArgs),
    /// Create up to 1,000 operations from a file, all or none of them
    CreateBatch(operations::CreateBatchArgs),
    /// Cancel operations: pending ones end at once, running ones are asked to stop
    Cancel(operations::IdsArgs),
    /// Retry failed operations, or repeat ended ones with a different input
    Retry(operations::RetryArgs),
    /// Delete ended operations
    Delete(operations::IdsArgs),
    /// Wait until operations have ended; exit with 1 if one has failed
    Wait(operations::WaitArgs),
    /// Print every transition of operations as it happens, until interrupted
    Watch(watch::WatchArgs),
    /// Show the history of operations: attempts, workers, progress
    Events(operations::IdsArgs),
    /// Cancel, retry or delete all operations that match a filter
    #[command(subcommand)]
    Bulk(Bulk),
}

/// `longrun operations bulk`.
#[derive(Debug, Subcommand)]
pub enum Bulk {
    /// Cancel matching operations: pending ones end at once, running ones are asked to stop
    Cancel(bulk::BulkArgs),
    /// Retry matching operations that have failed
    Retry(bulk::BulkArgs),
    /// Delete matching operations that have ended
    Delete(bulk::BulkArgs),
}

/// `longrun schedules`.
#[derive(Debug, Subcommand)]
pub enum Schedules {
    /// List schedules, by name
    List(schedules::ListArgs),
    /// Show schedules
    Get(schedules::NamesArgs),
    /// Create a schedule
    Create(schedules::CreateArgs),
    /// Change the given settings of a schedule; a given operation replaces the old one as a whole
    Update(schedules::UpdateArgs),
    /// Delete schedules; the operations they created remain
    Delete(schedules::NamesArgs),
    /// Stop schedules from creating operations until they are resumed
    Pause(schedules::NamesArgs),
    /// Resume schedules from now on
    Resume(schedules::NamesArgs),
    /// Create the operations of schedules immediately
    Trigger(schedules::NamesArgs),
}

/// `longrun views`.
#[derive(Debug, Subcommand)]
pub enum Views {
    /// List views with the number of operations that each one matches
    List(views::ListArgs),
    /// Create a view
    Create(views::CreateArgs),
    /// Show a view and the newest operations that it matches
    Show(views::ShowArgs),
    /// Delete a view; its operations remain
    Delete(views::NameArgs),
}

/// `longrun evidence`.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "made once per process, and a Box would hide the arguments from clap")]
pub enum Evidence {
    /// Evaluate evidence against policies; exit with 1 if one is violated, with 3 if no policy evaluated the evidence
    Evaluate(evaluate::Args),
    /// Detect which type of evidence a file is, without a server; exit with 1 if the type is unknown
    Detect(detect::Args),
    /// Store evidence
    Put(evidence::PutArgs),
    /// Fetch stored evidence
    Get(evidence::GetArgs),
    /// List stored evidence, newest first
    List(evidence::ListArgs),
    /// Delete stored evidence permanently
    Delete(evidence::DeleteArgs),
    /// Evaluate the selected evidence again, with the requests of its most recent evaluations
    Reevaluate(evidence::ReevaluateArgs),
}

/// `longrun waiver`.
#[derive(Debug, Subcommand)]
pub enum Waiver {
    /// Add a waiver: violations that it covers no longer make an evaluation fail
    Add(waiver::AddArgs),
    /// List waivers, including expired ones
    List(waiver::ListArgs),
    /// Remove a waiver
    Remove(waiver::RemoveArgs),
}

/// `longrun policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Parse and lint policies and run their examples; exit with 1 if there is a problem
    Check(policy::CheckArgs),
    /// Run the test cases of policies and report the lines that no case evaluates; exit with 1 if a case fails
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
