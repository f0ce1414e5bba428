use super::*;

fn scopes(text: &str) -> Scopes {
    text.parse().unwrap()
}

#[test]
fn the_least_is_to_connect_tunnels() {
    let least = Scopes::least();
    assert_eq!(least.to_string(), "tunnel:connect");
    for kind in Kind::ALL {
        for verb in Verb::ALL {
            let connect = (kind, verb) == (Kind::Tunnel, Verb::Connect);
            assert_eq!(least.allows(verb, kind, "name"), connect);
        }
    }
}

#[test]
fn a_scope_covers_what_it_says() {
    let cases = [
        ("tunnel:connect", Verb::Connect, Kind::Tunnel, "a", true),
        ("tunnel:connect", Verb::Read, Kind::Tunnel, "a", false),
        ("tunnel:connect", Verb::Connect, Kind::Route, "a", false),
        ("tunnel:create", Verb::Connect, Kind::Tunnel, "a", true),
        ("tunnel:create:a", Verb::Connect, Kind::Tunnel, "b", false),
        ("key:create", Verb::Connect, Kind::Tunnel, "a", false),
        ("*:read", Verb::Read, Kind::Audit, "", true),
        ("*:read", Verb::Update, Kind::Audit, "", false),
        ("key:*", Verb::Delete, Kind::Key, "7", true),
        ("key:*", Verb::Delete, Kind::User, "7", false),
        ("*:*", Verb::Delete, Kind::Store, "", true),
        ("*:create", Verb::Connect, Kind::Tunnel, "a", true),
        (
            "tunnel:connect:happy-*",
            Verb::Connect,
            Kind::Tunnel,
            "happy-panda",
            true,
        ),
        (
            "tunnel:connect:happy-*",
            Verb::Connect,
            Kind::Tunnel,
            "sad-panda",
            false,
        ),
        (
            "route:access:mesh/*",
            Verb::Access,
            Kind::Route,
            "mesh/api",
            true,
        ),
        (
            "route:access:mesh/*",
            Verb::Access,
            Kind::Route,
            "mesh/api/v1",
            false,
        ),
        (
            "route:access:mesh/*",
            Verb::Access,
            Kind::Route,
            "mesh",
            false,
        ),
        (
            "route:access:*",
            Verb::Access,
            Kind::Route,
            "mesh/api",
            true,
        ),
        (
            "tunnel:read:a*b*c",
            Verb::Read,
            Kind::Tunnel,
            "axxbyybzc",
            true,
        ),
        (
            "tunnel:read:a*b*c",
            Verb::Read,
            Kind::Tunnel,
            "axxbyybz",
            false,
        ),
        ("tunnel:read:a.c", Verb::Read, Kind::Tunnel, "abc", false),
    ];
    for (text, verb, kind, name, allowed) in cases {
        assert_eq!(
            scopes(text).allows(verb, kind, name),
            allowed,
            "{text} {name}"
        );
    }
}

#[test]
fn commas_and_white_space_part_scopes_and_doubles_are_one() {
    let parsed = scopes(" tunnel:create,tunnel:read  tunnel:delete,\n*:read,tunnel:read ");
    assert_eq!(
        parsed.to_string(),
        "tunnel:create,tunnel:read,tunnel:delete,*:read"
    );
    assert_eq!(scopes("tunnel:read:*").to_string(), "tunnel:read");
}

