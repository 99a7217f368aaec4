//! `longrun`: asynchronous operations as a service, in one binary.
//!
//! [`cli`] defines the command line, [`commands`] implements the commands, [`exit`] turns their result into an exit
//! code. Commands that talk to a server do so over HTTP like any other client ([`connection`]); [`node`] is a server in
//! this process, built from a [`config`].

mod cli;
mod commands;
mod completing;
mod config;
mod connection;
mod contexts;
mod environment;
mod evidence_place;
mod exit;
mod node;
mod place;
mod policy_file;
mod private;
mod progress;
mod render;
mod store_args;
mod terminal;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use cli::{
    Audit, Bulk, Cli, Command, Config, Context as Contexts, Encryption, Evidence, Kinds, Operations, Organizations,
    Policy, Schedules, Sessions, Token, Views, Waiver,
};
use exit::Exit;

/// A server allocates small objects on all its threads; the system's allocator would take a tenth of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A shell's request for completions is answered here, and then the process ends.
    clap_complete::CompleteEnv::with_factory(<Cli as clap::CommandFactory>::command).complete();
    let command = match Cli::parse().command {
        Command::EvaluationWorker => return exit::report(commands::evaluation_worker::run()),
        Command::Runner(args) => commands::command_runner::run(&args),
        command => command,
    };
    if command.works_on_a_store() {
        private::keep_private();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    exit::report(runtime.context("cannot start").and_then(|runtime| {
        let result = runtime.block_on(run(command));
        // A thread that is still blocked (reading from a terminal) must not delay the exit.
        runtime.shutdown_background();
        node::flush_log();
        result
    }))
}

