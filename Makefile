# The commands of this repository; `make help` lists them. CI runs the same ones.

CARGO ?= cargo
# The feature that is tested and not built by default; scripts/built.sh names it too, or all would be built twice.
TESTED := dyno-server/otlp
INTERNALS := dyno-core/internals,dyno-server/internals
DEMO_BUNDLE := .dyno/bundles/shapes12

.PHONY: help setup build demo test lint bindgen test-kotlin test-swift test-oip h2spec bench fuzz fuzz-seeds android-libs ios-libs \
	xcframework check-deploy phone-checks check-android check-ios arm64 deny clean

help: ## List the commands
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## Fetch ONNX Runtime into .dyno/ (unless ORT_DYLIB_PATH is set)
	@scripts/setup.sh

build: setup ## Build the dyno command and the server
	$(CARGO) build --release -p dyno-cli -p dyno-server

# The development build: it is there sooner, and the demo's times are those of links.
demo: setup ## Prepare the shipped model, serve it, run photos over links of falling quality
	$(CARGO) build -p dyno-cli -p dyno-server --bins
	@mkdir -p $(dir $(DEMO_BUNDLE))
	$(CARGO) run -q -p dyno-cli -- prepare models/shapes12.onnx --out $(DEMO_BUNDLE) \
		--preprocess models/shapes12.toml --force
	$(CARGO) run -q -p dyno-cli -- demo --bundle $(DEMO_BUNDLE) --photos models/samples

test: setup lint ## Run every test; real models and photos too where DYNO_TEST_DATA points to them
	$(CARGO) test --workspace --features $(TESTED)
	@SECONDS_EACH=5 scripts/fuzz.sh unpack payload pack
	@scripts/bindgen.sh --check
	@scripts/test-kotlin.sh
	@scripts/test-swift.sh
	@scripts/test-oip.sh
	@scripts/skipped.sh

lint: ## Formatting, clippy and the links of the API docs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features $(INTERNALS),$(TESTED) -- -D warnings
	$(CARGO) clippy --workspace --lib --bins --features $(INTERNALS) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --features $(INTERNALS),$(TESTED)

bindgen: setup ## Write the generated Kotlin and Swift again, from the bindings
	@scripts/bindgen.sh

test-kotlin: setup ## Compile the Kotlin for JVM and Android, and test it against a real server (needs Java 17 and Maven)
	@scripts/test-kotlin.sh

test-swift: setup ## Build and test the Swift package (on Debian it makes a folder with Debian 13's Swift; needs root)
	@scripts/test-swift.sh

test-oip: setup ## Try the Open Inference Protocol with tritonclient and MLServer (from PyPI; needs Python 3.11 or 3.12)
	@scripts/test-oip.sh

h2spec: setup ## The conformance tests of HTTP/2 against the server (needs Go, to build them)
	@scripts/h2spec.sh

bench: setup ## Criterion benchmarks
	$(CARGO) bench --workspace --features dyno-core/internals

fuzz: ## Each fuzz target for a minute (needs a nightly toolchain; installs cargo-fuzz)
	@scripts/fuzz.sh

fuzz-seeds: setup ## Write the fuzz targets' seeds again, from the shipped model
	$(CARGO) run -q -p dyno-cli -- prepare models/shapes12.onnx --out .dyno/bundles/shapes12 \
		--preprocess models/shapes12.toml --force
	@mkdir -p fuzz/seeds/unpack fuzz/seeds/payload
	$(CARGO) run -q -p dyno-core --example fuzz_seeds -- .dyno/bundles/shapes12 models/samples fuzz/seeds

android-libs: ## The library for Android, with its NDK, into android/ (needs cargo-ndk; ABIS="arm64-v8a" for one)
	@scripts/android-libs.sh $(ABIS)

ios-libs: ## The static libraries for iPhones and the simulator (needs a Mac with Xcode)
	@scripts/ios-libs.sh

xcframework: ## The library for iPhones, their simulator and Macs as an XCFramework (needs a Mac with Xcode)
	@scripts/xcframework.sh

phone-checks: check-android check-ios arm64 ## What a Debian machine can tell of phone builds (docs/phone-builds.md)

check-android: ## The Android library, linked against a stand-in for the NDK (installs Debian packages; needs root)
	@scripts/phone/check-android.sh

check-ios: ## The iOS library, compiled against a stand-in for the SDK (installs Debian packages; needs root)
	@scripts/phone/check-ios.sh

arm64: ## Tests of the core and the bindings on 64-bit Arm, under qemu (installs Debian packages; needs root)
	@scripts/arm64.sh

check-deploy: ## deploy/ against Envoy, Helm, promtool and the schemas of Kubernetes (fetches them once; says what it skips)
	@scripts/check-deploy.sh

deny: ## Licences, advisories and sources of all dependencies (needs cargo-deny)
	$(CARGO) deny check

clean: ## Remove build outputs and what setup fetched
	$(CARGO) clean
	rm -rf .dyno
