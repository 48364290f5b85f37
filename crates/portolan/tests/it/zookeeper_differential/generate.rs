//! Random histories over few enough paths that operations meet.

use std::fmt;

use portolan_protocol_zookeeper::wire::{Opcode, Writer};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

type Body = Box<dyn Fn(&mut Writer)>;

/// One request, the same bytes for both sides.
pub struct Ask {
    pub opcode: Opcode,
    pub body: Body,
    told: String,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.opcode.name(), self.told)
    }
}

impl Ask {
    pub fn new(opcode: Opcode, body: impl Fn(&mut Writer) + 'static) -> Ask {
        Ask {
            opcode,
            body: Box::new(body),
            told: String::new(),
        }
    }

    fn telling(self, told: String) -> Ask {
        Ask { told, ..self }
    }

    /// Whether its zxid is one that stats can show.
    pub fn writes(&self) -> bool {
        matches!(
            self.opcode,
            Opcode::Create
                | Opcode::Create2
                | Opcode::CreateContainer
                | Opcode::CreateTtl
                | Opcode::Delete
                | Opcode::SetData
                | Opcode::SetAcl
                | Opcode::Multi
        )
    }
}

/// What a client does next.
#[derive(Debug)]
pub enum Step {
    Ask(Ask),
    /// Closes its session and begins another.
    Reopen,
    /// Loses its connection and comes back.
    Reconnect,
}

const PATHS: [&str; 14] = [
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/d",
    "/e",
    "/e/f",
    "/g",
    "/a/b/h",
    "/",
    "/zookeeper",
    "/zookeeper/quota",
    "/zookeeper/config",
    "/nothing/here",
    "/a/",
];
const WRONG: [&str; 8] = [
    "", "a", "/a//b", "/a/.", "/a/../b", "/a/b/", "/a\0b", "/g/\u{1}",
];

