//! The error of functions that have none of their own.

use std::fmt;

/// Why a function failed: a message for its caller.
///
/// It is made from a message, or with `?` from any error, whose causes become part of the message.
///
/// ```
/// fn half(text: &str) -> Result<i32, funless::Error> {
///     let number: i32 = text.parse()?;
///     if number % 2 != 0 {
///         return Err(funless::Error::new(format!("{number} is odd")));
///     }
///     Ok(number / 2)
/// }
///
/// assert_eq!(half("7").unwrap_err().to_string(), "7 is odd");
/// assert_eq!(half("x").unwrap_err().to_string(), "invalid digit found in string");
/// ```
// It is no `std::error::Error`: the conversion from all of these would include itself.
pub struct Error(String);

impl Error {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no number")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn messages_contain_causes() {
        let error = Error::from(Outer("x".parse::<u8>().expect_err("no digit")));
        assert_eq!(error.to_string(), "no number: invalid digit found in string");
        assert_eq!(format!("{:?}", Error::new("no tea")), "\"no tea\"");
    }
}
