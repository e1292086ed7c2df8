# One line per target; the work is done by the programs that they name.

VERSION ?= $(or $(COMFY_VERSION_NAME),demo)
WORKFLOW ?= workflows/example.json
OUTPUT ?= files
TARGET ?= local
RUN_local = run
RUN_docker = image run

WITH = sh scripts/with_environment.sh
COMFY = $(WITH) runpod-comfy
WITH_DEV = $(WITH) --dev
CODE = src tests benchmarks scripts images versions

.DEFAULT_GOAL := help
.PHONY: help venv run ui serve lock realize models base image verify-image push prove test test-fast test-all bench canary lint fmt clean

help: ## Print the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-12s %s\n", $$1, $$2 }'

venv: ## Make the project's environment at .venv, with DEV=1 including the tools for tests and checks
	@$(WITH) $(if $(DEV),--dev)

run: ## Run WORKFLOW on VERSION, in its image with TARGET=docker; UPDATE=1 after an edit of a node
	@$(COMFY) $(or $(RUN_$(TARGET)),$(error TARGET is local or docker)) --version-id "$(VERSION)" --workflow "$(WORKFLOW)" --output "$(OUTPUT)" \
	  $(if $(UPDATE),--update) $(if $(TAG),$(if $(filter docker,$(TARGET)),--image "$(TAG)"))

ui: ## Open the web page of VERSION's own ComfyUI on this machine
	@$(COMFY) run --version-id "$(VERSION)" --ui

serve: ## Serve RunPod's API for VERSION on this machine, at PORT or 8000, with the worker of its images
	@$(WITH_DEV) runpod-comfy realize --version-id "$(VERSION)" && OUTPUT_MODE="$${OUTPUT_MODE:-base64}" $(WITH_DEV) python -m rp_handler.main --version-id "$(VERSION)" --rp_serve_api --rp_api_host 127.0.0.1 --rp_api_port "$(or $(PORT),8000)"

lock: ## Resolve VERSION: pin everything it needs in lockfiles/
	@$(COMFY) resolve "$(VERSION)"

realize: ## Make VERSION ready to run in a folder on this machine
	@$(COMFY) realize --version-id "$(VERSION)"

models: ## Verify the models of VERSION, or of every version, and fetch and link what is missing
	@$(COMFY) verify-models $(if $(filter-out file,$(origin VERSION)),--version-id "$(VERSION)")

base: ## Make a base image from Debian's packages, as root, if no registry can be reached
	@$(COMFY) image base $(if $(TAG),--tag "$(TAG)")

image: ## Build the image of VERSION on BASE, tagged TAG if given
	@$(COMFY) image build "$(VERSION)" $(if $(BASE),--base "$(BASE)") $(if $(TAG),--tag "$(TAG)")

verify-image: ## Build the image of VERSION twice on BASE, on each of ENGINES if given, and compare
	@$(COMFY) image verify "$(VERSION)" $(if $(BASE),--base "$(BASE)") $(foreach engine,$(ENGINES),--engine "$(engine)")

push: ## Push the image of VERSION, or the one tagged TAG, to REGISTRY
	@$(COMFY) image push "$(VERSION)" $(if $(REGISTRY),--registry "$(REGISTRY)") $(if $(TAG),--tag "$(TAG)")

prove: ## Make VERSION twice, and compare locks, homes and outputs, also of WORKFLOW if given
	@$(COMFY) prove "$(VERSION)" $(if $(filter-out file,$(origin WORKFLOW)),--workflow "$(WORKFLOW)")

test: ## Run every test that needs no Docker engine
	@$(WITH_DEV) python scripts/run_tests.py --tag=-docker ::

test-fast: ## Run the fast tests with plain pytest, in less than 3 minutes
	@$(WITH_DEV) python -m pytest --quiet --numprocesses auto --dist worksteal -m "not slow"

test-all: ## Run every test; fails if no Docker engine can be reached
	@$(WITH_DEV) python scripts/run_tests.py ::

bench: ## Time this against what others use, images on BASE; BENCH="1 2 14 --json" for some of it
	@$(WITH_DEV) python -m benchmarks $(if $(BASE),--base "$(BASE)") $(BENCH)

canary: ## Try what the package index has today, from nothing; before a release
	@$(WITH_DEV) python scripts/canary.py

lint: ## Check style, types, shell scripts and the arrows between packages
	@sh scripts/lint.sh $(CODE)

fmt: ## Put the code into the project's style
	@$(WITH_DEV) ruff check --fix-only --quiet $(CODE) && $(WITH_DEV) ruff format $(CODE)

clean: ## Remove everything made here, except outputs, caches and realized versions
	@rm -rf .venv .venv.lock .pants.d .pids dist .mypy_cache .ruff_cache .pytest_cache
