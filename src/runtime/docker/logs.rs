//! What services wrote.

use std::collections::VecDeque;

use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};

use super::engine::Engine;
use super::error::DockerError;
use crate::runtime::{LogLines, RuntimeError};

/// A container's log by lines; ends with the container when it is followed.
pub(super) fn lines(engine: &Engine, id: &str, tail: Option<usize>, follow: bool) -> LogLines {
    let tail = tail.map_or_else(|| "all".to_owned(), |count| count.to_string());
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&tail).follow(follow).build();
    let operation = format!("read the log of the container {id}");
    // Whoever reads on may be done with the engine; what leads to it stays for as long.
    let engine = engine.clone();
    let chunks = engine.docker.logs(id, Some(options)).map(move |chunk| {
        let _ = &engine;
        let chunk = chunk.map_err(DockerError::operation(operation.clone()))?;
        Ok(chunk.into_bytes().to_vec())
    });
    by_lines(chunks.boxed())
}

struct Cutter {
    chunks: BoxStream<'static, Result<Vec<u8>, RuntimeError>>,
    ready: VecDeque<String>,
    rest: Vec<u8>,
    ended: bool,
}

/// Chunks may hold several lines, or end within one.
fn by_lines(chunks: BoxStream<'static, Result<Vec<u8>, RuntimeError>>) -> LogLines {
    let cutter = Cutter { chunks, ready: VecDeque::new(), rest: Vec::new(), ended: false };
    stream::unfold(cutter, |mut cutter| async move {
        loop {
            if let Some(line) = cutter.ready.pop_front() {
                return Some((Ok(line), cutter));
            }
            if cutter.ended {
                return None;
            }
            match cutter.chunks.next().await {
                Some(Ok(chunk)) => {
                    cutter.rest.extend(chunk);
                    while let Some(end) = cutter.rest.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = cutter.rest.drain(..=end).collect();
                        cutter.ready.push_back(text(&line));
                    }
                }
                Some(Err(error)) => {
                    cutter.ended = true;
                    return Some((Err(error), cutter));
                }
                None => {
                    cutter.ended = true;
                    if !cutter.rest.is_empty() {
                        let rest = std::mem::take(&mut cutter.rest);
                        cutter.ready.push_back(text(&rest));
                    }
                }
            }
        }
    })
    .boxed()
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_put_together_from_chunks() {
        let chunks = ["a\nb", "c\r\n", "", "d"].map(|chunk| Ok(chunk.as_bytes().to_vec()));
        let lines: Vec<String> = by_lines(stream::iter(chunks).boxed()).map(Result::unwrap).collect().await;
        assert_eq!(lines, ["a", "bc", "d"]);
    }
}
