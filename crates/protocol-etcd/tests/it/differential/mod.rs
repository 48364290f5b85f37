//! One random history, played to two servers; every answer and every watch event must be the same.
//!
//! The left side is the reference, the right side the one in question. Operations go one after the other, so answers can be compared
//! exactly: the only things allowed to differ are the ids of cluster and members, the term, ids that a server chose for a lease, and a second of
//! a lease's remaining time. Watch events arrive on their own time; they are compared per watcher, as the list of everything it ever heard.
//!
//! A run is a function of its seed. What it prints on failure is the seed, the number of the operation, and both answers.

mod compare;
mod generate;
mod mutate;
pub mod random;
mod side;

use std::collections::VecDeque;

pub use generate::prefix_end;
pub use mutate::{Kind, Mutation};

use compare::Normal;
use generate::{Generator, Op};
use side::Side;

/// What to play.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub operations: usize,
    /// Falsifies something on the right side: a check that cannot fail shows nothing.
    pub mutation: Option<Mutation>,
}

/// What a run without a difference looked at.
#[derive(Debug, Default)]
pub struct Report {
    pub operations: usize,
    pub errors: usize,
    pub watchers: usize,
    pub events: usize,
    pub progress: usize,
    pub compactions: usize,
    pub last_revision: i64,
}

/// Plays the plan to both endpoints (`http://host:port`), which must be empty.
///
/// # Errors
/// The first difference, in words, or a server that cannot be reached.
pub async fn run(left: &str, right: &str, plan: Plan) -> Result<Report, String> {
    let mut pair = Pair {
        left: Side::connect("left", left).await?,
        right: Side::connect("right", right).await?,
        left_normal: Normal::default(),
        right_normal: Normal::default(),
        forgotten: 0,
        mutation: plan.mutation.clone(),
        report: Report::default(),
    };
    let mut generator = Generator::new(plan.seed);
    let mut recent: VecDeque<String> = VecDeque::new();
    for stream in 0..generate::STREAMS {
        pair.open(stream).await?;
    }
    for number in 0..plan.operations {
        let op = generator.next();
        let text = format!("{op:?}");
        recent.push_back(format!("  {number}: {}", shorten(&text)));
        if recent.len() > 8 {
            recent.pop_front();
        }
        let played = pair.play(&mut generator, op).await;
        if let Err(difference) = played {
            let context = recent.iter().cloned().collect::<Vec<_>>().join("\n");
            return Err(format!(
                "seed {}, operation {number}: {text}\n{difference}\nleading up to it:\n{context}",
                plan.seed
            ));
        }
    }
    pair.settle(&mut generator)
        .await
        .map_err(|difference| format!("seed {}, at the end: {difference}", plan.seed))?;
    pair.report.operations = plan.operations;
    pair.report.last_revision = generator.revision;
    Ok(pair.report)
}

