//! `upgrade`.

use clap::builder::BoolishValueParser;

use super::Outcome;
use super::cluster::{
    AimOptions, PlaceOptions, Terminal, block_on, failure, identity, lease_failure,
    operation_failure, signalled,
};
use super::logging;
use super::options::OutputOptions;
use super::report;
use super::report::exit::Exit;
use super::report::failure::Failure;
use super::report::orchestration;
use crate::kubernetes::cluster::Cluster;
use crate::kubernetes::lease::Held;
use crate::kubernetes::operation::begin::{self, Request};
use crate::kubernetes::operation::{Audience, Ending, Operation, recorded};
use crate::kubernetes::record::Record;
use crate::kubernetes::stage::{Policy, Stage};
use crate::kubernetes::survey;

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
    /// Storage class of the backup volume [default: the cluster's]
    #[arg(short = 'c', long, value_name = "NAME")]
    storage_class: Option<String>,
    /// A volume claim for the backup that is there already
    #[arg(long, value_name = "NAME")]
    backup_pvc: Option<String>,
    /// Size of the backup volume that is made
    #[arg(long, value_name = "SIZE", default_value = "10Gi")]
    backup_size: String,
    /// Go back to the old release by itself when the new one does not become healthy
    #[arg(long)]
    rollback_on_failure: bool,
    /// When going back: undo what changed in the metadata since the migration finished, too
    #[arg(long)]
    accept_loss: bool,
    /// After a failure before the switch, leave Milvus stopped instead of starting the old release
    #[arg(long)]
    stay_down: bool,
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
    /// Tell how far it is.
    Status,
}

pub(in crate::cli) fn run(args: &Args) -> Outcome {
    logging::start(&args.output, None);
    block_on(upgrade(args))
}

fn request(args: &Args) -> Request {
    let policy = Policy {
        rollback_on_failure: args.rollback_on_failure,
        stay_down: args.stay_down,
        accept_loss: args.accept_loss,
    };
    Request {
        claim: args.backup_pvc.clone(),
        claim_size: args.backup_size.clone(),
        storage_class: args.storage_class.clone(),
        ..args.place.request(&args.aim, policy)
    }
}

async fn upgrade(args: &Args) -> Outcome {
    let request = request(args);
    let cluster = args.place.connect().await?;
    if args.operation == What::Status {
        return status(args, &cluster).await;
    }
    if args.dry_run {
        return rehearse(&cluster, &request).await;
    }
    let held = Held::acquire(&cluster, &request.instance, &identity())
        .await
        .map_err(|error| lease_failure(&error))?;
    let ended = tokio::select! {
        ended = orchestrate(args, &cluster, &request, &held) => ended,
        signal = signalled() => Err(interrupted(args, signal)),
    };
    held.release().await;
    ended
}

fn interrupted(args: &Args, signal: Exit) -> Failure {
    let place = format!("-i {} -n {}", args.place.instance, args.place.namespace);
    Failure::new(
        signal,
        "ended by a signal; a Job that is running goes on by itself",
    )
    .hint(format!("meta-migration upgrade {place} -o resume"))
    .hint(format!("meta-migration upgrade {place} -o rollback"))
}

async fn status(args: &Args, cluster: &Cluster) -> Outcome {
    let found = recorded(cluster, &args.place.instance)
        .await
        .map_err(|error| operation_failure(&error))?;
    let record = found.map(|(record, _)| record);
    report::print(args.output.format, &record, |record, palette| {
        orchestration::status(record.as_ref(), palette)
    })?;
    Ok(Exit::Done)
}

async fn rehearse(cluster: &Cluster, request: &Request) -> Outcome {
    let facts = survey::facts(cluster, &request.instance, request.selector.as_deref())
        .await
        .map_err(|error| failure(&error))?;
    let record = begin::fresh(&facts, request).map_err(|error| operation_failure(&error))?;
    let record = begin::with_secrets(cluster, request, record)
        .await
        .map_err(|error| operation_failure(&error))?;
    report::write(begin::rehearsal(&record, request).as_bytes())?;
    Ok(Exit::Done)
}

