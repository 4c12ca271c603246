//! Photos by `http` and `https`.

use std::sync::Arc;
use std::time::Duration;

use facedex_base::errors::chain;
use facedex_elastic::transport::retry::{Backoff, RetryPolicy};
use facedex_face::image::Limits;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Response, StatusCode};
use tokio::time::timeout;
use url::Url;

use super::address::{Checked, Refused, Rule, check_host};
use super::{CONNECT, TRIES, Trouble, collect, too_large};
use crate::budget::Budget;
use crate::ingest::source::Held;

/// A photo that moved more often does not stand still.
const REDIRECTS: usize = 5;

/// A server that asks for a longer pause is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) struct Web {
    client: Client,
    rule: Rule,
    timeout: Duration,
}

impl Web {
    pub(super) fn new(rule: Rule, proxies: bool, timeout: Duration) -> Result<Self, String> {
        let builder = Client::builder()
            .user_agent(concat!("facedex/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .redirect(Policy::custom(move |attempt| follow(attempt, rule)))
            .dns_resolver(Arc::new(Checked(rule)));
        let builder = if proxies { builder } else { builder.no_proxy() };
        let client = builder.build().map_err(|error| chain(&error))?;
        Ok(Self { client, rule, timeout })
    }

    pub(super) async fn fetch(&self, url: &Url, limits: &Limits, budget: &Budget) -> Result<Held, String> {
        check_host(url, self.rule).map_err(|refused| refused.to_string())?;
        let mut backoff = Backoff::new(RetryPolicy::default());
        let mut tries = 1;
        loop {
            let (reason, asked) = match self.attempt(url, limits, budget).await {
                Ok(held) => return Ok(held),
                Err(Trouble::Final(reason)) => return Err(reason),
                Err(Trouble::Again(reason, asked)) => (reason, asked),
            };
            if tries == TRIES || asked.is_some_and(|asked| asked > LONGEST_PAUSE) {
                return Err(format!("{reason} (tried {tries} times)"));
            }
            tries += 1;
            tokio::time::sleep(backoff.pause(asked).unwrap_or_default()).await;
        }
    }

    async fn attempt(&self, url: &Url, limits: &Limits, budget: &Budget) -> Result<Held, Trouble> {
        let slow = |what: &str| Trouble::Again(format!("{what} within {:?}", self.timeout), None);
        let response = timeout(self.timeout, self.client.get(url.clone()).send())
            .await
            .map_err(|_| slow("no answer"))?
            .map_err(refused_or_again)?;
        let response = accepted(response)?;
        let declared = response.content_length();
        if declared.is_some_and(|length| length > limits.max_bytes) {
            return Err(Trouble::Final(too_large(limits)));
        }
        // Not within the timeout: it waits for other photos and not for the server.
        let permit = budget.reserve(declared.unwrap_or(limits.max_bytes)).await;
        let body = response.bytes_stream();
        timeout(self.timeout, collect(body, permit, declared, limits))
            .await
            .map_err(|_| slow("not all of it came"))?
    }
}

fn accepted(response: Response) -> Result<Response, Trouble> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let reason = format!("the server answered {status}");
    if !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
        return Err(Trouble::Final(reason));
    }
    let asked = response.headers().get(RETRY_AFTER);
    let asked = asked.and_then(|value| value.to_str().ok()?.parse().ok());
    Err(Trouble::Again(reason, asked.map(Duration::from_secs)))
}

fn follow(attempt: Attempt<'_>, rule: Rule) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS {
        return attempt.error(format!("more than {REDIRECTS} redirects"));
    }
    match check_host(attempt.url(), rule) {
        Ok(()) => attempt.follow(),
        Err(refused) => attempt.error(refused),
    }
}

/// The URL is left out: it is named beside the reason, and may hold a login.
fn refused_or_again(error: reqwest::Error) -> Trouble {
    let error = error.without_url();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(at) = cause {
        if let Some(refused) = at.downcast_ref::<Refused>() {
            return Trouble::Final(refused.to_string());
        }
        cause = at.source();
    }
    if error.is_redirect() || error.is_builder() {
        return Trouble::Final(chain(&error));
    }
    Trouble::Again(chain(&error), None)
}

#[cfg(test)]
mod tests;
