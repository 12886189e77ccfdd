# What README and CI call. `make up` and `make test` install what the host lacks.
CARGO ?= cargo
# Where cargo puts programs.
TARGET := $(or $(CARGO_TARGET_DIR),target)
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: help build up install down test lint bench docs prerequisites images

help: ## Show these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

prerequisites: ## Install the database servers, where the host lacks them
	@scripts/prerequisites.sh

build: prerequisites ## Build the program (target/release/vaultlab)
	$(CARGO) build --release --bin vaultlab

up: build ## Bring up the shipped lab
	$(TARGET)/release/vaultlab up
	@echo
	@echo "The program is $(TARGET)/release/vaultlab; \`make install\` puts it on your PATH."

install: ## Install the program with cargo
	$(CARGO) install --path . --locked

down: ## Stop the shipped lab; its data is kept
	$(TARGET)/release/vaultlab down

test: prerequisites ## Run every test, against real databases
	$(CARGO) build --bin vaultlab
ifdef NEXTEST
	VAULTLAB_REQUIRE_DATABASES=1 $(CARGO) nextest run --workspace --profile $(if $(CI),ci,default)
else
	VAULTLAB_REQUIRE_DATABASES=1 $(CARGO) test --workspace --lib --bins --tests
endif
	$(CARGO) test --workspace --doc
	$(CARGO) run --quiet --example fixture

lint: ## Formatting, clippy, licences and advisories
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and bans are not checked"; fi

bench: build ## Measure `vaultlab up` on the host and in containers, the embedded server and the keeper
	$(CARGO) bench --bench up
	$(CARGO) bench --bench server
	$(CARGO) bench --bench keeper
	$(CARGO) bench --bench docker

images: ## Build container images that need no registry, unless they are there (lab/images/README.md)
	VAULTLAB_PROGRAM='$(VAULTLAB_PROGRAM)' lab/images/build.sh

docs: ## Write the generated references anew
	VAULTLAB_REGENERATE=1 $(CARGO) test --workspace --lib -- generated reference schema