pub struct Generator {
    dice: StdRng,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        Generator {
            dice: StdRng::seed_from_u64(seed),
        }
    }

    fn below(&mut self, most: usize) -> usize {
        self.dice.random_range(0..most)
    }

    fn path(&mut self) -> String {
        match self.below(40) {
            0 => WRONG[self.below(WRONG.len())].to_owned(),
            1..=3 => PATHS[8 + self.below(6)].to_owned(),
            4..=7 => format!("/a/s-000000000{}", self.below(10)),
            _ => PATHS[self.below(8)].to_owned(),
        }
    }

    fn version(&mut self) -> i32 {
        [-1, -1, -1, 0, 1, 2, 3, -2][self.below(8)]
    }

    fn data(&mut self) -> Option<Vec<u8>> {
        match self.below(6) {
            0 => None,
            1 => Some(Vec::new()),
            most => Some(vec![b'x'; most * 3]),
        }
    }

    fn acl(&mut self) -> Vec<(i32, &'static str, &'static str)> {
        const ANN: &str = "ann:RYbu6l5aZwqon8VWmkcGvezdzfc=";
        match self.below(24) {
            0 => vec![(1, "world", "anyone")],
            1 => vec![(31, "digest", ANN)],
            2 => vec![(31, "digest", ANN), (1, "world", "anyone")],
            3 => vec![(31, "auth", "")],
            4 => vec![(31, "ip", "127.0.0.1")],
            5 => vec![(31, "ip", "10.0.0.0/8"), (17, "world", "anyone")],
            6 => vec![(31, "nobody", "x")],
            7 => vec![],
            8 => vec![(31, "ip", "127.0.0.1/99")],
            _ => vec![(31, "world", "anyone")],
        }
    }

    /// The next step, and by which client.
    pub fn next(&mut self, sessions: usize) -> (usize, Step) {
        let session = self.below(sessions);
        let step = match self.below(200) {
            0 => Step::Reopen,
            1..=3 => Step::Reconnect,
            _ => Step::Ask(self.ask(true)),
        };
        (session, step)
    }

    fn ask(&mut self, whole: bool) -> Ask {
        match self.below(if whole { 100 } else { 48 }) {
            0..=19 => self.create(),
            20..=31 => {
                let (path, version) = (self.path(), self.version());
                let told = format!("{path:?} {version}");
                Ask::new(Opcode::Delete, move |w| {
                    w.text(&path).int(version);
                })
                .telling(told)
            }
            32..=43 => {
                let (path, data, version) = (self.path(), self.data(), self.version());
                let told = format!("{path:?} {data:?} {version}");
                Ask::new(Opcode::SetData, move |w| {
                    w.text(&path).buffer(data.as_deref()).int(version);
                })
                .telling(told)
            }
            44..=46 if !whole => {
                let (path, version) = (self.path(), self.version());
                let told = format!("{path:?} {version}");
                Ask::new(Opcode::Check, move |w| {
                    w.text(&path).int(version);
                })
                .telling(told)
            }
            44..=46 => {
                let (path, acl, version) = (self.path(), self.acl(), self.version());
                let told = format!("{path:?} {acl:?} {version}");
                Ask::new(Opcode::SetAcl, move |w| {
                    w.text(&path);
                    put_acl(w, &acl);
                    w.int(version);
                })
                .telling(told)
            }
            47..=54 => self.many(),
            55..=57 => self.many_reads(),
            58..=79 => self.read(),
            80..=85 => {
                let of = [
                    Opcode::GetAcl,
                    Opcode::GetAllChildrenNumber,
                    Opcode::GetEphemerals,
                    Opcode::Sync,
                ];
                let (opcode, path) = (of[self.below(4)], self.path());
                let told = format!("{path:?}");
                Ask::new(opcode, move |w| {
                    w.text(&path);
                })
                .telling(told)
            }
            86..=93 => {
                let of = [
                    Opcode::AddWatch,
                    Opcode::AddWatch,
                    Opcode::RemoveWatches,
                    Opcode::CheckWatches,
                ];
                let opcode = of[self.below(4)];
                let kind = if opcode == Opcode::AddWatch {
                    self.below(3)
                } else {
                    self.below(7)
                };
                let path = PATHS[self.below(10)];
                Ask::new(opcode, move |w| {
                    w.text(path).int(kind as i32);
                })
                .telling(format!("{path:?} {kind}"))
            }
            94..=96 => self.watch_again(),
            97 => {
                let password = ["ann:pw", "bob:pw"][self.below(2)];
                Ask::new(Opcode::Auth, move |w| {
                    w.int(0).text("digest").buffer(Some(password.as_bytes()));
                })
                .telling(password.into())
            }
            _ => Ask::new(Opcode::WhoAmI, |_| {}),
        }
    }

    fn create(&mut self) -> Ask {
        let of = [
            Opcode::Create,
            Opcode::Create2,
            Opcode::CreateContainer,
            Opcode::CreateTtl,
        ];
        let opcode = of[[0, 0, 1, 1, 1, 2, 3][self.below(7)]];
        let (mut path, data, acl) = (self.path(), self.data(), self.acl());
        let mut flags = [0, 0, 0, 1, 1, 2, 3, 7, -1][self.below(9)];
        let mut ttl = 1 << 30;
        match opcode {
            // Empty ones stay: what goes by itself is not for this test.
            Opcode::CreateContainer => (flags, path) = (4, format!("/container-{}", self.below(4))),
            Opcode::CreateTtl => {
                flags = [5, 6, 0][self.below(3)];
                ttl = [ttl, ttl, -1, 0, 1 << 41][self.below(5)];
                // A mode without a time to live, and none given: the real server dies of it.
                if flags == 0 && ttl < 0 {
                    ttl = 7;
                }
            }
            _ => {}
        }
        if matches!(flags, 2 | 3 | 6) {
            path = ["/a/s-", "/a/", "/e/s-", "/s-"][self.below(4)].to_owned();
        }
        let told = format!("{path:?} {data:?} {acl:?} flags {flags} ttl {ttl}");
        Ask::new(opcode, move |w| {
            w.text(&path).buffer(data.as_deref());
            put_acl(w, &acl);
            w.int(flags);
            if opcode == Opcode::CreateTtl {
                w.long(ttl);
            }
        })
        .telling(told)
    }

    fn read(&mut self) -> Ask {
        let of = [
            Opcode::Exists,
            Opcode::GetData,
            Opcode::GetChildren,
            Opcode::GetChildren2,
        ];
        let (opcode, path, watch) = (of[self.below(4)], self.path(), self.below(2) == 0);
        let told = format!("{path:?} {watch}");
        Ask::new(opcode, move |w| {
            w.text(&path).boolean(watch);
        })
        .telling(told)
    }

    fn many(&mut self) -> Ask {
        let all: Vec<Ask> = (0..self.below(5)).map(|_| self.ask(false)).collect();
        let told = format!("{all:?}");
        Ask::new(Opcode::Multi, move |w| put_all(w, &all)).telling(told)
    }

    fn many_reads(&mut self) -> Ask {
        let of = [Opcode::GetData, Opcode::GetChildren];
        let all: Vec<Ask> = (0..self.below(4))
            .map(|_| {
                let (opcode, path) = (of[self.below(2)], self.path());
                let told = format!("{path:?}");
                Ask::new(opcode, move |w| {
                    w.text(&path).boolean(false);
                })
                .telling(told)
            })
            .collect();
        let told = format!("{all:?}");
        Ask::new(Opcode::MultiRead, move |w| put_all(w, &all)).telling(told)
    }

    /// What a client says after it came back, of a time long ago or of what nobody has seen yet.
    fn watch_again(&mut self) -> Ask {
        let since: i64 = [0, 1 << 40][self.below(2)];
        let lists: Vec<Vec<&'static str>> = (0..5)
            .map(|_| (0..self.below(3)).map(|_| PATHS[self.below(8)]).collect())
            .collect();
        let told = format!("{since} {lists:?}");
        Ask::new(Opcode::SetWatches2, move |w| {
            w.long(since);
            for list in &lists {
                w.texts(list.iter().copied());
            }
        })
        .telling(told)
    }
}

fn put_acl(w: &mut Writer, acl: &[(i32, &str, &str)]) {
    w.length(acl.len());
    for (permissions, scheme, id) in acl {
        w.int(*permissions).text(scheme).text(id);
    }
}

fn put_all(w: &mut Writer, all: &[Ask]) {
    for ask in all {
        w.multi_header(ask.opcode as i32, false, -1);
        (ask.body)(w);
    }
    w.multi_end();
}
