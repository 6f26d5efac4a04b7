//! `upgrade`.

use clap::builder::BoolishValueParser;

use super::Outcome;
use super::cluster::{
    AimOptions, PlaceOptions, Terminal, UNTOUCHED, block_on, confirmed, failure, identity,
    lease_failure, operation_failure, signalled,
};
use super::logging;
use super::options::{OutputOptions, policy_parser};
use super::report;
use super::report::exit::Exit;
use super::report::failure::Failure;
use super::report::orchestration;
use super::report::palette::Palette;
use crate::kubernetes::cluster::Cluster;
use crate::kubernetes::lease::{Held, LeaseError};
use crate::kubernetes::operation::begin::{self, Request};
use crate::kubernetes::operation::standing::{Standing, standing, stands};
use crate::kubernetes::operation::{Audience, Ending, Operation, OperationError, recorded};
use crate::kubernetes::preflight::{Concern, Facts};
use crate::kubernetes::record::Record;
use crate::kubernetes::stage::{Policy, Stage};
use crate::kubernetes::survey;
use crate::transform::OnBrokenRecord;

/// Upgrade a Milvus 2.1 instance on Kubernetes to 2.2, and back
///
/// Everything that can fail without touching Milvus comes first. Then Milvus is stopped, its metadata
/// backed up, migrated and verified by Jobs in its namespace, and the new release started with the
/// counts that were recorded. Every step is recorded before it begins: killed anywhere, the same
/// command goes on, and `-o rollback` goes back.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    place: PlaceOptions,
    #[command(flatten)]
    aim: AimOptions,
    /// What to do
    #[arg(
        short = 'o',
        long,
        value_name = "OPERATION",
        value_enum,
        default_value_t
    )]
    operation: What,
    /// After success, remove Jobs and configuration; the backup and the record stay
    #[arg(short = 'd', long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          default_value = "false", value_parser = BoolishValueParser::new())]
    cleanup: bool,
    /// Go back to the old release by itself when the new one does not become healthy within --timeout;
    /// what it wrote until then is saved beside the backup, and undone
    #[arg(long)]
    rollback_on_failure: bool,
    /// When going back: undo what the new release wrote since the migration, too; it is saved first
    #[arg(long)]
    accept_loss: bool,
    /// After a failure before the switch, leave Milvus stopped instead of starting the old release
    #[arg(long)]
    stay_down: bool,
    /// What becomes of records that cannot be migrated: fail ends before Milvus is stopped, skip leaves just
    /// them out [default: fail]
    #[arg(long, value_name = "POLICY", value_parser = policy_parser())]
    on_broken_record: Option<OnBrokenRecord>,
    /// Print the steps and the manifests as YAML; touch nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    pub(in crate::cli) output: OutputOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum What {
    /// To the new release, or on from where an earlier run stopped.
    #[default]
    Migrate,
    /// Back to the old release.
    Rollback,
    /// On from where an earlier run stopped, forward or back.
    Resume,
    /// From an unfinished rollback to the new release after all.
    Forward,
    /// Tell how far it is.
    Status,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    block_on(upgrade(args))
}

fn request(args: &Args, namespace: &str) -> Request {
    let policy = Policy {
        rollback_on_failure: args.rollback_on_failure,
        stay_down: args.stay_down,
        accept_loss: args.accept_loss,
    };
    let skip_broken = args.on_broken_record.map(|one| one == OnBrokenRecord::Skip);
    Request {
        skip_broken,
        ..args.place.request(namespace, &args.aim, policy)
    }
}

async fn upgrade(args: &Args) -> Outcome {
    let cluster = args.place.connect().await?;
    let request = request(args, cluster.namespace());
    if args.operation == What::Status {
        let record = find(&cluster, &request).await?.0;
        show(args, &cluster, record, false).await?;
        return Ok(Exit::Done);
    }
    if args.dry_run {
        return rehearse(args, &cluster, &request).await;
    }
    let held = match Held::acquire(&cluster, &request.instance, &identity()).await {
        Ok(held) => held,
        Err(error) => return Err(kept_out(&cluster, &request, &error).await),
    };
    let ended = tokio::select! {
        ended = orchestrate(args, &cluster, &request, &held) => ended,
        signal = signalled() => Err(interrupted(args, &cluster, signal).await),
    };
    held.release().await;
    ended
}

/// Why the Lease could not be had; without the rights, all that are missing.
async fn kept_out(cluster: &Cluster, request: &Request, error: &LeaseError) -> Failure {
    if let LeaseError::Cluster(refused) = error
        && refused.is_forbidden()
        && let Ok(missing) = survey::missing_rights(cluster, false, None).await
        && !missing.is_empty()
    {
        let mut failure = Failure::new(Exit::Refused, "rights are missing");
        failure.changed = UNTOUCHED.into();
        failure.causes = missing
            .iter()
            .map(|right| format!("the right to {right} is missing [missing-right]"))
            .collect();
        let place = &request.asked.words.place;
        return failure
            .hint("kubectl apply -f deploy/rbac.yaml gives what is needed")
            .hint(format!("meta-migration preflight{place}"));
    }
    lease_failure(error).hint(format!(
        "meta-migration upgrade{} -o status",
        request.asked.words.place
    ))
}

