//! Rows: how they look in a shell, every form of bounds, large bodies and large puts, exchanges.

use std::ops::Bound;
use std::sync::Arc;

use anyhow::{Result, ensure};
use tidemill_store::layout::tables::{CATALOG, SEGMENTS};
use tidemill_store::wide::ColumnType::{Instant, Int};
use tidemill_store::wide::cql::{Cql, CqlOptions, schema};
use tidemill_store::wide::{
    Bounds, Column, Datum, Deletion, Exchange, Expected, Key, Order, Page, Retention, Row, Rows, Scan, Table,
    Wide, Workload,
};

use crate::fixture::{all_pages, at, connect, ints, segment, segments_of, session};

pub(crate) async fn readable(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    let cql = connect(&options).await?;
    cql.put(&SEGMENTS, &segments_of(3), &[segment(-7, 0, 4)], at(1_000)).await?;
    let source = 0x0102_0304_0506_8708_890a_0b0c_0d0e_0f10;
    let mut cells = vec![Datum::Uuid(source)];
    cells.extend(["", "pump-1", "{}", "temperature:f64"].map(|text| Datum::Text(text.to_owned())));
    let entry = Row { clustering: ints(&[1, 0]), cells };
    cql.put(&CATALOG, &ints(&[3]), std::slice::from_ref(&entry), at(1_000)).await?;
    let text = format!(
        "SELECT CAST(bucket AS text), CAST(received_at AS text), writer, body, WRITETIME(body) FROM {}.segments",
        options.keyspace
    );
    let session = session(&options).await?;
    let rows = session.query_unpaged(text, ()).await?.into_rows_result()?;
    let (bucket, received_at, writer, body, written) =
        rows.single_row::<(String, String, i64, Vec<u8>, i64)>()?;
    ensure!(bucket.starts_with("2023-11-14T22:13:20"), "{bucket}");
    ensure!(received_at.starts_with("2023-11-14T22:13:20.123"), "{received_at}");
    ensure!(writer == -7 && body == [0; 4] && written == 1_000, "{writer} {body:?} {written}");
    let text = format!("SELECT CAST(source AS text), device FROM {}.catalog", options.keyspace);
    let rows = session.query_unpaged(text, ()).await?.into_rows_result()?;
    let (id, device) = rows.single_row::<(String, String)>()?;
    ensure!(id == "01020304-0506-8708-890a-0b0c0d0e0f10" && device == "pump-1", "{id} {device}");
    let back = cql.get(&CATALOG, &ints(&[3]), &entry.clustering).await?;
    ensure!(back == Some(entry), "{back:?}");
    Ok(())
}

/// Three clustering columns: every form of bounds.
pub(crate) static DEEP: Table = Table {
    name: "deep",
    partition: &[Column::new("part", Int)],
    clustering: &[Column::new("a", Instant), Column::new("b", Int), Column::new("c", Int)],
    cells: &[Column::new("value", Int)],
    rows: Rows::Versioned,
    workload: Workload::Index,
    retention: Retention::Forever,
};

pub(crate) const STEPS: [i64; 3] = [i64::MIN, -1, i64::MAX];

pub(crate) fn deep_key(numbers: &[i64]) -> Key {
    let mut parts: Vec<Datum> = numbers.iter().map(|&n| Datum::Int(n)).collect();
    if let (Some(first), Some(&number)) = (parts.first_mut(), numbers.first()) {
        *first = Datum::Instant(number);
    }
    Key::new(parts)
}

pub(crate) fn deep_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for a in STEPS {
        for b in STEPS {
            rows.extend(STEPS.map(|c| Row { clustering: deep_key(&[a, b, c]), cells: vec![Datum::Int(c)] }));
        }
    }
    rows
}

/// Bounds of every length, edge and mutual position over the rows of [`DEEP`].
pub(crate) fn deep_bounds() -> Vec<Bounds> {
    let keys = [
        vec![-1],
        vec![0],
        vec![-1, -1],
        vec![-1, i64::MAX],
        vec![i64::MAX, i64::MIN],
        vec![-1, -1, -1],
        vec![i64::MIN, i64::MAX, 5],
    ];
    let mut edges = vec![Bound::Unbounded];
    for key in &keys {
        edges.extend([Bound::Included(deep_key(key)), Bound::Excluded(deep_key(key))]);
    }
    let pairs = edges.iter().flat_map(|start| edges.iter().map(move |end| (start.clone(), end.clone())));
    pairs.map(|(start, end)| Bounds { start, end }).collect()
}

pub(crate) async fn deep(options: &CqlOptions) -> Result<Cql> {
    schema::apply(options).await?;
    schema::create(options, &[&DEEP, &SEAT]).await?;
    Ok(connect(options).await?)
}

pub(crate) async fn bounds(options: CqlOptions) -> Result<()> {
    let cql = deep(&options).await?;
    let (partition, rows) = (ints(&[1]), deep_rows());
    cql.put(&DEEP, &partition, &rows, at(5)).await?;
    for bounds in deep_bounds() {
        let expected: Vec<Row> =
            rows.iter().filter(|row| bounds.contains(&row.clustering)).cloned().collect();
        let scan = Scan::partition(&DEEP, partition.clone()).within(bounds.clone());
        for page in [1_000, 4] {
            let scan = scan.clone().in_pages_of(page);
            ensure!(all_pages(&cql, &scan).await? == expected, "ascending in {bounds:?}");
            let mut descending = all_pages(&cql, &scan.in_order(Order::Descending)).await?;
            descending.reverse();
            ensure!(descending == expected, "descending in {bounds:?}");
        }
    }
    Ok(())
}

