//! The operations a client can ask for, with their numbers.

/// One operation. Numbers that are not here are answered `Unimplemented`, and the connection ends: among them those by which ZooKeeper's
/// servers talk to themselves (-10 creates a session, 20 removes a container), which its clients have no business with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "ZooKeeper's names")]
#[repr(i32)]
pub enum Opcode {
    Create = 1,
    Delete = 2,
    Exists = 3,
    GetData = 4,
    SetData = 5,
    GetAcl = 6,
    SetAcl = 7,
    GetChildren = 8,
    Sync = 9,
    Ping = 11,
    GetChildren2 = 12,
    Check = 13,
    Multi = 14,
    Create2 = 15,
    Reconfig = 16,
    CheckWatches = 17,
    RemoveWatches = 18,
    CreateContainer = 19,
    CreateTtl = 21,
    MultiRead = 22,
    Auth = 100,
    SetWatches = 101,
    Sasl = 102,
    GetEphemerals = 103,
    GetAllChildrenNumber = 104,
    SetWatches2 = 105,
    AddWatch = 106,
    WhoAmI = 107,
    CloseSession = -11,
}

impl Opcode {
    /// All of them.
    pub const ALL: [Opcode; 29] = [
        Opcode::Create,
        Opcode::Delete,
        Opcode::Exists,
        Opcode::GetData,
        Opcode::SetData,
        Opcode::GetAcl,
        Opcode::SetAcl,
        Opcode::GetChildren,
        Opcode::Sync,
        Opcode::Ping,
        Opcode::GetChildren2,
        Opcode::Check,
        Opcode::Multi,
        Opcode::Create2,
        Opcode::Reconfig,
        Opcode::CheckWatches,
        Opcode::RemoveWatches,
        Opcode::CreateContainer,
        Opcode::CreateTtl,
        Opcode::MultiRead,
        Opcode::Auth,
        Opcode::SetWatches,
        Opcode::Sasl,
        Opcode::GetEphemerals,
        Opcode::GetAllChildrenNumber,
        Opcode::SetWatches2,
        Opcode::AddWatch,
        Opcode::WhoAmI,
        Opcode::CloseSession,
    ];

    /// The operation with this number.
    pub fn of(number: i32) -> Option<Opcode> {
        Opcode::ALL
            .into_iter()
            .find(|opcode| *opcode as i32 == number)
    }

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Opcode::Create => "create",
            Opcode::Delete => "delete",
            Opcode::Exists => "exists",
            Opcode::GetData => "getData",
            Opcode::SetData => "setData",
            Opcode::GetAcl => "getACL",
            Opcode::SetAcl => "setACL",
            Opcode::GetChildren => "getChildren",
            Opcode::Sync => "sync",
            Opcode::Ping => "ping",
            Opcode::GetChildren2 => "getChildren2",
            Opcode::Check => "check",
            Opcode::Multi => "multi",
            Opcode::Create2 => "create2",
            Opcode::Reconfig => "reconfig",
            Opcode::CheckWatches => "checkWatches",
            Opcode::RemoveWatches => "removeWatches",
            Opcode::CreateContainer => "createContainer",
            Opcode::CreateTtl => "createTTL",
            Opcode::MultiRead => "multiRead",
            Opcode::Auth => "auth",
            Opcode::SetWatches => "setWatches",
            Opcode::Sasl => "sasl",
            Opcode::GetEphemerals => "getEphemerals",
            Opcode::GetAllChildrenNumber => "getAllChildrenNumber",
            Opcode::SetWatches2 => "setWatches2",
            Opcode::AddWatch => "addWatch",
            Opcode::WhoAmI => "whoAmI",
            Opcode::CloseSession => "closeSession",
        }
    }

    /// The four letters that `cons` shows for it.
    pub fn letters(self) -> &'static str {
        match self {
            Opcode::Create | Opcode::Create2 | Opcode::CreateContainer | Opcode::CreateTtl => {
                "CREA"
            }
            Opcode::Delete => "DELE",
            Opcode::Exists => "EXIS",
            Opcode::GetData => "GETD",
            Opcode::SetData => "SETD",
            Opcode::GetAcl => "GETA",
            Opcode::SetAcl => "SETA",
            Opcode::GetChildren | Opcode::GetChildren2 => "GETC",
            Opcode::Sync => "SYNC",
            Opcode::Ping => "PING",
            Opcode::Check => "CHEC",
            Opcode::Multi => "MULT",
            Opcode::MultiRead => "MLTR",
            Opcode::Reconfig => "RECO",
            Opcode::CheckWatches => "CHKW",
            Opcode::RemoveWatches => "REMW",
            Opcode::Auth => "AUTH",
            Opcode::SetWatches => "SETW",
            Opcode::SetWatches2 => "STW2",
            Opcode::Sasl => "SASL",
            Opcode::GetEphemerals => "GETE",
            Opcode::GetAllChildrenNumber => "GACN",
            Opcode::AddWatch => "ADDW",
            Opcode::WhoAmI => "WHOA",
            Opcode::CloseSession => "CLOS",
        }
    }
}
