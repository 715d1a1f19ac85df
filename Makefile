# Every command of the project; .ci/run and the README call these.
# Variables follow the target: make up ENGINE=elasticsearch ENGINE_PORT=9201

PYTHON ?= python3
DEPLOY = $(PYTHON) docs/deploy/deploy.py
TOOL = $(PYTHON) tests/local/tools.py
# The Python that has boto3 and psutil.
LOCAL = python=$$($(TOOL) local) && exec $$python
STACK = $(LOCAL) tests/local/stack.py

export PYTHONPATH := $(CURDIR)/docs/analysts:$(CURDIR)/docs/deploy:$(CURDIR)/tests/local

.DEFAULT_GOAL := help
.PHONY: help run up services down poll detect redrive logs setup-tools test lint unit instructions e2e e2e-secured \
	types test-watch chaos fuzz bench bench-engine build smoke validate deploy package geoip-layer backfill audit sbom test-analysts auth0-rules \
	hunt detections exports dashboards overview docs

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## demo: start the local stack, send sample events, show documents, alerts and dashboards, wait for Ctrl-C
	@$(STACK) run

up: ## start the local stack in the background (ENGINE=elasticsearch, SEARCH_ENDPOINT=…, AUTH0_URL=…, …)
	@$(STACK) up

services: ## start the local stack without the functions, for `cargo lambda watch --env-file .tools/local.env`
	@$(STACK) services

down: ## stop the local stack
	@$(STACK) down

poll: ## invoke the poller of the local stack once and print its response
	@$(STACK) poll

detect: ## run the detections of the local stack once and show all alerts
	@$(STACK) detect

redrive: ## write the parked events of the local stack now, dead letters included
	@$(STACK) redrive

logs: ## show the logs of the functions in the local stack
	@$(STACK) logs

setup-tools: ## install everything that the local stack needs into .tools/
	@$(STACK) setup

test: lint unit instructions e2e e2e-secured test-watch validate test-analysts ## everything that CI runs

lint: ## check format, lints, spelling, imports, dependencies and Rust docs
	@$(PYTHON) tests/local/lint.py

unit: ## run all tests that need no engine (MODEL_SEED=…), and build the user-agent crate without a network
	@$(PYTHON) tests/local/unit.py

e2e: ## run the end-to-end tests on real engines (ARGS=<name> for some of them)
	@$(STACK) e2e

e2e-secured: ## run the tests of the documented roles on engines with security and TLS
	@$(LOCAL) tests/e2e/secured.py

test-watch: ## call each function under `cargo lambda watch` with its payload of events/
	@$(LOCAL) tests/local/watch.py

chaos: ## kill and freeze nodes of a real cluster: each event once? (CHAOS_SECONDS=300; not in make test)
	@$(LOCAL) tests/e2e/chaos.py

instructions: ## compare the mapping's instruction counts with the committed ones (UPDATE=1 writes them)
	@$(PYTHON) tests/benches/instructions.py

types: ## compare the table of event types with Auth0's documentation or log schemas (AUTH0=<checkout>)
	@$(PYTHON) tests/local/log_types.py

fuzz: ## search for bodies that break an invariant of all documents (nightly Rust; FUZZ_SECONDS=600)
	cargo install cargo-fuzz --version 0.13.2 --locked --root .tools
	mkdir -p shared/ecs/fuzz/corpus/documents
	cd shared/ecs && PATH="$(CURDIR)/.tools/bin:$$PATH" cargo +nightly fuzz run --features run \
		--sanitizer none --debug-assertions documents fuzz/corpus/documents ../../events/auth0 -- \
		-dict=fuzz/json.dict -max_total_time=$(or $(FUZZ_SECONDS),600)

bench: ## measure the built functions and write the numbers into docs/performance.md (ARGS=start)
	@$(DEPLOY) build --arch x86_64
	@$(LOCAL) tests/benches/bench.py
	@$(LOCAL) tests/benches/scale.py

bench-engine: ## measure what a document costs each engine and write it into docs/performance.md
	@$(LOCAL) tests/benches/bench_engine.py
	@$(LOCAL) tests/benches/scale.py

build: ## build the functions' zips for Lambda, without Docker (ARCH=x86_64)
	@$(DEPLOY) build

smoke: ## start each built function once (RUN="qemu-aarch64 -L /usr/aarch64-linux-gnu")
	@$(PYTHON) tests/deployment/smoke.py

validate: ## check template.yaml, deploy and use it (ARGS="-k roles"; ZIPS=target/lambda: the optimized functions)
	@python=$$($(TOOL) sam) && exec $$python -m pytest tests/deployment $(ARGS)

deploy: ## build and deploy with AWS SAM; asks the first time, later <Parameter>=<value> changes one (ARCH=x86_64)
	@$(DEPLOY) deploy

package: ## write dist/: zips, template, deploy.sh and more, to install without a tool chain (VERSION= has to be Cargo.toml's)
	@$(DEPLOY) package

geoip-layer: ## build the Lambda layer from your MaxMind files (CITY=….mmdb ASN=….mmdb)
	@$(DEPLOY) geoip-layer

backfill: ## read a past window from Auth0 (FROM=2026-01-31T00:00:00Z TO=… STACK_NAME=<deployed stack>)
	@$(DEPLOY) backfill

audit: ## check licenses, banned crates, sources and advisories of all dependencies, and the template
	@$(DEPLOY) audit

sbom: ## list every crate linked into the functions, as CycloneDX
	@$(DEPLOY) sbom

docs: ## build the docs as a site in target/book/
	@$(DEPLOY) docs

test-analysts: ## test detections, search guide and dashboards on both engines (ARGS=test_searching)
	@$(LOCAL) tests/local/analysts.py

auth0-rules: ## run Auth0's own detections on both engines, over our events for them (AUTH0=<checkout>)
	@rules=$$(cd "$(AUTH0)/detections" && pwd) && $(LOCAL) tests/local/analysts.py auth0_rules.py "$$rules"

hunt: ## run the detections against an engine (SEARCH_ENDPOINT=… SEARCH_API_KEY=… SINCE=24h)
	@python=$$($(TOOL) sigma) && $$python docs/analysts/hunt.py $(ARGS)

detections: ## compile the rules into the file that functions/detect includes (CHECK=1: only compare)
	@python=$$($(TOOL) sigma) && $$python docs/analysts/compile.py

exports: ## write the detections into target/exports/ as Elastic rules, OpenSearch monitors and rules for Security Analytics
	@python=$$($(TOOL) sigma) && $$python docs/analysts/export.py target/exports

dashboards: ## import the dashboards: DASHBOARDS=kibana|opensearch-dashboards DASHBOARDS_URL=… (dry run; APPLY=1)
	@$(PYTHON) docs/analysts/dashboards.py

overview: ## draw the dashboards over the last day of an engine as a local page (SEARCH_ENDPOINT=…)
	@vega=$$($(TOOL) vega) && $(PYTHON) docs/analysts/overview.py $$vega .tools/run/overview.html
