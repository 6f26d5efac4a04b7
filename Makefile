# What people and the continuous integration call. `make help` lists it.

CARGO ?= cargo

.PHONY: help demo build test lint format

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: ## Migrate, verify and roll back a sample on a real etcd, started for the occasion
	$(CARGO) build --quiet
	scripts/demo

build: ## Build the program for daily use: target/release/meta-migration
	$(CARGO) build --release

test: ## Run all tests; they start their own etcd and Kubernetes (ETCD_BIN, KUBEBUILDER_ASSETS choose)
	@etcd=$$(scripts/etcd) && echo "etcd: $$etcd" && export ETCD_BIN="$$etcd" && \
	assets=$$(scripts/kubernetes) && export KUBEBUILDER_ASSETS="$$assets" && \
	if $(CARGO) nextest --version >/dev/null 2>&1; \
	then $(CARGO) nextest run; \
	else $(CARGO) test; fi

lint: ## Check format, lints, documentation and dependencies
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --document-private-items --quiet
	scripts/cargo-deny --log-level error check bans licenses sources

format: ## Format the code
	$(CARGO) fmt
