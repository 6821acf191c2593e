#![no_main]

fuzz_targets::fuzz_surface!(host_calls);
