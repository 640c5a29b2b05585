// SPDX-License-Identifier: GPL-3.0-only
// SPDX-FileCopyrightText: ALICE contributors
//! Who sees and changes what, and in which order it is found.

use rusqlite::Transaction;

use super::*;
use crate::auth::{Actor, Caller, Proof, Role, Who};
use crate::clock::{Clock, Timestamp};
use crate::database::Database;
use crate::error::Error;
use crate::gallery::Kept;

const NOW: Timestamp = 10_000;

/// A database, in a directory that goes with the first value.
fn database() -> (tempfile::TempDir, Database) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("alice.db")).unwrap();
    (directory, database)
}

/// The holder of the account of this number.
fn somebody(account: i64) -> Who {
    of_role(account, Role::User)
}

/// An administrator without pictures.
fn admin() -> Who {
    of_role(100, Role::Admin)
}

fn of_role(account: i64, role: Role) -> Who {
    let proof = Proof::Session { id: "session".into(), key: None };
    Who::Known(Caller { account, name: "somebody".into(), role, proof })
}

fn viewer(who: Who) -> Viewer {
    Viewer::of(&Actor { who, address: [127, 0, 0, 1].into() }, &Clock::standing(NOW))
}

fn id(number: u8) -> String {
    format!("{number:032x}")
}

fn ids(numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|number| id(*number)).collect()
}

/// Adds the picture `number` of `account`, made at the second of its number.
fn insert(transaction: &Transaction<'_>, number: u8, account: Option<i64>, prompt: &str) {
    let details = Details {
        prompt: prompt.to_owned(),
        model: Some("sd/one".into()),
        model_name: Some("one".into()),
        bytes: u64::from(number) * 100,
        ..Details::default()
    };
    let new = New {
        kept: Kept::with_id(&id(number)),
        account,
        created_at: number.into(),
        job: None,
        public: None,
        took_ms: None,
        details,
    };
    add(transaction, &new).unwrap();
}

fn found(page: &Page) -> Vec<u8> {
    page.pictures.iter().map(|picture| u8::from_str_radix(&picture.id, 16).unwrap()).collect()
}

/// Runs `act` in a transaction that commits.
fn write<T: Send + 'static>(
    database: &Database,
    act: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
) -> Result<T> {
    database.write_now(act)
}

/// 1: of account 1; 2: of account 1, public for ever; 3: of account 1, public until later; 4: of account 1, was public;
/// 5: of account 2; 6: of nobody; 7: of account 1, public and in the trash.
fn filled() -> (tempfile::TempDir, Database) {
    let (directory, database) = database();
    write(&database, |transaction| {
        for number in 1..=7 {
            let account = match number {
                5 => Some(2),
                6 => None,
                _ => Some(1),
            };
            insert(transaction, number, account, "a fox");
        }
        let all = viewer(admin());
        publish(transaction, &all, &ids(&[2, 7]), None)?;
        publish(transaction, &all, &ids(&[3]), Some(NOW + 1))?;
        publish(transaction, &all, &ids(&[4]), Some(NOW))?;
        trash(transaction, &all, &ids(&[7]), NOW)
    })
    .unwrap();
    (directory, database)
}