/// The record, as it was written last, tells what stands.
async fn interrupted(args: &Args, cluster: &Cluster, signal: Exit) -> Failure {
    let place = args.place.words(cluster.namespace());
    let mut failure = Failure::new(
        signal,
        "ended by a signal; a Job that is running goes on by itself",
    );
    let found = recorded(cluster, &args.place.instance).await;
    let record = found.ok().flatten().map(|(record, _)| record);
    failure.changed = stands(record.as_ref()).into();
    failure.backup = record.as_ref().and_then(backup);
    if record.is_none_or(|record| record.stage.is_final()) {
        return failure.hint("the same command again");
    }
    failure
        .hint(format!("meta-migration upgrade{place} -o resume"))
        .hint(format!("meta-migration upgrade{place} -o rollback"))
}

fn backup(record: &Record) -> Option<Box<str>> {
    record
        .has_backup
        .then(|| format!("{} in volume claim {}", record.backup_file, record.claim).into())
}

async fn find(
    cluster: &Cluster,
    request: &Request,
) -> Result<(Option<Record>, Option<String>), Failure> {
    let found = recorded(cluster, &request.instance)
        .await
        .map_err(|error| operation_failure(&error))?;
    Ok(match found {
        Some((record, version)) => (Some(record), version),
        None => (None, None),
    })
}

async fn facts(cluster: &Cluster, request: &Request) -> Result<Facts, Failure> {
    let claim = request.claim_name();
    survey::facts(cluster, request.scope(&claim))
        .await
        .map_err(|error| failure(&error))
}

/// The record with which the command begins or goes on; `None` where everything is done already.
async fn begun(
    args: &Args,
    cluster: &Cluster,
    request: &Request,
    existing: Option<&Record>,
) -> Result<Option<Record>, Failure> {
    let failed = |error| operation_failure(&error);
    match args.operation {
        What::Migrate | What::Status => {
            if let Some(record) = begin::going_on(existing, request).map_err(failed)? {
                if record.stage.is_way_back() {
                    let told = "a rollback is under way: it is finished first, then upgrade again";
                    Terminal::new(&args.output).tell(told);
                }
                return taken_up(args, cluster, request, record).await.map(Some);
            }
            let facts = facts(cluster, request).await?;
            if begin::already_done(existing, &facts, request).is_some() {
                return Ok(None);
            }
            warn(args, &begin::warnings(&facts, &request.asked));
            let record = begin::fresh(&facts, request).map_err(|error| refused(request, &error))?;
            let record = begin::with_secrets(cluster, request, record).await;
            record.map(Some).map_err(failed)
        }
        What::Resume => match existing.filter(|record| !record.stage.is_final()) {
            Some(record) => {
                let resumed = begin::resume_with(record, request).map_err(failed)?;
                taken_up(args, cluster, request, resumed).await.map(Some)
            }
            None => Err(Failure::new(
                Exit::Refused,
                format!(
                    "no unfinished upgrade of {} is recorded{}",
                    request.instance,
                    survey::instead(cluster, &request.instance).await
                ),
            )
            .hint(format!(
                "meta-migration preflight{}",
                request.asked.words.place
            ))),
        },
        What::Forward => {
            let forward = begin::going_forward(existing, request).map_err(failed)?;
            let forward = begin::with_secrets(cluster, request, forward).await;
            forward.map(Some).map_err(failed)
        }
        What::Rollback => {
            let claim = request.claim_name();
            let scope = existing.map_or_else(
                || request.scope(&claim),
                |record| begin::scope_again(record, request),
            );
            let facts = survey::facts(cluster, scope)
                .await
                .map_err(|error| failure(&error))?;
            let back = begin::going_back(existing, &facts, request).map_err(failed)?;
            let back = begin::with_secrets(cluster, request, back).await;
            back.map(Some).map_err(failed)
        }
    }
}

/// The record of an unfinished upgrade with what is given now; judged again while Milvus is not touched.
async fn taken_up(
    args: &Args,
    cluster: &Cluster,
    request: &Request,
    record: Record,
) -> Result<Record, Failure> {
    let record = begin::with_secrets(cluster, request, record)
        .await
        .map_err(|error| operation_failure(&error))?;
    if !record.stage.row().untouched {
        return Ok(record);
    }
    let facts = survey::facts(cluster, begin::scope_again(&record, request))
        .await
        .map_err(|error| failure(&error))?;
    let asked = begin::asked_again(&record, request);
    warn(args, &begin::warnings(&facts, &asked));
    begin::judged_again(record, &facts, &asked).map_err(|error| refused(request, &error))
}

fn warn(args: &Args, concerns: &[Concern]) {
    let terminal = Terminal::new(&args.output);
    let palette = Palette::for_stream(&std::io::stderr());
    for concern in concerns {
        terminal.tell(&orchestration::concern(concern, palette));
    }
}

