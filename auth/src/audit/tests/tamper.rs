//! Everything that somebody who can write to the store, but has no key, might try.

use std::sync::Arc;

use super::*;
use crate::audit::place::Place;

/// A chain of ten rows, its store, and its last checkpoint as the log has it.
async fn ten() -> (Arc<dyn Store>, Chain, Checkpoint) {
    let store = memory();
    let chain = open(&store).await;
    for number in 1..=10 {
        chain.append(event(number)).await.unwrap();
    }
    let checkpoint = chain.checkpoint().await.unwrap();
    (store, chain, checkpoint)
}

fn place() -> Place {
    Place::of(Chain::DEFAULT).unwrap()
}

async fn verify(store: &Arc<dyn Store>, witnesses: &[Checkpoint]) -> Report {
    let reader = Reader::open(Arc::clone(store), &master(), Chain::DEFAULT).await;
    reader.unwrap().verify(witnesses).await.unwrap()
}

async fn finds(store: &Arc<dyn Store>, id: u64, reason: Reason) {
    let report = verify(store, &[]).await;
    assert!(!report.valid, "{report:?}");
    assert_eq!(
        (report.broken_at, report.reason),
        (Some(Id(id)), Some(reason))
    );
    assert_eq!(report.entries, id - 1);
}

async fn row(store: &Arc<dyn Store>, id: u64) -> String {
    let found = store.get(&place().row(Id(id))).await.unwrap().unwrap();
    String::from_utf8(found.value.to_vec()).unwrap()
}

async fn set_row(store: &Arc<dyn Store>, id: u64, value: String) {
    overwrite(&**store, place().row(Id(id)), value).await;
}

async fn delete(store: &Arc<dyn Store>, keys: impl IntoIterator<Item = Bytes>) {
    let batch = keys.into_iter().fold(Batch::new(), Batch::delete);
    store.commit(batch).await.unwrap();
}