pub(crate) async fn range_deletes(options: CqlOptions) -> Result<()> {
    let cql = deep(&options).await?;
    let rows = deep_rows();
    for (number, bounds) in (1_000..).zip(deep_bounds()) {
        let partition = ints(&[number]);
        cql.put(&DEEP, &partition, &rows, at(5)).await?;
        cql.delete(&DEEP, &partition, &Deletion::Range(bounds.clone()), at(4)).await?;
        let scan = Scan::partition(&DEEP, partition.clone());
        ensure!(all_pages(&cql, &scan).await?.len() == rows.len(), "an older delete removed newer rows");
        cql.delete(&DEEP, &partition, &Deletion::Range(bounds.clone()), at(5)).await?;
        let expected: Vec<Row> =
            rows.iter().filter(|row| !bounds.contains(&row.clustering)).cloned().collect();
        ensure!(all_pages(&cql, &scan).await? == expected, "{bounds:?}");
    }
    Ok(())
}

pub(crate) async fn large_bodies(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    let cql = connect(&options).await?;
    let partition = segments_of(1);
    let rows: Vec<Row> = (0..50).map(|seq| segment(1, seq, 256 * 1024)).collect();
    cql.put(&SEGMENTS, &partition, &rows, at(1)).await?;
    let scan = Scan::partition(&SEGMENTS, partition);
    let (mut read, mut from) = (Vec::new(), None);
    loop {
        let page = cql.scan(&scan, from).await?;
        let bytes: usize = page.rows.iter().map(Row::size_bytes).sum();
        ensure!(bytes <= 2 * Page::BYTES_MAX, "a page of {bytes} bytes");
        read.extend(page.rows);
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    ensure!(read == rows, "{} of {} rows", read.len(), rows.len());
    Ok(())
}

pub(crate) async fn large_put(options: CqlOptions) -> Result<()> {
    schema::apply(&options).await?;
    let cql = connect(&options).await?;
    let partition = segments_of(2);
    let rows: Vec<Row> =
        (0..1_500).map(|seq| segment(1, seq, usize::try_from(seq).unwrap_or(0) % 3_000)).collect();
    cql.put(&SEGMENTS, &partition, &rows, at(1)).await?;
    cql.put(&SEGMENTS, &partition, &rows, at(1)).await?;
    cql.put(&SEGMENTS, &partition, &[], at(1)).await?;
    let read = all_pages(&cql, &Scan::partition(&SEGMENTS, partition)).await?;
    ensure!(read == rows, "{} of {} rows", read.len(), rows.len());
    Ok(())
}

/// A table of exchanges.
pub(crate) static SEAT: Table = Table {
    name: "seat",
    partition: &[Column::new("part", Int)],
    clustering: &[Column::new("number", Int)],
    cells: &[Column::new("epoch", Int), Column::new("holder", Int)],
    rows: Rows::Exchanged,
    workload: Workload::Index,
    retention: Retention::Forever,
};

pub(crate) async fn exchanges(options: CqlOptions) -> Result<()> {
    let cql = Arc::new(deep(&options).await?);
    let seat =
        |epoch, holder| Row { clustering: ints(&[0]), cells: vec![Datum::Int(epoch), Datum::Int(holder)] };
    let outcome = cql.compare_and_set(&SEAT, &ints(&[1]), &Expected::Absent, &seat(0, 0)).await?;
    ensure!(outcome == Exchange::Applied, "{outcome:?}");
    for epoch in 0..5 {
        let rivals: Vec<_> = (0..4)
            .map(|holder| {
                let (cql, row) = (Arc::clone(&cql), seat(epoch + 1, holder));
                tokio::spawn(async move {
                    let expected = Expected::Cell("epoch", Datum::Int(epoch));
                    cql.compare_and_set(&SEAT, &ints(&[1]), &expected, &row).await
                })
            })
            .collect();
        let (mut winners, mut unclear) = (0, 0);
        for rival in rivals {
            match rival.await? {
                Ok(Exchange::Applied) => winners += 1,
                Ok(Exchange::Refused(row)) => {
                    let epoch_now = row.and_then(|row| row.cells.first()?.as_int());
                    ensure!(epoch_now == Some(epoch + 1), "refused by {epoch_now:?}");
                }
                // Rivals for one ballot may time each other out: that is unknown, and allowed.
                Err(_) => unclear += 1,
            }
        }
        ensure!(winners == 1 || (winners == 0 && unclear > 0), "{winners} winners, {unclear} unclear");
        let now = cql.get(&SEAT, &ints(&[1]), &ints(&[0])).await?;
        ensure!(now.and_then(|row| row.cells.first()?.as_int()) == Some(epoch + 1), "no winner");
    }
    let absent = Expected::Cell("epoch", Datum::Int(0));
    let outcome = cql.compare_and_set(&SEAT, &ints(&[2]), &absent, &seat(1, 1)).await?;
    ensure!(outcome == Exchange::Refused(None), "{outcome:?}");
    Ok(())
}
