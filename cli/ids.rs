//! Ids of what is invented.

use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// How many characters an id has after its prefix: 24 of hexadecimal are 96 bits, so no two things share one.
const ID_CHARS: usize = 24;

/// An id that is the same whenever it names the same things.
pub fn stable(prefix: &str, named: &[&str]) -> String {
    let digest = hex(&Sha256::digest(named.join("\n").as_bytes()));
    format!("{prefix}{}", digest.get(..ID_CHARS).unwrap_or_default())
}

/// An id that nobody has used before.
///
/// # Errors
/// When the system has no random numbers to give.
pub fn fresh(prefix: &str) -> Result<String, Failure> {
    let mut bytes = [0; ID_CHARS / 2];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::NoAnswer("the system gives no random numbers; try again".into()))?;
    Ok(format!("{prefix}{}", hex(&bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 0xf])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_same_for_the_same_things_only() {
        assert_eq!(stable("x_", &["user:u", "pro"]), stable("x_", &["user:u", "pro"]));
        assert_ne!(stable("x_", &["user:u", "pro"]), stable("x_", &["org:u", "pro"]));
        assert_eq!(hex(&[0x0f, 0xa0]), "0fa0");
        assert_ne!(fresh("x_").unwrap(), fresh("x_").unwrap());
        assert_eq!(fresh("x_").unwrap().len(), stable("x_", &[]).len());
    }
}
