//! `/render`: targets to series, series to the format asked for.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use rhythmite_graphite::answer::{Answer, RenderOptions, render as formats};
use rhythmite_graphite::draw::{self, DrawOptions};
use rhythmite_graphite::eval::{Outcome, ROUNDS_MAX};
use rhythmite_graphite::{Fetch, Fetched, Series, evaluate};
use rhythmite_model::{Error, Result};

use super::Graphite;
use super::params::Form;
use super::reply::{cached, reply, unread};
use crate::query::graphite::{Fetcher, Patience};

pub(super) async fn render(State(state): State<Arc<Graphite>>, request: Request) -> Response<Body> {
    let form = match Form::read(&state.bodies, request).await {
        Ok(form) => form,
        Err(e) => return unread(&e),
    };
    let answer = state.on_cpu(move |state, patience| answer(state, &form, patience)).await;
    match answer {
        Ok((answer, cache_s)) => cached(reply(Ok(answer)), cache_s),
        Err(e) => reply(Err(e)),
    }
}

fn answer(state: &Graphite, form: &Form, patience: Patience) -> Result<(Answer, Option<u64>)> {
    let options = RenderOptions::parse(form.params(), state.clock.now_s(), &state.zone)?;
    // Before any data are read: a bad colour costs nothing.
    let looks = options.format.is_picture().then(|| DrawOptions::parse(form.params(), &options)).transpose()?;
    let series = run(state, &options, patience.clone())?;
    let answer = match looks {
        Some(looks) => {
            let go_on = || patience.check();
            draw::draw(series, &looks, options.format, options.jsonp.as_deref(), &go_on)?
        }
        None => formats::write(series, &options)?,
    };
    Ok((answer, options.cache_s))
}

/// Evaluates the targets, round by round.
fn run(state: &Graphite, options: &RenderOptions, patience: Patience) -> Result<Vec<Series>> {
    let mut request = options.request()?;
    request.points_max = state.limits.points_max;
    let mut fetched = Fetched::default();
    let mut fetcher = Fetcher::new(&state.engine, state.limits.clone(), patience.clone());
    for _ in 0..ROUNDS_MAX {
        match evaluate(&request, &fetched, &|| patience.check())? {
            Outcome::Done(series) => return Ok(series),
            Outcome::Need(requests) => {
                let answers = fetcher.fetch(&requests)?;
                requests.into_iter().zip(answers).for_each(|(request, series)| fetched.insert(request, series));
            }
        }
    }
    Err(Error::invalid(format!("the targets need more than {ROUNDS_MAX} rounds of data")))
}