#[test]
fn everybody_sees_and_changes_what_is_theirs_to_see_and_change() {
    let (_directory, database) = filled();
    for (who, sees, changes, owns) in [
        (Who::Nobody, vec![2, 3], vec![], vec![]),
        (Who::Anonymous, vec![2, 3, 6], vec![6], vec![6]),
        (somebody(1), vec![1, 2, 3, 4, 6, 7], vec![1, 2, 3, 4, 6, 7], vec![1, 2, 3, 4, 6, 7]),
        (somebody(2), vec![2, 3, 5, 6], vec![5, 6], vec![5, 6]),
        (admin(), vec![1, 2, 3, 4, 5, 6, 7], vec![1, 2, 3, 4, 5, 6, 7], vec![6]),
    ] {
        let who = viewer(who);
        let end = write(&database, move |transaction| {
            let mut seen = Vec::new();
            for number in 1..=7 {
                match find(transaction, &who, &id(number)) {
                    Ok(picture) => {
                        assert_eq!(picture.may_be_changed_by(&who), changes.contains(&number), "{who:?}");
                        assert_eq!(picture.is_owned_by(&who), owns.contains(&number), "{who:?}");
                        seen.push(number);
                    }
                    Err(error) => assert!(matches!(error, Error::NotFound)),
                }
            }
            assert_eq!(seen, sees, "{who:?}");
            let all = ids(&[1, 2, 3, 4, 5, 6, 7]);
            let seen = find_all(transaction, &who, &all)?;
            assert_eq!(seen.into_iter().map(|picture| picture.id).collect::<Vec<_>>(), ids(&sees));
            for touched in [
                publish(transaction, &who, &all, None)?,
                withdraw(transaction, &who, &all)?,
                trash(transaction, &who, &all, NOW)?,
                restore(transaction, &who, &all)?,
            ] {
                let expected: Vec<_> = changes.iter().copied().filter(|number| *number != 7).collect();
                let touched: Vec<_> = touched.into_iter().filter(|one| *one != id(7)).collect();
                assert_eq!(touched, ids(&expected), "{who:?}");
            }
            assert_eq!(set_favourite(transaction, &who, &all, true)?, ids(&owns));
            assert_eq!(add_tags(transaction, &who, &all, &["New".into()])?, ids(&owns));
            assert_eq!(remove_tags(transaction, &who, &all, &["new".into()])?, ids(&owns));
            assert_eq!(delete(transaction, &who, &all)?, ids(&changes));
            // Nothing of this lasts.
            Err::<(), _>(Error::Cancelled)
        });
        assert!(matches!(end, Err(Error::Cancelled)), "{end:?}");
    }
}

#[test]
fn scopes_hold_what_they_say() {
    let (_directory, database) = filled();
    let scope = |who: Who, scope| {
        let (who, query) = (viewer(who), Query { scope, sort: Sort::Oldest, ..Query::default() });
        write(&database, move |transaction| Ok(found(&page(transaction, &who, &query)?))).unwrap()
    };
    assert_eq!(scope(somebody(1), Scope::Mine), [1, 2, 3, 4]);
    assert_eq!(scope(somebody(1), Scope::Public), [2, 3, 6]);
    assert_eq!(scope(somebody(1), Scope::All), [1, 2, 3, 4, 6]);
    assert_eq!(scope(somebody(1), Scope::Trash), [7]);
    assert_eq!(scope(somebody(2), Scope::All), [2, 3, 5, 6]);
    assert_eq!(scope(somebody(2), Scope::Trash), [0; 0]);
    assert_eq!(scope(admin(), Scope::All), [1, 2, 3, 4, 5, 6]);
    assert_eq!(scope(admin(), Scope::Mine), [0; 0]);
    assert_eq!(scope(Who::Anonymous, Scope::Mine), [6]);
    assert_eq!(scope(Who::Nobody, Scope::All), [2, 3]);
    assert_eq!(scope(Who::Nobody, Scope::Mine), [0; 0]);
}

#[test]
fn a_clock_that_went_back_ends_what_is_public_for_a_time() {
    let clock = Clock::standing(NOW);
    clock.now();
    clock.turn(1);
    let who = Viewer::of(&Actor { who: Who::Nobody, address: [127, 0, 0, 1].into() }, &clock);
    let (_directory, database) = filled();
    let query = Query { scope: Scope::All, ..Query::default() };
    let seen = write(&database, move |transaction| Ok(found(&page(transaction, &who, &query)?))).unwrap();
    assert_eq!(seen, [2]);
}

