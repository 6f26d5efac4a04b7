# Targets for users and continuous integration. `make help` lists them.

CARGO ?= cargo
# Tests wait for servers more than they compute.
TEST_THREADS ?= $(shell expr 2 '*' $$(nproc))

.PHONY: help protoc demo demo-milvus build release test test-milvus bench lint format picture

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 13

# Checks for a protobuf compiler, or builds one, before anything else is compiled.
protoc:
	@scripts/protoc --help >/dev/null

demo: protoc ## Migrate, verify and roll back a sample on a temporary etcd
	$(CARGO) build --locked --profile demo
	META_MIGRATION_BIN=$${CARGO_TARGET_DIR:-target}/demo/meta-migration scripts/demo

demo-milvus: protoc ## Upgrade a real Milvus 2.1.0 to 2.2.16; downloads about 170 MB once
	$(CARGO) build --locked
	scripts/demo-milvus

build: protoc ## Build the program for daily use: target/release/meta-migration
	$(CARGO) build --release

release: protoc ## Write static program, image context, SBOM and checksums to target/release-files
	scripts/release

test: protoc ## Run all tests with their own etcd and Kubernetes (ETCD_BIN, KUBEBUILDER_ASSETS select them)
	@etcd=$$(scripts/etcd) && echo "etcd: $$etcd" && export ETCD_BIN="$$etcd" && \
	case $$("$$etcd" --version) in *" 3.5."[0-2][!0-9]*) scripts/etcd 3.4 ;; esac && \
	assets=$$(scripts/kubernetes) && export KUBEBUILDER_ASSETS="$$assets" && \
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --workspace

test-milvus: protoc ## Run the tests on real Milvus servers, two at a time; downloads about 450 MB once
	@scripts/milvus all && etcd=$$(scripts/etcd) && export ETCD_BIN="$$etcd" && \
	assets=$$(scripts/kubernetes) && export KUBEBUILDER_ASSETS="$$assets" && \
	$(CARGO) test --test it milvus:: -- --ignored --test-threads 2

bench: protoc ## Compare the program with the minimum time of etcd (BENCH_SIZES=1000,100000 for fewer)
	@export ETCD_BIN="$$(scripts/etcd)" && $(CARGO) bench --bench micro && $(CARGO) bench --bench scale

lint: protoc ## Check format, lints, documentation and dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	@# Private modules are documented too, so links to them are valid.
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --workspace --no-deps --document-private-items --quiet
	scripts/cargo-deny --log-level error check bans licenses sources
	scripts/hadolint Dockerfile

format: ## Format the code
	$(CARGO) fmt

picture: protoc ## Draw docs/terminal.svg from a session in a real terminal
	$(CARGO) build --locked
	scripts/picture
