//! Tables over both spellings: what goes out byte for byte, what comes in and how it is understood.

use std::collections::BTreeMap;

use super::*;

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    pairs.iter().map(owned).collect()
}

fn sample() -> Instance {
    Instance {
        instance_id: Some("h1:app1:8080".into()),
        host_name: "h1".into(),
        app: "APP1".into(),
        ip_addr: "10.0.0.1".into(),
        port: Port {
            number: 8080,
            enabled: true,
        },
        secure_port: Port {
            number: 443,
            enabled: false,
        },
        data_center: Some(DataCenter::own()),
        lease: LeaseInfo {
            registered_at: 11,
            renewed_at: 12,
            up_at: 13,
            ..LeaseInfo::default()
        },
        metadata: pairs(&[("zone", "z1")]),
        home_page_url: Some("http://h1:8080/?a&b".into()),
        vip_address: Some("app1".into()),
        secure_vip_address: Some("app1s".into()),
        updated_at: 14,
        dirty_at: Some(15),
        asg_name: Some("g\"1\"".into()),
        ..Instance::default()
    }
}

fn amazon() -> Instance {
    Instance {
        instance_id: None,
        data_center: Some(DataCenter {
            name: Some(DataCenterName::Amazon),
            metadata: pairs(&[("instance-id", "i-1"), ("availability-zone", "us-east-1a")]),
        }),
        metadata: pairs(&[("a_b", "<1>"), ("with space", ""), ("price$", "5\t€")]),
        sid: Some("s1".into()),
        app_group: Some("GROUP".into()),
        status: Status::OutOfService,
        overridden: Status::OutOfService,
        action: Action::Modified,
        ..sample()
    }
}

