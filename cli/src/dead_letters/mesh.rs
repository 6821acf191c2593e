//! A mesh that keeps nothing but dead letters, of events where their number is even, else of sinks.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use mesh::auth::Secret;
use mesh::testing::Served;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::client::Client;

/// What the mesh does at once, whatever it is asked for.
const MOST: usize = 700;

#[derive(Clone, Default)]
struct Letters {
    by_number: Arc<Mutex<BTreeMap<usize, Letter>>>,
    most_at_once: Arc<Mutex<usize>>,
}

#[derive(Debug, Clone, Copy)]
pub struct Letter {
    /// Fails again and again.
    pub is_poison: bool,
}

pub struct FakeMesh {
    pub client: Client,
    letters: Letters,
    _served: Served,
}

impl FakeMesh {
    /// With the oldest letters poison, which have the numbers from 0.
    pub async fn start(good: usize, poison: usize) -> Self {
        mesh::tls::install_crypto();
        let letters = Letters::default();
        let letter = |number| (number, Letter { is_poison: number < poison });
        letters.by_number.lock().extend((0..poison + good).map(letter));
        let routes = Router::new()
            .route("/v1/dead-letters", get(list).delete(purge_many))
            .route("/v1/dead-letters/redrive", post(redrive_many))
            .route("/v1/dead-letters/{number}", axum::routing::delete(purge_one))
            .route("/v1/dead-letters/{number}/redrive", post(redrive_one))
            .with_state(letters.clone());
        let served = Served::start(routes).await;
        let client = Client::at(&served.endpoint.to_string(), Secret::new("token")).expect("a client");
        Self { client, letters, _served: served }
    }

    pub fn letters(&self) -> Vec<Letter> {
        self.letters.by_number.lock().values().copied().collect()
    }

    /// How many letters one request named at most.
    pub fn most_at_once(&self) -> usize {
        *self.letters.most_at_once.lock()
    }
}

fn role(number: usize) -> &'static str {
    if number.is_multiple_of(2) { "event" } else { "sink" }
}

/// The numbers of the oldest letters that are asked for.
fn selected(letters: &Letters, query: &HashMap<String, String>) -> Vec<usize> {
    let by_number = letters.by_number.lock();
    let from = query.get("after").map_or(0, |after| after.parse::<usize>().expect("a number") + 1);
    let of_role = |number: &usize| query.get("role").is_none_or(|asked| asked == role(*number));
    by_number.range(from..).map(|(number, _)| *number).filter(of_role).take(MOST).collect()
}

async fn list(State(letters): State<Letters>, Query(query): Query<HashMap<String, String>>) -> Json<Value> {
    let numbers = selected(&letters, &query);
    let next = numbers.last().filter(|_| numbers.len() == MOST).map(usize::to_string);
    let letter = |number: &usize| {
        json!({
            "id": number.to_string(), "role": role(*number), "binding_id": "b", "binding_type": "t", "module": "m",
            "function": "f", "invocation_id": "i", "reason": "r", "attempts": 1, "received_at": "R",
            "dead_lettered_at": "D",
        })
    };
    Json(json!({"data": numbers.iter().map(letter).collect::<Vec<_>>(), "next": next}))
}

async fn purge_many(
    State(letters): State<Letters>,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    assert_eq!(query.get("all").map(String::as_str), Some("true"), "the mesh wants to be sure");
    let numbers = selected(&letters, &query);
    letters.by_number.lock().retain(|number, _| !numbers.contains(number));
    Json(json!({"data": {"purged": numbers.len()}}))
}

async fn purge_one(State(letters): State<Letters>, Path(number): Path<usize>) -> StatusCode {
    match letters.by_number.lock().remove(&number) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

/// Whether the letter is handled now; `None` when there is none.
fn redrive(letters: &Letters, number: usize) -> Option<bool> {
    let mut by_number = letters.by_number.lock();
    let handled = !by_number.get(&number)?.is_poison;
    if handled {
        by_number.remove(&number);
    }
    Some(handled)
}

async fn redrive_one(State(letters): State<Letters>, Path(number): Path<usize>) -> (StatusCode, Json<Value>) {
    match redrive(&letters, number) {
        Some(true) => (StatusCode::OK, Json(json!({"data": {"redriven": 1, "failures": []}}))),
        Some(false) => (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({"errors": {"detail": "poison"}}))),
        None => (StatusCode::NOT_FOUND, Json(json!({"errors": {"detail": "Not Found"}}))),
    }
}

async fn redrive_many(State(letters): State<Letters>, Json(body): Json<Value>) -> Json<Value> {
    let numbers = body["ids"].as_array().expect("ids").iter();
    let numbers: Vec<usize> =
        numbers.map(|id| id.as_str().expect("text").parse().expect("a number")).collect();
    {
        let mut most = letters.most_at_once.lock();
        *most = numbers.len().max(*most);
    }
    let mut failures = Vec::new();
    let mut redriven = 0;
    for number in numbers {
        assert_eq!(body["role"], role(number), "the service that has the letter is asked");
        match redrive(&letters, number) {
            Some(true) => redriven += 1,
            _ => failures.push(json!({"id": number.to_string(), "reason": "poison"})),
        }
    }
    Json(json!({"data": {"redriven": redriven, "failures": failures}}))
}
