//! The list of the tables whose changes are followed. What has to exist once for each of them is generated from it.
//!
//! Generated from it are the variants of [`crate::Change`], [`crate::Table`] and [`crate::RowKey`] with everything that is said of
//! a change whichever table it is in, how a change is installed, its stored form, and the records of a snapshot. What each table
//! decides for itself is a function or a `match` without a default, so that a new line here does not compile before all of it is
//! decided.

/// Calls the macro `$generate` with the list.
///
/// A line says: the variant of a change and of a row's key, the row's type; the variant among tables, the field of `Tables`; the
/// type of the row's key and where the row has it; the number of its changes and that of its snapshot records, which are never
/// used again. Snapshots hold tables in this order. Records of keyspaces are not in the list: their key is not in their row, and
/// there is a table for each keyspace.
macro_rules! for_each_table {
    ($generate:ident) => {
        $generate! {
            Namespace(Namespace) in Namespaces, namespaces; key Arc<str>, |row| row.name; stored 3, snapshot 1;
            Service(Service) in Services, services; key ServiceKey, |row| row.key; stored 2, snapshot 2;
            Instance(Instance) in Instances, instances; key InstanceKey, |row| row.key; stored 0, snapshot 3;
            Endpoint(EndpointRow) in Endpoints, endpoints; key EndpointKey, |row| row.key; stored 1, snapshot 4;
            Node(Node) in Nodes, nodes; key NodeName, |row| row.name; stored 4, snapshot 5;
            Check(Check) in Checks, checks; key CheckKey, |row| row.key; stored 5, snapshot 6;
            Session(Session) in Sessions, sessions; key SessionId, |row| row.id; stored 6, snapshot 7;
        }
    };
}
