//! Which paths a node can have.

use portolan_catalog::Key;

/// Whether a node can be created or set under this path.
pub(crate) fn is_valid(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    if rest.is_empty() {
        return true;
    }
    let component = |name: &str| !matches!(name, "" | "." | "..");
    rest.split('/').all(component) && path.chars().all(|c| !is_forbidden(c))
}

/// Characters that Java's clients cannot have: checked there by UTF-16 unit, so whatever takes two is forbidden too.
fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}')
        || c > '\u{ffff}'
}

/// Parent and name, as far as a path has them: the first thing that is looked at.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    if path.contains('\0') {
        return None;
    }
    path.rsplit_once('/')
}

/// The key of the node under a path, whatever it is: readers do not say that it is wrong, there is just nothing there.
pub(crate) fn key(path: &str) -> Option<Key> {
    let whole = matches!(path, "" | "/")
        || path.starts_with('/')
            && !path.ends_with('/')
            && !path.contains('\0')
            && !path.contains("//");
    whole.then(|| Key::znode(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_what_zookeeper_takes() {
        let rows = [
            ("/", true),
            ("/a", true),
            ("/a/b-0000000001", true),
            ("/ä/…", true),
            ("", false),
            ("a", false),
            ("/a/", false),
            ("//a", false),
            ("/a//b", false),
            ("/.", false),
            ("/a/..", false),
            ("/a/.b", true),
            ("/a\0b", false),
            ("/a\u{1}", false),
            ("/a\u{7f}", false),
            ("/\u{e000}", false),
            ("/\u{fff0}", false),
            ("/😀", false),
        ];
        for (path, valid) in rows {
            assert_eq!(is_valid(path), valid, "{path:?}");
        }
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a/"), Some(("/a", "")));
        assert_eq!(split("a"), None);
        assert_eq!(key("/a/"), None);
        assert_eq!(key("a"), None);
        assert_eq!(key("/a//b"), None);
        assert_eq!(key("").map(|k| k.znode_path()), Some("/".into()));
    }
}
