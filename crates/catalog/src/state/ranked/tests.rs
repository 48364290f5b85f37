use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn key(number: u32) -> Key {
    Key::from(format!("{number:04}").as_str())
}

/// That sums are right, keys are in order, and no node is too full.
fn sound<V: Revised>(node: &Node<V>, sum: Sum, root: bool) {
    assert_eq!(node.sum(), sum);
    assert!(node.len() <= FULL && (root || node.len() > 0));
    if let Node::Inner(branches) = node {
        assert!(
            branches
                .windows(2)
                .all(|pair| pair[0].least < pair[1].least)
        );
        for branch in branches {
            sound(&branch.node, branch.sum, false);
        }
    }
}

fn model_sum(model: &BTreeMap<Key, Revision>, range: Bounds<'_>) -> Sum {
    let rows = model.range::<[u8], _>(range);
    rows.fold(Sum::default(), |sum, (_, revision)| {
        sum.plus(Sum {
            count: 1,
            newest: *revision,
        })
    })
}

#[derive(Clone, Debug)]
enum Step {
    Put(u32, u64),
    Remove(u32),
    RemoveRun(u32, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..2000_u32, 1..5000_u64).prop_map(|(key, revision)| Step::Put(key, revision)),
        2 => (0..2000_u32).prop_map(Step::Remove),
        1 => (0..2000_u32, 0..300_u32).prop_map(|(first, count)| Step::RemoveRun(first, count)),
    ];
    prop::collection::vec(step, 0..1500)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn it_is_an_ordered_map_that_can_count(steps in steps(), ends in prop::collection::vec((0..2100_u32, 0..2100_u32), 20)) {
        let (mut map, mut model) = (Ranked::default(), BTreeMap::new());
        let mut kept = None;
        for (at, step) in steps.iter().enumerate() {
            if at == steps.len() / 2 {
                kept = Some((map.clone(), model.clone()));
            }
            match step {
                Step::Put(number, revision) => {
                    let revision = Revision(*revision);
                    prop_assert_eq!(map.insert(key(*number), revision), model.insert(key(*number), revision));
                }
                Step::Remove(number) => {
                    prop_assert_eq!(map.remove(&key(*number)), model.remove(&key(*number)));
                }
                Step::RemoveRun(first, count) => {
                    for number in *first..first + count {
                        prop_assert_eq!(map.remove(&key(number)), model.remove(&key(number)));
                    }
                }
            }
        }
        sound(&map.root, map.sum, true);
        for (map, model) in [(map, model)].into_iter().chain(kept) {
            prop_assert!(map.iter().eq(model.iter()));
            prop_assert_eq!(map.len(), model.len());
            for (a, b) in &ends {
                let (a, b) = (key(*a.min(b)), key(*a.max(b)));
                let ranges: [Bounds<'_>; 5] = [
                    (Bound::Included(&a), Bound::Excluded(&b)),
                    (Bound::Included(&a), Bound::Included(&b)),
                    (Bound::Included(&a), Bound::Included(&a)),
                    (Bound::Included(&a), Bound::Unbounded),
                    (Bound::Unbounded, Bound::Unbounded),
                ];
                for range in ranges.into_iter().filter(|_| a < b) {
                    prop_assert!(map.range(range).eq(model.range::<[u8], _>(range)));
                    prop_assert_eq!(map.sum(range), model_sum(&model, range));
                }
                prop_assert_eq!(map.get(&a), model.get(&a));
            }
        }
    }
}

#[test]
fn keys_that_come_in_order_fill_their_nodes() {
    let mut map = Ranked::default();
    for number in 0..10_000 {
        map.insert(key(number), Revision(1));
    }
    fn leaves<V>(node: &Node<V>) -> usize {
        match node {
            Node::Leaf(_) => 1,
            Node::Inner(branches) => branches.iter().map(|branch| leaves(&branch.node)).sum(),
        }
    }
    assert_eq!(leaves(&map.root), 10_000_usize.div_ceil(FULL));
    assert_eq!(
        map.sum((Bound::Included(b"0100"), Bound::Excluded(b"9100")))
            .count,
        9_000
    );
}
