//! The budget of retries: without one they multiply an outage.

use std::time::Duration;

use crate::endpoint::Moment;

/// Parts of the window that are forgotten one after the other.
const SLOTS: usize = 10;
/// What one retry costs.
const COST: u64 = 1000;

/// How many retries there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Retries for each request. Default 0.2.
    pub ratio: f64,
    /// Retries per second that are allowed whatever the requests. Default 3.
    pub floor: u32,
    /// How long requests and retries are remembered. Default 10 s.
    pub window: Duration,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            ratio: 0.2,
            floor: 3,
            window: Duration::from_secs(10),
        }
    }
}

/// What is left of a budget: each request puts something in, each retry takes one out, and both are forgotten after the window.
#[derive(Clone, Debug)]
pub struct RetryBudget {
    budget: Budget,
    earned: [u64; SLOTS],
    spent: [u64; SLOTS],
    /// The number of the part that is counted into.
    current: u64,
}

impl RetryBudget {
    /// A whole one.
    pub fn new(budget: Budget) -> RetryBudget {
        RetryBudget {
            budget,
            earned: [0; SLOTS],
            spent: [0; SLOTS],
            current: 0,
        }
    }

    fn advance(&mut self, now: Moment) -> usize {
        let part = (self.budget.window.as_nanos() / SLOTS as u128).max(1);
        let number = u64::try_from(now.as_nanos() / part).unwrap_or(u64::MAX);
        let passed = number.saturating_sub(self.current).min(SLOTS as u64);
        for ahead in 1..=passed {
            let slot = ((self.current + ahead) % SLOTS as u64) as usize;
            (self.earned[slot], self.spent[slot]) = (0, 0);
        }
        self.current = self.current.max(number);
        (self.current % SLOTS as u64) as usize
    }

    /// A request came in.
    pub fn earn(&mut self, now: Moment) {
        let slot = self.advance(now);
        self.earned[slot] += (self.budget.ratio * COST as f64) as u64;
    }

    /// What is left, in thousandths of a retry.
    fn left(&self) -> u64 {
        let seconds = self.budget.window.as_secs_f64();
        let reserve = (f64::from(self.budget.floor) * seconds * COST as f64) as u64;
        let earned: u64 = self.earned.iter().sum();
        let spent: u64 = self.spent.iter().sum();
        (reserve + earned).saturating_sub(spent)
    }

    /// Retries that are left.
    pub fn available(&mut self, now: Moment) -> u64 {
        self.advance(now);
        self.left() / COST
    }

    /// Takes a retry out; false when none is left.
    pub fn spend(&mut self, now: Moment) -> bool {
        let slot = self.advance(now);
        let left = self.left() >= COST;
        self.spent[slot] += if left { COST } else { 0 };
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_the_requests_and_a_floor_may_be_retried() {
        let mut budget = RetryBudget::new(Budget::default());
        let mut retried = 0;
        for ms in 0..20_000_u64 {
            let now = Duration::from_millis(ms);
            budget.earn(now);
            retried += u32::from(budget.spend(now));
        }
        // Twenty thousand requests that all fail: a fifth of them, and three each second.
        assert!((4_000..=4_100).contains(&retried), "{retried}");
    }

    #[test]
    fn what_is_past_is_forgotten() {
        let mut budget = RetryBudget::new(Budget::default());
        let spent = (0..1000)
            .filter(|_| budget.spend(Duration::from_secs(1)))
            .count();
        assert_eq!(spent, 30);
        assert_eq!(budget.available(Duration::from_secs(5)), 0);
        assert_eq!(budget.available(Duration::from_secs(12)), 30);
        assert_eq!(
            budget.available(Duration::from_secs(3)),
            30,
            "time never goes back"
        );
    }
}