async fn run(command: Command) -> anyhow::Result<Exit> {
    use commands::{
        audit, backup, bulk, command_runner, completions, delete_organization, demo, detect, dev, doctor, encryption,
        evaluate, evidence, list, man, migrate, operations, organization, pause, policy, restore, schedules, search,
        serve, sessions, token, watch, worker,
    };
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Dev(args) => dev::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Config(Config::Check(args)) => commands::config::check(&args),
        Command::Config(Config::Show(args)) => commands::config::show(&args),
        Command::Health(args) => commands::health::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Backup(args) => backup::run(args).await,
        Command::Restore(args) => restore::run(args).await,
        Command::Encryption(Encryption::GenerateKey(args)) => encryption::generate_key(&args),
        Command::Encryption(Encryption::Status(args)) => encryption::status(args).await,
        Command::Encryption(Encryption::Rotate(args)) => encryption::rotate(args).await,
        Command::Token(Token::Create(args)) => token::create(args).await,
        Command::Token(Token::List(args)) => token::list(args).await,
        Command::Token(Token::Revoke(args)) => token::revoke(args).await,
        Command::Organizations(Organizations::List(args)) => pause::organizations(args).await,
        Command::Token(Token::Rotate(args)) => token::rotate(args).await,
        Command::Sessions(Sessions::List(args)) => sessions::list(args).await,
        Command::Sessions(Sessions::Revoke(args)) => sessions::revoke(args).await,
        Command::Audit(Audit::List(args)) => audit::list(args).await,
        Command::Audit(Audit::Export(args)) => audit::export(args).await,
        Command::Organizations(Organizations::Create(args)) => organization::create(args).await,
        Command::Organizations(Organizations::SetLimits(args)) => organization::set_limits(args).await,
        Command::Organizations(Organizations::Pause(args)) => pause::pause_organization(args).await,
        Command::Organizations(Organizations::Resume(args)) => pause::resume_organization(args).await,
        Command::Organizations(Organizations::Delete(args)) => delete_organization::run(args).await,
        Command::Kinds(Kinds::List(args)) => pause::kinds(args).await,
        Command::Kinds(Kinds::Pause(args)) => pause::pause_kind(args).await,
        Command::Kinds(Kinds::Resume(args)) => pause::resume_kind(args).await,
        Command::Schedules(Schedules::List(args)) => schedules::list(args).await,
        Command::Schedules(Schedules::Get(args)) => schedules::get(args).await,
        Command::Schedules(Schedules::Create(args)) => schedules::create(args).await,
        Command::Schedules(Schedules::Update(args)) => schedules::update(args).await,
        Command::Schedules(Schedules::Delete(args)) => schedules::delete(args).await,
        Command::Schedules(Schedules::Pause(args)) => schedules::pause(args).await,
        Command::Schedules(Schedules::Resume(args)) => schedules::resume(args).await,
        Command::Schedules(Schedules::Trigger(args)) => schedules::trigger(args).await,
        Command::Login(args) => commands::context::login(args).await,
        Command::Logout(args) => commands::context::logout(args),
        Command::Context(Contexts::List(args)) => commands::context::list(&args),
        Command::Context(Contexts::Use(args)) => commands::context::use_context(&args),
        Command::Context(Contexts::Show(args)) => commands::context::show(args),
        Command::Context(Contexts::Delete(args)) => commands::context::delete(args),
        Command::Operations(Operations::List(args)) => list::run(args).await,
        Command::Operations(Operations::Search(args)) => search::search(args).await,
        Command::Operations(Operations::Count(args)) => search::count(args).await,
        Command::Operations(Operations::Get(args)) => operations::get(args).await,
        Command::Operations(Operations::Create(args)) => operations::create(args).await,
        Command::Operations(Operations::CreateBatch(args)) => operations::create_batch(args).await,
        Command::Operations(Operations::Cancel(args)) => operations::cancel(args).await,
        Command::Operations(Operations::Retry(args)) => operations::retry(args).await,
        Command::Operations(Operations::Delete(args)) => operations::delete(args).await,
        Command::Operations(Operations::Wait(args)) => operations::wait(args).await,
        Command::Operations(Operations::Watch(args)) => watch::run(args).await,
        Command::Views(Views::List(args)) => commands::views::list(args).await,
        Command::Views(Views::Create(args)) => commands::views::create(args).await,
        Command::Views(Views::Show(args)) => commands::views::show(args).await,
        Command::Views(Views::Delete(args)) => commands::views::delete(args).await,
        Command::Stats(args) => commands::stats::run(args).await,
        Command::Top(args) => commands::top::run(args).await,
        Command::Operations(Operations::Events(args)) => operations::events(args).await,
        Command::Operations(Operations::Bulk(Bulk::Cancel(args))) => bulk::run(args, "cancel").await,
        Command::Operations(Operations::Bulk(Bulk::Retry(args))) => bulk::run(args, "retry").await,
        Command::Operations(Operations::Bulk(Bulk::Delete(args))) => bulk::run(args, "delete").await,
        Command::Evidence(Evidence::Evaluate(args)) => evaluate::run(args).await,
        Command::Evidence(Evidence::Detect(args)) => detect::run(&args),
        Command::Evidence(Evidence::Put(args)) => evidence::put(args).await,
        Command::Evidence(Evidence::Get(args)) => evidence::get(args).await,
        Command::Evidence(Evidence::List(args)) => evidence::list(args).await,
        Command::Evidence(Evidence::Delete(args)) => evidence::delete(args).await,
        Command::Evidence(Evidence::Reevaluate(args)) => evidence::reevaluate(args).await,
        Command::Waiver(Waiver::Add(args)) => commands::waiver::add(args).await,
        Command::Waiver(Waiver::List(args)) => commands::waiver::list(args).await,
        Command::Waiver(Waiver::Remove(args)) => commands::waiver::remove(args).await,
        Command::Attestation(args) => commands::attestation::fetch(args).await,
        Command::Verify(args) => commands::attestation::verify(&args),
        Command::Policy(Policy::Check(args)) => policy::run(&args),
        Command::Policy(Policy::Test(args)) => policy::test::run(&args),
        Command::Workers(args) => commands::workers::run(args).await,
        Command::Worker(args) => worker::run(args).await,
        Command::Bench(bench) => {
            render::write(bench::run(bench, commands::evaluation_worker::this_program()?).await?)?;
            Ok(Exit::Done)
        }
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::EvaluationWorker => commands::evaluation_worker::run(),
        Command::Runner(args) => command_runner::run(&args),
    }
}