async fn orchestrate(
    args: &Args,
    cluster: &Cluster,
    request: &Request,
    held: &Held,
) -> Result<Exit, Failure> {
    let failed = |error| operation_failure(&error);
    let found = recorded(cluster, &request.instance).await.map_err(failed)?;
    let (existing, version) = match found {
        Some((record, version)) => (Some(record), version),
        None => (None, None),
    };
    let record = match args.operation {
        What::Migrate | What::Status => {
            match begin::going_on(existing.as_ref(), request).map_err(failed)? {
                Some(record) => record,
                None => fresh(cluster, request).await?,
            }
        }
        What::Resume => match existing.filter(|record| !record.stage.is_final()) {
            Some(record) => begin::resume(&record, request),
            None => {
                return Err(Failure::new(
                    Exit::Refused,
                    format!("no unfinished upgrade of {} is recorded", request.instance),
                ));
            }
        },
        What::Rollback => {
            let facts = survey::facts(cluster, &request.instance, request.selector.as_deref())
                .await
                .map_err(|error| failure(&error))?;
            begin::going_back(existing.as_ref(), &facts, request).map_err(failed)?
        }
    };
    begin::claim(cluster, request, &record)
        .await
        .map_err(failed)?;
    let terminal = Terminal::new(&args.output);
    let mut operation = Operation::new(cluster, &terminal, held, record, version, request.limit);
    let ending = operation.drive().await.map_err(failed)?;
    if args.cleanup && operation.record().stage.is_final() {
        operation.clean_up().await.map_err(failed)?;
    }
    if ending == Ending::Upgraded {
        advise(cluster, request, operation.record(), &terminal).await;
    }
    conclude(args, &ending, operation.record())
}

async fn fresh(cluster: &Cluster, request: &Request) -> Result<Record, Failure> {
    let facts = survey::facts(cluster, &request.instance, request.selector.as_deref())
        .await
        .map_err(|error| failure(&error))?;
    let record = begin::fresh(&facts, request)
        .map_err(|error| operation_failure(&error).hint("meta-migration preflight tells more"))?;
    begin::with_secrets(cluster, request, record)
        .await
        .map_err(|error| operation_failure(&error))
}

async fn advise(cluster: &Cluster, request: &Request, record: &Record, terminal: &Terminal) {
    // Only advice: the upgrade is done.
    if let Ok(facts) = survey::facts(cluster, &request.instance, request.selector.as_deref()).await
        && let Some(advice) = begin::advice(&facts, record)
    {
        terminal.tell(&advice);
    }
}

fn conclude(args: &Args, ending: &Ending, record: &Record) -> Outcome {
    report::print(args.output.format, record, |record, palette| {
        orchestration::status(Some(record), palette)
    })?;
    let place = format!("-i {} -n {}", args.place.instance, args.place.namespace);
    match ending {
        Ending::Upgraded => Ok(Exit::Done),
        Ending::RolledBack(None) => Ok(Exit::Done),
        Ending::RolledBack(Some(why)) => {
            let asked = args.operation == What::Rollback;
            if asked {
                return Ok(Exit::Done);
            }
            Err(Failure::new(
                Exit::Failed,
                format!("the upgrade failed and the old release runs again: {why}"),
            )
            .unchanged())
        }
        Ending::Abandoned(why) => Err(Failure::new(
            Exit::Failed,
            format!("nothing was touched, Milvus runs as before: {why}"),
        )
        .unchanged()),
        Ending::Halted(why) => {
            let mut failure = Failure::new(Exit::PartWay, why.clone());
            failure.changed = changed(record.stage).into();
            failure.backup = record
                .has_backup
                .then(|| format!("{} in volume claim {}", record.backup_file, record.claim).into());
            Err(failure
                .hint(format!("meta-migration upgrade {place} -o resume"))
                .hint(format!("meta-migration upgrade {place} -o rollback")))
        }
    }
}

/// What stands and what does not, when an operation halts.
fn changed(stage: Stage) -> &'static str {
    match stage {
        Stage::Probe | Stage::Plan | Stage::Abandoned => "nothing was changed",
        Stage::Stop | Stage::Drain | Stage::Backup => {
            "Milvus is stopped or being stopped; its metadata was not changed"
        }
        Stage::Migrate | Stage::Assess => "Milvus is stopped; the migration may have begun",
        Stage::Verify => "Milvus is stopped; its metadata was migrated, and not found right yet",
        Stage::Start | Stage::Settle => "the metadata is 2.2; the new release is being started",
        Stage::Upgraded => "the new release runs",
        Stage::StopNew | Stage::DrainNew => "Milvus is stopped or being stopped, on the way back",
        Stage::RollBack | Stage::Check => {
            "Milvus is stopped; its metadata is being put back, and not found right yet"
        }
        Stage::StartOld | Stage::SettleOld => {
            "the metadata is 2.1; the old release is being started"
        }
        Stage::RolledBack => "the old release runs",
    }
}
