//! What the sources cost, in messages per second and CPU seconds per million QoS 1 messages, for framing and
//! acknowledgements alone: the pipeline behind settles every group at once, in another task.
//!
//! The generator is a child process that sends prebuilt packets, so that the CPU and the memory of this process are
//! the source's. Run with `cargo bench -p tidemill-ingest --bench sources`, best on an idle machine.
#![expect(clippy::print_stdout, reason = "a benchmark reports on its standard output")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a benchmark ends where something is wrong, and rounds"
)]

mod consumer;
mod generator;
mod listener;
mod usage;

use std::process::Stdio;

use tidemill_ingest::source::{Closed, Completion, Intake, Publish, Settlement};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Has every group settled by another task.
#[derive(Clone)]
struct Settling(mpsc::Sender<(usize, Settlement)>);

/// What reached the pipeline.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    messages: usize,
    groups: usize,
}

impl Intake for Settling {
    async fn submit(&mut self, group: Vec<Publish>) -> Result<Completion, Closed> {
        let (settlement, completion) = Completion::pair();
        self.0.send((group.len(), settlement)).await.map_err(|_| Closed)?;
        Ok(completion)
    }
}

impl Settling {
    /// The task ends, and says what came, after so many messages, or once the source is gone.
    fn start(until_messages: usize) -> (Self, JoinHandle<Taken>) {
        let (settlements, mut groups) = mpsc::channel::<(usize, Settlement)>(1_024);
        let counting = tokio::spawn(async move {
            let mut taken = Taken::default();
            while taken.messages < until_messages
                && let Some((count, settlement)) = groups.recv().await
            {
                taken.messages += count;
                taken.groups += 1;
                settlement.settle();
            }
            taken
        });
        (Self(settlements), counting)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match arguments.get(1).map(String::as_str) {
        Some("generate") => runtime.block_on(generator::generate(&arguments[2..])),
        Some("idle") => runtime.block_on(generator::idle(&arguments[2..])),
        _ => runtime.block_on(async {
            listener::measure().await;
            consumer::measure().await;
        }),
    }
}

/// Starts the generator and waits until it says that all its connections are accepted. Closing its standard input
/// is the word to go on.
async fn spawn(arguments: &[String]) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("connected"));
    child
}
