//! Looking at the files of a history that nobody uses, without changing any.

use std::io;

use portolan_catalog::Revision;

use crate::chunk::{self, Chunk, Damage};
use crate::files::Files;

/// One file of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Its name.
    pub name: String,
    /// It holds what came after this revision...
    pub after: Revision,
    /// ...up to this one.
    pub through: Revision,
    /// Why it cannot be read, if it cannot.
    pub damage: Option<Damage>,
}

/// Reads every file to its end, in the order of their names.
///
/// # Errors
/// When the files cannot be listed or opened.
pub fn inspect(files: &dyn Files) -> io::Result<Vec<Inspected>> {
    let mut found = Vec::new();
    for (name, file) in files.list()? {
        let Some((after, through)) = chunk::range(&name) else {
            continue;
        };
        let chunk = Chunk::open(name.clone(), (after, through), file);
        found.push(Inspected {
            name,
            after,
            through,
            damage: chunk.check().err(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryFiles;

    #[test]
    fn a_file_that_is_cut_is_said_to_be_damaged() {
        let files = MemoryFiles::default();
        let name = chunk::name(Revision(1), Revision(4));
        files
            .create(&name, &mut |to| to.write_all(b"PORTHIST and no more"))
            .unwrap();
        let found = inspect(&files).unwrap();
        assert_eq!(
            (found[0].after, found[0].through),
            (Revision(1), Revision(4))
        );
        assert!(found[0].damage.is_some());
    }
}
