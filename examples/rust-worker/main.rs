//! How do I run operations in a program of my own? A worker that counts the words of a text.
//!
//!     LONGRUN_URL=http://127.0.0.1:8080 LONGRUN_TOKEN=$(cat .longrun/token) \
//!         cargo run -p longrun-client --example rust-worker
//!     longrun operations create --kind word_count --input '"to be or not to be"'

use longrun_client::{Attempt, Client, Failure, Token, Worker};
use tokio::signal::unix::{SignalKind, signal};

/// The handler: an async function from an attempt to the operation's output.
async fn count_words(attempt: Attempt) -> Result<String, Failure> {
    // An input that is not a text is a permanent failure: another attempt would only repeat it.
    let text: String = attempt.parse_input()?;
    attempt.progress.report("counting");
    Ok(text.split_whitespace().count().to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::new(&std::env::var("LONGRUN_URL")?, Token::new(&std::env::var("LONGRUN_TOKEN")?)?)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        terminate.recv().await;
    };
    // Four at a time. After SIGTERM running attempts may end; the others are released.
    Worker::new(client, count_words).kind("word_count").concurrency(4).run(stop).await?;
    println!("stopped");
    Ok(())
}