fn refused(request: &Request, error: &OperationError) -> Failure {
    let place = &request.asked.words.place;
    operation_failure(error).hint(format!("meta-migration preflight{place}   # tells more"))
}

async fn rehearse(args: &Args, cluster: &Cluster, request: &Request) -> Outcome {
    let existing = find(cluster, request).await?.0;
    match begun(args, cluster, request, existing.as_ref()).await? {
        Some(record) => report::write(begin::rehearsal(&record, request).as_bytes())?,
        None => report::tell("nothing to do: it is upgraded already\n"),
    }
    Ok(Exit::Done)
}

async fn orchestrate(
    args: &Args,
    cluster: &Cluster,
    request: &Request,
    held: &Held,
) -> Result<Exit, Failure> {
    let failed = |error| operation_failure(&error);
    let (existing, version) = find(cluster, request).await?;
    let Some(record) = begun(args, cluster, request, existing.as_ref()).await? else {
        return conclude(args, cluster, &Ending::Upgraded, existing).await;
    };
    confirmed(&args.output, &begin::outline(&record, cluster.namespace())).await?;
    begin::claim(cluster, request, &record)
        .await
        .map_err(failed)?;
    let terminal = Terminal::new(&args.output);
    let mut operation = Operation::new(cluster, &terminal, held, record, version, request.limit);
    let ending = match operation.drive().await {
        Ok(ending) => ending,
        Err(error) => return Err(broken(request, operation.record(), &error)),
    };
    // What failed is told by its Jobs and their logs.
    let succeeded = failure_of(args.operation, operation.record(), &ending).is_none();
    if args.cleanup && succeeded {
        operation.clean_up().await.map_err(failed)?;
    }
    conclude(args, cluster, &ending, Some(operation.record().clone())).await
}

/// The process cannot go on; the record tells where it was.
fn broken(request: &Request, record: &Record, error: &OperationError) -> Failure {
    let place = &request.asked.words.place;
    let mut failure = operation_failure(error);
    if !record.stage.row().untouched {
        failure.exit = Exit::PartWay;
    }
    failure.changed = stands(Some(record)).into();
    failure.backup = backup(record);
    failure
        .hint(format!("meta-migration upgrade{place} -o status"))
        .hint(format!("meta-migration upgrade{place} -o resume"))
        .hint(format!("meta-migration upgrade{place} -o rollback"))
}

/// Shows how it stands, with what Helm has to be told.
async fn show(
    args: &Args,
    cluster: &Cluster,
    record: Option<Record>,
    at_work: bool,
) -> Result<Standing, Failure> {
    let place = args.place.words(cluster.namespace());
    let who = (args.place.instance.as_str(), place.as_str());
    let mut standing = standing(cluster, who, record, at_work)
        .await
        .map_err(|error| failure(&error))?;
    if let Some(record) = standing.record.as_ref()
        && matches!(record.stage, Stage::UPGRADED | Stage::ROLLED_BACK)
    {
        // Only advice: what was asked for is done, and it matters at least until Helm was told.
        let scope = request(args, cluster.namespace());
        let facts = survey::facts(cluster, scope.scope("")).await;
        standing.advice = facts.ok().and_then(|facts| begin::advice(&facts, record));
    }
    if at_work {
        report::print_done(args.output.format, &standing, orchestration::standing);
    } else {
        report::print(args.output.format, &standing, orchestration::standing)?;
    }
    Ok(standing)
}

/// Whether the command reached what it was asked for; if not, why.
fn failure_of(operation: What, record: &Record, ending: &Ending) -> Option<Failure> {
    let asked_back = record.asked_back && operation != What::Migrate;
    let failure = match ending {
        Ending::Upgraded => return None,
        Ending::RolledBack(_) if asked_back => return None,
        Ending::RolledBack(_) if record.asked_back => Failure::new(
            Exit::Failed,
            "no upgrade was begun: the rollback that was under way is finished, and the old release runs; now upgrade \
             again",
        ),
        Ending::RolledBack(why) => {
            let why = why.as_deref().unwrap_or("no reason is recorded");
            let told = format!("the upgrade failed and the old release runs again: {why}");
            Failure::new(Exit::Failed, told)
        }
        Ending::Abandoned(_) if operation == What::Rollback => return None,
        Ending::Abandoned(why) => Failure::new(
            Exit::Failed,
            format!("the upgrade ended before anything was changed: {why}"),
        ),
        Ending::Kept(why) => Failure::new(Exit::Refused, format!("not rolled back: {why}")),
        Ending::Halted(why) => Failure::new(Exit::PartWay, why.clone()),
    };
    Some(failure)
}

async fn conclude(
    args: &Args,
    cluster: &Cluster,
    ending: &Ending,
    record: Option<Record>,
) -> Outcome {
    let failure = record
        .as_ref()
        .and_then(|record| failure_of(args.operation, record, ending));
    let standing = show(args, cluster, record, true).await?;
    let Some(failure) = failure else {
        return Ok(Exit::Done);
    };
    Err(Failure {
        changed: standing.stands.clone().into(),
        backup: standing.record.as_ref().and_then(backup),
        hints: standing.next,
        ..failure
    })
}
