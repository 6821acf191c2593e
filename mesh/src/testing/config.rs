//! Assertions about configurations.

use crate::config::ServiceConfig;

/// A change of a configuration.
pub type Change<C> = fn(&mut C);

/// Asserts that the defaults are valid, and that each change makes them invalid with an error that starts with the
/// given text.
pub fn assert_invalid<C: ServiceConfig + Default>(cases: &[(&str, Change<C>)]) {
    C::default().validate().expect("the defaults are valid");
    for (expected, change) in cases {
        let mut config = C::default();
        change(&mut config);
        let error = config.validate().expect_err(expected);
        assert!(error.starts_with(expected), "{error:?} should start with {expected:?}");
    }
}
