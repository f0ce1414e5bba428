//! Any authority and path: the normal form is one, and cannot leave the root.
#![no_main]

use gateway::http::normalize;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (authority, path) = input.split_once('\n').unwrap_or((input, input));
    if let Ok(host) = normalize::host(authority) {
        assert!(!host.is_empty() && !host.bytes().any(|byte| byte.is_ascii_uppercase()));
        assert!(!host.contains(['/', '@', '[', ']', ' ']));
    }
    let Ok(once) = normalize::path(path) else {
        return;
    };
    assert!(once.starts_with('/'));
    assert!(once.bytes().all(|byte| byte.is_ascii_graphic()));
    assert!(!once.contains("//") && !once.contains('\\') && !once.contains("%00"));
    assert!(!once.split('/').any(|segment| matches!(segment, "." | "..")));
    assert_eq!(normalize::path(&once).as_deref(), Ok(&*once));
});
