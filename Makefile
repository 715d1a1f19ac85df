# The only list of commands; .ci/run and the README call these.
# Variables go behind the target: make up ENGINE=elasticsearch ENGINE_PORT=9201

PYTHON ?= python3
STACK = $(PYTHON) tests/local/stack.py
DEPLOY = $(PYTHON) tests/local/deploy.py
ANALYSTS = $(PYTHON) tests/local/analysts.py

.DEFAULT_GOAL := help
.PHONY: help run up down poll redrive logs setup-tools test lint unit instructions e2e fuzz \
	bench build validate deploy geoip-layer backfill audit sbom test-analysts hunt dashboards overview

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## demo: start the local stack, send sample events in, show the documents, stay until Ctrl-C
	@$(STACK) run

up: ## start the local stack in the background (ENGINE=elasticsearch, SEARCH_ENDPOINT=…, AUTH0_URL=…, …)
	@$(STACK) up

down: ## stop the local stack
	@$(STACK) down

poll: ## invoke the poller of the local stack once and print its answer
	@$(STACK) poll

redrive: ## write the parked events of the local stack now; dead letters are tried once more
	@$(STACK) redrive

logs: ## show the logs of the local stack's functions
	@$(STACK) logs

setup-tools: ## install into .tools/ what the local stack and the tests need
	@$(STACK) setup

test: lint unit instructions e2e e2e-secured test-analysts ## all that CI runs: lint, tests of all kinds, instruction counts

lint: ## check formatting and lints
	cargo fmt --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy -p auth0-ecs-fuzz --features target --locked -- -D warnings

# The whole workspace, as for the end-to-end tests: another selection has other features of the same
# dependencies, and compiles them all again.
unit: ## run the unit tests
	cargo test --workspace --lib --bins --test it --locked

e2e: ## run the end-to-end tests on real engines (one of them: ARGS='name of the test')
	@$(STACK) e2e

.PHONY: e2e-secured
e2e-secured: ## run the tests of the documented roles on engines with security and TLS
	@$(PYTHON) tests/local/secured.py

instructions: ## compare the mapping's instruction counts with the committed ones (UPDATE=1 writes them)
	@$(PYTHON) tests/local/instructions.py

fuzz: ## look for bodies that break what holds for all documents (needs nightly Rust; FUZZ_SECONDS=600)
	cargo install cargo-fuzz --version 0.13.2 --locked --root .tools
	mkdir -p shared/ecs/fuzz/corpus/documents
	cd shared/ecs && PATH="$(CURDIR)/.tools/bin:$$PATH" cargo +nightly fuzz run --features run \
		--sanitizer none --debug-assertions documents fuzz/corpus/documents ../../events/auth0 -- \
		-dict=fuzz/json.dict -max_total_time=$(or $(FUZZ_SECONDS),600)

bench: build ## measure the built functions, and write the numbers into docs/performance.md (ARGS=start)
	@$(PYTHON) tests/local/bench.py

build: ## build the functions' zips for Lambda, without Docker (ARCH=arm64)
	@$(DEPLOY) build

validate: build ## check template.yaml: lint, IAM, and a deployment into a stand-in with the built zips
	@$(DEPLOY) validate

deploy: ## build and deploy with AWS SAM: asks the first time, then samconfig.toml (ARCH=arm64)
	@$(DEPLOY) deploy

geoip-layer: ## make the Lambda layer from your MaxMind files (CITY=….mmdb ASN=….mmdb)
	@$(DEPLOY) geoip-layer

backfill: ## read a past window from Auth0 (FROM=2026-01-31T00:00:00Z TO=… STACK_NAME=<deployed stack>)
	@$(DEPLOY) backfill

audit: ## check licences, banned crates, sources and advisories of all dependencies
	@$(DEPLOY) audit

sbom: ## list what is linked into the functions, as CycloneDX
	@$(DEPLOY) sbom

test-analysts: ## test detections, search guide and dashboards on both engines (ARGS=test_searching)
	@$(ANALYSTS) test

hunt: ## run the detections against an engine (SEARCH_ENDPOINT=… SEARCH_API_KEY=… SINCE=24h)
	@$(ANALYSTS) hunt

dashboards: ## import the dashboards: DASHBOARDS=kibana|opensearch-dashboards DASHBOARDS_URL=… (dry run; APPLY=1)
	@$(ANALYSTS) dashboards

overview: ## draw the dashboards as a local page from the last day of an engine (SEARCH_ENDPOINT=…)
	@$(ANALYSTS) overview