#[test]
fn every_problem_is_told_at_once() {
    let error = "tunnel, tunel:read, tunnel:reed, tunnel:read:a(b, tunnel:read:, key:read"
        .parse::<Scopes>()
        .unwrap_err();
    let ScopesError::Wrong(problems) = &error else {
        panic!("{error}");
    };
    assert_eq!(problems.len(), 5, "{error}");
    for part in [
        "'tunnel'",
        "'tunel:read'",
        "'tunnel:reed'",
        "'tunnel:read:a(b'",
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!("".parse::<Scopes>(), Err(ScopesError::Empty));
    assert_eq!(" ,, ".parse::<Scopes>(), Err(ScopesError::Empty));
    let many = (0..40)
        .map(|i| format!("tunnel:read:t{i}"))
        .collect::<Vec<_>>();
    assert_eq!(many.join(",").parse::<Scopes>(), Err(ScopesError::TooMany));
    assert!(
        format!("tunnel:read:{}", "a".repeat(129))
            .parse::<Scope>()
            .is_err()
    );
}

fn random_scope(random: &mut fastrand::Rng) -> String {
    let kind = if random.u8(..) < 40 {
        "*".to_owned()
    } else {
        Kind::ALL[random.usize(..Kind::ALL.len())].to_string()
    };
    let verb = if random.u8(..) < 40 {
        "*".to_owned()
    } else {
        Verb::ALL[random.usize(..Verb::ALL.len())].to_string()
    };
    match random.u8(..3) {
        0 => format!("{kind}:{verb}"),
        _ => format!("{kind}:{verb}:{}", random_text(random, "ab*/")),
    }
}

fn random_text(random: &mut fastrand::Rng, alphabet: &str) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    (0..random.usize(1..6))
        .map(|_| letters[random.usize(..letters.len())])
        .collect()
}

fn random_scopes(random: &mut fastrand::Rng) -> Scopes {
    let texts: Vec<_> = (0..random.usize(1..4))
        .map(|_| random_scope(random))
        .collect();
    scopes(&texts.join(","))
}

#[test]
fn what_is_printed_is_read_back() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let parsed = random_scopes(&mut random);
        assert_eq!(scopes(&parsed.to_string()), parsed);
        let json = serde_json::to_string(&parsed).unwrap();
        assert_eq!(serde_json::from_str::<Scopes>(&json).unwrap(), parsed);
    }
}

/// What one covers it allows, whatever is asked.
#[test]
fn covering_is_never_less_than_allowing() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut covered = 0;
    for _ in 0..60_000 {
        let (wide, narrow) = (random_scopes(&mut random), random_scopes(&mut random));
        if !wide.covers(&narrow) {
            continue;
        }
        covered += 1;
        for kind in Kind::ALL {
            for verb in Verb::ALL {
                let name = random_text(&mut random, "ab/");
                let more = narrow.allows(verb, kind, &name) && !wide.allows(verb, kind, &name);
                assert!(
                    !more,
                    "{wide} does not allow {verb} {kind} {name} as {narrow} does"
                );
            }
        }
    }
    assert!(covered > 500, "{covered}");
}

#[test]
fn everything_covers_all_and_each_covers_itself() {
    let mut random = fastrand::Rng::with_seed(13);
    for _ in 0..1000 {
        let one = random_scopes(&mut random);
        assert!(Scopes::all().covers(&one));
        assert!(one.covers(&one), "{one}");
    }
    assert!(!Scopes::least().covers(&Scopes::all()));
}

/// The plain meaning of a pattern, tried in every way.
fn plainly(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => {
            plainly(&pattern[1..], name)
                || name.first().is_some_and(|&c| c != b'/') && plainly(pattern, &name[1..])
        }
        (Some(a), Some(b)) if a == b => plainly(&pattern[1..], &name[1..]),
        _ => false,
    }
}

#[test]
fn patterns_match_as_plainly_meant() {
    let mut random = fastrand::Rng::with_seed(17);
    let mut matched = 0;
    for _ in 0..50_000 {
        let (pattern, name) = (
            random_text(&mut random, "ab*/"),
            random_text(&mut random, "ab/"),
        );
        let found = Pattern::parse(&pattern).unwrap().matches(&name);
        assert_eq!(
            found,
            plainly(pattern.as_bytes(), name.as_bytes()),
            "{pattern} {name}"
        );
        matched += u32::from(found);
    }
    assert!(matched > 1000);
}

#[test]
fn garbage_is_refused_without_a_panic() {
    let mut random = fastrand::Rng::with_seed(19);
    for _ in 0..5000 {
        let noise: String = (0..random.usize(..40)).map(|_| random.char(..)).collect();
        if let Ok(parsed) = noise.parse::<Scopes>() {
            assert_eq!(scopes(&parsed.to_string()), parsed);
        }
    }
}

#[test]
fn a_pattern_of_many_stars_is_matched_quickly() {
    let pattern = Pattern::parse(&"*a".repeat(64)).unwrap();
    assert!(!pattern.matches(&format!("{}b", "a".repeat(100_000))));
}