/// The row with its text changed and its hash made right again.
fn rehashed(value: &str, change: impl FnOnce(&str) -> String) -> (String, String) {
    let (_, text) = crate::audit::row::split(value.as_bytes()).unwrap();
    let text = change(text);
    let hash = hash_of(&text);
    (format!(r#"{{"hash":"{hash}","row":{text}}}"#), hash)
}

#[tokio::test]
async fn an_edited_payload_is_found() {
    let (store, ..) = ten().await;
    let edited = row(&store, 4)
        .await
        .replace(r#""number":4"#, r#""number":5"#);
    set_row(&store, 4, edited).await;
    finds(&store, 4, Reason::RowEdited).await;
}

#[tokio::test]
async fn an_edited_prev_is_found() {
    let (store, ..) = ten().await;
    let original = row(&store, 4).await;
    let second = row(&store, 2).await;
    let hash_of_row = |value: &str| value[9..73].to_owned();
    let third = row(&store, 3).await;
    let swapped = original.replace(&hash_of_row(&third), &hash_of_row(&second));
    assert_ne!(swapped, original);
    set_row(&store, 4, swapped).await;
    finds(&store, 4, Reason::RowEdited).await;

    let (value, _) = rehashed(&original, |text| {
        text.replace(&hash_of_row(&third), &hash_of_row(&second))
    });
    set_row(&store, 4, value).await;
    finds(&store, 4, Reason::PrevDiffers).await;
}

#[tokio::test]
async fn a_row_edited_with_its_hash_is_found_at_the_next() {
    let (store, ..) = ten().await;
    let change = |text: &str| text.replace(r#""number":4"#, r#""number":5"#);
    let (value, _) = rehashed(&row(&store, 4).await, change);
    set_row(&store, 4, value).await;
    finds(&store, 5, Reason::PrevDiffers).await;
}

#[tokio::test]
async fn a_deleted_row_is_found() {
    let (store, ..) = ten().await;
    delete(&store, [place().row(Id(5))]).await;
    finds(&store, 5, Reason::RowMissing).await;
    delete(&store, [place().row(Id(1))]).await;
    finds(&store, 1, Reason::RowMissing).await;
}

#[tokio::test]
async fn a_cut_end_is_found() {
    let (store, ..) = ten().await;
    delete(&store, (8..=10).map(|id| place().row(Id(id)))).await;
    finds(&store, 8, Reason::RowMissing).await;
    delete(&store, (1..=7).map(|id| place().row(Id(id)))).await;
    finds(&store, 1, Reason::RowMissing).await;
}

#[tokio::test]
async fn a_cut_end_with_no_tail_or_a_forged_one_is_found() {
    let (store, _, checkpoint) = ten().await;
    let tail = store.get(&place().tail()).await.unwrap().unwrap().value;
    let tail = String::from_utf8(tail.to_vec()).unwrap();
    delete(&store, (8..=10).map(|id| place().row(Id(id)))).await;
    for forged in [
        tail.replace(" 10 ", " 7 "),
        checkpoint.to_string(),
        String::new(),
    ] {
        overwrite(&*store, place().tail(), forged).await;
        finds(&store, 8, Reason::TailForged).await;
    }
    delete(&store, [place().tail()]).await;
    finds(&store, 8, Reason::TailMissing).await;
}

#[tokio::test]
async fn a_checkpoint_does_not_pass_for_the_tail() {
    let store = memory();
    let chain = open(&store).await;
    for number in 1..=3 {
        chain.append(event(number)).await.unwrap();
    }
    let checkpoint = chain.checkpoint().await.unwrap();
    chain.append(event(4)).await.unwrap();
    overwrite(&*store, place().tail(), checkpoint.to_string()).await;
    delete(&store, [place().row(Id(4))]).await;
    finds(&store, 4, Reason::TailForged).await;
}

#[tokio::test]
async fn rows_rewritten_to_the_end_are_found_by_the_tail() {
    let (store, ..) = ten().await;
    delete(&store, [place().checkpoint(10)]).await;
    rewrite_from(&store, 4, 10).await;
    finds(&store, 10, Reason::HeadDiffers).await;
}

#[tokio::test]
async fn rows_rewritten_to_the_end_are_found_by_the_next_checkpoint() {
    let store = memory();
    let chain = open(&store).await;
    fill(&chain, CHECKPOINT_EVERY + 20).await;
    rewrite_from(&store, 990, CHECKPOINT_EVERY + 20).await;
    let report = verify(&store, &[]).await;
    assert_eq!(report.reason, Some(Reason::CheckpointDiffers), "{report:?}");
    // A group's checkpoint is that of its last row.
    let at = report.broken_at.unwrap().0;
    assert!(
        (CHECKPOINT_EVERY..=CHECKPOINT_EVERY + 20).contains(&at),
        "{at}"
    );
}

/// Changes the row `from` and makes all after it follow.
async fn rewrite_from(store: &Arc<dyn Store>, from: u64, to: u64) {
    let mut old = row(store, from).await[9..73].to_owned();
    let change = |text: &str| text.replace("tunnel.", "nothing.");
    let (value, mut new) = rehashed(&row(store, from).await, change);
    set_row(store, from, value).await;
    for id in from + 1..=to {
        let original = row(store, id).await;
        let (value, hash) = rehashed(&original, |text| text.replace(&old, &new));
        old = original[9..73].to_owned();
        new = hash;
        set_row(store, id, value).await;
    }
}

#[tokio::test]
async fn rows_that_changed_places_are_found() {
    let (store, ..) = ten().await;
    let (third, fourth) = (row(&store, 3).await, row(&store, 4).await);
    set_row(&store, 3, fourth).await;
    set_row(&store, 4, third).await;
    finds(&store, 3, Reason::RowMisplaced).await;
}

#[tokio::test]
async fn a_row_of_another_chain_is_found() {
    let (store, ..) = ten().await;
    let (value, _) = rehashed(&row(&store, 3).await, |text| {
        text.replace(r#""chain":"main""#, r#""chain":"side""#)
    });
    set_row(&store, 3, value).await;
    finds(&store, 3, Reason::RowMisplaced).await;
}

#[tokio::test]
async fn a_row_more_than_was_signed_is_found() {
    let (store, ..) = ten().await;
    let last = row(&store, 10).await;
    let (value, _) = rehashed(&last, |text| {
        let prev = format!(r#""prev":"{}""#, &last[9..73]);
        let start = text.find(r#""prev":""#).unwrap();
        let end = start + r#""prev":"""#.len() + 64;
        format!("{}{prev}{}", &text[..start], &text[end..]).replace(r#""id":10"#, r#""id":11"#)
    });
    set_row(&store, 11, value).await;
    finds(&store, 11, Reason::RowExtra).await;
}

#[tokio::test]
async fn garbage_for_a_row_is_found() {
    let (store, ..) = ten().await;
    for garbage in [&b""[..], b"{}", b"\xff\xfe", b"{\"hash\":\"\",\"row\":{}}"] {
        overwrite(&*store, place().row(Id(6)), garbage).await;
        finds(&store, 6, Reason::RowUnreadable).await;
    }
    delete(&store, [place().row(Id(6))]).await;
    let mut key = place().rows().to_vec();
    key.extend_from_slice(b"00000000000000000005x");
    overwrite(&*store, key.into(), "").await;
    finds(&store, 6, Reason::RowUnreadable).await;
}

#[tokio::test]
async fn edited_or_removed_personal_columns_are_found() {
    let (store, ..) = ten().await;
    let record = place().personal(Id(6));
    let found = store.get(&record).await.unwrap().unwrap().value;
    let text = String::from_utf8(found.to_vec()).unwrap();
    overwrite(
        &*store,
        record.clone(),
        text.replace("192.0.2.7", "192.0.2.8"),
    )
    .await;
    finds(&store, 6, Reason::PersonalEdited).await;
    delete(&store, [record.clone()]).await;
    finds(&store, 6, Reason::PersonalMissing).await;
    // Pointing at a row that erased nothing does not help.
    overwrite(&*store, place().erasure(Id(9)), "").await;
    finds(&store, 6, Reason::PersonalMissing).await;
    overwrite(&*store, record, found).await;
    assert!(verify(&store, &[]).await.valid);
}

#[tokio::test]
async fn a_row_before_the_first_is_found() {
    let (store, ..) = ten().await;
    let first = row(&store, 1).await;
    set_row(&store, 0, first).await;
    finds(&store, 1, Reason::RowExtra).await;
}

/// Whatever is changed of what lies in the store, it is noticed.
#[tokio::test]
async fn any_bit_of_any_record_matters() {
    let (store, chain, _) = ten().await;
    let erased = chain.erase(Erasure::of(Actor::user("u1")), Actor::system());
    erased.await.unwrap();
    assert!(verify(&store, &[]).await.valid);
    let records = store.range(Range::all()).await.unwrap().entries;
    // Key, tail, 11 rows, 6 personal records, 2 checkpoints, and where the erasure is.
    assert_eq!(records.len(), 22);

    let mut random = fastrand::Rng::with_seed(5);
    for record in &records {
        for _ in 0..40.min(record.value.len()) {
            let mut changed = record.value.to_vec();
            let place = random.usize(0..changed.len());
            changed[place] ^= 1 << random.u8(0..8);
            overwrite(&*store, record.key.clone(), changed).await;
            assert!(!is_whole(&store).await, "{}", record.key.escape_ascii());
        }
        delete(&store, [record.key.clone()]).await;
        let is_checkpoint = record.key.starts_with(&place().checkpoints());
        let key = record.key.escape_ascii();
        assert_eq!(is_whole(&store).await, is_checkpoint, "{key}");
        overwrite(&*store, record.key.clone(), record.value.clone()).await;
        assert!(is_whole(&store).await);
    }
}

async fn is_whole(store: &Arc<dyn Store>) -> bool {
    let reader = Reader::open(Arc::clone(store), &master(), Chain::DEFAULT).await;
    match reader {
        Ok(reader) => reader.verify(&[]).await.unwrap().valid,
        Err(_) => false,
    }
}

#[tokio::test]
async fn a_forged_checkpoint_is_found() {
    let (store, _, checkpoint) = ten().await;
    let forged = checkpoint.to_string().replace("main 10", "main 5");
    overwrite(&*store, place().checkpoint(5), forged).await;
    let report = verify(&store, &[]).await;
    assert_eq!(report.broken_at, Some(Id(5)));
    assert_eq!(report.reason, Some(Reason::CheckpointForged));
}

#[tokio::test]
async fn a_tail_put_back_is_found_by_the_checkpoint_after_it() {
    let (store, chain, _) = ten().await;
    let old = store.get(&place().tail()).await.unwrap().unwrap().value;
    chain.append(event(11)).await.unwrap();
    chain.checkpoint().await.unwrap();
    overwrite(&*store, place().tail(), old).await;
    delete(&store, [place().row(Id(11))]).await;
    finds(&store, 11, Reason::PutBack).await;
}

/// The limit of what a store can say of itself, and what the log is for.
#[tokio::test]
async fn a_store_put_back_as_a_whole_is_found_by_a_witness_only() {
    let (store, chain, before) = ten().await;
    let old = store.get(&place().tail()).await.unwrap().unwrap().value;
    chain.append(event(11)).await.unwrap();
    let witness = chain.checkpoint().await.unwrap();
    overwrite(&*store, place().tail(), old).await;
    let newer = [
        place().row(Id(11)),
        place().personal(Id(11)),
        place().checkpoint(11),
    ];
    delete(&store, newer).await;

    assert!(verify(&store, &[]).await.valid);
    assert!(verify(&store, std::slice::from_ref(&before)).await.valid);
    let report = verify(&store, &[witness, before]).await;
    assert_eq!(report.broken_at, Some(Id(11)));
    assert_eq!(report.reason, Some(Reason::PutBack));

    // A process that has seen more does not go on from less.
    let refused = chain.append(event(12)).await;
    assert!(
        matches!(
            refused,
            Err(AuditError::Broken {
                reason: Reason::PutBack,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_chain_begun_anew_is_found_by_a_witness() {
    let (_, _, witness) = ten().await;
    let (store, ..) = ten().await;
    let report = verify(&store, std::slice::from_ref(&witness)).await;
    assert_eq!(report.reason, Some(Reason::OtherKey));

    // Naming the right key does not make it signed.
    let ours = open(&store).await.checkpoint().await.unwrap().to_string();
    let key = ours.split(' ').nth(4).unwrap();
    let theirs = witness.to_string();
    let forged = theirs.replace(theirs.split(' ').nth(4).unwrap(), key);
    let report = verify(&store, &[forged.parse().unwrap()]).await;
    assert_eq!(report.reason, Some(Reason::CheckpointForged));
}

#[tokio::test]
async fn a_broken_end_is_not_appended_to() {
    let edits: [(fn() -> Bytes, Reason); 3] = [
        (|| place().row(Id(10)), Reason::RowMissing),
        (|| place().tail(), Reason::TailMissing),
        (|| place().signing_key(), Reason::KeyMissing),
    ];
    for (key, expected) in edits {
        let (store, ..) = ten().await;
        delete(&store, [key()]).await;
        let opened = try_open(&store).await;
        assert!(
            matches!(&opened, Err(AuditError::Broken { reason, .. }) if *reason == expected),
            "{opened:?}"
        );
    }
}
