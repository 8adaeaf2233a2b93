# Celeriac: `make` lists the targets. Everything they need is installed on the way.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --warn-undefined-variables
.DELETE_ON_ERROR:

ENV ?= development
SCENARIO ?=
STEPS ?=
UPGRADE ?=
VERSION ?=
FIGURES ?=
ROUNDS ?= 5
WORKERS ?= 2
RELEASES := 12 13
COLLECTION := collections/ansible_collections/celeriac/fleet

# Each playbook starts dozens of Pythons: without compiled files they would compile Ansible and our plugins each time.
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/.venv/bin:$(PATH)
PYTHON := .venv/bin/python
# For what runs beside bootstrap, while .venv may not be there.
SYSTEM_PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)

# Environments are the directories with hosts in them: inventories/staging, inventories/reference/chatlite.
ENVIRONMENTS := $(sort $(patsubst inventories/%/hosts.yml,%,$(wildcard inventories/*/hosts.yml inventories/reference/*/hosts.yml)))
SCENARIOS := $(sort $(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))

##@ Rehearse an environment on test hosts: ENV=development (default) or another

up: export CELERIAC_BEGAN := $(shell date +%s.%N)
up: environment bootstrap+images ## Start one test host per inventory host, converge, deploy, run real tasks
	$(PYTHON) tools/rehearse.py up $(ENV)

verify: environment bootstrap ## Run the behaviour tests against what is up
	$(PYTHON) tools/rehearse.py verify $(ENV)

down: environment bootstrap ## Remove the test hosts, and the Docker Engine if we started it
	$(PYTHON) tools/rehearse.py down $(ENV)
	tools/docker_engine release

##@ Test

test: bootstrap+images ## The whole suite: lint, unit, templates, every scenario; STEPS="redis lint" for these alone
	$(PYTHON) tools/run_tests.py $(STEPS) && code=0 || code=$$?; tools/docker_engine release; exit $$code

lint: ruff types yamllint ansible-lint sanity ## Every linter

unit: bootstrap ## Tests that need no host: plugins, tools, policies, reference applications; WORKERS=4 at once
	pytest -n $(WORKERS) --dist loadfile tests/unit $(wildcard tests/templates examples/*/tests)

templates: bootstrap ## Render the real templates and parse the results
	pytest tests/templates

molecule: scenario bootstrap+images ## One scenario, SCENARIO=redis, or all of them
	molecule test $(if $(SCENARIO),--scenario-name $(SCENARIO),--all)

##@ Measure

soak: bootstrap+images ## What proves a rate, in at most an hour, into docs/measurements.md; STEPS="load" for one scenario
	$(PYTHON) tools/soak.py $(STEPS) && code=0 || code=$$?; tools/docker_engine release; exit $$code

bench: bootstrap ## Measure FIGURES="growth no-change", or all; see docs/benchmarks.md
	@$(PYTHON) -m bench check --rounds=$(ROUNDS) $(FIGURES)
	@$(MAKE) images bench-packages
	@pytest --quiet --no-header bench/tests
	@$(PYTHON) -m bench measure --rounds=$(ROUNDS) $(FIGURES) && code=0 || code=$$?; tools/docker_engine release; exit $$code

bench-docs: bootstrap ## Put what was measured last into docs/benchmarks.md
	@$(PYTHON) -m bench publish

##@ Maintain

bootstrap: ## Make .venv hold what requirements-dev.lock names
	@tools/bootstrap

images: ## Build the test hosts' images, after starting a Docker Engine if none answers
	@tools/docker_engine ensure
	@$(SYSTEM_PYTHON) tools/build_image.py $(RELEASES)

lock: bootstrap ## Compile the locks again; UPGRADE=1 takes newer versions
	@. tools/lib.sh; uv_environment $(PYTHON); \
	compile() { uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header $(if $(UPGRADE),--upgrade) "$$@"; }; \
	compile --python-version 3.11 --group pyproject.toml:dev --output-file requirements-dev.lock; \
	compile --python-version 3.11 --group pyproject.toml:bench --output-file requirements-bench.lock; \
	for input in $(wildcard examples/*/requirements.in tests/apps/*/requirements.in plugins/data/*/requirements.in); do \
		(cd "$$(dirname "$$input")" && compile --python-version 3.11.2 --output-file requirements.txt requirements.in); \
	done

tables: bootstrap images ## Ask the servers of each Debian again which directives and commands they know
	$(PYTHON) tools/redis_tables.py

docs: bootstrap ## Write the variable tables of the roles' READMEs from their argument_specs
	@for specs in $(wildcard roles/*/meta/argument_specs.yml); do \
		role="$${specs%/meta/*}"; aar-doc --output-mode inject "$$role" markdown; \
	done

collection: bootstrap ## Build what ansible-galaxy installs elsewhere, in .cache/dist
	$(PYTHON) tools/collection.py build

release: bootstrap ## Tag main as VERSION=1.2.0, with its changelog and artefact; pushes nothing
	@$(PYTHON) tools/release.py '$(VERSION)'

clean: ## Remove what the tools made in this directory; not the test hosts (make down)
	rm -rf .venv .cache .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.git -prune -o -type d \( -name __pycache__ -o -name .mypy_cache -o -name .ruff_cache \) -prune -exec rm -rf {} +

help: ## This list
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@printf '\nEnvironments: %s\n' "$(ENVIRONMENTS)"

# -- the parts of lint ------------------------------------------------------------------------------------------------

ruff: bootstrap
	ruff check
	ruff format --check

types: bootstrap
	mypy $(COLLECTION)/plugins bench tests/support tests/integration $(wildcard tools/*.py roles/*/files/usr/local/lib/celeriac/*.py)
	for app in $(wildcard examples/*/app); do (cd "$${app%/app}" && mypy --config-file ../../pyproject.toml app); done

yamllint: bootstrap
	yamllint --strict .

ansible-lint: bootstrap
	ansible-lint

sanity: bootstrap
	$(PYTHON) tools/collection.py sanity

# -- what the targets above rest on -----------------------------------------------------------------------------------

environment:
	@for known in $(ENVIRONMENTS); do [ "$$known" != '$(ENV)' ] || exit 0; done; \
	echo "celeriac: error: ENV=$(ENV) is no environment; choose one of: $(ENVIRONMENTS)" >&2; exit 2

scenario:
	@for known in $(SCENARIOS) ''; do [ "$$known" != '$(SCENARIO)' ] || exit 0; done; \
	echo "celeriac: error: SCENARIO=$(SCENARIO) is no scenario; choose one of: $(SCENARIOS)" >&2; exit 2

# Beside .venv, which bootstrap keeps to what its own lock names.
bench-packages: bootstrap
	@. tools/lib.sh; uv_environment $(PYTHON); \
	retry uv pip sync --quiet --python $(PYTHON) --target .cache/bench/python --require-hashes requirements-bench.lock || \
	die "uv could not install requirements-bench.lock; is a package index reachable?"

# The images need no virtualenv, so both are made at the same time.
bootstrap+images:
	@$(MAKE) --jobs=2 bootstrap images

.PHONY: up verify down test soak lint unit templates molecule bench bench-docs bench-packages bootstrap images lock tables docs collection release clean help \
	ruff types yamllint ansible-lint sanity environment scenario bootstrap+images
