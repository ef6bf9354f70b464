//! `uniffi-bindgen`: the generator at the version that the bindings are built with.

fn main() {
    uniffi::uniffi_bindgen_main();
}
