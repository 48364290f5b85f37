//! What every program says of its process, under the names that every program uses.
//!
//! Read from `/proc` when somebody asks; where there is none, only the start is told.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use portolan_listener::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Shows it in the server's metrics.
pub(crate) fn publish(metrics: &Metrics) {
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    metrics.register_plain_collector(Process { started });
}

#[derive(Debug)]
struct Process {
    /// Seconds since 1970.
    started: f64,
}

/// Processor time in seconds, from `/proc/self/stat`: fields 14 and 15, behind a name in brackets that may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / rustix::param::clock_ticks_per_second() as f64)
}

/// Bytes of address space and of memory, from `/proc/self/statm`.
fn memory(statm: &str) -> Option<(f64, f64)> {
    let mut pages = statm.split_whitespace().map(str::parse::<f64>);
    let page = rustix::param::page_size() as f64;
    Some((pages.next()?.ok()? * page, pages.next()?.ok()? * page))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        if let Some(seconds) = cpu_seconds(&read("stat")) {
            encoder
                .encode_descriptor(
                    "process_cpu_seconds",
                    "processor time used",
                    None,
                    MetricType::Counter,
                )?
                .encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
        }
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let memory = memory(&read("statm"));
        let open = std::fs::read_dir("/proc/self/fd").map(|files| files.count() as f64);
        let gauges = [
            (
                "process_start_time_seconds",
                "start of the process, in seconds since 1970",
                Some(self.started),
            ),
            (
                "process_virtual_memory_bytes",
                "address space taken",
                memory.map(|(space, _)| space),
            ),
            (
                "process_resident_memory_bytes",
                "memory used",
                memory.map(|(_, resident)| resident),
            ),
            ("process_open_fds", "open files and connections", open.ok()),
            (
                "process_max_fds",
                "files and connections that may be open",
                files.current.map(|most| most as f64),
            ),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                encoder
                    .encode_descriptor(name, help, None, MetricType::Gauge)?
                    .encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let tick = rustix::param::clock_ticks_per_second() as f64;
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0 20 0";
        assert_eq!(cpu_seconds(stat), Some(42.0 / tick));
        assert_eq!(cpu_seconds(""), None);
        let page = rustix::param::page_size() as f64;
        assert_eq!(memory("10 4 3 2 1 0 0"), Some((10.0 * page, 4.0 * page)));
        assert_eq!(memory(""), None);
    }
}
