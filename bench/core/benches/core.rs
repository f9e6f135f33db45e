//! The core by size of input: is it genuine, what does it say, may this payer have this, who asks.
#![allow(clippy::unwrap_used, reason = "a benchmark that panics has failed, which is what it is for")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plangate::catalog::Catalog;
use plangate::decide::{Policy, decide};
use plangate::delivery::{Delivery, Headers};
use plangate::provider::{Ours, named};
use plangate::question::Asked;
use plangate::session::{SessionPolicy, UnverifiedToken};
use plangate::snapshot::Snapshot;
use plangate::time::Timestamp;
use plangate_bench::{NOW, SECRET, snapshot, subscription, token};

fn now() -> Timestamp {
    Timestamp::from_millis(NOW)
}

fn delivery(body: Vec<u8>) -> Delivery {
    let clerk = named("clerk").unwrap();
    let secret = clerk.parse_secret("CLERK_WEBHOOK_SIGNING_SECRET", SECRET).unwrap();
    let headers = clerk.sign(&secret, "msg_1", now(), &body);
    Delivery { headers: Headers::new(headers), body }
}

fn verify(criterion: &mut Criterion) {
    let clerk = named("clerk").unwrap();
    let secrets = [clerk.parse_secret("CLERK_WEBHOOK_SIGNING_SECRET", SECRET).unwrap()];
    let mut group = criterion.benchmark_group("verify");
    for size in [1_024, 4_096, 65_536, 524_288] {
        let delivery = delivery(vec![b'x'; size]);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &delivery, |bencher, delivery| {
            bencher.iter(|| clerk.verify(black_box(delivery), &secrets, &Ours::default(), now()).unwrap());
        });
    }
}

fn parse(criterion: &mut Criterion) {
    let clerk = named("clerk").unwrap();
    let secrets = [clerk.parse_secret("CLERK_WEBHOOK_SIGNING_SECRET", SECRET).unwrap()];
    let mut group = criterion.benchmark_group("parse");
    for items in [1, 10, 100] {
        let delivery = delivery(subscription("user_1", items).into_bytes());
        let verified = clerk.verify(&delivery, &secrets, &Ours::default(), now()).unwrap();
        group.throughput(Throughput::Bytes(delivery.body.len() as u64));
        group.bench_with_input(BenchmarkId::new("items", items), &verified, |bencher, verified| {
            bencher.iter(|| clerk.parse(black_box(verified), &Ours::default()).unwrap());
        });
    }
}

fn check(criterion: &mut Criterion) {
    let catalog =
        Catalog::parse(r#"{"basic":{"features":["export"]},"pro":{"includes":["basic"],"features":["api"]}}"#).unwrap();
    let asked = Asked::from_query("plan=pro&feature=api").unwrap();
    let question = asked.questions.first().unwrap();
    for (name, reads) in [("snapshot", true), ("decide", false)] {
        let mut group = criterion.benchmark_group(name);
        for records in [1, 10, 100] {
            let text = snapshot("user:user_1", records);
            let parsed = Snapshot::parse(&text).unwrap();
            group.bench_function(BenchmarkId::new("records", records), |bencher| {
                if reads {
                    bencher.iter(|| Snapshot::parse(black_box(&text)).unwrap());
                } else {
                    let policy = Policy::default();
                    bencher.iter(|| decide([black_box(&parsed)], &catalog, &policy, question, now()));
                }
            });
        }
    }
}

/// Reading and judging; the RSA check between the two is WebCrypto's.
fn token_(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("token");
    for more in [0, 1_024, 4_096] {
        let token = token(more);
        group.throughput(Throughput::Bytes(token.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(token.len()), &token, |bencher, token| {
            bencher.iter(|| {
                let unverified = UnverifiedToken::parse(black_box(token)).unwrap();
                unverified.judge(true, &SessionPolicy::default(), now()).unwrap()
            });
        });
    }
}

criterion_group!(benches, verify, parse, check, token_);
criterion_main!(benches);
