#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| meta_fuzz::imports::run(input));
