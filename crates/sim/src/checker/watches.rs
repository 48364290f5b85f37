//! Watches: every event once, in order, none skipped, or the watcher was told that it has to begin anew.

use super::{Findings, Violation};
use crate::history::{WatchStory, Watched};
use crate::truth::{Truth, words};

pub(crate) fn check(stories: &[WatchStory], truth: &Truth) -> Vec<Violation> {
    let mut findings = Findings::new("watches");
    for (number, story) in stories.iter().enumerate() {
        judge(&mut findings, number + 1, story, truth);
    }
    findings.into_violations()
}

fn judge(findings: &mut Findings, number: usize, story: &WatchStory, truth: &Truth) {
    let matching = |after: u64, until: u64| {
        truth
            .decided
            .range(after.saturating_add(1)..=until.max(after.saturating_add(1)))
            .filter(move |(revision, _)| **revision <= until)
            .filter(|(_, decided)| {
                let mut selectors = story.selectors.iter();
                selectors.any(|selector| selector.matches(&decided.batch))
            })
    };
    let mut position = 0;
    for event in &story.events {
        match event {
            Watched::From { after } => position = *after,
            // It was told, and begins anew.
            Watched::Cut => {}
            Watched::News {
                server,
                batches,
                through,
            } => {
                for batch in batches {
                    let revision = batch.revision.0;
                    if revision <= position {
                        findings.add(|| {
                            format!("watcher {number} at {position} got revision {revision} again from server {server}")
                        });
                        continue;
                    }
                    if let Some((missed, decided)) = matching(position, revision - 1).next() {
                        findings.add(|| {
                            format!(
                                "watcher {number} got revision {revision} after {position} from server {server}, without {missed}: {}",
                                words(&decided.batch)
                            )
                        });
                    }
                    if let Some(decided) = truth.decided.get(&revision)
                        && decided.batch != *batch
                    {
                        findings.add(|| {
                            format!("watcher {number} got another revision {revision} from server {server} than was decided")
                        });
                    }
                    position = revision;
                }
                if let Some((missed, decided)) = matching(position, *through).next() {
                    findings.add(|| {
                        format!(
                            "watcher {number} was told by server {server} that it has all up to {through}, it lacks {missed}: {}",
                            words(&decided.batch)
                        )
                    });
                }
                position = position.max(*through);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_registry::Selector;

    use super::*;
    use crate::truth::tests::decided;

    fn found(events: Vec<Watched>) -> Vec<String> {
        let truth = decided(&[("a", "1"), ("a", "2"), ("a", "3")]);
        let story = WatchStory {
            selectors: vec![Selector::Everything],
            events,
        };
        let found = check(&[story], &truth);
        found.into_iter().map(|violation| violation.what).collect()
    }

    fn news(revisions: &[u64], through: u64) -> Watched {
        let truth = decided(&[("a", "1"), ("a", "2"), ("a", "3")]);
        Watched::News {
            server: 1,
            batches: revisions
                .iter()
                .map(|revision| truth.decided[revision].batch.clone())
                .collect(),
            through,
        }
    }

    #[test]
    fn a_whole_watch_passes_and_one_that_was_told() {
        let from = |after| Watched::From { after };
        assert!(found(vec![from(1), news(&[2], 2), news(&[], 2), news(&[3, 4], 4)]).is_empty());
        let cut = Watched::Cut;
        assert!(found(vec![from(1), news(&[2], 2), cut, from(3), news(&[4], 4)]).is_empty());
    }

    #[test]
    fn what_is_skipped_repeated_reordered_or_untold_is_found() {
        let from = || Watched::From { after: 1 };
        for (events, words) in [
            (vec![from(), news(&[2, 4], 4)], "without 3"),
            (vec![from(), news(&[2], 2), news(&[2, 3], 3)], "again"),
            (vec![from(), news(&[3, 2], 3)], "without 2"),
            (vec![from(), news(&[2], 3)], "lacks 3"),
        ] {
            let found = found(events);
            assert!(
                found.iter().any(|what| what.contains(words)),
                "{words}: {found:?}"
            );
        }
    }
}
