//! The command line over the control socket, and on a stopped gateway's files.

use std::{
    os::unix::fs::PermissionsExt,
    process::{Output, Stdio},
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use super::{
    Scene, Who,
    scene::{HOST, toml},
};
use crate::support::{Dir, Gateway, Wire, within};

const KEY: &str = "8f1c6d0e3ba94752d1f0a6c85e7b2394c0de51b7a8926f3d4e1b70c95a2f8d63";

/// Runs `portunus` in `dir` with `input`; exit code, standard output, standard error.
async fn run(dir: &Dir, args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portunus"))
        .args(args)
        .current_dir(dir.path())
        .env_remove("PORTUNUS_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads nothing may be gone already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output: Output = within(child.wait_with_output()).await.unwrap();
    (
        output.status.code().expect("ended by a signal"),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

/// Runs it with `--json`, which has to work.
async fn json(dir: &Dir, args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.push("--json");
    let (code, stdout, stderr) = run(dir, &all, "").await;
    assert_eq!(code, 0, "{args:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{args:?}: {error}\n{stdout}"))
}

#[tokio::test]
async fn keys_are_made_listed_rotated_and_revoked() {
    let scene = Scene::new().await;
    let dir = &scene.gateway.dir;
    let made = json(
        dir,
        &[
            "keys",
            "create",
            "--user",
            "alice",
            "--name",
            "ci",
            "--scope",
            "*:read",
            "--expires",
            "30d",
        ],
    )
    .await;
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(
        scene.get(Who::Key(secret), "/api/v1/keys").await.status,
        200
    );
    let id = made["key"]["id"].to_string();
    let rotated = json(dir, &["keys", "rotate", &id]).await;
    assert_eq!(scene.get(Who::Key(secret), "/api/v1/me").await.status, 401);
    let new = rotated["secret"].as_str().unwrap();
    let new_id = rotated["key"]["id"].to_string();
    assert_eq!(scene.get(Who::Key(new), "/api/v1/me").await.status, 200);
    let (code, table, _) = run(dir, &["keys", "list", "--user", "alice"], "").await;
    assert_eq!(code, 0);
    assert!(table.starts_with("ID  OWNER  NAME"), "{table}");
    assert!(!table.contains(new));
    assert_eq!(table.lines().count(), 4, "{table}");
    let (code, told, _) = run(dir, &["keys", "revoke", &new_id], "").await;
    assert_eq!(
        (code, told.trim()),
        (0, format!("revoked key {new_id}").as_str())
    );
    assert_eq!(scene.get(Who::Key(new), "/api/v1/me").await.status, 401);
    let shown = json(dir, &["keys", "show", &new_id]).await;
    assert_eq!(shown["active"], false);
}

#[tokio::test]
async fn users_tunnels_and_sessions_are_managed() {
    let scene = Scene::new().await;
    let dir = &scene.gateway.dir;
    let create = ["users", "create", "carol", "--admin", "--json"];
    let (code, carol, stderr) = run(dir, &create, "correct horse battery\n").await;
    assert_eq!(code, 0, "{stderr}");
    assert!(carol.contains("\"role\": \"admin\"") && !carol.contains("horse"));
    assert_eq!(
        json(dir, &["users", "list"])
            .await
            .as_array()
            .unwrap()
            .len(),
        4
    );
    let bob = json(dir, &["users", "set-role", "bob", "admin"]).await;
    assert_eq!(bob["role"], "admin");
    json(dir, &["users", "disable", "alice"]).await;
    assert_eq!(
        scene
            .get(Who::Key(&scene.alice.key), "/api/v1/me")
            .await
            .status,
        401
    );
    json(dir, &["users", "enable", "alice"]).await;
    let made = json(
        dir,
        &["tunnels", "create", "--user", "bob", "--name", "demo"],
    )
    .await;
    assert_eq!(made["name"], "demo");
    json(dir, &["tunnels", "delete", &made["id"].to_string()]).await;
    assert_eq!(
        json(dir, &["sessions", "list"])
            .await
            .as_array()
            .unwrap()
            .len(),
        3
    );
    json(dir, &["sessions", "revoke", "--user", "bob"]).await;
    assert_eq!(
        scene
            .get(Who::Browser(&scene.bob), "/api/v1/me")
            .await
            .status,
        401
    );
    json(dir, &["users", "delete", "bob"]).await;
    let (code, _, stderr) = run(dir, &["users", "show", "bob"], "").await;
    assert_eq!(code, 1);
    assert!(
        stderr.starts_with("error: there is no user 'bob'\nhint: "),
        "{stderr}"
    );
    let (code, told, _) = run(dir, &["audit", "verify"], "").await;
    assert_eq!((code, told.starts_with("whole: ")), (0, true), "{told}");
    let (code, rows, _) = run(dir, &["audit", "list", "--event", "user."], "").await;
    assert!(code == 0 && rows.contains("user.delete"), "{rows}");
}

#[tokio::test]
async fn a_gateway_that_is_not_running_is_said_so() {
    let dir = Dir::new();
    dir.write("portunus.toml", toml(""));
    let (code, _, stderr) = run(&dir, &["keys", "list"], "").await;
    assert_eq!(code, 69, "{stderr}");
    assert!(stderr.contains("the gateway is not running"), "{stderr}");
    dir.write("portunus.toml", "nonsense = 1");
    let (code, _, stderr) = run(&dir, &["keys", "list"], "").await;
    assert_eq!(code, 64, "{stderr}");
    for command in [
        "keys", "users", "tunnels", "sessions", "audit", "backup", "restore",
    ] {
        let (code, help, _) = run(&dir, &[command, "--help"], "").await;
        assert_eq!(code, 0);
        assert!(help.contains("Examples:"), "{command}: {help}");
    }
}

#[tokio::test]
async fn a_backup_of_a_running_gateway_is_restored_elsewhere() {
    let config = toml(&format!("master_key = \"{KEY}\""));
    let scene = Scene::with(&config).await;
    let dir = &scene.gateway.dir;
    let backup = dir.join("backup.redb");
    let path = backup.to_str().unwrap();
    let (code, told, stderr) = run(dir, &["backup", path], "").await;
    assert_eq!((code, told.trim()), (0, path), "{stderr}");
    let mode = std::fs::metadata(&backup).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0);
    let left: Vec<_> = std::fs::read_dir(dir.join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".tmp") || name.ends_with(".part"))
        .collect();
    assert_eq!(left, [""; 0]);
    let (code, _, stderr) = run(dir, &["backup", path], "").await;
    assert_eq!(
        (code, stderr.contains("is there already")),
        (1, true),
        "{stderr}"
    );
    let (_, later) = scene.key(scene.alice.id, "*:*").await;
    let (code, _, stderr) = run(dir, &["restore", "--replace", path], "").await;
    assert_eq!((code, stderr.contains("is running")), (1, true), "{stderr}");

    let other = Dir::new();
    other.write("portunus.toml", &config);
    let (code, _, stderr) = run(&other, &["restore", path], "").await;
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = run(&other, &["restore", path], "").await;
    assert_eq!((code, stderr.contains("--replace")), (1, true), "{stderr}");
    let (code, told, stderr) = run(&other, &["restore", "--replace", path], "").await;
    assert_eq!(code, 0, "{stderr}");
    assert!(told.contains("portunus.redb.before-1"), "{told}");
    let (code, told, stderr) = run(&other, &["audit", "verify"], "").await;
    assert_eq!(
        (code, told.starts_with("whole: ")),
        (0, true),
        "{told}{stderr}"
    );
    let (code, lines, _) = run(&other, &["audit", "export"], "").await;
    assert!(code == 0 && lines.lines().count() > 3, "{lines}");
    let copy = other.join("copy.redb");
    let (code, _, stderr) = run(&other, &["backup", copy.to_str().unwrap()], "").await;
    assert_eq!(code, 0, "{stderr}");

    let restored = Gateway::start_in(other, &config).await;
    let status = async |key: &str| {
        let mut wire: Wire = restored.connect().await;
        let lines = [
            "GET /api/v1/me HTTP/1.1",
            &format!("Host: {HOST}"),
            &format!("Authorization: Bearer {key}"),
        ];
        wire.ask(&lines).await.status
    };
    assert_eq!(status(&scene.alice.key).await, 200);
    assert_eq!(status(&later).await, 401);
}
