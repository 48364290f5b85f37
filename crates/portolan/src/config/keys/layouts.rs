//! Which frameworks on key-value keyspaces see the catalog.

use super::super::key::{Area, Key, Shape};

pub(super) static AREA: Area = Area {
    heading: "Layouts",
    keys: &[Key {
        name: "layout",
        shape: Shape::Named,
        hint: "LAYOUT",
        help: "Records of a framework on etcd: kitex, kratos, services (each also =off, =asleep, =awake), go-zero=KEY, grpc=TARGET, NAME=/path/{service}/{address} (after consul-kv: or znodes: in another keyspace); kitex, kratos and services sleep until they are used",
        set: |config, text| config.layouts.set(text),
        clear: |_| {},
        show: |_| String::new(),
    }],
    bounds: &[],
};
