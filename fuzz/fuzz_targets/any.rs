//! Any target of the host tests, under libFuzzer: `TARGET=markdown cargo +nightly fuzz run any tests/host/corpus/markdown`.

#![no_main]

#[path = "../../tests/host/adf_rules.rs"]
mod adf_rules;
#[path = "../../tests/host/support.rs"]
mod support;
#[path = "../../tests/host/fuzz/targets.rs"]
mod targets;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let wanted = std::env::var("TARGET").unwrap_or_default();
    let target = targets::TARGETS.iter().find(|target| target.name == wanted);
    let target = target.unwrap_or_else(|| panic!("TARGET is one of {:?}", targets::TARGETS.iter().map(|target| target.name).collect::<Vec<_>>()));
    (target.run)(bytes);
});
