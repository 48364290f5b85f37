//! A real ZooKeeper. Ends with the test.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{eventually, server::free_address};

pub struct RealZooKeeper {
    child: Child,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl RealZooKeeper {
    /// Starts it with the command that runs its server class.
    pub fn start(command: &[String]) -> Result<RealZooKeeper, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let address = free_address();
        let file = folder.path().join("zoo.cfg");
        let text = format!(
            "tickTime=2000\ndataDir={}\nclientPortAddress={}\nclientPort={}\nadmin.enableServer=false\nmaxClientCnxns=0\n4lw.commands.whitelist=*\nextendedTypesEnabled=true\n",
            folder.path().join("data").display(),
            address.ip(),
            address.port()
        );
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        let (program, arguments) = command.split_first().ok_or("no command")?;
        let child = Command::new(program)
            .args(arguments)
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let peer = RealZooKeeper {
            child,
            address,
            _folder: folder,
        };
        eventually(Duration::from_secs(60), || {
            let mut stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
            // While it starts it takes connections and never answers them, or says that it does not serve yet.
            let patience = Some(Duration::from_secs(1));
            stream
                .set_read_timeout(patience)
                .map_err(|error| error.to_string())?;
            stream
                .write_all(b"srvr")
                .map_err(|error| error.to_string())?;
            let mut text = String::new();
            stream
                .read_to_string(&mut text)
                .map_err(|error| error.to_string())?;
            if text.contains("Mode: ") {
                Ok(())
            } else {
                Err(text)
            }
        })?;
        Ok(peer)
    }
}

impl Drop for RealZooKeeper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
