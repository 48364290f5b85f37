//! Machines of a network of their own: Linux network namespaces on one bridge, whose links are cut and mended.
//!
//! A direction is cut by a neighbour entry that leads nowhere: the sender notices nothing, as with a cable that lost its other end. It
//! takes the right to make namespaces. What was made goes with the [`Network`].

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Nobody has it.
const NOWHERE: &str = "02:00:00:00:00:99";

/// A bridge and machines at it.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    machines: usize,
    /// The folder that `ip netns exec` lays over `/etc` of each machine, by name.
    hosts: Vec<PathBuf>,
}

/// Runs `ip`.
fn ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip")
        .args(words.split_whitespace())
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "ip {words}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}

impl Network {
    /// Makes as many machines. Says why where this is not possible: it takes root and `ip`.
    pub fn new(machines: usize) -> Result<Network, String> {
        let network = Network {
            prefix: format!("ptl{}", std::process::id() % 100_000),
            machines,
            hosts: Vec::new(),
        };
        let hub = network.hub();
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link add br0 type bridge"))?;
        ip(&format!("-n {hub} link set br0 up"))?;
        ip(&format!("-n {hub} link set lo up"))?;
        ip(&format!("-n {hub} addr add {}/24 dev br0", address(254)))?;
        for at in 1..=machines {
            let name = network.machine(at);
            ip(&format!("netns add {name}"))?;
            ip(&format!(
                "link add v{at} netns {hub} type veth peer name eth0 netns {name}"
            ))?;
            ip(&format!("-n {hub} link set v{at} master br0 up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
            let own = network.address(at);
            ip(&format!("-n {name} addr add {own}/24 dev eth0"))?;
            // Nothing is there; but which address is a machine's own is asked by the way to elsewhere.
            ip(&format!("-n {name} route add default via {}", address(254)))?;
        }
        Ok(network)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    fn machine(&self, at: usize) -> String {
        format!("{}-{at}", self.prefix)
    }

    /// Where a machine is, counted from 1.
    pub fn address(&self, at: usize) -> Ipv4Addr {
        address(u8::try_from(at).expect("few machines"))
    }

    /// Names that every machine knows, each with a machine's number.
    pub fn name(&mut self, names: &[(&str, usize)]) -> Result<(), String> {
        let mut lines = "127.0.0.1 localhost\n".to_owned();
        for (name, at) in names {
            lines.push_str(&format!("{} {name}\n", self.address(*at)));
        }
        for at in 1..=self.machines {
            let folder = PathBuf::from("/etc/netns").join(self.machine(at));
            let made = std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::write(folder.join("hosts"), &lines));
            self.hosts.push(folder);
            made.map_err(|error| format!("/etc/netns: {error}"))?;
        }
        Ok(())
    }

    /// A program on a machine.
    pub fn command(&self, at: usize, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.machine(at)])
            .arg(program);
        command
    }

    /// From now on this thread, and those it makes, reach the machines.
    pub fn enter(&self) -> Result<(), String> {
        let place = format!("/run/netns/{}", self.hub());
        let file = File::open(&place).map_err(|error| format!("{place}: {error}"))?;
        use std::os::fd::AsFd;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|error| format!("{place}: {error}"))
    }

    /// What one sends another is lost from now on, and only that.
    pub fn mute(&self, from: usize, to: usize) {
        let (machine, to) = (self.machine(from), self.address(to));
        let words =
            format!("-n {machine} neigh replace {to} lladdr {NOWHERE} dev eth0 nud permanent");
        ip(&words).expect("a link is cut");
    }

    /// It arrives again.
    pub fn unmute(&self, from: usize, to: usize) {
        let (machine, to) = (self.machine(from), self.address(to));
        // It may never have been cut.
        let _mended = ip(&format!("-n {machine} neigh del {to} dev eth0"));
    }

    /// Cuts a link both ways.
    pub fn cut(&self, one: usize, other: usize) {
        self.mute(one, other);
        self.mute(other, one);
    }

    /// Mends it.
    pub fn mend(&self, one: usize, other: usize) {
        self.unmute(one, other);
        self.unmute(other, one);
    }
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, 0, last)
}

impl Drop for Network {
    fn drop(&mut self) {
        for folder in &self.hosts {
            let _gone = std::fs::remove_dir_all(folder);
        }
        for at in 1..=self.machines {
            let _gone = ip(&format!("netns del {}", self.machine(at)));
        }
        let _gone = ip(&format!("netns del {}", self.hub()));
    }
}
