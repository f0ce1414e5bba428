//! The behaviour of the whole server.

use super::fixture::{Directory, get, servers};

#[tokio::test]
async fn a_file_is_served_whole() {
    let directory = Directory::new();
    directory.write("a b/hello.txt", b"hello\n");
    for server in servers(&directory.config()) {
        let answer = get(&server, "/a%20b/hello.txt", &[]).await;
        assert_eq!((answer.status, answer.text()), (200, "hello\n"));
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(answer.header("content-length"), Some("6"));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("vary"), None);
        assert_eq!(answer.header("cache-control"), None);
    }
}
