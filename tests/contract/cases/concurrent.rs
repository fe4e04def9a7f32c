//! Many callers at once, and callers that go away.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use anyhow::Result;
use tidemill_store::wide::{Datum, Wide};

use crate::fixture::{Fixture, at, body, note};
use crate::tables::{BODIES, NOTES};

pub(super) async fn concurrent_writes_all_arrive<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = fixture.bodies(0);
    let tasks: Vec<_> = (0..32)
        .map(|writer| {
            let (store, partition) = (Arc::clone(fixture.store()), partition.clone());
            tokio::spawn(async move {
                for seq in 0..10 {
                    let row = body(writer, seq, format!("{writer} {seq}"));
                    store.put(&BODIES, &partition, &[row], at(1)).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let rows: Vec<_> = (0..32)
        .flat_map(|writer| (0..10).map(move |seq| body(writer, seq, format!("{writer} {seq}"))))
        .collect();
    assert!(fixture.all(&BODIES, &partition).await? == rows, "rows are missing or wrong");
    Ok(())
}

pub(super) async fn concurrent_versions_leave_the_highest<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let partition = fixture.notes(0);
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let (store, partition) = (Arc::clone(fixture.store()), partition.clone());
            let time = n * 37 % 64;
            let row = note(0, 0, &format!("at {time}"), time);
            tokio::spawn(async move { store.put(&NOTES, &partition, &[row], at(time)).await })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    assert_eq!(fixture.all(&NOTES, &partition).await?, [note(0, 0, "at 63", 63)]);
    Ok(())
}

pub(super) async fn dropped_writes_leave_whole_rows_or_none<W: Wide>(fixture: &Fixture<W>) -> Result<()> {
    let (store, partition) = (fixture.store(), fixture.bodies(0));
    let rows: Vec<_> = (0..60).map(|seq| body(0, seq, vec![7; 2000])).collect();
    for (row, polls) in rows.iter().zip([0, 1, 2].into_iter().cycle()) {
        poll_and_drop(store.put(&BODIES, &partition, std::slice::from_ref(row), at(1)), polls).await;
    }
    for row in fixture.all(&BODIES, &partition).await? {
        assert!(rows.contains(&row), "half a row: {:?}", row.clustering);
    }
    store.put(&BODIES, &partition, &rows, at(1)).await?;
    assert!(fixture.all(&BODIES, &partition).await? == rows, "the store no longer takes what it should");
    let next = note(0, 0, "still here", 1);
    store.put(&NOTES, &fixture.notes(1), std::slice::from_ref(&next), at(1)).await?;
    assert_eq!(fixture.all(&NOTES, &fixture.notes(1)).await?[0].cells[1], Datum::Int(1));
    Ok(())
}

/// Polls a future so many times, giving others a turn between, and drops it wherever it is then.
async fn poll_and_drop<T>(future: impl Future<Output = T>, polls: u32) {
    let mut future = pin!(future);
    for _ in 0..polls {
        let ended =
            std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await;
        if ended {
            return;
        }
        tokio::task::yield_now().await;
    }
}