fn bare() -> Instance {
    Instance {
        metadata: BTreeMap::new(),
        home_page_url: None,
        vip_address: None,
        secure_vip_address: None,
        asg_name: None,
        ..sample()
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_full_instance_is_written_in_netflix_order_with_netflix_types() {
    assert_eq!(
        text(encode_instance(Format::Json, &sample())),
        concat!(
            r#"{"instance":{"instanceId":"h1:app1:8080","hostName":"h1","app":"APP1","ipAddr":"10.0.0.1","#,
            r#""status":"UP","overriddenStatus":"UNKNOWN","port":{"$":8080,"@enabled":"true"},"#,
            r#""securePort":{"$":443,"@enabled":"false"},"countryId":1,"#,
            r#""dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},"#,
            r#""leaseInfo":{"renewalIntervalInSecs":30,"durationInSecs":90,"registrationTimestamp":11,"#,
            r#""lastRenewalTimestamp":12,"evictionTimestamp":0,"serviceUpTimestamp":13},"#,
            r#""metadata":{"zone":"z1"},"homePageUrl":"http://h1:8080/?a&b","vipAddress":"app1","#,
            r#""secureVipAddress":"app1s","isCoordinatingDiscoveryServer":"false","lastUpdatedTimestamp":"14","#,
            r#""lastDirtyTimestamp":"15","actionType":"ADDED","asgName":"g\"1\""}}"#,
        )
    );
    assert_eq!(
        text(encode_instance(Format::Xml, &amazon())),
        r#"<instance>
  <hostName>h1</hostName>
  <app>APP1</app>
  <ipAddr>10.0.0.1</ipAddr>
  <sid>s1</sid>
  <status>OUT_OF_SERVICE</status>
  <overriddenstatus>OUT_OF_SERVICE</overriddenstatus>
  <port enabled="true">8080</port>
  <securePort enabled="false">443</securePort>
  <countryId>1</countryId>
  <dataCenterInfo class="com.netflix.appinfo.AmazonInfo">
    <name>Amazon</name>
    <metadata>
      <availability-zone>us-east-1a</availability-zone>
      <instance-id>i-1</instance-id>
    </metadata>
  </dataCenterInfo>
  <leaseInfo>
    <renewalIntervalInSecs>30</renewalIntervalInSecs>
    <durationInSecs>90</durationInSecs>
    <registrationTimestamp>11</registrationTimestamp>
    <lastRenewalTimestamp>12</lastRenewalTimestamp>
    <evictionTimestamp>0</evictionTimestamp>
    <serviceUpTimestamp>13</serviceUpTimestamp>
  </leaseInfo>
  <metadata>
    <a__b>&lt;1&gt;</a__b>
    <price_->5	€</price_->
    <with_.0020space></with_.0020space>
  </metadata>
  <appGroupName>GROUP</appGroupName>
  <homePageUrl>http://h1:8080/?a&amp;b</homePageUrl>
  <vipAddress>app1</vipAddress>
  <secureVipAddress>app1s</secureVipAddress>
  <isCoordinatingDiscoveryServer>false</isCoordinatingDiscoveryServer>
  <lastUpdatedTimestamp>14</lastUpdatedTimestamp>
  <lastDirtyTimestamp>15</lastDirtyTimestamp>
  <actionType>MODIFIED</actionType>
  <asgName>g&quot;1&quot;</asgName>
</instance>"#
    );
}

#[test]
fn a_compact_instance_holds_what_a_caller_needs() {
    let json = text(list_of(Shape::ALL[1], vec![sample()]));
    let item = concat!(
        r#"{"instanceId":"h1:app1:8080","app":"APP1","ipAddr":"10.0.0.1","vipAddress":"app1","#,
        r#""secureVipAddress":"app1s","#,
        r#""dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},"#,
        r#""hostName":"h1","status":"UP","lastUpdatedTimestamp":14,"actionType":"ADDED","#,
        r#""asgName":"g\"1\"","port":{"$":8080,"@enabled":"true"},"securePort":{"$":443,"@enabled":"false"}}"#,
    );
    assert!(json.contains(&format!("\"instance\":[{item}]")), "{json}");
    let xml = text(list_of(Shape::ALL[3], vec![bare()]));
    let item = concat!(
        "<instance><instanceId>h1:app1:8080</instanceId><app>APP1</app><ipAddr>10.0.0.1</ipAddr>",
        r#"<dataCenterInfo class="com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo"><name>MyOwn</name></dataCenterInfo>"#,
        "<hostName>h1</hostName><status>UP</status><lastUpdatedTimestamp>14</lastUpdatedTimestamp>",
        r#"<actionType>ADDED</actionType><port enabled="true">8080</port><securePort enabled="false">443</securePort></instance>"#,
    );
    assert!(
        xml.contains(&format!("<name>APP1</name>{item}</application>")),
        "{xml}"
    );
}

/// A list of one application.
fn list_of(shape: Shape, instances: Vec<Instance>) -> Vec<u8> {
    let name = "APP1".to_owned();
    let list = Applications {
        version: "1".to_owned(),
        hashcode: "UP_1_".to_owned(),
        applications: vec![Application { name, instances }],
    };
    let whole = encode_applications(shape, &list);
    let mut pieces = Vec::new();
    encode::append_head(&mut pieces, shape, "1", "UP_1_");
    encode::append_items(&mut pieces, shape, &list.applications);
    encode::append_tail(&mut pieces, shape, "1", "UP_1_");
    assert_eq!(text(pieces), text(whole.clone()), "{shape:?}");
    whole
}

#[test]
fn lists_wrap_in_their_own_ways() {
    let rows = [
        (
            Shape::ALL[0],
            r#"{"applications":{"versions__delta":"1","apps__hashcode":"UP_1_","application":[{"name":"APP1","instance":[]}]}}"#,
        ),
        (
            Shape::ALL[1],
            r#"{"applications":{"application":[{"name":"APP1","instance":[]}],"versions__delta":"1","apps__hashcode":"UP_1_"}}"#,
        ),
        (
            Shape::ALL[2],
            "<applications>\n  <versions__delta>1</versions__delta>\n  <apps__hashcode>UP_1_</apps__hashcode>\n  \
             <application>\n    <name>APP1</name>\n  </application>\n</applications>",
        ),
        (
            Shape::ALL[3],
            "<applications><application><name>APP1</name></application><versions__delta>1</versions__delta>\
             <apps__hashcode>UP_1_</apps__hashcode></applications>",
        ),
    ];
    for (shape, expected) in rows {
        assert_eq!(text(list_of(shape, vec![])), expected, "{shape:?}");
    }
    let full = text(list_of(Shape::ALL[2], vec![bare()]));
    assert!(full.contains("\n    <instance>\n      <instanceId>h1:app1:8080</instanceId>\n"));
    assert!(full.ends_with("\n    </instance>\n  </application>\n</applications>"));
}

#[test]
fn what_is_written_is_read_back_equal_in_both_spellings() {
    for it in [sample(), amazon(), bare()] {
        for format in [Format::Json, Format::Xml] {
            let out = encode_instance(format, &it);
            assert_eq!(decode_instance(format, &out).unwrap(), it, "{format:?}");
            let shape = Shape::new(format, Detail::Full);
            let list = list_of(shape, vec![it.clone(), sample()]);
            let read = decode_applications(format, &list, 10_000).unwrap();
            assert_eq!(read.version, "1");
            assert_eq!(read.hashcode, "UP_1_");
            assert_eq!(read.applications.len(), 1);
            assert_eq!(read.applications[0].instances, [it.clone(), sample()]);
        }
    }
}

#[test]
fn control_characters_and_quotes_survive_json() {
    let mut it = sample();
    it.metadata = pairs(&[("k\"\\\n", "\u{1}\u{1f}/\u{2028}\r\t")]);
    let out = encode_instance(Format::Json, &it);
    assert_eq!(decode_instance(Format::Json, &out).unwrap(), it);
    // XML 1.0 cannot hold U+0001; the document must stay readable.
    let out = encode_instance(Format::Xml, &it);
    let read = decode_instance(Format::Xml, &out).unwrap();
    assert!(read.metadata["k\"\\\n"].contains('\u{fffd}'));
}

fn read(body: &str) -> Instance {
    let format = if body.starts_with('<') {
        Format::Xml
    } else {
        Format::Json
    };
    decode_instance(format, body.as_bytes()).unwrap()
}

#[test]
fn absent_fields_take_their_defaults() {
    for body in [
        r#"{"instance":{"hostName":"h","app":"a","ipAddr":"1.1.1.1"}}"#,
        "<instance><hostName>h</hostName><app>a</app><ipAddr>1.1.1.1</ipAddr></instance>",
    ] {
        let it = read(body);
        let expected = Instance {
            host_name: "h".into(),
            app: "A".into(),
            ip_addr: "1.1.1.1".into(),
            ..Instance::default()
        };
        assert_eq!(it, expected);
        assert_eq!((it.port.number, it.port.enabled), (7001, true));
        assert_eq!(
            (it.secure_port.number, it.secure_port.enabled),
            (7002, false)
        );
        assert_eq!(
            (it.lease.duration_secs, it.lease.renewal_interval_secs),
            (90, 30)
        );
        assert_eq!(it.effective_id(), "h");
    }
}

#[test]
fn input_is_read_leniently() {
    type Row = (&'static str, &'static str, fn(&Instance) -> String);
    let rows: [Row; 28] = [
        (r#""port":{"$":"8080","@enabled":true}"#, "8080 true", |i| {
            format!("{} {}", i.port.number, i.port.enabled)
        }),
        (r#""port":8080"#, "8080 true", |i| {
            format!("{} {}", i.port.number, i.port.enabled)
        }),
        (r#""port":{"$":81,"@enabled":"false"}"#, "81 false", |i| {
            format!("{} {}", i.port.number, i.port.enabled)
        }),
        (r#""securePort":"443""#, "443 false", |i| {
            format!("{} {}", i.secure_port.number, i.secure_port.enabled)
        }),
        (r#""status":"up""#, "UNKNOWN", |i| i.status.to_string()),
        (r#""status":"OUT_OF_SERVICE""#, "OUT_OF_SERVICE", |i| {
            i.status.to_string()
        }),
        (r#""status":null"#, "UP", |i| i.status.to_string()),
        (r#""overriddenstatus":"DOWN""#, "DOWN", |i| {
            i.overridden.to_string()
        }),
        (r#""overriddenStatus":"DOWN""#, "DOWN", |i| {
            i.overridden.to_string()
        }),
        (
            r#""leaseInfo":{"durationInSecs":0,"renewalIntervalInSecs":"5"}"#,
            "90 5",
            |i| {
                format!(
                    "{} {}",
                    i.lease.duration_secs, i.lease.renewal_interval_secs
                )
            },
        ),
        (
            r#""metadata":{"@class":"java.util.Collections$EmptyMap"}"#,
            "{}",
            |i| format!("{:?}", i.metadata),
        ),
        (
            r#""metadata":{"a":5,"b":null,"c":true}"#,
            r#"{"a": "5", "b": "null", "c": "true"}"#,
            |i| format!("{:?}", i.metadata),
        ),
        (r#""dataCenterInfo":{"name":"MyOwn"}"#, "Some(MyOwn)", |i| {
            format!("{:?}", i.data_center.as_ref().unwrap().name)
        }),
        (
            r#""dataCenterInfo":{"@class":"com.netflix.appinfo.MyDataCenterInfo","name":"MyOwn"}"#,
            "Some(MyOwn)",
            |i| format!("{:?}", i.data_center.as_ref().unwrap().name),
        ),
        (
            r#""dataCenterInfo":{"@class":"x","name":null}"#,
            "None",
            |i| format!("{:?}", i.data_center.as_ref().unwrap().name),
        ),
        (
            r#""lastDirtyTimestamp":"1700000000000""#,
            "Some(1700000000000)",
            |i| format!("{:?}", i.dirty_at),
        ),
        (r#""lastDirtyTimestamp":17"#, "Some(17)", |i| {
            format!("{:?}", i.dirty_at)
        }),
        (
            r#""lastDirtyTimestamp":1700000000000.73"#,
            "Some(1700000000000)",
            |i| format!("{:?}", i.dirty_at),
        ),
        (r#""lastDirtyTimestamp":"","countryId":"""#, "None 1", |i| {
            format!("{:?} {}", i.dirty_at, i.country_id)
        }),
        (
            r#""lastDirtyTimestamp":"soon","countryId":"NaN","leaseInfo":{"durationInSecs":1e300}"#,
            "None 1 90",
            |i| {
                format!(
                    "{:?} {} {}",
                    i.dirty_at, i.country_id, i.lease.duration_secs
                )
            },
        ),
        (
            r#""port":{},"securePort":{"@enabled":"true"}"#,
            "7001 true 7002 true",
            |i| {
                let (plain, secure) = (i.port, i.secure_port);
                format!(
                    "{} {} {} {}",
                    plain.number, plain.enabled, secure.number, secure.enabled
                )
            },
        ),
        (r#""port":{"$":-1,"@enabled":"true"}"#, "0 true", |i| {
            format!("{} {}", i.port.number, i.port.enabled)
        }),
        (r#""port":{"$":8080.0}"#, "8080 true", |i| {
            format!("{} {}", i.port.number, i.port.enabled)
        }),
        (r#""port":{"$":"","@enabled":"false"}"#, "0 false", |i| {
            format!("{} {}", i.port.number, i.port.enabled)
        }),
        (r#""unknown":{"a":[1,{"b":2}]},"other":[[1]]"#, "h", |i| {
            i.host_name.clone()
        }),
        (r#""appGroupName":"group""#, "Some(\"GROUP\")", |i| {
            format!("{:?}", i.app_group)
        }),
        (r#""sid":"na""#, "None", |i| format!("{:?}", i.sid)),
        (r#""isCoordinatingDiscoveryServer":true"#, "true", |i| {
            i.coordinating.to_string()
        }),
    ];
    for (fields, expected, show) in rows {
        let body = format!(r#"{{"instance":{{"hostName":"h","app":"a",{fields}}}}}"#);
        assert_eq!(show(&read(&body)), expected, "{fields}");
    }
    let rows: [Row; 6] = [
        ("<port>80</port>", "80 true", |i| {
            format!("{} {}", i.port.number, i.port.enabled)
        }),
        ("<securePort>80</securePort>", "80 false", |i| {
            format!("{} {}", i.secure_port.number, i.secure_port.enabled)
        }),
        ("<status>up</status>", "UP", |i| i.status.to_string()),
        ("<overriddenstatus>DOWN</overriddenstatus>", "DOWN", |i| {
            i.overridden.to_string()
        }),
        (
            "<metadata><a__b>1</a__b><c/><c_-d>x</c_-d></metadata>",
            r#"{"a_b": "1", "c": "", "c$d": "x"}"#,
            |i| format!("{:?}", i.metadata),
        ),
        (
            "<metadata class=\"java.util.Collections$EmptyMap\"/>",
            "{}",
            |i| format!("{:?}", i.metadata),
        ),
    ];
    for (elements, expected, show) in rows {
        let body = format!("<instance><hostName>h</hostName><app>a</app>{elements}</instance>");
        assert_eq!(show(&read(&body)), expected, "{elements}");
    }
    assert_eq!(read(r#"{"hostName":"h","app":"a"}"#).app, "A");
}

#[test]
fn bodies_without_meaning_are_refused() {
    for body in [
        "",
        "nonsense",
        "{}",
        "[]",
        "null",
        r#"{"instance":null}"#,
        r#"{"instance":"x"}"#,
        r#"{"application":{"name":"A"}}"#,
        r#"{"instance":{"app":"a","port":{"$":"eighty"}}}"#,
        r#"{"instance":{"app":"a","port":{"$":70000}}}"#,
        r#"{"instance":{"app":"a","metadata":{"k":{"nested":1}}}}"#,
        r#"{"instance":{"app":"a","metadata":{"k":["x","y"]}}}"#,
        r#"{"instance":{"app":"a","dataCenterInfo":{"name":"Mars"}}}"#,
        r#"{"instance":{"app":"a"}} trailing"#,
    ] {
        assert!(
            decode_instance(Format::Json, body.as_bytes()).is_err(),
            "{body}"
        );
    }
    for body in [
        "",
        "<x/>",
        "<instance>",
        "<instance><port>x</port></instance>",
        "{}",
    ] {
        assert!(
            decode_instance(Format::Xml, body.as_bytes()).is_err(),
            "{body}"
        );
    }
}

#[test]
fn a_registration_is_checked_in_netflix_order_with_netflix_words() {
    let change = |change: fn(&mut Instance)| {
        let mut it = sample();
        change(&mut it);
        it
    };
    let rows = [
        (
            change(|i| {
                i.instance_id = None;
                i.host_name.clear();
                i.ip_addr.clear();
            }),
            "Missing instanceId",
        ),
        (
            change(|i| {
                i.host_name.clear();
                i.ip_addr.clear();
            }),
            "Missing hostname",
        ),
        (
            change(|i| {
                i.ip_addr.clear();
                i.app.clear();
            }),
            "Missing ip address",
        ),
        (
            change(|i| {
                i.app.clear();
                i.data_center = None;
            }),
            "Missing appName",
        ),
        (
            change(|i| {
                i.app = "OTHER".into();
                i.data_center = None;
            }),
            "Mismatched appName, expecting APP1 but was OTHER",
        ),
        (change(|i| i.data_center = None), "Missing dataCenterInfo"),
        (
            change(|i| {
                i.data_center = Some(DataCenter {
                    name: None,
                    metadata: BTreeMap::new(),
                })
            }),
            "Missing dataCenterInfo Name",
        ),
    ];
    for (it, expected) in rows {
        assert_eq!(
            it.check_registration("APP1").unwrap_err().to_string(),
            expected
        );
    }
    assert_eq!(sample().check_registration("APP1"), Ok(()));
    assert_eq!(amazon().effective_id(), "i-1");
    assert_eq!(
        change(|i| i.instance_id = Some(String::new())).effective_id(),
        "h1"
    );
}