/// Waits until a server that was just started takes writes.
pub async fn until_ready(url: &str) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..200 {
        match Side::connect("peer", url).await {
            Ok(mut side) => match side
                .call(generate::Request::Leases(Default::default()))
                .await
            {
                Ok(Ok(_)) => return Ok(()),
                other => last = format!("{other:?}"),
            },
            Err(error) => last = error,
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    Err(format!("{url} is not ready: {last}"))
}

fn shorten(text: &str) -> String {
    text.chars().take(600).collect()
}

struct Pair {
    left: Side,
    right: Side,
    left_normal: Normal,
    right_normal: Normal,
    /// What was heard on the left, compared, and forgotten.
    forgotten: usize,
    mutation: Option<Mutation>,
    report: Report,
}

impl Pair {
    async fn open(&mut self, stream: usize) -> Result<(), String> {
        let (left, right) = tokio::join!(self.left.open(stream), self.right.open(stream));
        left.and(right)
    }

    async fn play(&mut self, generator: &mut Generator, op: Op) -> Result<(), String> {
        match op {
            Op::Unary(request) => self.unary(generator, request).await,
            Op::Watch { stream, request } => {
                self.report.watchers += 1;
                let past = (1..=generator.revision).contains(&request.start_revision);
                let (left, right) = tokio::join!(
                    self.left.watch(stream, request.clone(), past),
                    self.right.watch(stream, request, past)
                );
                left.and(right)
            }
            Op::Cancel { stream, watch_id } => {
                // A server may drop what is queued for a watcher when it is cancelled, so nothing may be queued.
                self.settle(generator).await?;
                let (left, right) = tokio::join!(
                    self.left.cancel(stream, watch_id),
                    self.right.cancel(stream, watch_id)
                );
                left.and(right)?;
                self.settle(generator).await
            }
            Op::Progress { stream } => {
                self.settle(generator).await?;
                self.report.progress += 1;
                let (left, right) =
                    tokio::join!(self.left.progress(stream), self.right.progress(stream));
                let (left, mut right) = (left?, right?);
                if let Some(mutation) = &mut self.mutation {
                    mutation.progress(&mut right);
                }
                // etcd counts such a watcher as one that is behind, for ever; it is ended, and holds up nobody here.
                let explained = left.is_none() && self.left.has_compacted(stream);
                if left == right || explained {
                    Ok(())
                } else {
                    Err(format!(
                        "progress on stream {stream}: left {left:?}, right {right:?}"
                    ))
                }
            }
            Op::Reopen { stream } => {
                self.settle(generator).await?;
                self.open(stream).await
            }
            Op::Settle => self.settle(generator).await,
        }
    }

    async fn unary(
        &mut self,
        generator: &mut Generator,
        request: generate::Request,
    ) -> Result<(), String> {
        if let generate::Request::Compact(_) = &request {
            // A watcher still reading history would be cancelled or not, depending on how far it came.
            self.settle(generator).await?;
            self.report.compactions += 1;
        }
        let left_request = self.left_normal.outgoing(request.clone());
        let right_request = self.right_normal.outgoing(request.clone());
        let (left, right) =
            tokio::join!(self.left.call(left_request), self.right.call(right_request));
        let (mut left, mut right) = (left?, right?);
        if let Some(mutation) = &mut self.mutation {
            mutation.answer(&mut right);
        }
        self.left_normal
            .incoming(&request, &mut left)
            .map_err(|what| format!("left: {what}"))?;
        self.right_normal
            .incoming(&request, &mut right)
            .map_err(|what| format!("right: {what}"))?;
        compare::answers(&request, &left, &right)?;
        self.report.errors += usize::from(left.is_err());
        generator.learn(&request, &left);
        Ok(())
    }

    /// Waits until both sides have told every watcher the same, behind a fence that both have passed.
    async fn settle(&mut self, generator: &mut Generator) -> Result<(), String> {
        let fence = generator.fence();
        self.unary_fence(generator, fence).await?;
        let patience = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        if generator.reads_history() {
            self.catch_up().await;
        }
        loop {
            let revision = generator.revision;
            let passed = self.left.passed(revision) && self.right.passed(revision);
            let late = tokio::time::Instant::now() > patience;
            if late || passed {
                match self.compare_watchers() {
                    Ok(()) if passed => return Ok(()),
                    Err((difference, lasting)) if late || lasting => return Err(difference),
                    Ok(()) | Err(_) => {}
                }
            }
            if late {
                let (left, right) = (self.left.passed(revision), self.right.passed(revision));
                return Err(format!(
                    "no event of the fence at revision {revision}: left {left}, right {right}"
                ));
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Waits until whoever starts in the past has read it. etcd looks for such watchers ten times a second, and those that have nothing to
    /// read say nothing: they get a quarter of a second.
    async fn catch_up(&self) {
        let patience = tokio::time::Instant::now() + std::time::Duration::from_millis(250);
        while (self.left.is_behind() || self.right.is_behind())
            && tokio::time::Instant::now() < patience
        {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        // What is read comes in several pieces when there is much of it.
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        self.left.has_waited();
        self.right.has_waited();
    }

    async fn unary_fence(
        &mut self,
        generator: &mut Generator,
        fence: generate::Request,
    ) -> Result<(), String> {
        Box::pin(async {
            let (left, right) = tokio::join!(
                self.left.call(fence.clone()),
                self.right.call(fence.clone())
            );
            let (mut left, mut right) = (left?, right?);
            self.left_normal
                .incoming(&fence, &mut left)
                .map_err(|what| format!("left: {what}"))?;
            self.right_normal
                .incoming(&fence, &mut right)
                .map_err(|what| format!("right: {what}"))?;
            compare::answers(&fence, &left, &right)?;
            generator.learn(&fence, &left);
            Ok(())
        })
        .await
    }

    /// Compares what the watchers of both sides have heard so far. True beside a difference: no further event can mend it.
    fn compare_watchers(&mut self) -> Result<(), (String, bool)> {
        let broken = |violation| (violation, true);
        let left = self.left.heard(&self.left_normal).map_err(broken)?;
        let mut right = self.right.heard(&self.right_normal).map_err(broken)?;
        if let Some(mutation) = &mut self.mutation {
            mutation.heard(&mut right);
        }
        let events = compare::heard(&left, &right)?;
        self.report.events = self.report.events.max(self.forgotten + events);
        self.forgotten += self.left.forget(&left);
        self.right.forget(&right);
        Ok(())
    }
}
