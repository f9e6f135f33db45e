//! Attempts to deliver the events of a history: in any order, more than once, lost midway; and the least of them that fails.

use super::Numbers;

/// One attempt to deliver an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    pub event: usize,
    /// The transaction is lost after so many statements.
    pub crash: Option<usize>,
}

pub fn in_order(length: usize) -> Vec<Attempt> {
    (0..length).map(|event| Attempt { event, crash: None }).collect()
}

/// Every event at least once, some twice, some lost midway; in any order, or nearly in order, or backward.
pub fn any_order(numbers: &mut Numbers, length: usize) -> Vec<Attempt> {
    let mut order = in_order(length);
    for event in 0..length {
        if numbers.once_in(4) {
            order.push(Attempt { event, crash: None });
        }
        if numbers.once_in(4) {
            order.push(Attempt { event, crash: Some(1 + numbers.index(4)) });
        }
    }
    match numbers.below(4) {
        0 => order.reverse(),
        1 => {
            let mut places: Vec<(usize, Attempt)> =
                order.iter().map(|attempt| (attempt.event + numbers.index(5), *attempt)).collect();
            places.sort_by_key(|(place, _)| *place);
            order = places.into_iter().map(|(_, attempt)| attempt).collect();
        }
        _ => numbers.shuffle(&mut order),
    }
    order
}

/// The least that still fails: without any event, then any attempt, that is not needed, and nothing out of order that
/// could be in order.
pub fn shrunk<E: Clone>(
    history: &[E],
    order: &[Attempt],
    fails: impl Fn(&[E], &[Attempt]) -> bool,
) -> (Vec<E>, Vec<Attempt>) {
    let (mut history, mut order) = (history.to_vec(), order.to_vec());
    loop {
        let mut is_smaller = false;
        let mut event = 0;
        while event < history.len() {
            let mut fewer = history.clone();
            fewer.remove(event);
            let kept = order.iter().filter(|attempt| attempt.event != event);
            let moved =
                kept.map(|attempt| Attempt { event: attempt.event - usize::from(attempt.event > event), ..*attempt });
            let moved: Vec<Attempt> = moved.collect();
            if fails(&fewer, &moved) {
                (history, order, is_smaller) = (fewer, moved, true);
            } else {
                event += 1;
            }
        }
        let mut place = 0;
        while place < order.len() {
            let is_whole = |attempt: &&Attempt| attempt.crash.is_none() && attempt.event == order[place].event;
            // Every event arrives at least once.
            let is_needed = order[place].crash.is_none() && order.iter().filter(is_whole).count() == 1;
            let mut fewer = order.clone();
            fewer.remove(place);
            if !is_needed && fails(&history, &fewer) {
                (order, is_smaller) = (fewer, true);
            } else {
                place += 1;
            }
        }
        for place in 1..order.len() {
            let mut calmer = order.clone();
            calmer.swap(place - 1, place);
            if order[place - 1].event > order[place].event && fails(&history, &calmer) {
                (order, is_smaller) = (calmer, true);
            }
        }
        if !is_smaller {
            return (history, order);
        }
    }
}

/// A number out of the environment: `PLANGATE_SEED`, `PLANGATE_CASES`.
pub fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}
