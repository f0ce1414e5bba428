use super::*;

#[test]
fn the_least_is_to_connect_tunnels() {
    assert_eq!(Scopes::least().to_string(), "tunnel:connect");
}
