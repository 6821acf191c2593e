#![no_main]

fuzz_targets::fuzz_surface!(components);
