//! Waiting with a total limit.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Asks every `poll` until the answer is there; an error ends it, `limit` ends it.
pub fn until<T>(what: &str, limit: Duration, poll: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waiting for {what}: not within {limit:?}");
        }
        thread::sleep(poll);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_an_error_and_a_limit_end_it() {
        let poll = Duration::from_millis(1);
        let mut left = 3;
        let count = || {
            left -= 1;
            Ok((left == 0).then_some("done"))
        };
        assert_eq!(until("counting", Duration::from_secs(5), poll, count).unwrap(), "done");
        assert!(until::<()>("failing", Duration::from_secs(5), poll, || bail!("no")).is_err());
        let error = until::<()>("never", Duration::from_millis(5), poll, || Ok(None)).unwrap_err();
        assert!(error.to_string().contains("waiting for never"), "{error}");
    }
}
