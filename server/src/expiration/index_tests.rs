use super::*;
use crate::token::Hasher;
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn key(name: &str) -> TokenKey {
    Hasher::new(&[0; 32]).key(name)
}

fn with_family() -> Index {
    let mut index = Index::default();
    assert!(index.add_token(key("root"), "a-root", None, None));
    assert!(index.add_token(key("child"), "a-child", Some(key("root")), Some(at(100))));
    assert!(index.add_token(key("grandchild"), "a-grandchild", Some(key("child")), Some(at(50))));
    index
}

#[test]
fn a_tree_lists_children_before_parents() {
    let index = with_family();
    assert_eq!(index.tree(&key("root")), [key("grandchild"), key("child"), key("root")]);
    assert_eq!(index.tree(&key("unknown")), []);
}

#[test]
fn what_is_due_comes_in_order_and_once() {
    let mut index = with_family();
    assert!(index.add_lease("db/creds/x/1", key("child"), at(70)));
    assert_eq!(index.next_due(), Some(at(50)));
    assert_eq!(
        index.take_due(at(80), 10),
        [Ref::Token(key("grandchild")), Ref::Lease("db/creds/x/1".into())]
    );
    assert_eq!(index.take_due(at(80), 10), []);
    assert!(!index.extend_lease("db/creds/x/1", at(200)), "its life has ended");
}

#[test]
fn removing_a_token_makes_its_leases_due() {
    let mut index = with_family();
    assert!(index.add_lease("db/creds/x/1", key("child"), at(1000)));
    index.remove_token(&key("child"), at(10));
    assert_eq!(index.take_due(at(10), 10), [Ref::Lease("db/creds/x/1".into())]);
    assert_eq!(index.by_accessor("a-child"), None);
    assert!(index.children(&key("root")).is_empty());
}

#[test]
fn tokens_with_a_lease_outside_of_auth_are_known() {
    let mut index = with_family();
    index.note_path(key("child"), "auth/token/create");
    index.note_path(key("grandchild"), "sys/wrapping/wrap");
    index.note_path(key("unknown"), "sys/wrapping/wrap");
    assert_eq!(index.tokens_elsewhere(), [key("grandchild")]);
    index.remove_token(&key("grandchild"), at(0));
    assert_eq!(index.tokens_elsewhere(), []);
}

#[test]
fn nothing_is_added_to_what_is_gone() {
    let mut index = with_family();
    index.remove_token(&key("child"), at(0));
    assert!(!index.add_lease("db/creds/x/1", key("child"), at(10)));
    assert!(!index.add_token(key("new"), "a-new", Some(key("child")), None));
    assert_eq!(index.lease_count(), 0);
}

#[test]
fn restored_tokens_without_their_parent_are_due() {
    let mut index = Index::default();
    index.restore_token(key("a"), "a", Some(key("gone")), Some(at(100)));
    index.restore_token(key("c"), "c", Some(key("b")), None);
    index.restore_token(key("b"), "b", None, None);
    index.link(at(5));
    assert_eq!(index.tree(&key("b")), [key("c"), key("b")]);
    assert_eq!(index.take_due(at(5), 10), [Ref::Token(key("a"))]);
}

#[test]
fn a_lease_given_up_stays_until_it_is_ended_again() {
    let mut index = with_family();
    assert!(index.add_lease("db/1", key("child"), at(10)));
    index.take_due(at(10), 1);
    assert_eq!(index.lease_failed("db/1"), 1);
    index.give_up("db/1");
    assert_eq!(index.next_due(), Some(at(50)), "only tokens are left to do");
    assert!(index.lease("db/1").is_some_and(|node| node.irrevocable));
    index.end_lease("db/1", at(20));
    assert_eq!(index.take_due(at(20), 1), [Ref::Lease("db/1".into())]);
    index.remove_lease("db/1");
    assert_eq!(index.lease_count(), 0);
}

#[test]
fn leases_are_found_by_prefix() {
    let mut index = with_family();
    for id in ["a/x/1", "a/x/2", "a/y/1", "b/x/1"] {
        assert!(index.add_lease(id, key("root"), at(10)));
    }
    let found: Vec<_> = index.leases_below("a/x/").map(|(id, _)| id.to_string()).collect();
    assert_eq!(found, ["a/x/1", "a/x/2"]);
}

proptest! {
    /// Whatever is done, everything alive with an end is due exactly once.
    #[test]
    fn the_schedule_matches_the_nodes(steps in proptest::collection::vec((0..6_u8, 0..5_u8, 0..100_i64), 0..60)) {
        let mut index = Index::default();
        for (what, who, when) in steps {
            let (token, lease) = (key(&who.to_string()), format!("l/{who}"));
            match what {
                0 => {
                    if !index.has_token(&token) {
                        index.add_token(token, &who.to_string(), None, Some(at(when)));
                    }
                }
                1 => {
                    if index.lease(&lease).is_none() {
                        index.add_lease(&lease, token, at(when));
                    }
                }
                2 => { index.remove_token(&token, at(when)); }
                3 => index.remove_lease(&lease),
                4 => { index.extend_lease(&lease, at(when)); }
                _ => { index.take_due(at(when), 3); }
            }
            let nodes = index.tokens.values().filter(|n| n.due.is_some()).count()
                + index.leases.values().filter(|n| n.due.is_some()).count();
            prop_assert_eq!(index.due.len(), nodes);
        }
    }
}

#[test]
fn the_task_is_woken_only_for_what_is_due_before_it_looks() {
    let mut index = with_family();
    assert!(index.oversleeps(), "it has not looked yet");
    assert_eq!(index.sleep_until(at(1000)), at(50));
    assert!(!index.oversleeps());
    assert!(index.add_lease("db/creds/x/1", key("child"), at(60)));
    assert!(!index.oversleeps(), "it looks at 50 anyway");
    assert!(index.add_lease("db/creds/x/2", key("child"), at(40)));
    assert!(index.oversleeps());
    assert_eq!(index.sleep_until(at(30)), at(30));
    assert!(!index.oversleeps());
}