#[test]
fn pictures_are_found_by_words_tags_model_and_what_their_owner_thinks_of_them() {
    let (_directory, database) = database();
    let me = viewer(somebody(1));
    write(&database, move |transaction| {
        insert(transaction, 1, Some(1), "Ein ÄPFEL-Baum\nim 100%igen Schnee_");
        insert(transaction, 2, Some(1), "a fox");
        insert(transaction, 3, Some(1), "a dog");
        set_tags(transaction, &me, &id(2), &["Red".into(), "winter".into()])?;
        set_tags(transaction, &me, &id(3), &["red".into()])?;
        set_favourite(transaction, &me, &ids(&[1]), true)?;
        publish(transaction, &me, &ids(&[3]), None)?;
        let search = |query: Query| found(&page(transaction, &me, &query).unwrap());
        let words = |search: &str| Query { search: search.into(), ..Query::default() };
        for (text, numbers) in [
            ("äpfel", vec![1]),
            ("BAUM schnee", vec![1]),
            ("fox baum", vec![]),
            ("100%", vec![1]),
            ("schnee_", vec![1]),
            ("%", vec![1]),
            ("'", vec![]),
            ("ed", vec![3, 2]),
            ("sd/one", vec![]),
            ("wint fo", vec![2]),
            (" ", vec![3, 2, 1]),
        ] {
            assert_eq!(search(words(text)), numbers, "{text}");
        }
        let tagged = |tags: &[&str]| {
            let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
            search(Query { tags, ..Query::default() })
        };
        assert_eq!(tagged(&["RED "]), [3, 2]);
        assert_eq!(tagged(&["red", "winter"]), [2]);
        assert_eq!(tagged(&["wint"]), [0; 0]);
        for (model, count) in [("one", 3), ("sd/one", 3), ("two", 0)] {
            assert_eq!(search(Query { model: Some(model.into()), ..Query::default() }).len(), count);
        }
        assert_eq!(search(Query { favourite: true, ..Query::default() }), [1]);
        assert_eq!(search(Query { privacy: Some(Privacy::Public), ..Query::default() }), [3]);
        assert_eq!(search(Query { privacy: Some(Privacy::Private), ..Query::default() }), [2, 1]);
        assert_eq!(tags(transaction, &me)?, [("red".to_owned(), 2), ("winter".to_owned(), 1)]);
        assert_eq!(models(transaction, &me)?, ["sd/one"]);
        assert_eq!(tags(transaction, &viewer(Who::Nobody))?, [("red".to_owned(), 1)]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn pages_and_neighbours_follow_the_same_order() {
    let (_directory, database) = database();
    let me = viewer(somebody(1));
    write(&database, move |transaction| {
        (1..=5).for_each(|number| insert(transaction, number, Some(1), "a fox"));
        // All in the same second: the order in which they came decides.
        transaction.execute("UPDATE pictures SET created_at = 5", [])?;
        for (sort, order) in [
            (Sort::Newest, [5, 4, 3, 2, 1]),
            (Sort::Oldest, [1, 2, 3, 4, 5]),
            (Sort::Largest, [5, 4, 3, 2, 1]),
            (Sort::Smallest, [1, 2, 3, 4, 5]),
        ] {
            let query = Query { sort, ..Query::default() };
            assert_eq!(found(&page(transaction, &me, &query)?), order);
            let some = page(transaction, &me, &Query { limit: Some(2), offset: 1, ..query.clone() })?;
            assert_eq!((found(&some), some.total), (order[1..3].to_vec(), 5));
            for (place, number) in order.iter().enumerate() {
                let beside = neighbours(transaction, &me, &query, &id(*number))?.unwrap();
                let expected = Neighbours {
                    previous: place.checked_sub(1).map(|place| id(order[place])),
                    next: order.get(place + 1).map(|number| id(*number)),
                    place: place as u64,
                    total: 5,
                };
                assert_eq!(beside, expected, "{sort:?}");
            }
            assert_eq!(neighbours(transaction, &me, &query, &id(9))?, None);
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_trash_is_undone_emptied_and_remembers_what_was_there() {
    let (_directory, database) = filled();
    let me = viewer(somebody(1));
    write(&database, move |transaction| {
        trash(transaction, &me, &ids(&[1, 2, 1, 99]), NOW + 5)?;
        let bin = Query { scope: Scope::Trash, ..Query::default() };
        assert_eq!(found(&page(transaction, &me, &bin)?), [2, 1, 7], "the latest first");
        assert!(!find(transaction, &me, &id(2))?.is_public(&me));
        assert_eq!(restore(transaction, &me, &ids(&[2]))?, ids(&[2]));
        assert!(find(transaction, &me, &id(2))?.is_public(&me), "as it was before");
        assert_eq!(empty_trash(transaction, &me)?.len(), 2);
        assert_eq!(super::ids(transaction, "SELECT id FROM removed_pictures")?, ids(&[1, 7]));
        assert!(matches!(find(transaction, &me, &id(1)), Err(Error::NotFound)));
        Ok(())
    })
    .unwrap();
}

#[test]
fn tags_are_their_owners_and_not_without_number() {
    let (_directory, database) = filled();
    let (me, other, all) = (viewer(somebody(1)), viewer(somebody(2)), viewer(admin()));
    write(&database, move |transaction| {
        let many: Vec<_> = (0..tag::MOST).map(|number| number.to_string()).collect();
        set_tags(transaction, &me, &id(2), &many)?;
        assert_eq!(find(transaction, &me, &id(2))?.tags.len(), tag::MOST);
        assert!(matches!(set_tags(transaction, &all, &id(2), &[]), Err(Error::Forbidden(_))));
        assert!(matches!(set_tags(transaction, &other, &id(1), &[]), Err(Error::NotFound)));
        add_tags(transaction, &me, &ids(&[1, 2]), &["0".into()])?;
        assert!(matches!(
            add_tags(transaction, &me, &ids(&[1, 2]), &["x".into()]),
            Err(Error::Invalid { .. })
        ));
        Ok(())
    })
    .unwrap();
}

#[test]
fn everything_is_counted() {
    let (_directory, database) = filled();
    let (me, all) = (viewer(somebody(1)), viewer(admin()));
    write(&database, move |transaction| {
        let counted = statistics(transaction, &all)?;
        let expected =
            Statistics { total: 6, public: 2, private: 4, expired: 1, favourite: 0, trashed: 1, bytes: 2800 };
        assert_eq!(counted, expected);
        let mine = statistics_of_mine(transaction, &me)?;
        assert_eq!((mine.total, mine.trashed, mine.bytes), (4, 1, 1700));
        assert_eq!(usage(transaction, Some(1))?, Usage { pictures: 5, bytes: 1700 });
        assert_eq!(usage(transaction, None)?, Usage { pictures: 1, bytes: 600 });
        let owners = usage_by_owner(transaction)?;
        let owners: Vec<_> = owners.into_iter().map(|of| (of.account, of.usage.bytes)).collect();
        assert_eq!(owners, [(Some(1), 1700), (None, 600), (Some(2), 500)]);
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_picture_of_a_job_that_goes_on_is_not_deleted() {
    let (_directory, database) = filled();
    let me = viewer(somebody(1));
    write(&database, move |transaction| {
        let sql = "INSERT INTO jobs (number, id, account, caller, request, accepted_at) \
                   VALUES (3, 'a', 1, 'account 1', '{}', 0)";
        transaction.execute(sql, [])?;
        transaction.execute("UPDATE pictures SET job = 3, place = 0 WHERE id = ?1", [id(1)])?;
        assert_eq!(delete(transaction, &me, &ids(&[1, 2]))?, ids(&[2]));
        assert_eq!(find(transaction, &me, &id(1))?.job.as_deref(), Some("a"));
        transaction.execute("UPDATE jobs SET state = 'done'", [])?;
        assert_eq!(delete(transaction, &me, &ids(&[1]))?, ids(&[1]));
        Ok(())
    })
    .unwrap();
}
