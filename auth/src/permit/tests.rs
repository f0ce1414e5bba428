//! The table, row by row, written down a second time and from the other side.

use super::*;
use crate::directory::Caller;
use crate::scope::Scopes;

const VERBS: &str = "rcudCA";

/// For each kind: what a user may do to what is their own, another's, nobody's; then what an admin may.
/// The letters are read, create, update, delete, Connect, Access.
#[rustfmt::skip]
const EXPECTED: &[(Kind, [&str; 3], [&str; 3])] = &[
    //                  own      other common    own       other     common
    (Kind::User,        ["r",     "", ""],  ["rcud",   "rcud",   "rcud"]),
    (Kind::Tunnel,      ["rcudC", "", ""],  ["rcudCA", "rcudCA", "rcudCA"]),
    (Kind::Key,         ["rcud",  "", ""],  ["rcud",   "rcud",   "rcud"]),
    (Kind::Session,     ["rd",    "", ""],  ["rd",     "rd",     "rd"]),
    (Kind::Token,       ["c",     "", ""],  ["c",      "",       ""]),
    (Kind::Audit,       ["",      "", ""],  ["r",      "r",      "r"]),
    (Kind::Route,       ["",      "", "A"], ["rA",     "rA",     "rA"]),
    (Kind::Certificate, ["",      "", ""],  ["rcud",   "rcud",   "rcud"]),
    (Kind::Relay,       ["",      "", ""],  ["rcud",   "rcud",   "rcud"]),
    (Kind::Config,      ["",      "", ""],  ["ru",     "ru",     "ru"]),
    (Kind::Store,       ["",      "", ""],  ["r",      "r",      "r"]),
];

const ME: UserId = UserId(1);
const OTHER: UserId = UserId(2);

fn actor(role: Role, scopes: Scopes) -> Actor {
    Actor::User(Arc::new(Caller::for_tests(ME, role, scopes)))
}

/// Every case there is: the kind, whose, the verb, and whether a user and an admin may.
fn cases() -> impl Iterator<Item = (Kind, Option<UserId>, Verb, bool, bool)> {
    EXPECTED.iter().flat_map(|&(kind, user, admin)| {
        [Some(ME), Some(OTHER), None]
            .into_iter()
            .enumerate()
            .flat_map(move |(place, owner)| {
                Verb::ALL
                    .into_iter()
                    .zip(VERBS.chars())
                    .map(move |(verb, letter)| {
                        let (user, admin) =
                            (user[place].contains(letter), admin[place].contains(letter));
                        (kind, owner, verb, user, admin)
                    })
            })
    })
}

fn resource(kind: Kind, owner: Option<UserId>) -> Resource<'static> {
    Resource {
        kind,
        owner,
        name: "name",
    }
}

#[test]
fn every_row_of_the_table_is_as_written_down() {
    assert_eq!(cases().count(), Kind::ALL.len() * 3 * Verb::ALL.len());
    let user = actor(Role::User, Scopes::all());
    let admin = actor(Role::Admin, Scopes::all());
    for (kind, owner, verb, user_may, admin_may) in cases() {
        let resource = resource(kind, owner);
        assert_eq!(
            may(&user, verb, &resource).is_ok(),
            user_may,
            "{verb} {resource:?}"
        );
        assert_eq!(
            may(&admin, verb, &resource).is_ok(),
            admin_may,
            "{verb} {resource:?}"
        );
        assert_eq!(may(&Actor::Operator, verb, &resource), Ok(()));
        assert_eq!(
            may(&Actor::Anonymous, verb, &resource),
            Err(Denied::Unauthenticated)
        );
    }
}

#[test]
fn a_key_can_do_what_both_its_owner_and_its_scopes_allow() {
    let sets = [
        "tunnel:connect",
        "*:read",
        "key:*,user:update",
        "*:*:other",
        "*:*",
    ];
    for set in sets {
        let scopes: Scopes = set.parse().unwrap();
        for role in [Role::User, Role::Admin] {
            let key = actor(role, scopes.clone());
            for (kind, owner, verb, user_may, admin_may) in cases() {
                let owner_may = if role == Role::Admin {
                    admin_may
                } else {
                    user_may
                };
                let expected = owner_may && scopes.allows(verb, kind, "name");
                let found = may(&key, verb, &resource(kind, owner)).is_ok();
                assert_eq!(found, expected, "{set} {role} {verb} {kind} {owner:?}");
            }
        }
    }
}

#[test]
fn what_is_anothers_is_as_if_it_were_not_there() {
    for scopes in [Scopes::all(), Scopes::least()] {
        let user = actor(Role::User, scopes);
        for kind in Kind::ALL {
            for verb in Verb::ALL {
                let denied = may(&user, verb, &resource(kind, Some(OTHER)));
                assert_eq!(denied, Err(Denied::NotYours), "{verb} {kind}");
            }
        }
    }
}

#[test]
fn it_is_said_what_would_be_enough() {
    let needs = |actor: &Actor, verb, kind, owner| match may(actor, verb, &resource(kind, owner)) {
        Err(Denied::Forbidden { needs }) => needs.to_string(),
        other => panic!("{other:?}"),
    };
    let user = actor(Role::User, Scopes::all());
    let admin = actor(Role::Admin, Scopes::all());
    let key = actor(Role::User, Scopes::least());
    assert_eq!(needs(&user, Verb::Read, Kind::User, None), "the role admin");
    assert_eq!(
        needs(&user, Verb::Update, Kind::User, Some(ME)),
        "the role admin"
    );
    let shell = "the shell of the machine the gateway runs on";
    assert_eq!(needs(&admin, Verb::Create, Kind::Store, None), shell);
    assert_eq!(
        needs(&key, Verb::Read, Kind::Key, Some(ME)),
        "a key with the scope key:read"
    );
}
