//! The time that a leader gives its entries.
//!
//! It is that of the wall clock as long as that runs evenly, measured against the process's steady clock. A wall clock that jumps is not
//! followed at once: it has to keep its new distance for a minute, and until then time goes on evenly. So a jump that is corrected
//! soon reaches no entry, and no jump makes time stand still.

use std::time::Duration;

use portolan_catalog::Timestamp;
use tokio::time::Instant;

/// Milliseconds by which the clocks may part without the wall clock having jumped: the corrections of a time service are smaller.
const EVEN_MS: u64 = 1_000;
/// How long the wall clock keeps its new distance until it is followed.
pub(crate) const BELIEVED: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(crate) struct ProposalTime {
    /// A moment by both clocks.
    base: (Timestamp, Instant),
    /// The distance by which the wall clock jumped, in milliseconds, and since when.
    jumped: Option<(i128, Instant)>,
}

impl ProposalTime {
    /// Begins at the wall clock, or where the log ends if that is later: a clock that is behind the log is wrong, or the log's was.
    pub(crate) fn new(wall: Timestamp, last: Timestamp, now: Instant) -> Self {
        ProposalTime {
            base: (wall.max(last), now),
            jumped: None,
        }
    }

    /// The time of an entry that is proposed now.
    pub(crate) fn at(&mut self, wall: Timestamp, now: Instant) -> Timestamp {
        let passed = now.saturating_duration_since(self.base.1).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let steady = Timestamp(self.base.0.0.saturating_add(passed));
        let distance = i128::from(wall.0) - i128::from(steady.0);
        let even = |distance: i128| distance.unsigned_abs() <= u128::from(EVEN_MS);
        if even(distance) {
            self.follow(wall, now);
            return wall;
        }
        match self.jumped {
            Some((jump, since)) if even(distance - jump) => {
                if now.saturating_duration_since(since) < BELIEVED {
                    return steady;
                }
                tracing::warn!(
                    milliseconds = %distance,
                    "the wall clock was set, new entries have the new time"
                );
                self.follow(wall, now);
                wall
            }
            _ => {
                self.jumped = Some((distance, now));
                steady
            }
        }
    }

    fn follow(&mut self, wall: Timestamp, now: Instant) {
        self.base = (wall, now);
        self.jumped = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000;
    const YEAR: u64 = 365 * 24 * 3_600_000;

    /// Both clocks, driven by hand.
    struct Clocks {
        time: ProposalTime,
        wall: u64,
        now: Instant,
    }

    impl Clocks {
        fn new(last: u64) -> Clocks {
            let now = Instant::now();
            Clocks {
                time: ProposalTime::new(Timestamp(START), Timestamp(last), now),
                wall: START,
                now,
            }
        }

        fn after(&mut self, ms: u64) -> u64 {
            self.wall += ms;
            self.now += Duration::from_millis(ms);
            self.time.at(Timestamp(self.wall), self.now).0
        }
    }

    #[test]
    fn an_even_clock_is_followed_to_the_millisecond() {
        let mut clocks = Clocks::new(0);
        for ms in [0, 1, 999, 3_600_000] {
            assert_eq!(clocks.after(ms), clocks.wall);
        }
        clocks.wall -= 900;
        assert_eq!(clocks.after(1), clocks.wall, "a small correction");
    }

    #[test]
    fn a_jump_that_is_corrected_within_a_minute_reaches_no_entry() {
        let mut clocks = Clocks::new(0);
        clocks.after(1000);
        clocks.wall += YEAR;
        assert_eq!(clocks.after(1000), START + 2000);
        assert_eq!(clocks.after(50_000), START + 52_000);
        clocks.wall -= YEAR;
        assert_eq!(clocks.after(1000), START + 53_000);
        assert_eq!(clocks.after(600_000), START + 653_000);
    }

    #[test]
    fn a_clock_that_was_set_is_followed_after_a_minute_in_either_direction() {
        for (jump, name) in [(YEAR as i64, "ahead"), (-(YEAR as i64), "back")] {
            let mut clocks = Clocks::new(0);
            clocks.after(1000);
            clocks.wall = clocks.wall.saturating_add_signed(jump);
            assert_eq!(clocks.after(1000), START + 2000, "{name}");
            assert_eq!(clocks.after(59_999), START + 61_999, "{name}");
            assert_eq!(clocks.after(1), clocks.wall, "{name}");
            assert_eq!(clocks.after(1), clocks.wall, "{name}");
        }
    }

    #[test]
    fn a_clock_that_jumps_about_is_not_followed_until_it_rests() {
        let mut clocks = Clocks::new(0);
        for round in 0..10 {
            clocks.wall += YEAR;
            assert_eq!(clocks.after(30_000), START + (round + 1) * 30_000);
        }
        clocks.after(30_000);
        assert_eq!(clocks.after(30_000), clocks.wall);
    }

    #[test]
    fn a_log_that_ends_in_the_future_goes_on_and_is_corrected_after_a_minute() {
        let mut clocks = Clocks::new(START + YEAR);
        assert_eq!(clocks.after(0), START + YEAR);
        assert_eq!(clocks.after(10_000), START + YEAR + 10_000);
        assert_eq!(clocks.after(50_000), clocks.wall);
    }
}
